"""The model of `make market`: seeded, bounded, and a living book when an engine answers it."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    Accepted,
    Cancel,
    Command,
    Event,
    Exchange,
    Market,
    Reason,
    Rejected,
    Replace,
    Side,
    Submit,
    TimeInForce,
    Trade,
)
from peer.cli import market_model
from peer.cli.market_model import MarketModel, View, maker, taker
from peer.client.accounts import AccountMirror
from peer.client.protocol import AccountUpdate, Orders
from peer.replica.order_state import OrderView, Status

PEERS = ("alice", "bob", "carol")
RATE = 15.0
ORDERS_MAX = 200
TURNS = 400
BTC = Market("BTC-USD", "0.01", "0.00000001")
COARSE = Market("XYZ", "1", "1", quantity_min=2, quantity_max=50, price_max=300)
NARROW = Market("ETH-USD", "0.01", "0.0001", price_band_percent=1)
MARKETS = pytest.mark.parametrize("market", [BTC, COARSE, NARROW], ids=lambda m: m.symbol)


class Simulated:
    """A model, and an engine that applies its commands at once."""

    def __init__(self, market: Market, seed: int = 1) -> None:
        self.market = market
        self.exchange = Exchange([market])
        self.exchange.advance(1)
        self.model = MarketModel(market, PEERS, seed, RATE, ORDERS_MAX)
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.last = 0
        self._mirrors = {peer: AccountMirror(maker(peer)) for peer in PEERS}
        for mirror in self._mirrors.values():
            mirror.take(Orders(mirror.account, 0, [], []))

    def run(self, turns: int) -> None:
        for _ in range(turns):
            for commands in self.model.turn({peer: self.view(peer) for peer in PEERS}).values():
                for command in commands:
                    self.apply(command)

    def view(self, peer: str) -> View:
        bid, ask = (self.levels(side)[:1] for side in Side)
        orders = list(self._mirrors[peer].open.values())
        return View(bid[0][0] if bid else 0, ask[0][0] if ask else 0, self.last, orders)

    def levels(self, side: Side) -> list[tuple[int, int, int]]:
        return self.exchange.depth(self.market.symbol, side, 1_000)

    def apply(self, command: Command) -> list[Event]:
        numbered = msgspec.structs.replace(command, id=len(self.commands) + 1)
        self.commands.append(numbered)
        events = self.exchange.apply(numbered)
        self.events += events
        for event in events:
            if isinstance(event, Trade):
                self.last = event.price
        for mirror in self._mirrors.values():
            mirror.take(AccountUpdate(mirror.account, mirror.seq + 1, 1, 1, events))
            mirror.check()
        return events

    def open_orders(self) -> int:
        return sum(level[2] for side in Side for level in self.levels(side))


@MARKETS
def test_the_same_seed_and_the_same_answers_give_the_same_commands(market: Market) -> None:
    runs = [Simulated(market, seed) for seed in (7, 7, 8)]
    for run in runs:
        run.run(150)
    first, same, other = (run.commands for run in runs)
    assert len(first) > 100
    assert first == same
    assert first != other


@MARKETS
def test_a_book_comes_to_life_and_stays_within_its_limits(market: Market) -> None:
    run = Simulated(market)
    most = 0
    for _ in range(TURNS // 10):
        run.run(10)
        most = max(most, run.open_orders())
    assert most <= ORDERS_MAX
    assert run.open_orders() > ORDERS_MAX / 2
    for side in Side:
        assert len(run.levels(side)) >= 15
        assert any(level[2] > 1 for level in run.levels(side))
    trades = [event for event in run.events if isinstance(event, Trade)]
    pairs = {(trade.maker_account, trade.taker_account) for trade in trades}
    assert pairs == {(maker(one), taker(other)) for one in PEERS for other in PEERS}
    reach = market_model.WANDER_MAX * trades[0].price + market_model.SLIP_TICKS
    assert all(abs(trade.price - trades[0].price) < reach for trade in trades)
    assert len(run.commands) < 1.5 * RATE * TURNS * market_model.TURN_S + ORDERS_MAX
    kinds = {type(command).__name__ for command in run.commands}
    assert kinds == {"Submit", "Cancel", "Replace", "Reduce"}
    assert any(event.display for event in run.events if isinstance(event, Accepted))
    rejected = {event.reason for event in run.events if isinstance(event, Rejected)}
    # A quote was taken or crossed by an earlier command of the same turn.
    assert rejected <= {Reason.UNKNOWN_ORDER, Reason.WOULD_CROSS, Reason.OUTSIDE_PRICE_BAND}


@pytest.mark.parametrize(
    ("view", "price"),
    [
        (View(0, 0, 0, []), 6_725_000),
        (View(10_000, 10_100, 0, []), 10_050),
        (View(10_000, 10_100, 20_000, []), 20_000),
    ],
    ids=["an empty book", "a book without a trade", "a trade"],
)
def test_it_begins_where_the_market_is(view: View, price: int) -> None:
    model = MarketModel(BTC, ["alice"], 1, 200.0, ORDERS_MAX)
    [commands] = model.turn({"alice": View(0, 0, view.last, [])} | {"alice": view}).values()
    prices = [c.price for c in commands if isinstance(c, Submit) and c.account == maker("alice")]
    assert prices
    low, high = view.bid or price, view.ask or price
    for each in prices:
        assert 0.95 * min(low, price) < each < 1.05 * max(high, price)


def test_a_peer_without_a_view_has_no_commands() -> None:
    run = Simulated(BTC)
    run.run(20)
    alone = {"bob": run.view("bob")}
    commands = [run.model.turn(alone) for _ in range(20)]
    assert {peer for each in commands for peer in each} == {"bob"}
    assert run.model.turn({}) == {}


def test_a_maker_touches_neither_pending_orders_nor_one_order_twice() -> None:
    model = MarketModel(BTC, ["alice"], 1, 2_000.0, 20)
    orders = [order(n, Side(n % 2), 6_725_000, Status.OPEN) for n in range(1, 9)]
    orders += [order(n, Side(n % 2), 6_725_000, Status.PENDING) for n in range(9, 21)]
    touched: list[int] = []
    [commands] = model.turn({"alice": View(6_720_000, 6_730_000, 0, orders)}).values()
    for command in commands:
        if isinstance(command, Submit):
            assert command.account == taker("alice"), "the pending orders count"
        else:
            touched.append(getattr(command, "order", 0))
    assert sorted(touched) == list(range(1, 9))


def test_too_few_orders_for_all_peers_are_refused() -> None:
    with pytest.raises(ValueError, match="BTC-USD needs 6 open orders, got 5"):
        MarketModel(BTC, PEERS, 1, RATE, 5)


def order(number: int, side: Side, price: int, status: Status) -> OrderView:
    return OrderView(
        number,
        maker("alice"),
        BTC.symbol,
        side,
        price=price,
        quantity=9,
        remaining=9,
        status=status,
    )


prices = st.integers(1, 300)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any book that is not crossed, and any orders of the maker, also wrong ones."""
    bid, ask = sorted(draw(st.lists(prices, min_size=2, max_size=2, unique=True)))
    bid, ask = draw(st.sampled_from([(bid, ask), (0, ask), (bid, 0), (0, 0)]))
    sides = st.lists(st.tuples(st.sampled_from(Side), prices), max_size=8)
    orders = [order(n, *each, Status.OPEN) for n, each in enumerate(draw(sides), 1)]
    return View(bid, ask, draw(st.sampled_from([0, bid or 7, ask or 9])), orders)


