"""What encryption and signatures cost: three peers with both, with one of them, with none.

All four meshes stand side by side and are given the same orders in turn, so that other work on the
machine meets all of them alike. Figures are medians. On a busy machine the processor time of the
three peers, which other work hardly changes, says more than the time that passed.
"""

import contextlib
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from discovery.grapes import running_grapes
from tests import heap
from tests.bench.bench_mesh import PEERS
from tests.bench.measuring import lone_ms, machine, percentile, pids, processor_s
from tests.bench.plain_peer import WITHOUT
from tests.support.real_mesh import RealMesh, random_orders, submit_at_once

VARIANTS = {
    "encrypted and signed": "",
    "signed only": "encryption",
    "encrypted only": "signatures",
    "neither": "encryption signatures",
}


def throughput(mesh: RealMesh, orders: int, seed: int) -> float:
    """Orders a second, from the first submitted to the last final."""
    rng = random.Random(seed)
    flows = [(peer.client, random_orders(rng, "a", orders // PEERS)) for peer in mesh.peers]
    started_s = time.monotonic()
    submit_at_once(flows)
    return orders / (time.monotonic() - started_s)


def started(folder: Path, grapes: list[str], without: str) -> RealMesh:
    """A mesh of peers that lack what `without` names; of real ones if that is nothing."""
    folder.mkdir()
    program = "tests.bench.plain_peer" if without else "peer"
    mesh = RealMesh(folder, grapes, PEERS, program=program)
    os.environ[WITHOUT] = without
    try:
        mesh.start()
    finally:
        del os.environ[WITHOUT]
    return mesh


@click.command()
@click.option("--orders", default=6_000, show_default=True)
@click.option("--rounds", default=9, show_default=True, help="Of all four, in turn.")
@click.option("--lone", default=40, show_default=True, help="Orders a round for the latency.")
def main(orders: int, rounds: int, lone: int) -> None:
    """Compare the four on the same orders."""
    heap.refuse_if_broken()
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    latencies_ms: dict[str, list[float]] = {name: [] for name in VARIANTS}
    many_us: dict[str, list[float]] = {name: [] for name in VARIANTS}
    lone_us: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        grapes = [grape.spec.url for grape in stack.enter_context(running_grapes())]
        meshes = {
            name: stack.enter_context(started(folder / f"mesh{n}", grapes, without))
            for n, (name, without) in enumerate(VARIANTS.items())
        }
        for seed in range(rounds):
            for name, mesh in random.Random(seed).sample(list(meshes.items()), len(meshes)):
                started_s = processor_s(pids(mesh.peers))
                rates[name].append(throughput(mesh, orders, seed))
                between_s = processor_s(pids(mesh.peers))
                latencies_ms[name] += lone_ms(mesh.peers, lone)
                many_us[name].append((between_s - started_s) / orders * 1e6)
                lone_us[name].append((processor_s(pids(mesh.peers)) - between_s) / lone * 1e6)
    title = f"{orders:,} orders, {rounds} rounds ({machine()})"
    Console().print(table(title, rates, many_us, lone_us, latencies_ms))


def table(
    title: str,
    rates: dict[str, list[float]],
    many_us: dict[str, list[float]],
    lone_us: dict[str, list[float]],
    latencies_ms: dict[str, list[float]],
) -> Table:
    """`many_us` and `lone_us` are the processor time of an order of many, and of one alone."""
    columns = ("orders/s", "processor, of many", "of a lone one", "ratio", "lone p50", "p99")
    shown = Table("", *columns, title=title)
    least_us = statistics.median(lone_us["neither"])
    for name in VARIANTS:
        many, alone = statistics.median(many_us[name]), statistics.median(lone_us[name])
        p50, p99 = (percentile(latencies_ms[name], percent) for percent in (50, 99))
        rate = f"{statistics.median(rates[name]):,.0f}"
        spent = [f"{many:,.0f} µs", f"{alone:,.0f} µs", f"{alone / least_us:.2f}"]
        shown.add_row(name, rate, *spent, f"{p50:.1f} ms", f"{p99:.1f} ms")
    return shown


if __name__ == "__main__":
    main()
