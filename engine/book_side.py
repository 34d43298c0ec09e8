"""One side of a market: orders queued by price, then by time.

Owns the queues, their levels in order and the best level at hand. Resting bids, resting asks,
waiting buy stops and waiting sell stops are four sides of one kind: a side's `sign` turns a price
into a key, and the lowest key is always the first to be served.

An order is in two lists, both doubly linked through the order itself: its level's queue, oldest
first, and its owner's orders, newest first. So taking one out is the same few assignments wherever
it is, and an account's index costs two words an order. No garbage collector looks at these objects:
an order that is in no queue has no links, or dead ones would hold on to each other.

A level that changes is only marked, once. Its totals are counted on the next
question, so that a thousand changes of a level between two questions cost one count.

Must never decide what an order may do, nor make events: that is `matching`.
"""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Final, Optional

from engine.light import light, mypyc_attr
from engine.order_terms import OrderTerms
from engine.price_index import PriceIndex
from engine.vocabulary import Side

NO_KEY: Final = 1 << 62  # the best key of an empty side: beyond any price, on either side

# The fields of an order that are state, in the order of `state.Kept`; the others are its place.
state_of: Final = attrgetter(
    "id",
    "owner.name",
    "owner.market",
    "side",
    "price",
    "quantity",
    "remaining",
    "hidden",
    "client_id",
    "terms",
)


@mypyc_attr(acyclic=True)
class Order:
    """One order, on its way in or in a queue.

    Strings, price and terms are the book's own objects, not those of the command, which can be
    freed: two cache lines hold all of an order that a cancel or a trade looks at.
    """

    __slots__ = (
        "client_id",
        "hidden",
        "id",
        "level",
        "newer",
        "next",
        "older",
        "owner",
        "previous",
        "price",
        "quantity",
        "remaining",
        "row",
        "side",
        "terms",
    )

    def __init__(
        self,
        id: Any,
        owner: "Owner",
        side: Side,
        price: Any,
        quantity: Any,
        remaining: int,
        hidden: int,
        client_id: str,
        terms: OrderTerms,
        level: "Level",
        previous: Optional["Order"],
        older: Optional["Order"],
        next: Optional["Order"] = None,
        newer: Optional["Order"] = None,
        row: bytes = b"",
    ) -> None:
        self.id = id
        self.owner = owner
        self.side = side
        self.price = price
        self.quantity = quantity  # as accepted, or as last replaced
        self.remaining = remaining
        self.hidden = hidden  # of `remaining`, what an iceberg does not show
        self.client_id = client_id
        self.terms = terms
        self.level = level
        self.previous = previous  # in the queue, towards the front
        self.next = next
        self.older = older  # of the same owner
        self.newer = newer
        self.row = row  # its state encoded, kept by `state`; empty: it changed since

    def __repr__(self) -> str:  # the default would follow the links
        return f"Order{state_of(self)}"


@mypyc_attr(acyclic=True)
class Owner:
    """An account in one market: its name, as all its orders refer to it, and its open orders."""

    __slots__ = ("market", "name", "newest", "open")

    def __init__(self, name: str, market: str, open: int = 0, newest: Order | None = None) -> None:
        self.name = name
        self.market = market
        self.open = open
        self.newest = newest

    def __iter__(self) -> Iterator[Order]:
        order = self.newest
        while order is not None:
            yield order
            order = order.older


@mypyc_attr(acyclic=True)
class Level:
    """The orders at one price, oldest first.

    `totals` is what they add up to: orders, lots shown, lots hidden; None from the moment they
    change until the next question.
    """

    __slots__ = ("book_side", "first", "key", "last", "price", "totals")

    def __init__(
        self,
        book_side: "BookSide",
        key: int,
        price: Any,
        first: Order | None = None,
        last: Order | None = None,
        totals: tuple[int, int, int] | None = None,
    ) -> None:
        self.book_side = book_side
        self.key = key
        self.price = price
        self.first = first
        self.last = last
        self.totals = totals

    def __iter__(self) -> Iterator[Order]:
        order = self.first
        while order is not None:
            yield order
            order = order.next

    def to_back(self, order: Order) -> None:
        """The first order, to the back of the queue."""
        back = self.last
        if order is back:
            return
        self.first = order.next
        order.next.previous = None  # type: ignore[union-attr]
        order.previous = back
        order.next = None
        back.next = order  # type: ignore[union-attr]
        self.last = order

    def count(self) -> tuple[int, int, int]:
        totals = self.totals
        if totals is None:
            orders = remaining = hidden = 0
            order = self.first
            while order is not None:
                orders += 1
                remaining += order.remaining
                hidden += order.hidden
                order = order.next
            totals = self.totals = (orders, remaining - hidden, hidden)
        return totals


if __file__.endswith(".py"):  # not compiled
    globals().update({each.__name__: light(each) for each in (Order, Owner, Level)})


class BookSide:
    """Levels by key, the sorted keys, and the best level at hand.

    Two readers come at different times for what changed, so `settle` leaves it for both.
    """

    __slots__ = ("best", "best_key", "changed", "keys", "levels", "sign", "stale", "touched")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, Level] = {}  # by price
        self.keys = PriceIndex()
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
            order.hidden = max(0, hidden - order.terms.display)
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


NOWHERE: Final = Level(BookSide(1), 0, 0)  # where an order is before it is in a queue


def take_apart(orders: dict[int, Order], most: int) -> int:
    """Take up to `most` of the orders of books that are gone out of their circles, so
    that they can be freed; how many it were."""
    count = 0
    while orders and count < most:
        _, order = orders.popitem()
        order.previous = order.next = order.older = order.newer = None
        order.owner.newest = None
        level = order.level
        level.first = level.last = None
        level.book_side = NOWHERE.book_side
        count += 1
    return count
