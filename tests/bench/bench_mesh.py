"""Three peers, ours against broadcast-and-hope on the same orders: do they agree, and how fast.

Ours signs, encrypts, stores and orders; the other does nothing of that. Figures are medians of
interleaved runs on one machine that holds all peers: ratios and orders of magnitude count.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.table import Table

from discovery.grapes import running_grapes
from engine import Command
from peer.client.protocol import State
from peer.node.timers import SETTLE_MS
from peer.storage.data_folder import JOURNAL_FILE
from tests import heap
from tests.bench import broadcast
from tests.bench.measuring import lone_ms, machine, percentile
from tests.support.journal_history import stored_trades
from tests.support.real_mesh import (
    RealMesh,
    RealPeer,
    held_ports,
    random_orders,
    submit_at_once,
    wait_for,
)

PEERS = 3


class Run(NamedTuple):
    agreed: float  # trades that all peers have, of all that any has
    same_books: bool
    per_second: float


def ours(mesh: RealMesh, orders: int, seed: int) -> Run:
    rng = random.Random(seed)
    flows = [(peer.client, random_orders(rng, "a", orders // PEERS)) for peer in mesh.peers]
    before = [recorded(peer) for peer in mesh.peers]
    started_s = time.monotonic()
    submit_at_once(flows)
    states = _settled(mesh)
    took_s = time.monotonic() - started_s
    time.sleep(1.5 * SETTLE_MS / 1000)  # then all trades are in the journals
    sets = [recorded(peer) - old for peer, old in zip(mesh.peers, before, strict=True)]
    same = len({state.digest for state in states}) == 1
    return Run(agreement(sets), same, orders / took_s)


def _settled(mesh: RealMesh) -> list[State]:
    """The peers' states once they are at the same commit."""

    def same_commit() -> list[State] | None:
        states = [peer.state() for peer in mesh.peers]
        return states if len({state.commit for state in states}) == 1 else None

    return wait_for("one commit", same_commit)


def recorded(peer: RealPeer) -> broadcast.Trades:
    """The trades in a peer's journal."""
    found = stored_trades(peer.folder / JOURNAL_FILE)
    return {(trade.maker, trade.taker, trade.price, trade.quantity) for trade in found}


def agreement(sets: list[broadcast.Trades]) -> float:
    return len(set.intersection(*sets)) / len(set.union(*sets))


def theirs(orders: int, seed: int) -> Run:
    rng = random.Random(seed)
    flows = [_numbered(random_orders(rng, "a", orders // PEERS), n) for n in range(PEERS)]
    with held_ports(PEERS) as ports:
        results = broadcast.run(ports, flows)
    agreed = agreement([trades for trades, _, _ in results])
    same = len({digest for _, digest, _ in results}) == 1
    return Run(agreed, same, orders / max(took_s for _, _, took_s in results))


def _numbered(orders: list[Command], member: int) -> list[Command]:
    named = enumerate(orders, start=1)
    return [msgspec.structs.replace(command, id=n * 256 + member) for n, command in named]


def table(title: str, runs: dict[str, list[Run]]) -> Table:
    shown = Table("", *runs, title=title)
    rows = {
        "same books": [
            f"{sum(r.same_books for r in each)} of {len(each)}" for each in runs.values()
        ],
        "trades all agree on": [
            f"{statistics.median(r.agreed for r in each):.0%}" for each in runs.values()
        ],
        "orders a second": [
            f"{statistics.median(r.per_second for r in each):,.0f}" for each in runs.values()
        ],
    }
    for what, cells in rows.items():
        shown.add_row(what, *cells)
    return shown


@click.command()
@click.option("--orders", default=2_001, show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--lone", default=200, show_default=True, help="Orders for the latency alone.")
def main(orders: int, seeds: int, lone: int) -> None:
    """Compare the two on the same orders."""
    heap.refuse_if_broken()
    runs: dict[str, list[Run]] = {"p2p-orderbook": [], "broadcast and hope": []}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running_grapes() as grapes,
        RealMesh(Path(folder), [grape.spec.url for grape in grapes], PEERS) as mesh,
    ):
        mesh.start()
        for seed in range(seeds):
            runs["p2p-orderbook"].append(ours(mesh, orders, seed))
            runs["broadcast and hope"].append(theirs(orders, seed))
        waits_ms = lone_ms(mesh.peers, lone)
    console = Console()
    console.print(table(f"{orders:,} orders at three peers at once ({machine()})", runs))
    p50, p99 = (percentile(waits_ms, percent) for percent in (50, 99))
    console.print(
        f"a lone order on an idle mesh, until it is final: p50 {p50:.1f}, p99 {p99:.1f} ms"
    )


if __name__ == "__main__":
    main()
