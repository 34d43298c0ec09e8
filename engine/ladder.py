"""One side of a market: orders queued by price, then by time.

Owns the queues, their levels in order and the best level at hand. Resting bids, resting asks,
waiting buy stops and waiting sell stops are four ladders of one kind: a ladder's `sign` turns a
price into a key, and the lowest key is always the first to be served.

Must never decide what an order may do, nor make events: that is `book`.

A level that changes is only marked, once. What it adds up to is counted when somebody asks, so that
a thousand changes of a level between two questions cost one count.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from sortedcontainers import SortedList

from engine.order import Conditions, state_of
from engine.orders import Side

NO_KEY: Final = 1 << 62  # the best key of an empty ladder: beyond any price, on either side


class Link:
    """A place in a queue. The queue is a ring: the level itself closes it."""

    __slots__ = ("next", "previous")

    previous: "Link"  # towards the front
    next: "Link"  # towards the back


class Order(Link):
    """One order, on its way in or in a queue.

    Strings, price and conditions are the book's own objects, not those of the command, which can be
    freed: two cache lines hold all of an order that a cancel or a trade looks at.
    """

    __slots__ = (
        "account",
        "client_id",
        "conditions",
        "hidden",
        "id",
        "level",
        "market",
        "mine",
        "price",
        "quantity",
        "remaining",
        "side",
    )

    def __init__(
        self,
        id: Any,
        account: str,
        market: str,
        side: Side,
        price: Any,
        quantity: Any,
        remaining: int,
        hidden: int,
        client_id: str,
        conditions: Conditions,
        mine: "dict[int, Order]",
        level: "Level",
        previous: Link,
        next: Link,
    ) -> None:
        self.id = id
        self.account = account
        self.market = market
        self.side = side
        self.price = price
        self.quantity = quantity  # as accepted, or as last replaced
        self.remaining = remaining
        self.hidden = hidden  # of `remaining`, what an iceberg does not show
        self.client_id = client_id
        self.conditions = conditions
        self.mine = mine  # its account's open orders in this market by id
        self.level = level
        self.previous = previous
        self.next = next

    def __repr__(self) -> str:  # the default would follow the links
        return f"Order{state_of(self)}"


if __file__.endswith(".py"):
    # Not compiled, a msgspec struct of the same fields is made three times as fast. It can do
    # without the garbage collector: nothing refers to an order once it has left its queue.
    _fields = [name for name in Order.__init__.__annotations__ if name != "return"]
    globals()["Order"] = msgspec.defstruct(
        "Order",
        _fields,
        namespace={"__repr__": Order.__repr__},
        module=__name__,
        gc=False,
        eq=False,
    )


class Level(Link):
    """The orders at one price, oldest first.

    `totals` is what they add up to: orders, lots shown, lots hidden; None from the moment they
    change until somebody asks.
    """

    __slots__ = ("key", "ladder", "price", "totals")

    def __init__(self, ladder: "Ladder", key: int) -> None:
        self.ladder = ladder
        self.key = key
        self.price: Any = key * ladder.sign
        self.totals: tuple[int, int, int] | None = None
        self.previous = self.next = self

    def __iter__(self) -> Iterator[Order]:
        link = self.next
        while link is not self:
            order: Order = link  # type: ignore[assignment]
            yield order
            link = order.next

    def append(self, order: Order) -> None:
        """To the back of the queue."""
        order.level = self
        order.previous = self.previous
        order.next = self
        self.previous.next = order
        self.previous = order

    def count(self) -> tuple[int, int, int]:
        totals = self.totals
        if totals is None:
            orders = remaining = hidden = 0
            for order in self:
                orders += 1
                remaining += order.remaining
                hidden += order.hidden
            totals = self.totals = (orders, remaining - hidden, hidden)
        return totals


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
        self.best_key: Any = NO_KEY
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

    def unlink(self) -> None:
        """Take all queues apart; nothing else can be done with the ladder afterwards."""
        for level in self.levels.values():
            for order in list(level):
                order.previous = order.next = order.level = NOWHERE
                order.mine = {}
            level.previous = level.next = NOWHERE

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
        level.next = level.previous = NOWHERE  # a ring of one would keep itself alive
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


NOWHERE: Final = Level(Ladder(1), 0)  # where an order is before it is in a queue
