"""Orders that came with another peer's state: what the history says of them, until they go."""

import random
from pathlib import Path

from engine import CancelAll, Exchange
from peer.replica import execution_record as records
from peer.storage import opened_orders
from peer.storage.history_pruning import Keep
from peer.storage.history_reader import History
from peer.storage.journal import Journal
from tests.engine.test_differential import run
from tests.support.engine_flow import MARKETS, Flow

KEY, MESH = b"k" * 32, b"m" * 16
COMMIT, TIME_MS = 64, 1_700_000_000_000


def lived(seed: int) -> Exchange:
    """Orders of all kinds rest in some markets."""
    exchange, flow = Exchange(MARKETS), Flow(random.Random(seed).choice)
    run(exchange, [flow.step() for _ in range(400)])
    assert exchange.open_count > 10
    return exchange


def opened(folder: Path) -> Journal:
    path = folder / "journal.db"
    if not path.exists():
        Journal.create(path, KEY)
    return Journal(path, KEY, MESH)


def take_over(journal: Journal, exchange: Exchange) -> list[int]:
    came = Exchange(MARKETS).revise(dict(exchange.pieces()))
    journal.add_pieces(COMMIT, exchange.pieces())
    journal.add_certified(COMMIT, exchange.digest(), [0], 0, [b"certificate"])
    journal.history.note_gap(1, COMMIT)
    journal.history.add_open(COMMIT, TIME_MS, *came)
    journal.sync()
    return came.ids


def test_each_order_is_shown_as_its_owner_sees_it(tmp_path: Path) -> None:
    exchange, journal = lived(1), opened(tmp_path)
    ids = take_over(journal, exchange)
    history = History(tmp_path / "journal.db")
    for id_ in ids:
        found = history.order(id_)
        assert found is not None
        assert found.pieces == [records.Piece(TIME_MS, [], open=exchange.order(id_))]
        assert history.owner(id_) == found.pieces[0].open.account  # type: ignore[union-attr]
    assert history.order(max(ids) + 256) is None
    history.close()
    journal.close()


def test_a_restart_knows_the_newest_order_of_each_member(tmp_path: Path) -> None:
    exchange, journal = lived(2), opened(tmp_path)
    take_over(journal, exchange)
    before = dict(journal.history._lasts)
    assert before
    journal.close()
    journal = opened(tmp_path)
    assert journal.history._lasts == before
    journal.close()


def test_a_crash_before_the_sync_leaves_nothing_of_it(tmp_path: Path) -> None:
    """Else the history would skip commits that are still to come, or not say what is missing."""
    exchange, journal = lived(3), opened(tmp_path)
    journal.sync = lambda: None  # type: ignore[method-assign]
    take_over(journal, exchange)
    journal._close()
    journal = opened(tmp_path)
    assert journal.snapshot() is None
    for table in ("opened", "gaps", "segments", "snapshots"):
        assert journal._db.execute(f"SELECT * FROM {table}").fetchall() == [], table
    journal.close()


def test_only_orders_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    exchange, journal = lived(4), opened(tmp_path)
    ids = take_over(journal, exchange)
    gone = ids[::2]
    with journal._db:
        opened_orders.forget(journal._db, [*gone, max(ids) + 256])
    history = History(tmp_path / "journal.db")
    assert [id_ for id_ in ids if history.order(id_) is not None] == ids[1::2]
    with journal._db:
        opened_orders.forget(journal._db, ids)
    assert journal._db.execute("SELECT count(*) FROM opened").fetchone() == (0,)
    history.close()
    journal.close()


def test_once_the_end_of_an_order_is_pruned_nothing_is_left_of_it(tmp_path: Path) -> None:
    exchange, journal = lived(5), opened(tmp_path)
    ids = take_over(journal, exchange)
    accounts = sorted({order.account for order in exchange.orders_open()})
    first = max(ids) + 256
    for number, account in enumerate(accounts, 1):
        command = CancelAll(first + 256 * number, account)
        record = records.record_of(TIME_MS, [], [command], [exchange.apply(command)])
        assert record is not None
        journal.history.add_record(COMMIT + number, record)
    left = {order.id for order in exchange.orders_open()}
    journal.history.flush()
    for _ in range(10):
        journal.history_pruner.prune(Keep(1, 0), [])
    journal.settle()
    history = History(tmp_path / "journal.db")
    assert {id_ for id_ in ids if history.order(id_) is not None} == left
    assert len(left) < len(ids)
    history.close()
    journal.close()
