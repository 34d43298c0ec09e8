"""The past takes no more room than it was given, however long a peer runs."""

import random
import sqlite3
from pathlib import Path

import pytest

from engine import CancelAll, Command, Exchange, Side, Submit
from peer.client.units import units_of
from peer.replica import execution_record as records
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.history_pruning import KEEP, PRUNED_MAX, Keep
from peer.storage.history_reader import History
from peer.storage.history_writer import EVENTS_MAX
from peer.storage.journal import Journal
from tests.support.alone import Alone
from tests.support.real_mesh import MARKET, MARKETS, OTHER_MARKET, order, random_orders
from web.queries import finished, missed, trades

KEY, MESH = b"k" * 32, b"m" * 16
PART = 500  # commands
KEPT = 2_000


def load(peer: Alone, rng: random.Random, parts: int) -> None:
    for _ in range(parts):
        commands: list[Command] = [*random_orders(rng, "a", PART - 1), CancelAll(0, "a")]
        peer.execute(*commands)


def settle(peer: Alone) -> None:
    """Prune until there is nothing to prune, as a peer does with its heartbeats."""
    db = peer.journal._db
    peer.journal.settle()
    while True:
        before = db.total_changes
        peer.node.ledger.tidy()
        if db.total_changes == before and peer.journal._pruner._looked_at is None:
            peer.journal.settle()
            return


def pages(peer: Alone) -> int:
    """Those in use. How many are free depends on how much came between two heartbeats."""
    settle(peer)
    every, free = (
        peer.journal._db.execute(f"PRAGMA {what}").fetchone()[0]
        for what in ("page_count", "freelist_count")
    )
    assert isinstance(every, int)
    assert isinstance(free, int)
    return every - free


@pytest.mark.parametrize("keep", [Keep(KEPT, KEPT), KEEP])
def test_with_pruning_the_journal_file_does_not_grow(tmp_path: Path, keep: Keep) -> None:
    rng = random.Random(1)
    with Alone(tmp_path / "me", keep=keep) as peer:
        load(peer, rng, 130)  # a commit each: blocks are pruned with every 64th
        early = pages(peer)
        load(peer, rng, 192)
        late = pages(peer)
        if keep == KEEP:
            assert late > 1.5 * early, "or this shows nothing"
            return
        assert late <= 1.1 * early
        settle(peer)
        newest = peer.node.ledger.replica.trade_numbers[MARKET]
    with Alone(tmp_path / "me", keep=keep) as peer:
        assert peer.node.ledger.replica.trade_numbers[MARKET] == newest
        settle(peer)
        check_ends(tmp_path / "me" / JOURNAL_FILE, newest)


def check_ends(path: Path, newest: int) -> None:
    """Pages end where the past does, and say what is missing."""
    history = History(path)
    units = units_of(MARKETS[0])
    page = trades(history, units, [], newest + 1, 1_500)
    assert missed(page, newest + 1, 1_500, newest) == 0, "a full page"
    rest = trades(history, units, [], page[-1].number, 1_500)
    kept = len(page) + len(rest)
    assert KEPT <= kept < KEPT + PART, "and the rest of a row"
    assert missed(rest, page[-1].number, 1_500, newest) == newest - kept
    assert trades(history, units, [], rest[-1].number, 10) == []
    total, before = 0, None
    while found := finished(history, "a", [], before, 200):
        total, before = total + len(found), found[-1].id
    assert KEPT // 4 < total < KEPT
    assert history.orders_since() > 0
    history.close()


def test_each_pruning_step_is_short_even_after_a_large_commit(tmp_path: Path) -> None:
    """One commit cancels very many orders. What one turn prunes of it is bounded."""
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    exchange = Exchange(MARKETS)
    many = 3 * EVENTS_MAX
    submits = [Submit(256 * n, "a", MARKET, Side.BUY, 1, n % 50 + 1) for n in range(1, many)]
    batches: list[list[Command]] = [[*submits], [CancelAll(256 * many, "a")]]
    batches += [[Submit(256 * (many + 1), "b", MARKET, Side.SELL, 1, 1_000)]]
    for number, commands in enumerate(batches, 1):
        record = records.record_of(number, [], commands, exchange.apply_batch(commands))
        assert record is not None
        journal.history.add_record(number, record)
    journal.close()  # else twice what came may go in the same turn: here that is all
    journal = Journal(path, KEY, MESH)
    steps = 0
    while True:
        before = journal._db.total_changes
        journal.history_pruner.prune(Keep(1, 1), [])
        changed = journal._db.total_changes - before
        assert changed <= 2 * PRUNED_MAX + 10, "of each order two rows: taken, and cancelled"
        steps += 1
        if not changed:
            break
    assert steps > many // PRUNED_MAX
    journal.close()
    history = History(path)
    assert history.orders_ended("a", None, 10) == []
    left = history.order(256 * (many + 1))
    assert left is not None
    history.close()
    db = sqlite3.connect(path)
    for table, rows in (("touched", 0), ("touched_soon", 0), ("ended", 0), ("segments", 1)):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,)
    db.close()


def test_an_order_older_than_the_history_is_recorded_when_it_ends(tmp_path: Path) -> None:
    rng = random.Random(2)
    with Alone(tmp_path / "me", keep=Keep(KEPT, KEPT)) as peer:
        peer.execute(order("old", Side.BUY, 1, 7, OTHER_MARKET))
        load(peer, rng, 20)
        settle(peer)
        peer.execute(CancelAll(0, "old"))
        peer.node.ledger.tidy()
        peer.journal.settle()
        history = History(tmp_path / "me" / JOURNAL_FILE)
        [ended] = finished(history, "old", [], None, 10)
        assert (ended.status, ended.quantity, ended.price) == ("cancelled", 7, 1)
        history.close()
