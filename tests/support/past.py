"""The market as it follows from the records of all commits, to compare with what peers have shown.

Owns the union of all journals' records, and reads them in order. Knows the engine's events and the
rules for readers in `docs/engine.md`; must never ask an engine or a peer.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine import (
    Accepted,
    Cancelled,
    Event,
    Expired,
    MarketState,
    OpenOrder,
    Rejected,
    Side,
    Trade,
)
from peer.client.protocol import Level, MarketUpdate, State
from peer.replica.execution_record import Record
from peer.replica.trade import MarketTrade
from tests.support.event_reader import EventReader
from tests.support.real_mesh import MARKET

_records = msgspec.msgpack.Decoder(Record)


class Past(NamedTuple):
    """The records of all journals together."""

    records: dict[int, Record]  # by commit, ascending; a commit without effect has none
    commits: dict[int, int]  # the commit that accepted or rejected an order, by id
    contradictions: list[str]


def united(journals: Mapping[str, Mapping[int, bytes]]) -> Past:
    """The records of all journals. Each journal may lack some."""
    first: dict[int, tuple[str, bytes]] = {}
    found = []
    for name, records in journals.items():
        for number, data in records.items():
            other, known = first.setdefault(number, (name, data))
            if known != data:
                found.append(f"{name} has another record of commit {number} than {other}")
    records = {number: _records.decode(data) for number, (_, data) in sorted(first.items())}
    commits = {
        event.id: number
        for number, record in records.items()
        for events in record.events
        for event in events
        if isinstance(event, Accepted | Rejected)
    }
    return Past(records, commits, found)


def accounts_of(event: Event) -> set[str]:
    """The accounts that an event concerns."""
    if isinstance(event, Trade):
        return {event.maker_account, event.taker_account}
    return set() if isinstance(event, MarketState) else {event.account}


class Account:
    """The events of one account, by commit."""

    def __init__(self) -> None:
        self._commits: list[int] = []
        self._events: list[Event] = []
        self._open: dict[int, int] = {}  # remaining, by order
        self._sum = 0  # of the weights of all open orders
        self._sums: list[int] = [0]  # after each event

    def note(self, commit: int, event: Event, account: str) -> None:
        match event:
            case Accepted():
                self._stands(event.id, event.quantity)
            case Trade():
                if event.maker_account == account:
                    self._stands(event.maker, event.maker_remaining)
                if event.taker_account == account:
                    self._stands(event.taker, event.taker_remaining)
            case Cancelled() | Expired():
                self._stands(event.id, 0)
        self._commits.append(commit)
        self._events.append(event)
        self._sums.append(self._sum)

    def _stands(self, order: int, remaining: int) -> None:
        self._sum -= _weight(order, self._open.pop(order, 0))
        if remaining:
            self._open[order] = remaining
        self._sum += _weight(order, remaining)

    def upto(self, commit: int) -> int:
        """The number of events up to the end of a commit."""
        return bisect_right(self._commits, commit)

    def events(self, first: int, last: int) -> list[Event]:
        return self._events[first:last]

    def held(self, first_commit: int, last_commit: int, orders: Iterable[OpenOrder]) -> bool:
        """Whether exactly these orders were open at the end of one of these commits."""
        wanted = sum(_weight(order.id, order.remaining) for order in orders)
        first, last = self.upto(first_commit), self.upto(last_commit)
        return any(
            self._sums[n] == wanted
            for n in range(first, last + 1)
            if n in (first, len(self._commits)) or self._commits[n] != self._commits[n - 1]
        )


def _weight(order: int, remaining: int) -> int:
    """A hash. It is very unlikely that different sets of orders have equal sums of these."""
    return hash((order, remaining)) if remaining else 0


class Market:
    """Reads the records in order, and compares what a peer showed at a commit with them."""

    def __init__(self, records: Mapping[int, Record]) -> None:
        self.accounts: dict[str, Account] = defaultdict(Account)
        self._records = iter(records.items())
        self._next = next(self._records, None)
        self._reader = EventReader()
        self._trades: list[tuple[int, Trade]] = []  # time and trade

    def read_to(self, commit: int | None = None) -> None:
        """Read up to the end of a commit, or to the end."""
        while self._next is not None and (commit is None or self._next[0] <= commit):
            self._read(*self._next)
            self._next = next(self._records, None)

    def _read(self, number: int, record: Record) -> None:
        for events in record.events:
            self._reader.read(events)
            for event in events:
                for account in accounts_of(event):
                    self.accounts[account].note(number, event, account)
                if isinstance(event, Trade) and event.market == MARKET:
                    self._trades.append((record.time_ms, event))

    def wrong(self, shown: State | MarketUpdate) -> str:
        """What is wrong in the shown state or update, compared with the present market; empty if it
        is right."""
        for side, levels in ((Side.BUY, shown.bids), (Side.SELL, shown.asks)):
            if isinstance(shown, State):
                made: Sequence[Level] = self._reader.depth(MARKET, side)
            else:
                made = [self._level(side, price) for price, _, _ in levels]
            if levels != made:
                return f"showed {side.name} {levels}, but the events make {made}"
        return next(filter(None, map(self._wrong_trade, shown.trades)), "")

    def _level(self, side: Side, price: int) -> Level:
        queue = self._reader.queues.get((MARKET, side, price), [])
        return price, sum(order.shown for order in queue), len(queue)

    def _wrong_trade(self, view: MarketTrade) -> str:
        if not 0 < view.number <= len(self._trades):
            return f"showed {view}, which did not happen up to there"
        time_ms, trade = self._trades[view.number - 1]
        made = (time_ms, trade.price, trade.quantity, trade.side, trade.maker, trade.taker)
        return "" if msgspec.structs.astuple(view)[1:] == made else f"showed {view}, not {trade}"
