"""Markets that come, change and close while the exchange runs.

The engine against the naive book on random commands and changes, and what its pieces make.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from engine import (
    HEAD_KEY,
    MARKETS_EVER_MAX,
    MARKETS_MAX,
    Cancelled,
    Command,
    Event,
    Exchange,
    Halt,
    Market,
    MarketError,
    MarketStatus,
    Reason,
    Rejected,
    Resume,
    Side,
    SnapshotError,
    Submit,
)
from tests.support.engine_flow import ACCOUNTS, MARKETS, PRICES, Flow
from tests.support.naive_book import NaiveExchange

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
FREE = {"quantity_min": (1, 2, 5), "price_band_percent": (0, 5, 10, 40)}
GROWING = {
    "quantity_max": (60, 90, 10**9),
    "price_max": (140, 141, 1_000),
    "orders_per_account_max": (5, 6, 30),
    "orders_max": (9, 10, 40, 1_000),
    "iceberg_slices_max": (8, 9, 100),
    "tick": ("0.01", "1"),
}


@dataclass(frozen=True)
class Change:
    """A call of a method of the exchange."""

    method: str
    argument: Any

    def of(self, exchange: Any) -> list[Event] | None:
        """The events; None if it is impossible."""
        try:
            events: list[Event] = getattr(exchange, self.method)(self.argument)
        except MarketError:
            return None
        return events


class MarketFlow(Flow):
    """As `Flow`, over markets that come and go."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw.choice)
        self.markets = {market.symbol: market for market in MARKETS}

    def next(self) -> Command | int | Change:
        choose = self.choose
        kind = choose((*("step",) * 30, "add", "change", "change", "close", "account"))
        if kind == "add":
            symbol = choose(tuple("ABCDEFGH"))
            limits = {name: choose(values) for name, values in FREE.items()}
            self.markets.setdefault(symbol, Market(symbol, "1", "1", **limits))
            return Change("add_market", self.markets[symbol])
        if kind == "change":
            symbol = choose(tuple(self.markets))
            name = choose((*FREE, *FREE, *GROWING))
            value = choose((FREE | GROWING)[name])
            changed = msgspec.structs.replace(self.markets[symbol], **{name: value})
            return Change("change_market", changed)
        if kind == "close":
            return Change("close_market", choose((*self.markets, "NONE")))
        if kind == "account":
            return Change("cancel_account", choose(ACCOUNTS))
        step = self.step()
        if isinstance(step, Submit | Halt | Resume) and step.market in ("TIGHT", "WIDE"):
            return msgspec.structs.replace(step, market=choose(tuple(self.markets)))
        return step

    def done(self, change: Change) -> None:
        if change.method == "change_market":
            self.markets[change.argument.symbol] = change.argument


def do(exchange: Any, step: Command | int | Change) -> list[Event] | None:
    if isinstance(step, Change):
        return step.of(exchange)
    events: list[Event] = exchange.advance(step) if isinstance(step, int) else exchange.apply(step)
    return events


@pytest.mark.parametrize("seed", range(30))
def test_the_engine_and_the_naive_book_agree(seed: int) -> None:
    """MATCH-34, MATCH-35, MATCH-36, MATCH-37."""
    draw = random.Random(seed)
    flow = MarketFlow(draw)
    exchange, naive = Exchange(MARKETS), NaiveExchange(MARKETS)
    for _ in range(400):
        step = flow.next()
        events = do(exchange, step)
        assert events == do(naive, step)
        if isinstance(step, Change) and events is not None:
            flow.done(step)
        exchange.check()
        if draw.random() < 0.05:
            before = exchange.digest()
            exchange = Exchange.restore(exchange.pieces())
            assert exchange.digest() == before
        assert exchange.markets() == {name: each.status for name, each in naive.markets.items()}
        for symbol in exchange.markets():
            assert exchange.market(symbol) == naive.markets[symbol].market
            for side in Side:
                assert exchange.depth(symbol, side, 100) == naive.depth(symbol, side)
        for account in ACCOUNTS:
            assert exchange.open_orders(account) == naive.open_orders(account)


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_on_the_way_leads_to_the_same_end(seed: int) -> None:
    """MATCH-32, MATCH-33: whenever somebody asked for pieces."""
    draw = random.Random(100 + seed)
    flow = MarketFlow(draw)
    whole, asked = Exchange(MARKETS), Exchange(MARKETS)
    for _ in range(300):
        step = flow.next()
        if do(whole, step) is not None and isinstance(step, Change):
            flow.done(step)
        do(asked, step)
        asked.digest()
        if draw.random() < 0.1:
            asked = Exchange.restore(asked.pieces())
    assert dict(asked.pieces()) == dict(whole.pieces())