@settings(max_examples=150, deadline=None)
@given(st.lists(views(), min_size=1, max_size=5), st.integers(0, 3), st.sampled_from([0, 10]))
def test_whatever_the_book_each_command_is_one_that_the_market_may_take(
    seen: Sequence[View], seed: int, band: int
) -> None:
    market = msgspec.structs.replace(COARSE, price_band_percent=band)
    model = MarketModel(market, ["alice"], seed, 300.0, 12)
    for view in seen:
        [commands] = model.turn({"alice": view}).values()
        known = {order.id: order for order in view.orders}
        placed = [c for c in commands if isinstance(c, Submit) and c.post_only]
        for side in Side:
            there = sum(order.side is side for order in view.orders)
            assert sum(c.side is side for c in placed) <= max(6 - there, 0)
        for command in commands:
            if isinstance(command, Submit):
                check_submit(market, view, command)
            elif isinstance(command, Replace):
                check_quote(market, view, known[command.order].side, command.price)
            else:
                assert isinstance(command, Cancel) or command.quantity < 9


def check_submit(market: Market, view: View, command: Submit) -> None:
    assert market.quantity_min <= command.quantity <= market.quantity_max
    if command.post_only:
        assert command.account == maker("alice")
        check_quote(market, view, command.side, command.price)
        return
    assert (command.account, command.tif) == (taker("alice"), TimeInForce.IOC)
    best = view.ask if command.side is Side.BUY else view.bid
    assert best, "there is something to take"
    assert abs(command.price - best) <= market_model.SLIP_TICKS or market.price_band_percent
    check_price(market, view, command.price)


def check_quote(market: Market, view: View, side: Side, price: int) -> None:
    if side is Side.BUY and view.ask:
        assert price < view.ask
    if side is Side.SELL:
        assert price > view.bid
    check_price(market, view, price)


def check_price(market: Market, view: View, price: int) -> None:
    assert 1 <= price <= market.price_max
    if view.last and market.price_band_percent:
        away = abs(price - view.last)
        assert 100 * away <= market.price_band_percent * view.last
