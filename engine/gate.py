"""What a book refuses as it is now, and for which reason.

Owns the checks that look at a book: its limits, its band, whether it is halted, what would cross.
What a command says by itself is checked by `rules`. Each function states its checks in the order of
`Reason`, so that the first one that applies wins. Must never change a book.
"""

from typing import TYPE_CHECKING

from engine import rules
from engine.orders import OrderType, Reason, Replace, Side, Submit
from engine.queue import Order

if TYPE_CHECKING:
    from engine.book import Book


def refuses(book: "Book", terms: Submit) -> Reason | None:
    """Why `terms` can't come in; None when they can."""
    reason = rules.malformed(terms, book.market, book.ledger.time_ms)
    if reason is not None:
        return reason
    if terms.id in book.orders:
        return Reason.DUPLICATE_ID
    if book.halted:
        return Reason.MARKET_HALTED
    reason = rules.wrong_size(terms.quantity, book.market)
    if reason is not None:
        return reason
    if not _in_band(book, terms.type, terms.price, terms.stop_price):
        return Reason.OUTSIDE_PRICE_BAND
    if rules.may_stay(terms):
        if book.owner(terms.account).open >= book.orders_per_account_max:
            return Reason.TOO_MANY_ORDERS
        if book.open >= book.orders_max:
            return Reason.BOOK_FULL
    if terms.post_only and _crosses(book, terms.side, terms.price):
        return Reason.WOULD_CROSS
    return None


def refuses_reduce(book: "Book", order: Order, quantity: int) -> Reason | None:
    """Why `order` can't be reduced to `quantity`; None when it can."""
    reason = rules.wrong_size(quantity, book.market)
    if reason is None and quantity >= order.remaining:
        return Reason.NOT_SMALLER
    return reason


def refuses_replace(
    book: "Book", command: Replace, order: Order, price: int, quantity: int
) -> Reason | None:
    """Why `order` can't get that price and open quantity; None when it can."""
    asked = order.conditions
    if not rules.has_price(asked.type, price, book.market):
        return Reason.INVALID_PRICE
    if not rules.few_slices(quantity, asked.display, book.market):
        return Reason.INVALID_DISPLAY
    if order.owner.name != command.account:
        return Reason.NOT_OWNER
    if book.halted:
        return Reason.MARKET_HALTED
    if command.quantity:
        reason = rules.wrong_size(quantity, book.market)
        if reason is not None:
            return reason
    if command.price and not _in_band(book, asked.type, price, asked.stop_price):
        return Reason.OUTSIDE_PRICE_BAND
    if asked.post_only and _crosses(book, order.side, price):
        return Reason.WOULD_CROSS
    return None


def _in_band(book: "Book", type: OrderType, price: int, stop_price: int) -> bool:
    """A limit is held against the last trade, a stop-limit against its own stop price, which is
    where the last trade will be when it matters."""
    if not price:
        return True
    if type is OrderType.LIMIT:
        low, high = book.price_low, book.price_high
    else:
        low, high = rules.band(stop_price, book.market)
    return bool(low <= price <= high)


def _crosses(book: "Book", side: Side, price: int) -> bool:
    return bool(book.sides[1 - side].best_key <= (-price if side else price))
