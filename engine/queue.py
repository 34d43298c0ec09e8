"""Who waits in a market: orders, the queue at one price, the orders of one account.

Owns the links. An order is in two lists, both doubly linked through the order itself: its level's
queue, oldest first, and its owner's orders, newest first. So taking one out is the same few
assignments wherever it is, and an account's index costs two words an order. No garbage collector
looks at these objects: an order that is in no queue has no links, or dead ones would hold on to
each other.

Must never decide what an order may do: that is `matching`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from engine.light import light, mypyc_attr
from engine.order import Conditions, state_of
from engine.orders import Side

if TYPE_CHECKING:
    from engine.ladder import Ladder


@mypyc_attr(acyclic=True)
class Order:
    """One order, on its way in or in a queue.

    Strings, price and conditions are the book's own objects, not those of the command, which can be
    freed: two cache lines hold all of an order that a cancel or a trade looks at.
    """

    __slots__ = (
        "client_id",
        "conditions",
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
        conditions: Conditions,
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
        self.conditions = conditions
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
    change until somebody asks.
    """

    __slots__ = ("first", "key", "ladder", "last", "price", "totals")

    def __init__(
        self,
        ladder: "Ladder",
        key: int,
        price: Any,
        first: Order | None = None,
        last: Order | None = None,
        totals: tuple[int, int, int] | None = None,
    ) -> None:
        self.ladder = ladder
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
