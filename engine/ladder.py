"""One side of a market: orders queued by price, then by time.

Owns the queues, their levels in order and the best level at hand. Resting bids, resting asks,
waiting buy stops and waiting sell stops are four ladders of one kind: a ladder's `sign` turns a
price into a key, and the lowest key is always the first to be served.

Must never decide what an order may do, nor make events: that is `matching`.

A level that changes is only marked, once. What it adds up to is counted when somebody asks, so that
a thousand changes of a level between two questions cost one count.
"""

from collections.abc import Iterator
from typing import Any, Final

from engine.keys import Keys
from engine.queue import Level, Order

NO_KEY: Final = 1 << 62  # the best key of an empty ladder: beyond any price, on either side


class Ladder:
    """Levels by key, the sorted keys, and the best level at hand.

    Two readers come at different times for what changed, so `settle` leaves it for both.
    """

    __slots__ = ("best", "best_key", "changed", "keys", "levels", "sign", "stale", "touched")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, Level] = {}  # by price
        self.keys = Keys()
        self.best: Level | None = None
        self.best_key: int = NO_KEY
        self.touched: set[int] = set()  # prices of levels that changed and are not counted yet
        self.changed: set[int] = set()  # for those who show the book
        self.stale: set[int] = set()  # for the digest

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first, counted."""
        self.settle()
        for key in self.keys:
            yield self.levels[key * self.sign]

    def fill(self, level: Level, order: Order, quantity: int) -> None:
        """Trade a part of `order`, at most what it shows. An iceberg whose slice is used up shows
        the next one, at the back of the queue."""
        left = order.remaining - quantity
        order.remaining = left
        order.row = b""
        hidden = order.hidden
        if left == hidden:
            order.hidden = max(0, hidden - order.conditions.display)
            level.to_back(order)
        if level.totals is not None:
            self.touch(level)

    def touch(self, level: Level) -> None:
        level.totals = None
        self.touched.add(level.price)

    def settle(self) -> None:
        """Count the levels that changed."""
        touched = self.touched
        if touched:
            levels = self.levels
            for price in touched:
                level = levels.get(price)
                if level is not None:
                    level.count()
            self.changed |= touched
            self.stale |= touched
            touched.clear()

    def take_changed(self) -> list[int]:
        """Prices touched since the last call, best first, for those who show the book."""
        self.settle()
        prices = sorted(self.changed, reverse=self.sign < 0)
        self.changed.clear()
        return prices

    def take_stale(self) -> list[int]:
        """Prices touched since the last call, best first, for the digest."""
        self.settle()
        prices = sorted(self.stale, reverse=self.sign < 0)
        self.stale.clear()
        return prices

    def open(self, price: Any) -> Level:
        key: int = price * self.sign
        level = self.levels[price] = Level(self, key, price)
        self.keys.add(key)
        self.touched.add(price)
        if key < self.best_key:
            self.best = level
            self.best_key = key
        return level

    def close(self, level: Level) -> None:
        """Forget a level that is empty."""
        del self.levels[level.price]
        self.keys.remove(level.key)
        if level is not self.best:
            return
        if self.levels:
            self.best_key = self.keys.best()
            self.best = self.levels[self.best_key * self.sign]
        else:
            self.best_key = NO_KEY
            self.best = None


NOWHERE: Final = Level(Ladder(1), 0, 0)  # where an order is before it is in a queue


def take_apart(orders: dict[int, Order], most: int) -> int:
    """Take up to `most` of the orders of books that nobody needs any more out of their circles, so
    that they can be freed; how many it were."""
    count = 0
    while orders and count < most:
        _, order = orders.popitem()
        order.previous = order.next = order.older = order.newer = None
        order.owner.newest = None
        level = order.level
        level.first = level.last = None
        level.ladder = NOWHERE.ladder
        count += 1
    return count
