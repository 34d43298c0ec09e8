"""How long a peer that was away needs to be back, with many resting orders.

    python -m tests.bench.bench_catchup --orders 207000 --away 30 --rate 1000

Three peers as processes on one machine. Orders rest at random prices. One peer is killed, the
others trade on, and it is started again while they still do. Prints how long it took from its
start until it reached a commit that the others had made by then, what it used of the processor, and
what its log says of it.
"""

import os
import random
import re
import tempfile
import threading
import time
from pathlib import Path

import click

from engine import Command, Side
from peer.client.connection import NodeClient
from tests import heap
from tests.bench.measuring import pids, processor_s
from tests.support.real_mesh import (
    RealMesh,
    RealPeer,
    order,
    placed_mesh,
    random_orders,
    submit_at_once,
    wait_for,
)

PEERS = 3
ACCOUNTS = 20
AT_ONCE = 500  # orders of a request
WAITING = 5_000  # of a peer, that wait to be ordered
BACK_S_MAX = 120.0
REQUEST = 50  # orders


def resting(rng: random.Random, count: int) -> list[Command]:
    """Bids far below asks."""
    orders: list[Command] = []
    for _ in range(count):
        side = Side(rng.randrange(2))
        price = rng.randint(1, 400_000) + 600_000 * side
        orders.append(
            order(f"account{rng.randrange(ACCOUNTS)}", side, price, rng.randint(1, 1_000))
        )
    return orders


class Trading:
    """Orders that come all the time, few of them to rest: `rate` a second, or as many as the peers
    take if it is 0."""

    def __init__(self, peers: list[RealPeer], rate: int) -> None:
        self._pause_s = REQUEST * len(peers) / rate if rate else 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(peer,)) for peer in peers]
        for thread in self._threads:
            thread.start()

    def _run(self, peer: RealPeer) -> None:
        rng = random.Random(str(peer.folder))
        with NodeClient(peer.where, timeout_s=30) as client:
            while not self._stop.is_set():
                began_s = time.monotonic()
                client.execute([*resting(rng, 5), *random_orders(rng, "busy", REQUEST - 5)])
                self._stop.wait(max(began_s + self._pause_s - time.monotonic(), 0))

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def measure(mesh: RealMesh, orders: int, away_s: float, rate: int) -> None:
    rng = random.Random(1)
    *busy, away = mesh.peers
    began_s = time.monotonic()
    for _ in range(-(-orders // (PEERS * WAITING))):
        flows = [(peer.client, resting(rng, WAITING)) for peer in mesh.peers]
        submit_at_once(flows, AT_ONCE)
    before = mesh.agreed()
    print(f"{orders:,} orders in {time.monotonic() - began_s:.0f} s", flush=True)
    away.kill()
    trading = Trading(busy, rate)
    time.sleep(away_s)
    goal = busy[0].state().commit
    began_s = time.monotonic()
    away.start()
    wait_for("the peer", lambda: is_back(away, goal), BACK_S_MAX)
    took_s, used_s = time.monotonic() - began_s, processor_s(pids([away]))
    trading.end()
    mesh.agreed()
    commits, load = goal - before.commit, os.getloadavg()[0]
    print(
        f"away for {away_s:.0f} s and {commits:,} commits: back in {took_s:.1f} s, with "
        f"{used_s:.1f} s of the processor, load {load:.1f}"
    )
    for line in re.findall(
        r"^.*(?:recovered|quorum|fetching|differ in|took over).*$", away.log(), re.M
    ):
        print(f"  {line}")


def is_back(peer: RealPeer, commit: int) -> bool:
    with NodeClient(peer.where, timeout_s=1) as client:
        try:
            return client.state("BTC-USD", depth=1).commit >= commit
        except Exception:  # it does not answer yet
            return False


@click.command()
@click.option("--orders", default=207_000)
@click.option("--away", default=30.0, help="Seconds.")
@click.option("--rate", default=0, help="Orders a second meanwhile; 0: as many as the peers take.")
def main(orders: int, away: float, rate: int) -> None:
    """Measure, and print."""
    heap.refuse_if_broken()
    with (
        tempfile.TemporaryDirectory(prefix="catchup-") as name,
        placed_mesh(Path(name), PEERS) as mesh,
    ):
        measure(mesh, orders, away, rate)


if __name__ == "__main__":
    main()
