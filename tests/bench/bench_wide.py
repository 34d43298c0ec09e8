"""Peers far from each other: the latency of an order, and the bytes on all links.

    python -m tests.bench.bench_wide --one-way-ms 40 --peers 3 --orders 60

Peers as processes on one machine, with a relay between any two that delays all data. Prints the
latency of lone orders at each peer in turn, also in one-way delays, and what the links carry: per
second while nothing happens, and per order of an open loop. Loss is not relayed: TCP would only
delay what comes after it.
"""

import tempfile
import time
from pathlib import Path

import click

from peer.consensus.committee import Mode
from tests import heap
from tests.bench import open_loop
from tests.bench.measuring import lone_ms, machine, percentile
from tests.bench.story.mesh import crossing_order
from tests.support.cuttable import CuttableNetwork, cuttable_mesh
from tests.support.real_mesh import RealMesh


def idle_bytes(network: CuttableNetwork, seconds: float) -> float:
    """What the links carry in a second while no order comes."""
    before = network.forwarded
    time.sleep(seconds)
    return (network.forwarded - before) / seconds


def bytes_per_order(
    mesh: RealMesh, network: CuttableNetwork, rate: float, seconds: float
) -> tuple[float, int]:
    """What the links carry for an order of an open loop at all peers; and how many were final."""
    before = network.forwarded
    flows = open_loop.submit([peer.where for peer in mesh.peers], rate, seconds, crossing_order)
    final = sum(len(flow.latencies_ms) for flow in flows)
    return (network.forwarded - before) / max(final, 1), final


@click.command()
@click.option("--one-way-ms", default=40.0, show_default=True, help="Of delay on each link.")
@click.option("--peers", default=3, show_default=True)
@click.option("--mode", type=click.Choice([str(mode) for mode in Mode]), default=str(Mode.CRASH))
@click.option("--orders", default=60, show_default=True, help="Lone ones, at each peer in turn.")
@click.option("--rate", default=200.0, show_default=True, help="Of the open loop, a second.")
@click.option("--seconds", default=10.0, show_default=True, help="Of the open loop.")
def main(
    one_way_ms: float, peers: int, mode: str, orders: int, rate: float, seconds: float
) -> None:
    """Measure, and print."""
    heap.refuse_if_broken()
    with (
        tempfile.TemporaryDirectory(prefix="wide-") as folder,
        cuttable_mesh(Path(folder), peers, Mode(mode)) as (mesh, network),
    ):
        mesh.start()
        network.spread(one_way_ms / 1000)
        lone_ms(mesh.peers, 2 * peers)  # the peers learn the delays
        lone = lone_ms(mesh.peers, orders)
        idle = idle_bytes(network, 3.0)
        each, final = bytes_per_order(mesh, network, rate, seconds)
        mesh.agreed()
    click.echo(f"{peers} peers, {mode} mode, {one_way_ms:g} ms one way ({machine()})")
    for percent in (10, 50, 99):
        ms = percentile(lone, percent)
        delays = f", {ms / one_way_ms:.1f} one-way delays" if one_way_ms else ""
        click.echo(f"a lone order, p{percent}: {ms:.1f} ms{delays}")
    click.echo(f"all links, idle: {idle:.0f} bytes a second")
    click.echo(f"all links, {rate:g} orders a second: {each:.0f} bytes an order ({final} final)")


if __name__ == "__main__":
    main()