def test_batches_know_new_markets_and_limits() -> None:
    """The fast lane too: MATCH-34, MATCH-35, MATCH-36."""
    exchange = Exchange([Market("X", "1", "1")])
    exchange.add_market(Market("Y", "1", "1", quantity_min=2))

    def asked(first: int) -> list[Any]:
        batch = [Submit(first + n, "ann", "Y", Side.BUY, 1 + n, 100) for n in range(3)]
        return [events[0] for events in exchange.apply_batch(batch)]

    def reasons(events: list[Any]) -> list[Reason | None]:
        return [event.reason if type(event) is Rejected else None for event in events]

    small = Reason.QUANTITY_TOO_SMALL
    assert reasons(asked(1)) == [small, None, None]
    exchange.change_market(Market("Y", "1", "1", quantity_min=3))
    assert reasons(asked(11)) == [small, small, None]
    exchange.change_market(Market("Y", "1", "1"))
    assert reasons(asked(21)) == [None] * 3
    _, *cancelled = exchange.close_market("Y")
    assert len(cancelled) == 6
    assert reasons(asked(31)) == [Reason.MARKET_CLOSED] * 3


def test_levels_of_a_closed_market_are_changes() -> None:
    """MATCH-36, MATCH-29."""
    exchange = Exchange([Market("X", "1", "1")])
    exchange.apply_batch([Submit(n, "ann", "X", Side.BUY, 1, 100 + n) for n in range(1, 4)])
    exchange.changes("X")
    exchange.close_market("X")
    assert exchange.changes("X") == [(Side.BUY, price, 0, 0) for price in (103, 102, 101)]


def test_cancelled_orders_have_the_reason() -> None:
    """MATCH-36, MATCH-37."""
    exchange = Exchange([Market("X", "1", "1")])
    exchange.apply_batch([Submit(n, name, "X", Side.BUY, 1, 9) for n, name in ((5, "a"), (6, "b"))])
    [event] = exchange.cancel_account("a")
    assert isinstance(event, Cancelled)
    assert (event.id, event.reason) == (5, Reason.CANCELLED_BY_VOTE)
    _, event = exchange.close_market("X")
    assert isinstance(event, Cancelled)
    assert (event.id, event.reason) == (6, Reason.MARKET_CLOSED)


def test_markets_have_a_limit_at_once_and_one_for_ever() -> None:
    """MATCH-34."""
    exchange = Exchange([Market("0", "1", "1")])
    for number in range(1, MARKETS_MAX):
        exchange.add_market(Market(str(number), "1", "1"))
    with pytest.raises(MarketError, match="expected at most 64 markets at once"):
        exchange.add_market(Market("more", "1", "1"))
    for number in range(MARKETS_MAX, MARKETS_EVER_MAX):
        exchange.close_market(str(number - 1))
        exchange.add_market(Market(str(number), "1", "1"))
    exchange.close_market("1")
    with pytest.raises(MarketError, match="expected at most 256 markets ever"):
        exchange.add_market(Market("more", "1", "1"))
    again = Exchange.restore(exchange.pieces())
    assert again.markets() == exchange.markets()
    assert list(again.markets()) == [str(number) for number in range(MARKETS_EVER_MAX)]


def test_an_impossible_change_changes_nothing() -> None:
    """MATCH-35."""
    exchange = Exchange([Market("X", "1", "1")])
    before = exchange.digest()
    for change in (
        Change("add_market", Market("Y", "0", "1")),
        Change("add_market", Market("X", "1", "1")),
        Change("change_market", Market("X", "2", "1")),
        Change("change_market", Market("X", "1", "2")),
        Change("change_market", Market("X", "1", "1", quantity_min=0)),
        Change("change_market", Market("Y", "1", "1")),
        Change("close_market", "Y"),
    ):
        assert change.of(exchange) is None
        assert exchange.digest() == before
    exchange.check()


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("no orders in a closed market", lambda head: head[3][0].__setitem__(0, 2)),
        ("expected markets and clock", lambda head: head[3][0].__setitem__(0, 3)),
        ("expected markets and clock", lambda head: head[3][0].__setitem__(0, False)),
        (
            "at most 64 markets that are not closed",
            lambda head: (
                head[1].extend(head[1][0] | {"symbol": str(n)} for n in range(MARKETS_MAX)),
                head[3].extend([0, 0] for n in range(MARKETS_MAX)),
            ),
        ),
        (
            "expected at most 256 markets",
            lambda head: (
                head[1].extend(head[1][0] | {"symbol": str(n)} for n in range(MARKETS_EVER_MAX)),
                head[3].extend([2, 0] for n in range(MARKETS_EVER_MAX)),
            ),
        ),
    ],
)
def test_markets_that_no_exchange_has_are_refused(
    said: str, change: Callable[[list[Any]], object]
) -> None:
    exchange = Exchange([Market("X", "1", "1")])
    exchange.apply(Submit(1, "ann", "X", Side.BUY, 1, PRICES[0]))
    pieces = dict(exchange.pieces())
    head = decode(pieces[HEAD_KEY])
    change(head)
    with pytest.raises(SnapshotError, match=said):
        Exchange.restore((pieces | {HEAD_KEY: encode(head)}).items())


def test_the_status_is_in_the_digest() -> None:
    digests = set()
    for steps in ([], [Halt(1, "op", "X")], [Change("close_market", "X")]):
        exchange = Exchange([Market("X", "1", "1")])
        for step in steps:
            do(exchange, step)  # type: ignore[arg-type]
        digests.add(exchange.digest())
        assert exchange.markets()["X"] is MarketStatus(len(digests) - 1)
    assert len(digests) == 3
