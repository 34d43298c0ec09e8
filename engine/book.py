"""The orders of one market, and how they are kept.

Owns the market's resting orders and waiting stops by id, account and price, its last trade price
and whether it is halted. Owns every change without a trade. Must never do I/O, read a clock, use
floats or depend on hash order. `matching` trades orders.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from sortedcontainers import SortedList

from engine import validation
from engine.book_side import BookSide, Order, Owner
from engine.order_index import PARTS, SPAN, OrderIndex
from engine.order_terms import PLAIN
from engine.vocabulary import (
    Cancelled,
    Event,
    Expired,
    Market,
    MarketState,
    MarketStatus,
    Reason,
    Reduced,
    Side,
)

# Bound here because compiled code looks up an imported name in a dictionary at each use.
_cancelled: Final = Cancelled
_PLAIN: Final = PLAIN
# CPython compares integers up to this in one step. The fast path leaves larger ones to the book.
SMALL_MAX: Final = 2**30 - 1


class Ledger:
    """What the books of one exchange share: the clock, open orders by id, and their expiries."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.orders = OrderIndex()
        self.expiries: SortedList[tuple[int, int]] = SortedList()  # expire_ms, id


class Book:
    """The orders of one market. Every method that executes a command returns its event."""

    def __init__(self, market: Market, ledger: Ledger, place: int) -> None:
        self.place = place  # among the exchange's markets
        self.symbol = market.symbol
        self.ledger = ledger
        self.orders = ledger.orders
        self._parts = ledger.orders.parts
        self.accounts: dict[str, Owner] = {}  # those with open orders
        self.bids = BookSide(-1)
        self.asks = BookSide(1)
        self.sides = (self.bids, self.asks)
        self.buy_stops = BookSide(1)
        self.sell_stops = BookSide(-1)
        self.stops = (self.buy_stops, self.sell_stops)
        self.open = 0
        self.last = 0  # trade price; 0: no trade yet
        self.halted = False
        self.closed = False
        self.limit(market)

    def limit(self, market: Market) -> None:
        """Set the limits of the market. Open orders stay as they are."""
        self.market = market
        self.price_low, self.price_high = validation.band(self.last, market)
        self._set_fast_range()
        self.quantity_min = market.quantity_min
        self.quantity_max = market.quantity_max
        self.orders_max = market.orders_max
        self.orders_per_account_max = market.orders_per_account_max
        self.basics = (
            self.symbol,
            self.bids,
            self.asks,
            self.accounts,
            self.quantity_min,
            min(self.quantity_max, SMALL_MAX),
            self.orders_max,
            self.orders_per_account_max,
        )

    # Commands

    def cancel(self, order: Order, reason: Reason | None = None) -> Event:
        """Remove an open order. Self-trade prevention also calls this for a resting order."""
        self.remove(order)
        return _cancelled(
            order.id,
            order.owner.name,
            self.symbol,
            order.side,
            order.price,
            order.remaining,
            reason,
        )

    def expire(self, order: Order) -> Event:
        self.remove(order)
        return self.expired(order)

    def expired(self, order: Order) -> Event:
        """The event that says the rest of `order` expired."""
        return Expired(
            order.id, order.owner.name, self.symbol, order.side, order.price, order.remaining
        )

    def shrink(self, order: Order, remaining: int) -> Event:
        """Reduce `order` to `remaining`, hidden quantity first. It keeps its place."""
        shown = order.remaining - order.hidden
        hidden = max(0, remaining - shown)
        level = order.level
        if order.priority <= level.counted:
            more = remaining - hidden - shown
            level.book_side.changes(level, order, more, hidden - order.hidden)
        order.remaining = remaining
        order.hidden = hidden
        return Reduced(order.id, order.owner.name, self.symbol, order.side, order.price, remaining)

    def set_halted(self, halted: bool) -> Event:
        self.halted = halted
        self._set_fast_range()
        return MarketState(self.symbol, self.status)

    def close(self) -> list[Event]:
        """Cancel all orders, stops included, by ascending id, and take no more."""
        self.closed = True
        events = [self.set_halted(True)]
        found = [order for owner in self.accounts.values() for order in owner]
        found.sort(key=lambda order: order.id)
        events += [self.cancel(order, Reason.MARKET_CLOSED) for order in found]
        return events

    @property
    def status(self) -> MarketStatus:
        if self.closed:
            return MarketStatus.CLOSED
        return MarketStatus.HALTED if self.halted else MarketStatus.OPEN

    def traded(self, price: int) -> None:
        """Record the price of the last trade and move the price band with it."""
        self.last = price
        if self.market.price_band_percent:
            self.price_low, self.price_high = validation.band(price, self.market)
            self._set_fast_range()

    def _set_fast_range(self) -> None:
        """Set the prices at which the fast path accepts orders: none while the market is halted."""
        self.fast_low = self.price_low
        self.fast_high = 0 if self.halted else min(self.price_high, SMALL_MAX)

    # Where orders are kept

    def owner(self, account: str) -> Owner:
        """The account's orders here. The book does not store an account without orders."""
        owner = self.accounts.get(account)
        return Owner(account, self.symbol, self.place) if owner is None else owner

    def rest(self, order: Order) -> None:
        """Add `order` at the back of the queue of its price."""
        self.put(self.sides[order.side], order, order.price)

    def wait(self, order: Order) -> None:
        """Add a stop at the back of the queue of its stop price."""
        order.hidden = 0
        self.put(self.stops[order.side], order, order.terms.stop_price)

    def put(self, book_side: BookSide, order: Order, price: int) -> None:
        """Add `order` at the back of the queue of `price`, and as the newest of its owner."""
        level = book_side.levels.get(price)
        if level is None:
            level = book_side.open(price)
        order.level = level
        order.previous = back = level.last
        id: int = order.id
        order.priority = id
        if back is None:
            level.first = order
        else:
            back.next = order
            ahead = back.priority
            if ahead <= level.counted:
                book_side.grows(level)
            if ahead >= id:
                order.priority = ahead + 1
        level.last = order
        owner = order.owner
        order.older = older = owner.newest
        if older is None:
            self.accounts[owner.name] = owner
        else:
            older.newer = order
        owner.newest = order
        owner.open += 1
        self._parts[id // SPAN % PARTS][id] = order
        self.open += 1
        if order.terms.expire_ms:
            self.ledger.expiries.add((order.terms.expire_ms, order.id))

    def remove(self, order: Order) -> None:
        """Remove `order` from its queue and from its owner. The order keeps no links."""
        id: int = order.id
        del self._parts[id // SPAN % PARTS][id]
        self.open -= 1
        owner = order.owner
        owner.open -= 1
        older = order.older
        newer = order.newer
        if older is not None:
            older.newer = newer
        if newer is not None:
            newer.older = older
        else:
            owner.newest = older
            if older is None:
                del self.accounts[owner.name]
        level = order.level
        if order.priority <= level.counted:
            level.book_side.leaves(level, order)
        before = order.previous
        after = order.next
        order.previous = order.next = order.older = order.newer = None
        if after is not None:
            after.previous = before
        else:
            level.last = before
        if before is not None:
            before.next = after
        else:
            level.first = after
        if level.first is None:
            level.book_side.close(level)
        if order.terms is not _PLAIN and order.terms.expire_ms:
            self.ledger.expiries.remove((order.terms.expire_ms, order.id))

    # Questions

    def orders_of(self, account: str) -> Iterable[Order]:
        """The account's open orders, in unspecified order."""
        return self.accounts.get(account, ())

    def depth(self, side: Side, limit: int) -> list[tuple[int, int, int]]:
        levels = islice(self.sides[side], max(0, limit))
        return [(level.price, level.shown, level.orders) for level in levels]

    def shares(self, side: Side, price: int) -> list[tuple[int, int, int]]:
        book_side = self.sides[side]
        book_side.settle()
        level = book_side.levels.get(price)
        return [] if level is None else level.sources()

    def changes(self) -> list[tuple[Side, int, int, int]]:
        rows = []
        for side, book_side in zip(Side, self.sides, strict=True):
            for price in book_side.take_changed():
                level = book_side.levels.get(price)
                shown, orders = (level.shown, level.orders) if level is not None else (0, 0)
                rows.append((side, price, shown, orders))
        return rows

    def skip_changes(self) -> None:
        for book_side in self.sides:
            book_side.changed.clear()

    # Restoring

    def restore(self, status: MarketStatus, last: int) -> None:
        self.traded(last)
        self.closed = status is MarketStatus.CLOSED
        self.set_halted(status is not MarketStatus.OPEN)
