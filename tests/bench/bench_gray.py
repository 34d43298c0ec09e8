"""Gray failure: what the others notice while one peer is slow, but neither dead nor cut off.

    python -m tests.bench.bench_gray --rate 200 --seconds 10

Three peers as processes on one machine, an open loop through each. One of them has, in turn, a slow
disk (each sync takes longer), a slow link (all it says and hears comes later) and a busy processor
(it is stopped for most of each 100 ms). Prints, for the others and for the slow one, the latency of
orders that were due before, during and after. The slow disk needs a C compiler.
"""

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests import heap
from tests.bench import open_loop
from tests.bench.measuring import machine, percentile
from tests.bench.open_loop import Flow
from tests.bench.story.mesh import PEERS, crossing_order
from tests.disk.shim import NoShimError, Shim, slow_disk
from tests.support.cuttable import CuttableNetwork, cuttable_mesh
from tests.support.real_mesh import RealMesh, RealPeer

SLOW = PEERS - 1  # the peer with the fault
PERIOD_S = 0.1  # of a busy peer
SETTLE_S = 1.0  # no fault is noted as it comes or goes
PHASES = ("before", "during", "after")


@contextlib.contextmanager
def slow_sync(fault: Path, ms: int) -> Iterator[None]:
    slow_disk(fault, ms)
    try:
        yield
    finally:
        fault.unlink()


@contextlib.contextmanager
def slow_link(network: CuttableNetwork, ms: int) -> Iterator[None]:
    network.slow(SLOW, ms / 1000)
    try:
        yield
    finally:
        network.slow(SLOW, 0)


@contextlib.contextmanager
def busy(peer: RealPeer, percent: int) -> Iterator[None]:
    """Leave the peer the rest of its time."""
    assert peer.process is not None
    process, over = peer.process, threading.Event()

    def run() -> None:
        stopped_s = PERIOD_S * percent / 100
        while not over.is_set():
            process.send_signal(signal.SIGSTOP)
            time.sleep(stopped_s)
            process.send_signal(signal.SIGCONT)
            over.wait(PERIOD_S - stopped_s)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(
    mesh: RealMesh, fault: AbstractContextManager[None], rate: float, seconds: float
) -> list[list[Flow]]:
    """What became of the orders in each phase, by peer."""
    where = [peer.where for peer in mesh.peers]

    def phase() -> list[Flow]:
        return open_loop.submit(where, rate, seconds, crossing_order)

    phases = [phase()]
    with fault:
        time.sleep(SETTLE_S)
        phases.append(phase())
    time.sleep(SETTLE_S)
    return [*phases, phase()]


def cell(flows: list[Flow]) -> str:
    latencies_ms = [ms for flow in flows for ms in flow.latencies_ms]
    p50, p99 = (percentile(latencies_ms, percent) for percent in (50, 99))
    missing = sum(flow.refused + flow.unanswered for flow in flows)
    return f"{p50:.1f}, {p99:.1f}" + (f" ({missing} not final)" if missing else "")


def add_rows(shown: Table, name: str, phases: list[list[Flow]]) -> None:
    for who, chosen in (("the others", slice(0, SLOW)), ("itself", slice(SLOW, PEERS))):
        shown.add_row(name, who, *(cell(flows[chosen]) for flows in phases))


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[RealMesh, CuttableNetwork, Path | None]]:
    """A mesh, its network, and the file that makes the disk of the slow peer slow if it is there;
    None without a compiler."""
    with cuttable_mesh(folder, PEERS) as (mesh, network):
        fault: Path | None = folder / "fault"
        slow = mesh.peers[SLOW]
        try:
            slow.set_environment(Shim(folder).environment(slow.folder, fault=fault))
        except NoShimError as error:
            fault = None
            click.echo(f"left out: a slow disk: {error}")
        mesh.start()
        yield mesh, network, fault


@click.command()
@click.option("--rate", default=200.0, show_default=True, help="Orders a second, at all peers.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each phase.")
@click.option("--sync-ms", default=100, show_default=True, help="How much longer a sync takes.")
@click.option("--link-ms", default=100, show_default=True, help="Of delay, each way.")
@click.option("--busy", "percent", default=80, show_default=True, help="Percent of the time.")
def main(rate: float, seconds: float, sync_ms: int, link_ms: int, percent: int) -> None:
    """Measure all three, and print."""
    heap.refuse_if_broken()
    title = f"{rate:.0f} orders/s; p50, p99 in ms ({machine()})"
    shown = Table("one peer has", "orders at", *PHASES, title=title)
    with (
        tempfile.TemporaryDirectory(prefix="gray-") as folder,
        started(Path(folder)) as (mesh, network, fault),
    ):
        faults: dict[str, AbstractContextManager[None]] = {
            f"a link {link_ms} ms slower": slow_link(network, link_ms),
            f"a processor {percent} % busy": busy(mesh.peers[SLOW], percent),
        }
        if fault:
            faults[f"syncs {sync_ms} ms slower"] = slow_sync(fault, sync_ms)
        for name, each in faults.items():
            add_rows(shown, name, measure(mesh, each, rate, seconds))
        mesh.agreed()
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
