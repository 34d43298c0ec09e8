"""What a book refuses in its present state, and for which reason.

Owns the checks that look at a book: its limits, its band, whether it is halted, what would cross.
`validation` checks a command's own fields. Each function runs its checks in the order of `Reason`,
so the first reason that applies wins. Must never change a book.
"""

from engine import validation
from engine.book import Book
from engine.book_side import Order
from engine.vocabulary import OrderType, Reason, Replace, Side, Submit


def refuses(book: Book, command: Submit) -> Reason | None:
    """Why the book refuses `command`; None when it accepts it."""
    reason = validation.malformed(command, book.market, book.ledger.time_ms)
    if reason is not None:
        return reason
    if command.id in book.orders:
        return Reason.DUPLICATE_ID
    if book.halted:
        return Reason.MARKET_CLOSED if book.closed else Reason.MARKET_HALTED
    reason = validation.wrong_size(command.quantity, book.market)
    if reason is not None:
        return reason
    if not _in_band(book, command.type, command.price, command.stop_price):
        return Reason.OUTSIDE_PRICE_BAND
    if validation.may_stay(command):
        if book.owner(command.account).open >= book.orders_per_account_max:
            return Reason.TOO_MANY_ORDERS
        if book.open >= book.orders_max:
            return Reason.BOOK_FULL
    if command.post_only and _crosses(book, command.side, command.price):
        return Reason.WOULD_CROSS
    return None


def refuses_reduce(book: Book, order: Order, quantity: int) -> Reason | None:
    """Why the book refuses to reduce `order` to `quantity`; None when it accepts."""
    reason = validation.wrong_size(quantity, book.market)
    if reason is None and quantity >= order.remaining:
        return Reason.NOT_SMALLER
    return reason


def refuses_replace(
    book: Book, command: Replace, order: Order, price: int, quantity: int
) -> Reason | None:
    """Why `order` can't take this price and open quantity; None when it can."""
    asked = order.terms
    if not validation.has_price(asked.type, price, book.market):
        return Reason.INVALID_PRICE
    if not validation.few_slices(quantity, asked.display, book.market):
        return Reason.INVALID_DISPLAY
    if order.owner.name != command.account:
        return Reason.NOT_OWNER
    if book.halted:
        return Reason.MARKET_HALTED
    if command.quantity:
        reason = validation.wrong_size(quantity, book.market)
        if reason is not None:
            return reason
    if command.price and not _in_band(book, asked.type, price, asked.stop_price):
        return Reason.OUTSIDE_PRICE_BAND
    if asked.post_only and _crosses(book, order.side, price):
        return Reason.WOULD_CROSS
    return None


def _in_band(book: Book, type: OrderType, price: int, stop_price: int) -> bool:
    """A limit's band is around the last trade. A stop-limit's band is around its stop price: the
    last trade will be there when the stop triggers."""
    if not price:
        return True
    if type is OrderType.LIMIT:
        low, high = book.price_low, book.price_high
    else:
        low, high = validation.band(stop_price, book.market)
    return bool(low <= price <= high)


def _crosses(book: Book, side: Side, price: int) -> bool:
    return bool(book.sides[1 - side].best_key <= (-price if side else price))
