"""What became of every order, from the journal: random markets, held against watching them live."""

import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import Cancel, Command, Event, Exchange, Reduce, Rejected, Replace, Side, Submit, Trade
from peer.replica import execution_record as records
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.order_state import FINAL, OrderView, submitted
from peer.replica.trade import MarketTrade
from peer.storage import history_reader, history_writer
from peer.storage import history_segment as segment
from peer.storage.history_pruning import Keep
from peer.storage.history_reader import History
from peer.storage.history_segment import SEARCHED_EVENTS
from peer.storage.journal import Journal
from tests.support.engine_flow import MARKETS, Flow
from web.queries import finished, view_of

KEY, MESH = b"k" * 32, b"m" * 16
MEMBERS = 3
KEPT = 150  # events


def id_of(number: int) -> int:
    """Commands are taken by the members in turn."""
    return (number // MEMBERS + 1) * MEMBERS_SPACE + number % MEMBERS


def renumbered(command: Command, number: int) -> Command:
    command = msgspec.structs.replace(command, id=id_of(number))
    if isinstance(command, Cancel | Reduce | Replace):
        return msgspec.structs.replace(command, order=id_of(command.order))
    return command


class Watched:
    """A market whose every commit is written down, and watched as it happens."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        Journal.create(path, KEY)
        self.journal = Journal(path, KEY, MESH)
        self.rng = random.Random(seed)
        self.flow = Flow(self.rng.choice)
        self.exchange = Exchange(MARKETS)
        self.number = 0
        self.last: list[tuple[int, records.Record]] = []
        self.orders: dict[int, OrderView] = {}
        self.trades: Counter[str] = Counter()
        self.last_trades: deque[tuple[str, list[MarketTrade]]] = deque(maxlen=100)
        self.ended: dict[str, list[int]] = {}  # by account, in the order in which they did

    def commit(self) -> None:
        commands: list[Command] = []
        time_ms = self.exchange.time_ms
        for _ in range(self.rng.randint(1, 8)):
            step = self.flow.step()
            if isinstance(step, int):
                time_ms = max(step, time_ms)
            else:
                commands.append(renumbered(step, self.flow.id))
        timed = self.exchange.advance(time_ms)
        results = self.exchange.apply_batch(commands)
        self._watch(timed, time_ms)
        for command, events in zip(commands, results, strict=True):
            if isinstance(command, Submit):
                first = OrderView(command.id)
                is_rejected = isinstance(events[0], Rejected)
                self.orders[command.id] = submitted(command, command.id) if is_rejected else first
            self._watch(events, time_ms)
        self.number += 1
        record = records.record_of(time_ms, timed, commands, results)
        if record is not None:
            self.last.append((self.number, record))
            self.journal.history.add_record(self.number, record)

    def _watch(self, events: Sequence[Event], time_ms: int) -> None:
        for event in events:
            number = self._trade(event, time_ms) if isinstance(event, Trade) else 0
            for id_ in records.orders_of(event):
                view = self.orders.get(id_)
                if view is None or not view.apply(event, time_ms, number):
                    continue
                view.time_ms = time_ms
                if view.status in FINAL:
                    self.ended.setdefault(view.account, []).append(id_)

    def _trade(self, event: Trade, time_ms: int) -> int:
        """Write a trade; returns its number."""
        self.trades[event.market] += 1
        trade = MarketTrade(
            self.trades[event.market],
            time_ms,
            event.price,
            event.quantity,
            event.side,
            event.maker,
            event.taker,
        )
        self.last_trades.append((event.market, [trade]))
        self.journal.history.add_trades(*self.last_trades[-1])
        return trade.number

    def restart(self) -> None:
        """After a crash the last commits are derived again."""
        self.journal.close()
        self.journal = Journal(self.path, KEY, MESH)
        for number, record in self.last[-5:]:
            self.journal.history.add_record(number, record)
        for trade in self.last_trades:
            self.journal.history.add_trades(*trade)


@pytest.fixture
def watched(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    if request.param % 2:  # most orders come long before they change
        monkeypatch.setattr(history_writer, "_STEP", 20)
        monkeypatch.setattr(history_reader, "SEARCHED_EVENTS", 3 * 20)
        monkeypatch.setattr(history_reader, "COMMITS_SEARCHED", 2)
    watched = Watched(tmp_path / "journal.db", request.param)
    yield watched
    watched.journal.close()


def paged(history: History, account: str, limit: int) -> Iterator[list[OrderView]]:
    """All pages, as somebody reads them who asks for more until there is none."""
    before = None
    while page := finished(history, account, [], before, limit):
        yield page
        before = page[-1].id


@pytest.mark.parametrize("watched", range(6), indirect=True)
def test_the_history_of_an_order_equals_its_live_updates(watched: Watched) -> None:
    for _ in range(120):
        watched.commit()
        if watched.rng.random() < 0.3:
            watched.journal.history.flush()
        if watched.rng.random() < 0.05:
            watched.restart()
    watched.journal.settle()
    history = History(watched.path)
    assert len(watched.orders) > 200
    for id_, order in watched.orders.items():
        found = history.order(id_)
        assert found is not None
        assert view_of(found) == order
    for account, ids in watched.ended.items():
        for limit in (1, 7, 200):
            pages = list(paged(history, account, limit))
            told = [order for page in pages for order in page]
            assert told == [watched.orders[id_] for id_ in reversed(ids)]
            assert all(len(page) == limit for page in pages[:-1])
    assert finished(history, "nobody", [], None, 9) == []
    assert history.orders_since() == 0
    for never in (id_of(10**6), id_of(watched.flow.id + 1)):
        assert history.order(never) is None
        assert finished(history, "ann", [], never, 9) == []
    history.close()


@pytest.mark.parametrize("watched", range(6), indirect=True)
def test_pruned_history_ends_cleanly_and_what_is_kept_is_whole(watched: Watched) -> None:
    keep = Keep(events=KEPT)
    history = History(watched.path)
    for turn in range(250):
        watched.commit()
        watched.journal.history.flush()
        watched.journal.history_pruner.prune(keep, ())
        if watched.rng.random() < 0.03:
            watched.restart()
        if turn % 50 == 49:
            watched.journal.settle()
            check_pruned(watched, history)
    history.close()


def check_pruned(watched: Watched, history: History) -> None:
    db = watched.journal._db
    [oldest] = db.execute("SELECT total FROM segments ORDER BY number LIMIT 1").fetchone()
    [newest] = db.execute("SELECT max(total) FROM segments").fetchone()
    assert newest - oldest < KEPT
    rows = db.execute("SELECT data FROM segments").fetchall()
    kept = [record for (data,) in rows for _, record in segment.decode(data)]
    assert sum(len(events) for record in kept for events in record.events) >= KEPT
    told: set[int] = set()
    for account, ids in watched.ended.items():
        orders = [order for page in paged(history, account, 7) for order in page]
        told |= {order.id for order in orders}
        assert orders == [watched.orders[id_] for id_ in ids[::-1][: len(orders)]], "newest, whole"
    gone = {id_ for ids in watched.ended.values() for id_ in ids} - told
    assert told
    assert gone
    for id_, order in watched.orders.items():
        found = history.order(id_)
        assert (found is None) == (id_ in gone)
        assert found is None or view_of(found) == order, "one that has been open for long is whole"
    rows = db.execute("SELECT DISTINCT id FROM touched").fetchall()
    assert not gone & {id_ for (id_,) in rows}
    since = history.orders_since()
    assert all(watched.orders[id_].time_ms <= since for id_ in gone)


class Counting(History):
    """Counts its questions."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: Counter[str] = Counter()

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        self.asked[query] += 1
        return super()._ask(query, values)


@pytest.mark.parametrize("others", [1, SEARCHED_EVENTS // 2])
def test_an_order_is_found_however_long_it_rested(tmp_path: Path, others: int) -> None:
    """Its commits are far apart, and between them are very many of others."""
    path, exchange = tmp_path / "journal.db", Exchange(MARKETS)
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    old, symbol = id_of(0), MARKETS[0].symbol
    changes: dict[int, Command] = {
        1: Submit(old, "ann", symbol, Side.BUY, 9, 50),
        1_500: Reduce(id_of(1_500), "ann", old, 5),
        2_999: Cancel(id_of(2_999), "ann", old),
    }
    useless = Cancel(id_of(10**6), "bob", id_of(10**6))
    for number in range(1, 3_001):
        many = others if number in (1_000, 1_100, 1_200, 2_000) else 1
        commands = [changes.get(number, useless)] * many
        record = records.record_of(number, [], commands, exchange.apply_batch(commands))
        assert record is not None
        journal.history.add_record(number, record)
        journal.history.flush()
    [indexed] = journal._db.execute("SELECT count(*) FROM touched").fetchone()
    assert indexed == (2 if others > 1 else 0)
    journal.settle()
    history = Counting(path)
    found = history.order(old)
    assert found is not None
    assert [piece.time_ms for piece in found.pieces] == [1, 1_500, 2_999]
    assert history.owner(old) == "ann"
    assert history.asked.total() <= 50
    [ended] = finished(history, "ann", [], None, 9)
    assert (ended.id, ended.status, ended.quantity) == (old, "cancelled", 5)
    history.close()
    journal.close()
