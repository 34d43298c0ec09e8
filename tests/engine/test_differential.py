"""The engine against the naive book and the event reader, on random commands.

Every step is applied to both; events, queues and open orders must be the same, the reader must come
to the same book from the events alone, and a snapshot taken on the way must lead to the same end.
"""

import os
import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Cancel, Command, Event, Exchange, Market, Side, Submit
from engine.book_side import Order
from tests.support.engine_flow import ACCOUNTS, MARKETS, Flow
from tests.support.event_reader import EventReader
from tests.support.naive_book import NaiveExchange

SEEDS = int(os.environ.get("ENGINE_SEEDS", "60"))
STEPS = 250

decode = msgspec.msgpack.Decoder(Command).decode


class Trio:
    """Three that must agree: the engine, the naive book, the reader."""

    def __init__(self, exchange_class: type[Exchange] = Exchange) -> None:
        self.exchange = exchange_class(MARKETS)
        self.naive = NaiveExchange(MARKETS)
        self.reader = EventReader()
        self.seen: dict[int, Order] = {}  # by address: kept, so that no other gets it

    def step(self, step: Command | int) -> list[Event]:
        if isinstance(step, int):
            events, expected = self.exchange.advance(step), self.naive.advance(step)
        else:
            command = decode(msgspec.msgpack.encode(step))
            events, expected = self.exchange.apply(command), self.naive.apply(step)
        assert events == expected
        self.reader.read(events)
        return events

    def compare(self) -> None:
        self.exchange.check()
        self.check_dead()
        for market in MARKETS:
            for side in Side:
                symbol = market.symbol
                queue = self.naive.queue(symbol, side)
                assert queue_of(self.exchange, symbol, side) == queue
                assert self.reader.queue(symbol, side) == queue
                depth = self.naive.depth(symbol, side)
                assert self.exchange.depth(symbol, side, 1000) == depth
                for price, _, _ in depth:
                    shares = self.naive.shares(symbol, side, price)
                    assert self.exchange.shares(symbol, side, price) == shares
                assert self.reader.depth(symbol, side) == depth
        for account in ACCOUNTS:
            assert self.exchange.open_orders(account) == self.naive.open_orders(account)

    def check_dead(self) -> None:
        """An order that has left holds no other: not by itself, its level or its owner."""
        orders = self.exchange.orders
        for order in self.seen.values():
            if orders.get(order.id) is not order:
                assert (order.previous, order.next, order.older, order.newer) == (None,) * 4
                level, owner = order.level, order.owner
                assert all(
                    each is None or orders[each.id] is each
                    for each in (level.first, level.last, owner.newest)
                )
        self.seen |= {id(order): order for order in orders.values()}


def queue_of(exchange: Exchange, market: str, side: Side) -> list[tuple[int, int, int]]:
    """Resting orders in the order they would trade: id, shown quantity, open quantity."""
    return [
        (order.id, order.remaining - order.hidden, order.remaining)
        for level in exchange.books[market].sides[side]
        for order in level
    ]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_engine_and_the_naive_book_agree(seed: int) -> None:
    draw = random.Random(seed)
    flow = Flow(draw.choice)
    trio = Trio()
    for _ in range(STEPS):
        trio.step(flow.step())
        trio.compare()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.data())
def test_the_engine_and_the_naive_book_agree_on_generated_commands(data: st.DataObject) -> None:
    flow = Flow(lambda options: data.draw(st.sampled_from(options)))
    trio = Trio()
    for _ in range(data.draw(st.integers(1, 30))):
        trio.step(flow.step())
        trio.compare()


@pytest.mark.parametrize("seed", range(4))
def test_numbers_around_the_small_integer_limit_behave_the_same(seed: int) -> None:
    draw = random.Random(seed)
    market = Market("X", "1", "1")
    exchange, naive = Exchange([market]), NaiveExchange([market])

    def number() -> int:
        return 2**30 + draw.randrange(-3, 3)

    for id in range(2**30 - 30, 2**30 + 30):
        side = draw.choice(tuple(Side))
        for command in (
            Submit(id, "ann", "X", side, number(), number()),
            Submit(-id, "ann", "X", side, number(), number()),
            Cancel(id, "ann", id - draw.randrange(5)),
        ):
            assert exchange.apply(command) == naive.apply(command)
    for side in Side:
        assert exchange.depth("X", side, 10) == naive.depth("X", side)


@pytest.mark.parametrize("seed", range(12))
def test_an_exchange_restored_midway_ends_in_the_same_state(seed: int) -> None:
    draw = random.Random(1000 + seed)
    flow = Flow(draw.choice)
    steps = [flow.step() for _ in range(400)]
    at = draw.randrange(400)
    whole = Exchange(MARKETS)
    run(whole, steps[:at])
    middle = dict(whole.pieces())
    resumed = Exchange.restore(middle.items())
    resumed.check()
    assert resumed.digest() == whole.digest()
    assert dict(resumed.pieces()) == middle
    for step in steps[at:]:
        assert run(resumed, [step]) == run(whole, [step])
        assert resumed.digest() == whole.digest()
    assert dict(resumed.pieces()) == dict(whole.pieces())


@pytest.mark.parametrize("seed", range(12))
def test_a_batch_equals_single_commands_in_order(seed: int) -> None:
    draw = random.Random(2000 + seed)
    flow = Flow(draw.choice)
    commands = [step for _ in range(600) if not isinstance(step := flow.step(), int)]
    single, batch = Exchange(MARKETS), Exchange(MARKETS)
    expected = [single.apply(command) for command in commands]
    results: list[list[Event]] = []
    while len(results) < len(commands):
        size = draw.randrange(1, 50)
        results += batch.apply_batch(commands[len(results) : len(results) + size])
    assert results == expected
    assert batch.digest() == single.digest()


@pytest.mark.parametrize("seed", range(12))
def test_changes_are_enough_to_maintain_a_depth_display(seed: int) -> None:
    draw = random.Random(3000 + seed)
    flow = Flow(draw.choice)
    exchange = Exchange(MARKETS)
    shown: dict[tuple[str, Side, int], tuple[int, int]] = {}
    for _ in range(60):
        run(exchange, [flow.step() for _ in range(draw.randrange(1, 12))])
        if draw.random() < 0.3:
            exchange.digest()  # the digest has its own list of what changed
        for market in MARKETS:
            symbol = market.symbol
            for side, price, quantity, orders in exchange.changes(symbol):
                shown[symbol, side, price] = (quantity, orders)
            for side in Side:
                levels = [
                    (price, *level)
                    for (its, of, price), level in shown.items()
                    if (its, of) == (symbol, side) and level[0]
                ]
                levels.sort(reverse=side is Side.BUY)
                assert exchange.depth(symbol, side, 1000) == levels
            assert exchange.changes(symbol) == []


@pytest.mark.parametrize("seed", range(12))
def test_the_digest_depends_on_the_state_alone(seed: int) -> None:
    """MATCH-32: however often it was taken on the way, and as if it were of a fresh copy."""
    draw = random.Random(4000 + seed)
    flow = Flow(draw.choice)
    steps = [flow.step() for _ in range(300)]
    often, once = Exchange(MARKETS), Exchange(MARKETS)
    for step in steps:
        run(often, [step])
        often.digest()
    run(once, steps)
    assert often.digest() == once.digest()
    assert Exchange.restore(once.pieces()).digest() == once.digest()


def run(exchange: Exchange, steps: list[Command | int]) -> list[list[Event]]:
    return [
        exchange.advance(step) if isinstance(step, int) else exchange.apply(step) for step in steps
    ]
