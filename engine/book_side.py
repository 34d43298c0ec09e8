"""One side of a market: orders queued by price, then by time.

Owns the queues, their levels in order and the cached best level. Resting bids, resting asks,
waiting buy stops and waiting sell stops are four sides of one kind. A side's `sign` turns a price
into a key. The engine always serves the lowest key first.

An order is in two lists, both doubly linked through the order itself: its level's queue, oldest
first, and its owner's orders, newest first. So a removal is the same few assignments anywhere in
the lists, and an account's index costs two words per order. The garbage collector ignores these
objects. So an order outside a queue must have no links, or dead orders would keep each other alive.

A level's totals cost what changes, never a walk of the queue. A query adds the orders at the back,
those that came since the last query. So an order that comes and goes between two queries costs
nothing. A change of any other order, ahead of those, changes the totals at once.

Must never decide what an order may do, nor make events: `matching` does.
"""

from collections.abc import Iterator
from typing import Any, Final, Optional

from engine.light import light, mypyc_attr
from engine.order_terms import OrderTerms
from engine.price_index import PriceIndex
from engine.vocabulary import SOURCES, Side

NO_KEY: Final = 1 << 62  # the best key of an empty side: beyond any price, on either side
SHARES_COUNTED_MAX: Final = 16  # up to this many orders, a query counts a level's shares
_SOURCES: Final = SOURCES


@mypyc_attr(acyclic=True)
class Order:
    """One order, on its way in or in a queue.

    Strings, price and terms are the book's own objects, so Python can free the command. Two cache
    lines hold every field that a cancel or a trade reads.
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
        "priority",
        "quantity",
        "remaining",
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
        client_id: str,
        terms: OrderTerms,
        level: "Level",
        previous: Optional["Order"],
        older: Optional["Order"],
        priority: int,
        hidden: int = 0,
        next: Optional["Order"] = None,
        newer: Optional["Order"] = None,
    ) -> None:
        self.id = id
        self.owner = owner
        self.side = side
        self.price = price
        self.quantity = quantity  # as accepted, or as last replaced
        self.remaining = remaining
        self.hidden = hidden  # the part of `remaining` that an iceberg does not show
        self.client_id = client_id
        self.terms = terms
        self.level = level
        self.previous = previous  # in the queue, towards the front
        self.next = next
        self.older = older  # of the same owner
        self.newer = newer
        self.priority = priority  # ascending along the queue

    def __repr__(self) -> str:  # the default would follow the links
        return (
            f"Order({self.id}, {self.owner.name!r}, {self.side!r}, {self.price}, {self.remaining})"
        )


@mypyc_attr(acyclic=True)
class Owner:
    """An account in one market: its name, as all its orders refer to it, and its open orders."""

    __slots__ = ("market", "name", "newest", "open", "place")

    def __init__(
        self, name: str, market: str, place: int, open: int = 0, newest: Order | None = None
    ) -> None:
        self.name = name
        self.market = market
        self.place = place  # the market's index in the exchange
        self.open = open
        self.newest = newest

    def __iter__(self) -> Iterator[Order]:
        order = self.newest
        while order is not None:
            yield order
            order = order.older


@mypyc_attr(acyclic=True)
class Level:
    """The orders at one price, oldest first, and the totals of those up to the priority `counted`:
    orders, lots shown, lots hidden, and the share of each source.

    `counted` is the priority of the last order in the totals, -1 if there is none. The orders
    behind it came later.
    """

    __slots__ = (
        "book_side",
        "counted",
        "first",
        "hidden",
        "key",
        "last",
        "orders",
        "price",
        "shares",
        "shown",
    )

    def __init__(
        self,
        book_side: "BookSide",
        key: int,
        price: Any,
        first: Order | None = None,
        last: Order | None = None,
        counted: int = -1,
        orders: int = 0,
        shown: int = 0,
        hidden: int = 0,
        shares: dict[int, tuple[int, int]] | None = None,
    ) -> None:
        self.book_side = book_side
        self.key = key
        self.price = price
        self.first = first
        self.last = last
        self.counted = counted
        self.orders = orders
        self.shown = shown
        self.hidden = hidden
        self.shares = shares  # by source: lots shown, orders; None: few enough to count

    def __iter__(self) -> Iterator[Order]:
        order = self.first
        while order is not None:
            yield order
            order = order.next

    def to_back(self, order: Order) -> None:
        """Move the first order to the back of the queue. The totals do not count it."""
        back = self.last
        order.priority = back.priority + 1  # type: ignore[union-attr]
        if order is back:
            return
        self.first = order.next
        order.next.previous = None  # type: ignore[union-attr]
        order.previous = back
        order.next = None
        back.next = order  # type: ignore[union-attr]
        self.last = order

    def share(self, id: Any, shown: int, orders: int) -> None:
        """Change the share of an order's source."""
        shares = self.shares
        if shares is not None:
            source: int = id % _SOURCES
            had_shown, had_orders = shares.get(source, (0, 0))
            if had_orders + orders:
                shares[source] = (had_shown + shown, had_orders + orders)
            else:
                del shares[source]

    def count(self) -> None:
        """Add the orders that came since the last query to the totals."""
        last = order = self.last
        counted = self.counted
        stale = self.book_side.stale
        shares = self.shares
        while order is not None and order.priority > counted:
            hidden = order.hidden
            shown = order.remaining - hidden
            self.orders += 1
            self.shown += shown
            if hidden:
                self.hidden += hidden
            if shares is not None:
                self.share(order.id, shown, 1)
            if stale is not None:
                stale.add(order.id)
            order = order.previous
        self.counted = last.priority  # type: ignore[union-attr] # a level has orders
        if shares is None and self.orders > SHARES_COUNTED_MAX:
            self.shares = self._shares()

    def sources(self) -> list[tuple[int, int, int]]:
        """Each source with its lots shown and orders, by source. All orders are counted."""
        shares = self._shares() if self.shares is None else self.shares
        return [(source, *shares[source]) for source in sorted(shares)]

    def _shares(self) -> dict[int, tuple[int, int]]:
        shares: dict[int, tuple[int, int]] = {}
        for order in self:
            source = order.id % _SOURCES
            shown, orders = shares.get(source, (0, 0))
            shares[source] = (shown + order.remaining - order.hidden, orders + 1)
        return shares


