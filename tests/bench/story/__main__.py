"""The whole story in one table: `make bench`.

    python -m tests.bench.story --rounds 3 --json build/bench.json --plots build/plots

Owns the rounds: each measures every part once, so that a busy moment of the machine meets them all,
and starts all processes anew. Figures are medians of the rounds, with the least and the most. All
processes share this machine: the ratios say more than the figures. An alternative whose parts
cannot be installed is left out, and the table says so.
"""

import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from tests import heap
from tests.bench.measuring import machine, percentile
from tests.bench.story import disk, gateways, growth, mesh, naive, ring
from tests.bench.story.figures import Figure, Ratio, Story, plot
from tests.bench.story.plan import FULL, QUICK, LeftOutError, Place, Plan

LIMITS = "the limits: no order book"
RING_P50 = Figure(LIMITS, "the bare ring (sign, sync, publish; three rounds), p50", "ms")
RING_P99 = Figure(LIMITS, "the bare ring, p99", "ms")
PUBSUB_P50 = Figure(LIMITS, "raw PUB/SUB there and back, p50", "ms")
PUBSUB = Figure(LIMITS, "raw PUB/SUB to two subscribers", "orders/s")
RATIOS = (
    Ratio("a lone order to the bare ring, p50 (smaller is better)", mesh.LONE_P50, RING_P50),
    Ratio("a lone order to the bare ring, p99 (smaller is better)", mesh.LONE_P99, RING_P99),
    Ratio("throughput to raw PUB/SUB", mesh.many(3, 3), PUBSUB),
    Ratio("throughput to the naive design", mesh.many(3, 3), naive.SPEED),
    Ratio("a lone order to the naive design's, p50 (smaller is better)", mesh.LONE_P50, naive.P50),
    *(
        Ratio(
            f"orders over HTTP to the single node's, {count} connections",
            gateways.over_http(gateways.OURS, count),
            gateways.over_http(gateways.SINGLE_NODE, count),
        )
        for count in gateways.CONNECTIONS
    ),
)
PLOTTED = {"throughput": "orders/s", "latency": "ms", "growth": "ms"}  # by a section's first word


def limits(plan: Plan, place: Place, story: Story) -> None:
    for kind, median, slow in (
        (ring.RING, RING_P50, RING_P99),
        (ring.THERE_AND_BACK, PUBSUB_P50, None),
    ):
        waits_ms = ring.lone_ms(kind, plan.lone, place.folder)
        story.add(median, percentile(waits_ms, 50))
        if slow:
            story.add(slow, percentile(waits_ms, 99))
    story.add(PUBSUB, ring.per_second(plan.raw_messages))


PARTS: dict[str, Callable[[Plan, Place, Story], None]] = {
    "throughput": mesh.throughput,
    "latency": mesh.latency,
    "limits": limits,
    "disk": disk.disk,
    "browsers": gateways.browsers,
    "http": gateways.ours,
    "single-node": gateways.single_node,
    "naive": naive.naive,
    "resting": growth.resting,
    "history": growth.history,
    "attached": growth.attached,
}


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["it gave no reason"])[0]


def run_round(parts: list[str], plan: Plan, pythons: tuple[str, ...], story: Story) -> None:
    """Measure each part once, but for those left out before."""
    number = story.begin_round()
    for name in parts:
        if name in story.left_out:
            continue
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            try:
                PARTS[name](plan, Place(Path(folder), pythons), story)
            except LeftOutError as error:
                story.left_out[name] = first_line(error)
            except Exception as error:  # the other parts still have their figures
                reason = f"{type(error).__name__}: {first_line(error)}"
                story.failed[f"{name} in round {number}"] = reason
                traceback.print_exception(error)
        click.echo(f"  {name}: {time.monotonic() - began_s:.0f} s", err=True)


def write_plots(story: Story, folder: Path) -> None:
    """One file for each section in PLOTTED, of its figures that have the unit."""
    folder.mkdir(parents=True, exist_ok=True)
    for section, figures in story.sections().items():
        unit = PLOTTED.get(section.split()[0].rstrip(","))
        if bars := {figure: values for figure, values in figures.items() if figure.unit == unit}:
            name = "-".join(section.replace(",", "").replace(":", "").split()[:4])
            (folder / f"{name}.svg").write_text(plot(section, bars))


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that all works; no figure counts.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Parts to measure.")
@click.option("--skip", multiple=True, type=click.Choice(list(PARTS)), help="Parts to leave out.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Folder of SVGs.")
@click.option("--python", "pythons", multiple=True, help="Interpreters that alternatives may use.")
def main(
    rounds: int,
    quick: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    json_file: Path | None,
    plots: Path | None,
    pythons: tuple[str, ...],
) -> None:
    """Measure all, and print one table."""
    heap.refuse_if_broken()
    plan, story = QUICK if quick else FULL, Story(RATIOS)
    parts = [name for name in PARTS if name in (only or PARTS) and name not in skip]
    where, began_s = machine(), time.monotonic()
    for number in range(rounds):
        click.echo(f"round {number + 1} of {rounds}", err=True)
        run_round(parts, plan, pythons, story)
    took_s = time.monotonic() - began_s
    quickly = "QUICK, NO FIGURE COUNTS; " if quick else ""
    title = f"{quickly}{where} at the start; {rounds} rounds in {took_s:.0f} s"
    Console(width=132).print(story.table(title))
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        about = {"machine": where, "rounds": rounds, "quick": quick, "seconds": round(took_s)}
        json_file.write_text(story.as_json(about))
    if plots:
        write_plots(story, plots)
    if story.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
