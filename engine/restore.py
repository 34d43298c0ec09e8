"""An exchange made anew from the pieces of its state.

Owns the reading of pieces and every check of them. Must never trust one: whatever no engine could
have come to is refused.
"""

from collections.abc import Mapping
from itertools import repeat

import msgspec

from engine import validation
from engine.book import Book, Ledger
from engine.book_side import NOWHERE, Order
from engine.order_terms import PLAIN
from engine.pieces import HEAD_KEY, STATE_VERSION, Head, decode_head, encode
from engine.rows import Row, SnapshotError, read
from engine.vocabulary import ID_MAX, TIME_MS_MAX, Submit

_NO_FORM = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_head(pieces: Mapping[int, bytes]) -> Head:
    """The head among `pieces`."""
    piece = pieces.get(HEAD_KEY)
    if piece is None:
        raise SnapshotError("expected a piece of markets and clock, got none")
    try:
        head = decode_head(piece)
    except _NO_FORM as error:
        raise SnapshotError(f"expected markets and clock: {error}") from error
    if head.version != STATE_VERSION:
        raise SnapshotError(f"expected version {STATE_VERSION} of a state, got {head.version}")
    if len(head.books) != len(head.markets):
        raise SnapshotError(
            f"expected {len(head.markets)} books, one a market, got {len(head.books)}"
        )
    if encode(head) != piece:
        raise SnapshotError("expected markets and clock in their one encoding")
    return head


def fill(head: Head, pieces: Mapping[int, bytes], books: list[Book], ledger: Ledger) -> None:
    """Give empty books their orders."""
    if not 0 <= head.time_ms <= TIME_MS_MAX:
        raise SnapshotError(f"clock impossible: {head.time_ms}")
    ledger.time_ms = head.time_ms
    for book, saved in zip(books, head.books, strict=True):
        if not 0 <= saved.last <= book.market.price_max:
            raise SnapshotError(f"{book.symbol}: last price impossible: {saved.last}")
        book.restore(saved.halted, saved.last)
    found: list[Order] = []
    for key, piece in pieces.items():
        if key != HEAD_KEY:
            if not 0 <= key < HEAD_KEY:
                raise SnapshotError(f"expected keys of orders and of the head, got {key}")
            found += map(_order, *read(key, piece), repeat(books))
    found.sort(key=lambda order: order.priority)
    for order in found:
        book = books[order.owner.place]
        stop_price = order.terms.stop_price
        book_side = (book.stops if stop_price else book.sides)[order.side]
        priority = order.priority
        level = book_side.levels.get(stop_price or order.price)
        if level is not None and level.last is not None and level.last.priority == priority:
            raise SnapshotError(
                f"{book.symbol}: order {order.id} has the place of order {level.last.id}"
            )
        order.owner = book.owner(order.owner.name)
        book.put(book_side, order, stop_price or order.price)
        order.priority = priority
    for book in books:
        _check(book)


def _order(id: int, row: Row, books: list[Book]) -> Order:
    if not 0 <= row.market < len(books):
        raise SnapshotError(f"order {id}: expected one of {len(books)} markets, got {row.market}")
    book = books[row.market]
    wrong = _wrong(id, row, book)
    if wrong:
        raise SnapshotError(f"{book.symbol}: order {id}: {wrong}")
    return Order(
        id,
        book.owner(row.account),
        row.side,
        row.price,
        row.quantity,
        row.remaining,
        row.client_id,
        PLAIN if row.terms is None else row.terms,
        NOWHERE,
        None,
        None,
        id + row.behind,
        row.hidden,
    )


def _check(book: Book) -> None:
    """What must hold of a book's orders together."""
    last = book.last
    if last and (book.buy_stops.best_key <= last or book.sell_stops.best_key <= -last):
        raise SnapshotError(f"{book.symbol}: expected stops ahead of the last trade price")
    if book.bids.best and book.asks.best and book.bids.best.price >= book.asks.best.price:
        raise SnapshotError(f"{book.symbol}: expected bids below asks, got them crossed")
    if book.open > book.orders_max:
        raise SnapshotError(f"{book.symbol}: more orders than the market takes: {book.open}")
    for owner in book.accounts.values():
        if owner.open > book.orders_per_account_max:
            raise SnapshotError(
                f"{book.symbol}: more orders than an account may have: {owner.open}"
            )


def _wrong(id: int, row: Row, book: Book) -> str:
    """Why `row` can't be an order of `book`; empty when it can."""
    asked = PLAIN if row.terms is None else row.terms
    command = Submit(
        id,
        row.account,
        book.symbol,
        row.side,
        max(row.quantity, asked.display),  # a replace may leave less than what it shows
        row.price,
        asked.type,
        asked.tif,
        asked.post_only,
        asked.stop_price,
        asked.display,
        asked.self_trade,
        asked.expire_ms,
        row.client_id,
    )
    reason = validation.malformed(command, book.market, book.ledger.time_ms)
    if reason is not None:
        return reason.name
    shown = row.remaining - row.hidden
    waits = asked.stop_price != 0  # and shows nothing yet
    iceberg = row.hidden != 0 or asked.display != 0
    for wrong, text in (
        (row.terms == PLAIN, "expected plain terms left out"),
        (not validation.may_stay(command), "of a type that is never left open"),
        (not 0 < row.remaining <= row.quantity <= book.quantity_max, "open quantity impossible"),
        (row.hidden < 0 or shown <= 0 or (waits and row.hidden), "hidden quantity impossible"),
        (iceberg and not waits and shown > asked.display, "shows more than its display quantity"),
        (not 0 <= row.behind <= ID_MAX, "priority impossible"),
    ):
        if wrong:
            return text
    return ""