if __file__.endswith(".py"):  # not compiled
    globals().update({each.__name__: light(each) for each in (Order, Owner, Level)})


class BookSide:
    """Levels by price, the sorted keys, and the cached best level."""

    __slots__ = ("best", "best_key", "changed", "keys", "levels", "sign", "stale", "touched")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, Level] = {}  # by price
        self.keys = PriceIndex()
        self.best: Level | None = None
        self.best_key: int = NO_KEY
        self.touched: set[int] = set()  # prices of levels changed since the last query
        self.changed: set[int] = set()  # prices, for callers that show the book
        self.stale: set[int] | None = None  # ids of changed orders, once a caller wants them

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first, counted."""
        self.settle()
        for key in self.keys:
            yield self.levels[key * self.sign]

    def fill(self, level: Level, order: Order, quantity: int) -> None:
        """Trade a part of `order`, at most what it shows. After its slice is used up, an iceberg
        shows the next one at the back of the queue."""
        left = order.remaining - quantity
        hidden = order.hidden
        if left != hidden:
            order.remaining = left
            if order.priority <= level.counted:
                self.changes(level, order, -quantity, 0)
            return
        if order.priority <= level.counted:
            self.leaves(level, order)
        order.remaining = left
        order.hidden = max(0, hidden - order.terms.display)
        level.to_back(order)

    def changes(self, level: Level, order: Order, shown: int, hidden: int) -> None:
        """Add `shown` and `hidden` lots of a counted order, which keeps its place."""
        level.shown += shown
        level.hidden += hidden
        level.share(order.id, shown, 0)
        self.touch(level, order)

    def leaves(self, level: Level, order: Order) -> None:
        """Remove a counted order from the totals before it gives up its place."""
        if order.priority == level.counted:
            before = order.previous
            level.counted = -1 if before is None else before.priority
        hidden = order.hidden
        shown = order.remaining - hidden
        level.orders -= 1
        level.shown -= shown
        level.hidden -= hidden
        if level.orders > SHARES_COUNTED_MAX:
            level.share(order.id, -shown, -1)
        else:
            level.shares = None
        self.touch(level, order)

    def touch(self, level: Level, order: Order) -> None:
        """Note that a counted order of `level` changed."""
        self.touched.add(level.price)
        if self.stale is not None:
            self.stale.add(order.id)

    def grows(self, level: Level) -> None:
        """Note that a new order is behind the counted orders of `level`."""
        self.touched.add(level.price)

    def settle(self) -> None:
        """Count the orders that came since the last query."""
        touched = self.touched
        if touched:
            levels = self.levels
            for price in touched:
                level = levels.get(price)
                if level is not None:
                    level.count()
            self.changed |= touched
            touched.clear()

    def take_changed(self) -> list[int]:
        """Prices touched since the last call, best first, for callers that show the book."""
        self.settle()
        prices = sorted(self.changed, reverse=self.sign < 0)
        self.changed.clear()
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

    def opened(self, level: Level) -> None:
        """Find a place for the key of a new level."""
        self.keys.add(level.key)
        if level.key < self.best_key:
            self.best = level
            self.best_key = level.key

    def sort(self) -> None:
        """The same for many new levels at once."""
        prices = sorted(self.levels)
        self.keys = PriceIndex()
        self.keys.fill(prices if self.sign < 0 else [-price for price in reversed(prices)])
        self._find_best()

    def close(self, level: Level) -> None:
        """Remove an empty level."""
        del self.levels[level.price]
        self.keys.remove(level.key)
        if level is self.best:
            self._find_best()

    def _find_best(self) -> None:
        if self.levels:
            self.best_key = self.keys.best()
            self.best = self.levels[self.best_key * self.sign]
        else:
            self.best_key = NO_KEY
            self.best = None


NOWHERE: Final = Level(BookSide(1), 0, 0)  # where an order is before it is in a queue


def take_apart(parts: list[dict[int, Order]], most: int) -> int:
    """Break the reference cycles of up to `most` orders of deleted books, so Python can
    free them. Returns the number of orders. Nothing is left in `parts` once all are free."""
    count = 0
    while parts and count < most:
        if not parts[-1]:
            parts.pop()
            continue
        _, order = parts[-1].popitem()
        order.previous = order.next = order.older = order.newer = None
        order.owner.newest = None
        level = order.level
        level.first = level.last = None
        level.book_side = NOWHERE.book_side
        count += 1
    return count
