"""Make the books of an exchange those of a state that is given in pieces.

Owns the reading of pieces and every check of them. Must never trust a piece: it refuses any state
that no engine could reach.

Only orders that differ are touched. Books without orders become those of a whole state.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine import validation
from engine.book import Book, Ledger
from engine.book_side import SHARES_COUNTED_MAX, BookSide, Level, Order
from engine.order_row import Fields, Row
from engine.order_terms import PLAIN
from engine.pieces import HEAD_KEY, STATE_VERSION, Head, decode_head, encode
from engine.rows import SnapshotError, compared, read
from engine.vocabulary import MARKETS_MAX, TIME_MS_MAX, MarketStatus, Submit

_NO_FORM = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Found(NamedTuple):
    """What is put in order once all pieces are read."""

    expiries: list[tuple[int, int]]  # expire_ms, id
    mixed: dict[Level, None]  # levels with orders that are not in the order of priority
    large: list[Level]  # levels that keep their shares
    opened: list[Level]  # new levels, whose keys are in no order yet


def read_head(pieces: Mapping[int, bytes]) -> Head:
    """The head among `pieces`."""
    piece = pieces.get(HEAD_KEY)
    if piece is None:
        raise SnapshotError("expected a piece with markets and clock, got none")
    try:
        head = decode_head(piece)
    except _NO_FORM as error:
        raise SnapshotError(f"expected markets and clock: {error}") from error
    if head.version != STATE_VERSION:
        raise SnapshotError(f"expected state version {STATE_VERSION}, got {head.version}")
    if len(head.books) != len(head.markets):
        raise SnapshotError(
            f"expected one book for each of {len(head.markets)} markets, got {len(head.books)}"
        )
    if sum(book.status is not MarketStatus.CLOSED for book in head.books) > MARKETS_MAX:
        raise SnapshotError(f"expected at most {MARKETS_MAX} markets that are not closed")
    if encode(head) != piece:
        raise SnapshotError("expected markets and clock in canonical encoding, got another")
    return head


class Came(NamedTuple):
    """The orders that came, or are other orders now."""

    ids: list[int]
    pieces: list[tuple[int, bytes]]  # by ascending key, of these orders alone


def change(
    head: Head,
    before: Mapping[int, bytes],
    after: Mapping[int, bytes],
    books: Sequence[Book],
    ledger: Ledger,
) -> Came:
    """Change books and ledger from one state to another. `before` and `after` have the pieces that
    differ, under the same keys; an empty one is not there.

    SnapshotError for a state that is none: then the books are of no use any more.
    """
    came = Came([], [])
    for key in sorted(after):
        if key != HEAD_KEY:
            gone, new = _different(key, before[key], after[key])
            for id in gone:
                order = ledger.orders[id]
                books[order.owner.place].remove(order)
            if new:
                came.pieces.append((key, new))
    _set(head, books, ledger)
    found = _Found([], {}, [], [])
    for key, piece in came.pieces:
        ids, rows = read(key, piece)
        _put(ids, rows, books, ledger.orders.part(ids[0]), found)
        came.ids.extend(ids)
    _put_in_order(found, books, ledger)
    for book in books:
        book.open = sum(owner.open for owner in book.accounts.values())
        _check(book)
    return came


def _set(head: Head, books: Sequence[Book], ledger: Ledger) -> None:
    """Set the clock, and what a market has besides orders."""
    if not 0 <= head.time_ms <= TIME_MS_MAX:
        raise SnapshotError(f"expected a clock from 0 to {TIME_MS_MAX}, got {head.time_ms}")
    ledger.time_ms = head.time_ms
    if ledger.expiries and ledger.expiries[0][0] <= head.time_ms:
        raise SnapshotError(
            f"order {ledger.expiries[0][1]}: expected none that had to expire by {head.time_ms}"
        )
    for book, saved in zip(books, head.books, strict=True):
        if not 0 <= saved.last <= book.market.price_max:
            most = book.market.price_max
            raise SnapshotError(
                f"{book.symbol}: expected a last price from 0 to {most}, got {saved.last}"
            )
        book.restore(saved.status, saved.last)


def _different(key: int, before: bytes, after: bytes) -> tuple[list[int], bytes]:
    """The orders of a piece that go, and a piece of those that come."""
    if after and not 0 <= key < HEAD_KEY:
        raise SnapshotError(f"expected a key of orders or of the head, got {key}")
    return compared(key, before, after)


def _put(
    ids: list[int],
    rows: list[Fields],
    books: Sequence[Book],
    orders: dict[int, Order],
    found: _Found,
) -> None:
    """Put the orders of a piece at the back of their levels. `orders` is where their ids are."""
    plain, make, last = PLAIN, Order, -1
    for id, row in zip(ids, rows, strict=True):
        account, place, side, price, quantity, remaining, hidden, behind, client, terms = row
        if place != last:
            book = _book(id, place, books)
            accounts, sides, last = book.accounts, book.sides, place
            price_max, quantity_max = book.market.price_max, book.quantity_max
        if (
            terms is None
            and not hidden
            and 0 < price <= price_max
            and remaining <= quantity <= quantity_max
        ):
            terms, book_side, at = plain, sides[side], price
        else:
            book_side, at = _checked(id, row, book, found)
            terms = terms or plain
        owner = accounts.get(account) or accounts.setdefault(account, book.owner(account))
        older = owner.newest
        left = quantity if quantity == remaining else remaining
        rank = id + behind if behind else id
        level = book_side.levels.get(at)
        if level is None:
            level = book_side.levels[at] = Level(
                book_side, at * book_side.sign, at, None, None, rank, 1, left - hidden, hidden
            )
            found.opened.append(level)
            back = None
        else:
            if at == price:
                price = level.price  # one object for all orders
            back, level.counted = level.last, rank
            level.orders += 1
            if level.orders == SHARES_COUNTED_MAX + 1 or level.shares is not None:
                level.shares = None  # to be counted again
                found.large.append(level)
            level.shown += left - hidden
            level.hidden += hidden
        order = orders[id] = make(
            id, owner, side, price, quantity, left, client, terms, level, back, older, rank, hidden
        )
        if older is not None:
            older.newer = order
        owner.newest = order
        owner.open += 1
        if back is None:
            level.first = order
        else:
            back.next = order
            if back.priority >= rank:
                found.mixed[level] = None
        level.last = order


def _book(id: int, place: int, books: Sequence[Book]) -> Book:
    if place >= len(books):
        raise SnapshotError(
            f"order {id}: expected a market from 0 to {len(books) - 1}, got {place}"
        )
    return books[place]


def _put_in_order(found: _Found, books: Sequence[Book], ledger: Ledger) -> None:
    for level in found.mixed:
        _sort(level)
    for level in found.large:
        level.count()
    ledger.expiries.update(found.expiries)
    book_sides = [side for book in books for side in (*book.sides, *book.stops)]
    if 2 * len(found.opened) > sum(len(side.levels) for side in book_sides):
        for book_side in book_sides:
            book_side.sort()
    else:
        for level in found.opened:
            level.book_side.opened(level)


def _sort(level: Level) -> None:
    """Queue the orders of a level by priority."""
    queue = sorted(level, key=lambda order: order.priority)
    before: Order | None = None
    for order in queue:
        order.previous = before
        order.next = None
        if before is None:
            level.first = order
        elif before.priority == order.priority:
            raise SnapshotError(
                f"order {order.id}: expected a priority of its own, got that of order {before.id}"
            )
        else:
            before.next = order
        level.last = before = order
        level.counted = order.priority


def _check(book: Book) -> None:
    """Check what must be true of all orders of a book together."""
    last = book.last
    if book.closed and book.open:
        raise SnapshotError(f"{book.symbol}: expected no orders in a closed market")
    if last and (book.buy_stops.best_key <= last or book.sell_stops.best_key <= -last):
        raise SnapshotError(
            f"{book.symbol}: expected only stops that wait, got one that {last} has reached"
        )
    if book.bids.best and book.asks.best and book.bids.best.price >= book.asks.best.price:
        raise SnapshotError(f"{book.symbol}: expected bids below asks, got a crossed book")
    if book.open > book.orders_max:
        raise SnapshotError(
            f"{book.symbol}: expected at most {book.orders_max} open orders, got {book.open}"
        )
    for owner in book.accounts.values():
        if owner.open > book.orders_per_account_max:
            raise SnapshotError(
                f"{book.symbol}: expected at most {book.orders_per_account_max} open orders "
                f"of an account, got {owner.open}"
            )


def _checked(id: int, row: Fields, book: Book, found: _Found) -> tuple[BookSide, int]:
    """An order's side and the price of its level. Notes when it expires. SnapshotError if the order
    is impossible."""
    fields = Row(*row)
    wrong = _wrong(id, fields, book)
    if wrong:
        raise SnapshotError(f"{book.symbol}: order {id}: {wrong}")
    terms = fields.terms or PLAIN
    if terms.expire_ms:
        found.expiries.append((terms.expire_ms, id))
    stop_price = terms.stop_price
    return (book.stops if stop_price else book.sides)[fields.side], stop_price or fields.price


def _wrong(id: int, row: Row, book: Book) -> str:
    """Why `row` can't be an order of `book`; empty when it can be one."""
    asked = PLAIN if row.terms is None else row.terms
    command = Submit(
        id,
        row.account,
        book.symbol,
        row.side,
        max(row.quantity, asked.display),  # a replace may leave less than it shows
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
        (row.terms == PLAIN, "expected no terms for a plain order, got some"),
        (not validation.may_stay(command), "expected an order that can rest, got another type"),
        (
            not row.remaining <= row.quantity <= book.quantity_max,
            "expected an open quantity within the order's, got a larger one",
        ),
        (
            shown <= 0 or (waits and row.hidden),
            "expected less hidden than open quantity, and none of a waiting stop",
        ),
        (
            iceberg and not waits and shown > asked.display,
            "expected at most its display quantity to be displayed, got more",
        ),
    ):
        if wrong:
            return text
    return ""
