"""What do peers that only follow cost the members of a mesh?

The same orders, one at a time and at a fixed rate, at three members without followers and with
twenty, in turn. Followers would be on other machines: here they run only when no member wants to.
The members' processor time tells what followers cost wherever they are.
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from engine import Side
from peer.storage import data_folder
from tests.bench.measuring import machine, percentile, pids, processor_s
from tests.support.real_mesh import RealMesh, RealPeer, held_ports, order, pairs, wait_for

MEMBERS = 3
START_S = 300.0  # for all followers to begin, on a busy machine


class Figures(NamedTuple):
    """Of one round: milliseconds to finality, and the members' processor time."""

    finality_ms: list[float]
    order_ms: float  # of processor time, all members together, for an order
    idle_ms: float  # the same for a second without orders
    follower_ms: float  # of processor time, one follower, for an order; 0: there is none


@contextlib.contextmanager
def following(mesh: RealMesh, count: int) -> Iterator[list[RealPeer]]:
    """So many followers while the block runs, all of them at the members' commit at first."""
    with contextlib.ExitStack() as stack:
        followers = [stack.enter_context(_follower(mesh, number)) for number in range(count)]
        commit = mesh.peers[0].state().commit
        for peer in followers:
            wait_for("a follower", lambda peer=peer: peer.state().commit >= commit, START_S)
        yield followers


@contextlib.contextmanager
def _follower(mesh: RealMesh, number: int) -> Iterator[RealPeer]:
    folder = mesh.file.parent / f"follower{number}"
    if not folder.exists():
        data_folder.create(folder)
    peer = RealPeer(folder, mesh.file, [])
    for member, (port, _) in zip(mesh.config.members, mesh.places, strict=True):
        peer.add_options([f"--at={member.name}=127.0.0.1:{port}"])
    peer.start()
    try:
        assert peer.process is not None
        os.sched_setscheduler(peer.process.pid, os.SCHED_IDLE, os.sched_param(0))
        wait_for("it runs", lambda: "recovered up to" in peer.log(), START_S)
        yield peer
    finally:
        peer.close()


def measure(
    mesh: RealMesh, followers: list[RealPeer], orders: int, rate: int, idle_s: float
) -> Figures:
    """Orders at this rate, at the members in turn; the next is sent when the last one is final, or
    later."""
    members, others = pids(mesh.peers), pids(followers)
    before_s = processor_s(members)
    time.sleep(idle_s)
    idle_ms = (processor_s(members) - before_s) * 1_000 / idle_s
    found, began_s = [], time.monotonic()
    before_s, others_s = processor_s(members), processor_s(others)
    for number in range(orders):
        time.sleep(max(began_s + number / rate - time.monotonic(), 0))
        client, side = mesh.peers[number % MEMBERS].client, Side.BUY if number % 2 else Side.SELL
        sent_s = time.monotonic()
        client.execute([order("ann" if number % 2 else "bob", side, 10_000, 1)])
        found.append((time.monotonic() - sent_s) * 1_000)
    passed_s = time.monotonic() - began_s
    used_ms = (processor_s(members) - before_s) * 1_000 - idle_ms * passed_s
    follower_ms = (processor_s(others) - others_s) * 1_000 / orders / max(len(others), 1)
    return Figures(found, used_ms / orders, idle_ms, follower_ms)


@click.command()
@click.option("--followers", default=20, show_default=True)
@click.option("--orders", default=400, show_default=True, help="Of a round.")
@click.option("--rate", default=40, show_default=True, help="Orders a second at most.")
@click.option("--idle", default=10.0, show_default=True, help="Seconds without orders.")
@click.option("--rounds", default=3, show_default=True, help="Of both, in turn.")
def main(followers: int, orders: int, rate: int, idle: float, rounds: int) -> None:
    """Compare the two on the same orders."""
    figures: dict[int, list[Figures]] = {0: [], followers: []}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        held_ports(2 * MEMBERS) as ports,
        RealMesh(Path(folder), [], MEMBERS, observers="any") as mesh,
    ):
        mesh.tell_places(pairs(ports))
        mesh.start()
        measure(mesh, [], orders // 4, rate, 0.1)  # warm
        for _ in range(rounds):
            for count, found in figures.items():
                with following(mesh, count) as peers:
                    found.append(measure(mesh, peers, orders, rate, idle))
    click.echo(f"{orders} orders, up to {rate} a second, {rounds} rounds ({machine()})")
    for count, found in figures.items():
        all_ms = [ms for one in found for ms in one.finality_ms]
        p50, p99 = percentile(all_ms, 50), percentile(all_ms, 99)
        used = statistics.median(one.order_ms for one in found)
        idle_ms = statistics.median(one.idle_ms for one in found)
        follower = statistics.median(one.follower_ms for one in found)
        click.echo(f"{count} followers: final after p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        click.echo(
            f"    processor time: the members {used:.2f} ms an order and {idle_ms:.0f} ms a second "
            f"without orders, a follower {follower:.2f} ms an order"
        )


if __name__ == "__main__":
    main()
