"""What levels add up to, who stands behind them and what stands before an order, against a count of
every order: MATCH-29, MATCH-30 and MATCH-38.

`crowd` makes long queues at few prices, of few sources whose ids do not come in order, and asks at
random moments, so that orders come, change and leave between two questions and across them.
"""

import random
from collections.abc import Iterator

import pytest

from engine import (
    SOURCES,
    Cancel,
    CancelAll,
    Command,
    Exchange,
    Market,
    OrderType,
    Reduce,
    Replace,
    Side,
    Submit,
)

MARKET = Market("X", "1", "1")
PRICES = {Side.BUY: (99, 100), Side.SELL: (101, 102)}
Share = tuple[int, int, int]


class Crowd:
    """Draws commands. Orders are alive as far as it knows."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.next_seq = {source: 1 + 7 * source for source in (0, 1, 5)}
        self.given: list[int] = []

    def steps(self, count: int) -> Iterator[Command]:
        """More orders than removals at first, then the other way round."""
        for step in range(count):
            removals = 0.2 if step < count // 2 else 0.6
            yield self._change() if self.given and self.draw.random() < removals else self._order()

    def _order(self) -> Submit:
        draw = self.draw
        source = draw.choice((0, 0, 0, 1, 1, 5))
        id = self.next_seq[source] * SOURCES + source
        self.next_seq[source] += 1
        self.given.append(id)
        side = draw.choice(tuple(Side))
        crosses = draw.random() < 0.1
        price = draw.choice(PRICES[Side(1 - side) if crosses else side])
        display = draw.choice((0, 0, 0, 2, 3))
        return Submit(id, "ann", "X", side, draw.randrange(3, 9), price, display=display)

    def _change(self) -> Command:
        draw = self.draw
        at = draw.randrange(len(self.given))
        kind = draw.random()
        if kind < 0.01:
            return CancelAll(9, "ann", side=draw.choice(tuple(Side)))
        if kind < 0.2:
            return Reduce(9, "ann", self.given[at], draw.randrange(1, 5))
        if kind < 0.4:
            return Replace(9, "ann", self.given[at], 0, draw.randrange(1, 9))
        return Cancel(9, "ann", self.given.pop(at))


def counted(exchange: Exchange, side: Side) -> dict[int, list[Share]]:
    """The shares in every level, from its orders."""
    shares: dict[int, dict[int, tuple[int, int]]] = {}
    for order in exchange.orders.values():
        if order.side is side:
            level = shares.setdefault(order.price, {})
            shown, orders = level.get(order.id % 256, (0, 0))
            level[order.id % 256] = (shown + order.remaining - order.hidden, orders + 1)
    return {
        price: [(source, *share) for source, share in sorted(level.items())]
        for price, level in shares.items()
    }


def run_crowd(exchange_class: type[Exchange], seed: int, steps: int = 600) -> None:
    """Raises when something is wrong with `exchange_class`."""
    crowd = Crowd(seed)
    exchange = exchange_class([MARKET])
    shown: dict[tuple[Side, int], tuple[int, int]] = {}
    for command in crowd.steps(steps):
        exchange.apply(command)
        if crowd.draw.random() < 0.1:
            exchange.digest()
        if crowd.draw.random() < 0.1:
            ask(exchange, shown)
    for _ in range(20):
        exchange = exchange_class.restore(exchange.pieces())
        for command in crowd.steps(5):
            exchange.apply(command)
        shown.clear()
        shown.update(((s, p), (q, n)) for s in Side for p, q, n in exchange.depth("X", s, 9))
        ask(exchange, shown)


def ask(exchange: Exchange, shown: dict[tuple[Side, int], tuple[int, int]]) -> None:
    """Compare all that can be asked of levels with a count of every order."""
    exchange.check()
    for side, price, quantity, orders in exchange.changes("X"):
        shown[side, price] = (quantity, orders)
    for side in Side:
        levels = counted(exchange, side)
        for price in PRICES[side]:
            assert exchange.shares("X", side, price) == levels.get(price, [])
        sums = {
            price: (sum(shown for _, shown, _ in level), sum(orders for *_, orders in level))
            for price, level in levels.items()
        }
        depth = sorted((price, *level) for price, level in sums.items())
        assert sorted(exchange.depth("X", side, 9)) == depth
        check_ahead(exchange, side)
        assert sums == {p: level for (s, p), level in shown.items() if s is side and level[1]}
    exchange.check()


def check_ahead(exchange: Exchange, side: Side) -> None:
    """What stands before each order, from the whole queue."""
    for price in PRICES[side]:
        mine = [o for o in exchange.orders.values() if o.side is side and o.price == price]
        before = [0, 0]
        for order in sorted(mine, key=lambda order: order.priority):
            assert exchange.ahead(order.id, 1_000) == (*before, True)
            before = [before[0] + order.remaining - order.hidden, before[1] + 1]


@pytest.mark.parametrize("seed", range(10))
def test_level_totals_equal_the_sum_of_their_orders(seed: int) -> None:
    run_crowd(Exchange, seed)


def test_a_level_that_closed_and_opened_again_is_another_one() -> None:
    exchange = Exchange([MARKET])
    for id in (256, 512, 513):
        exchange.apply(Submit(id, "ann", "X", Side.BUY, 5, 100))
    assert exchange.changes("X") == [(Side.BUY, 100, 15, 3)]
    exchange.apply(CancelAll(1, "ann"))
    exchange.apply(Submit(770, "ann", "X", Side.BUY, 7, 100))
    assert exchange.shares("X", Side.BUY, 100) == [(2, 7, 1)]
    assert exchange.changes("X") == [(Side.BUY, 100, 7, 1)]
    exchange.apply(Submit(771, "ann", "X", Side.SELL, 7, 100))
    exchange.apply(Submit(1024, "ann", "X", Side.BUY, 2, 100))
    exchange.apply(Cancel(1, "ann", 1024))
    assert exchange.changes("X") == [(Side.BUY, 100, 0, 0)]
    assert exchange.shares("X", Side.BUY, 100) == []
    exchange.check()


def test_priorities() -> None:
    """MATCH-31: the id, or one more than the last order of the level has."""
    exchange = Exchange([MARKET])

    def queue() -> list[tuple[int, int]]:
        orders = sorted(exchange.orders.values(), key=lambda order: order.priority)
        return [(order.id, order.priority) for order in orders]

    for id, display in ((8, 3), (5, 0), (9, 0), (20, 0)):
        exchange.apply(Submit(id, "ann", "X", Side.SELL, 7, 100, display=display))
    assert queue() == [(8, 8), (5, 9), (9, 10), (20, 20)]
    exchange.apply(Submit(21, "bob", "X", Side.BUY, 3, 100))  # the next slice of 8
    assert queue() == [(5, 9), (9, 10), (20, 20), (8, 21)]
    exchange.apply(Submit(22, "bob", "X", Side.BUY, 3, 100))
    exchange.apply(Reduce(23, "ann", 9, 2))
    assert queue() == [(5, 9), (9, 10), (20, 20), (8, 21)]
    exchange.apply(Replace(24, "ann", 5, 100))
    assert queue() == [(9, 10), (20, 20), (8, 21), (5, 22)]
    exchange.apply(CancelAll(25, "ann"))
    exchange.apply(Submit(6, "ann", "X", Side.SELL, 7, 100, display=3))
    assert queue() == [(6, 6)]
    exchange.apply(Submit(26, "bob", "X", Side.BUY, 3, 100))  # behind itself
    assert queue() == [(6, 7)]


def test_there_are_no_shares_of_nothing() -> None:
    exchange = Exchange([MARKET])
    assert exchange.shares("X", Side.SELL, 5) == []
    with pytest.raises(KeyError):
        exchange.shares("Y", Side.SELL, 5)


def test_a_count_of_what_stands_before_an_order_ends_where_the_caller_says() -> None:
    exchange = Exchange([MARKET])
    for id in (256, 512, 768):
        exchange.apply(Submit(id, "ann", "X", Side.BUY, 5, 100, display=2 if id == 256 else 0))
    exchange.apply(Submit(1024, "ann", "X", Side.BUY, 5, type=OrderType.STOP, stop_price=200))
    assert exchange.ahead(768, 9) == (7, 2, True)
    assert exchange.ahead(768, 1) == (5, 1, False)
    assert exchange.ahead(256, 0) == (0, 0, True)
    assert exchange.ahead(1024, 9) is None  # it waits for its stop price
    assert exchange.ahead(1280, 9) is None  # there is none
