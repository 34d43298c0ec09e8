"""Peers that were away for longer than blocks are kept: a snapshot, certified by a quorum.

Real Grapes, real processes.
"""

import random
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from discovery.grapes import running_grapes
from engine import CancelAll, Side
from peer.client.units import units_of
from peer.replica.order_state import OrderView
from peer.replica.trade import MarketTrade
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.history_reader import History
from tests.support.journal_history import stored_trades
from tests.support.real_mesh import MARKETS, RealMesh, RealPeer, order, random_orders, wait_for
from web.queries import finished, missed, trades


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    with (
        running_grapes() as grapes,
        RealMesh(
            tmp_path,
            [grape.spec.url for grape in grapes],
            observers="any",
            options=("--snapshot-every=64",),
        ) as mesh,
    ):
        mesh.start()
        yield mesh


def trade_for(peers: list[RealPeer], commits: int, rng: random.Random) -> None:
    """Orders at these peers until so many commits were made."""
    goal = peers[0].state().commit + commits
    while peers[0].state().commit < goal:
        for peer in peers:
            peer.client.execute(random_orders(rng, "busy", 2))


def rows(peer: RealPeer, query: str) -> int:
    """A count in a peer's journal."""
    db = sqlite3.connect(f"file:{peer.folder / 'journal.db'}?mode=ro", uri=True)
    try:
        return int(db.execute(query).fetchone()[0])
    finally:
        db.close()


def test_a_peer_that_was_away_takes_over_a_snapshot_and_continues_to_trade(mesh: RealMesh) -> None:
    """ORDER-31."""
    rng = random.Random(1)
    *busy, away = mesh.peers
    away.client.execute([order("away", Side.BUY, 1, 7)])
    mesh.agreed()
    away.kill()
    busy[0].client.execute([order("gap", Side.BUY, 1, 9)])
    trade_for(busy, 400, rng)

    away.start()
    state = mesh.agreed()
    assert "took over the state after commit" in away.log()
    assert (1, 16, 2) in state.bids
    assert [o.remaining for o in away.client.orders("away").open] == [7]
    away.client.execute([order("away", Side.BUY, 2, 8)])
    mesh.agreed()

    check_past(busy[0], away)

    away.kill()
    away.start()
    away.client.execute([order("away", Side.BUY, 3, 9)])
    assert (3, 9, 1) in mesh.agreed().bids


def check_past(whole: RealPeer, gap: RealPeer) -> None:
    """What a peer has missed by a snapshot, it says; orders that were open then are told."""
    whole.client.execute([CancelAll(0, name) for name in ("away", "gap")])
    newest = whole.state().trades[0].number
    units = units_of(MARKETS[0])
    histories = [History(peer.folder / JOURNAL_FILE) for peer in (whole, gap)]

    def told() -> list[list[OrderView]] | None:
        """By each, what was cancelled just now."""
        ended = [
            [order for order in finished(history, name, [], None, 200) if order.remaining]
            for history in histories
            for name in ("away", "gap")
        ]
        return ended if ended[0] and all(map(len, ended)) else None

    away, while_away, *there = wait_for("the journals", told)
    assert [order.quantity for order in (*away, *while_away)] == [8, 7, 9]
    assert there == [away, while_away]
    assert [history.orders_since() > 0 for history in histories] == [False, True]
    counts = []
    for history in histories:
        found: list[MarketTrade] = []
        while page := trades(history, units, [], found[-1].number if found else 2**53, 1_000):
            found += page
        counts.append((len(found), missed(found, 2**53, len(found) + 1, newest)))
    assert counts[0] == (newest, 0)
    assert counts[1][1] > 0
    assert sum(counts[1]) == newest
    for history in histories:
        history.close()


def test_a_restart_continues_from_the_snapshot_with_all_trades(mesh: RealMesh) -> None:
    rng = random.Random(2)
    trade_for(mesh.peers, 300, rng)
    before = mesh.agreed()
    for peer in mesh.peers:
        peer.kill()
        peer.start()
    after = mesh.agreed(since=before.commit)
    assert after.digest == before.digest
    assert after.trades == before.trades
    assert rows(mesh.peers[0], "SELECT min(number) FROM snapshots") >= 64
    made = before.trades[0].number  # the last ones are derived again, and stored a little later
    wait_for("trades", lambda: len(stored_trades(mesh.peers[0].folder / JOURNAL_FILE)) == made)
    mesh.peers[0].client.execute([order("a", Side.BUY, 1, 1)])
    mesh.agreed()


def test_a_late_follower_starts_from_a_snapshot(mesh: RealMesh, tmp_path: Path) -> None:
    trade_for(mesh.peers, 300, random.Random(3))
    data_folder.create(tmp_path / "late")
    late = RealPeer(tmp_path / "late", mesh.file, mesh.grapes)
    late.start()
    try:
        mesh.agreed([*mesh.peers, late])
        assert "took over the state" in late.log()
        trade_for(mesh.peers, 100, random.Random(4))
        mesh.agreed([*mesh.peers, late])
    finally:
        late.close()


def test_an_own_command_that_was_ordered_meanwhile_is_not_ordered_again(mesh: RealMesh) -> None:
    *busy, away = mesh.peers
    for peer in busy:
        peer.process.send_signal(signal.SIGSTOP)
    away.client.submit([order("away", Side.BUY, 3, 9)])
    away.kill()
    for peer in busy:
        peer.process.send_signal(signal.SIGCONT)
    trade_for(busy, 300, random.Random(5))
    away.start()
    mesh.wait_quorum([away])
    wait_for("the order", lambda: away.client.orders("away").open)
    state = mesh.agreed()
    assert (3, 9, 1) in state.bids
    assert away.client.orders("away").pending == []
