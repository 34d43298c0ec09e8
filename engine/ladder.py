"""One side of a market: orders queued by price, then by time.

Owns the queues, their levels in order and the best level at hand. Resting bids, resting asks,
waiting buy stops and waiting sell stops are four ladders of one kind: a ladder's `sign` turns a
price into a key, and the lowest key is always the first to be served.

Must never decide what an order may do, nor make events: that is `book`.

A level that changes is only marked, once. What it adds up to is counted when somebody asks, so that
a thousand changes of a level between two questions cost one count.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import astuple
from sortedcontainers import SortedList

from engine.orders import OpenOrder, OrderType, SelfTrade, Side, TimeInForce

NO_KEY = 1 << 62  # the best key of an empty ladder: beyond any price, on either side


class Conditions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an order asks for beyond a price and a quantity."""

    type: OrderType = OrderType.LIMIT
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    stop_price: int = 0
    display: int = 0
    self_trade: SelfTrade = SelfTrade.NONE
    expire_ms: int = 0


PLAIN = Conditions()  # of nearly all orders, which share it


class Order(msgspec.Struct, gc=False, eq=False):
    """An order: open and linked into the queue of its level, or on its way in.

    A msgspec struct because it is made three times as fast as a class with `__init__`, and outside
    the garbage collector because nothing refers to it any more once it left the queue. Strings,
    price and conditions are the book's own objects, not those of the command, which can be freed:
    two cache lines hold all of an order that a cancel or a trade looks at.
    """

    id: int
    account: str
    market: str
    side: Side
    price: int
    quantity: int  # as accepted, or as last replaced
    remaining: int
    hidden: int  # of `remaining`, what an iceberg does not show
    client_id: str
    conditions: Conditions
    mine: Any = None  # dict of its account's open orders in this market by id
    level: Any = None  # its Level
    previous: Any = None  # towards the front: an Order, or the Level itself
    next: Any = None  # towards the back: an Order, or the Level itself

    def view(self) -> OpenOrder:
        asked = self.conditions
        return OpenOrder(
            self.id,
            self.account,
            self.market,
            self.side,
            self.price,
            self.remaining,
            self.quantity,
            asked.type,
            asked.tif,
            asked.stop_price,
            asked.display,
            asked.expire_ms,
            self.client_id,
        )

    def __repr__(self) -> str:  # the default would follow the links through the whole queue
        return f"Order({', '.join(map(repr, astuple(self)[:ORDER_FIELDS]))})"


ORDER_FIELDS = 10  # of an Order, those that are state; the others are where it is


class Level:
    """The orders at one price, oldest first, in a ring closed by the level itself.

    `totals` is what they add up to: orders, lots shown, lots hidden; None from the moment they
    change until somebody asks.
    """

    __slots__ = ("key", "ladder", "next", "previous", "price", "totals")

    def __init__(self, ladder: "Ladder", key: int) -> None:
        self.ladder = ladder
        self.key = key
        self.price = key * ladder.sign
        self.previous: Any = self  # the back of the queue
        self.next: Any = self  # the front of the queue
        self.totals: tuple[int, int, int] | None = None

    def __iter__(self) -> Iterator[Order]:
        order = self.next
        while order is not self:
            yield order
            order = order.next

    def append(self, order: Order) -> None:
        """To the back of the queue."""
        order.level = self
        order.previous = self.previous
        order.next = self
        self.previous.next = order
        self.previous = order

    def count(self) -> tuple[int, int, int]:
        if self.totals is None:
            orders = remaining = hidden = 0
            for order in self:
                orders += 1
                remaining += order.remaining
                hidden += order.hidden
            self.totals = (orders, remaining - hidden, hidden)
        return self.totals


class Ladder:
    """Levels by key, the sorted keys, and the best level at hand.

    Two readers come at different times for what changed, so `settle` leaves it for both.
    """

    __slots__ = ("best", "best_key", "changed", "keys", "levels", "sign", "stale", "touched")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, Level] = {}
        self.keys: SortedList[int] = SortedList()
        self.best: Level | None = None
        self.best_key = NO_KEY
        self.touched: set[int] = set()  # keys of levels that changed and are not counted yet
        self.changed: set[int] = set()  # for those who show the book
        self.stale: set[int] = set()  # for the digest

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first, counted."""
        self.settle()
        for key in self.keys:
            yield self.levels[key]

    def fill(self, level: Level, order: Order, quantity: int) -> None:
        """Trade a part of `order`, at most what it shows. An iceberg whose slice is used up shows
        the next one, at the back of the queue."""
        order.remaining -= quantity
        hidden = order.hidden
        if order.remaining == hidden:
            order.hidden = max(0, hidden - order.conditions.display)
            order.previous.next = order.next
            order.next.previous = order.previous
            level.append(order)
        self.touch(level)

    def touch(self, level: Level) -> None:
        level.totals = None
        self.touched.add(level.key)

    def settle(self) -> None:
        """Count the levels that changed."""
        touched = self.touched
        if touched:
            levels = self.levels
            for key in touched:
                level = levels.get(key)
                if level is not None:
                    level.count()
            self.changed |= touched
            self.stale |= touched
            touched.clear()

    def take_changed(self) -> list[int]:
        """Keys touched since the last call, best first, for those who show the book."""
        self.settle()
        keys = sorted(self.changed)
        self.changed.clear()
        return keys

    def take_stale(self) -> list[int]:
        """Keys touched since the last call, best first, for the digest."""
        self.settle()
        keys = sorted(self.stale)
        self.stale.clear()
        return keys

    def open(self, key: int) -> Level:
        level = self.levels[key] = Level(self, key)
        self.keys.add(key)
        self.touched.add(key)
        if key < self.best_key:
            self.best = level
            self.best_key = key
        return level

    def close(self, level: Level) -> None:
        key = level.key
        del self.levels[key]
        level.next = level.previous = None
        if key != self.best_key:
            self.keys.remove(key)
            return
        self.keys.pop(0)
        if self.levels:
            self.best_key = self.keys[0]
            self.best = self.levels[self.best_key]
        else:
            self.best_key = NO_KEY
            self.best = None
