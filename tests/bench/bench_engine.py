"""The engine beside its field, on one order flow.

    python -m tests.bench.bench_engine --rounds 7 --only ours --python /opt/python3.12/bin/python

Every rival runs in its own environment under `.run/bench-envs`, made when first needed, in a Python
it accepts; what cannot be installed is left out with a note. Engines take turns, every turn in a
fresh process, so that a busy moment of the machine meets them all. A turn is three runs, of which
the least disturbed counts; figures are medians of the turns, in processor time. Before that, every
engine's trades are compared with those of the model that made the flow.
"""

import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

import click

from tests import heap
from tests.bench.environments import NoPlaceError, python_for
from tests.bench.measuring import machine

ROOT = Path(__file__).parents[2]
ADAPTERS = Path(__file__).parent / "engines" / "adapters.py"
# Name of the adapter: what to install for it; cython-orderbook does not say what it needs.
ENTRANTS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "ours, one by one": (),
    "matching-engine": ("matching-engine",),
    "liquibook": ("liquibook",),
    "liquibook, told": ("liquibook",),
    "cython-orderbook": ("cython-orderbook", "sortedcontainers"),
    "lightmatchingengine": ("lightmatchingengine",),
}


def turn(name: str, python: Path, arguments: list[str]) -> dict[str, Any]:
    """One run in a process of its own."""
    done = subprocess.run(
        [str(python), str(ADAPTERS), name, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@click.command()
@click.option("--rounds", default=7, help="Turns of every engine.")
@click.option("--operations", default=200_000)
@click.option("--seed", default=1)
@click.option("--batch", default=100, help="Commands handed over at a time.")
@click.option("--only", multiple=True, help="Names of those to run.")
@click.option("--python", "pythons", multiple=True, help="Further interpreters to try.")
def main(
    rounds: int,
    operations: int,
    seed: int,
    batch: int,
    only: tuple[str, ...],
    pythons: tuple[str, ...],
) -> None:
    """Operations a processor second of every engine on the same flow, and how they compare."""
    heap.refuse_if_broken()
    arguments = [str(operations), str(seed), str(batch)]
    places: dict[str, Path] = {}
    first: dict[str, dict[str, Any]] = {}
    for name, packages in ENTRANTS.items():
        if only and name not in only:
            continue
        try:
            places[name] = python_for(packages, pythons)
            first[name] = turn(name, places[name], [*arguments, "check"])
        except NoPlaceError as error:
            print(f"left out: {name}: {error}")
        except subprocess.CalledProcessError as error:
            del places[name]
            print(f"left out: {name}: {error.stderr.strip().splitlines()[-1]}")
    seconds: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(rounds):
        for name, python in places.items():
            seconds[name].append(turn(name, python, arguments)["seconds"])
    report(operations, rounds, batch, first, seconds)


def report(
    operations: int,
    rounds: int,
    batch: int,
    first: dict[str, dict[str, Any]],
    seconds: dict[str, list[float]],
) -> None:
    print(f"{machine()}")
    print(
        f"{operations} operations in batches of {batch},"
        f" medians of {rounds} interleaved turns, processor time"
    )
    print(f"{'':22}{'Python':>8}  {'operations/s':>12}  {'range':>21}  {'ours is':>8}  trades")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = medians.get("ours")
    for name, median in sorted(medians.items(), key=lambda row: row[1]):
        answer = first[name]
        slowest, fastest = (operations / f(seconds[name]) for f in (max, min))
        ratio = f"{median / base:.2f} x" if base else ""
        told = "all the same" if answer["right"] else "DIFFERENT"
        label = f"{name} {answer['version']}".strip() + (" (mypyc)" if answer["compiled"] else "")
        print(
            f"{label:22}{answer['python']:>8}  {operations / median:12,.0f}"
            f"  {slowest:9,.0f} - {fastest:9,.0f}  {ratio:>8}  {answer['trades']}, {told}"
        )
    assert len({answer["flow"] for answer in first.values()}) <= 1  # one flow for all


if __name__ == "__main__":
    main()
