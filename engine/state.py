"""The state of an exchange as bytes: digest and snapshot.

Owns both encodings. Must never change a book, but for `fill`, which fills an empty one.

The digest is SHA-256 over a header (markets, clock, last prices, halts) and, for each side, the
digests of its levels in key order. A level's digest covers its orders in queue order, and is made
anew only when the level was touched since the last call, from rows of which only those of changed
orders are encoded anew.
"""

from bisect import bisect_left
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from engine import validation
from engine.book import Book, Ledger
from engine.book_side import NOWHERE, BookSide, Level, Order, state_of
from engine.order_terms import OrderTerms, shared
from engine.vocabulary import Market, Side, Submit

SNAPSHOT_VERSION = 1
_MAGIC = b"p2p-orderbook engine\0"
_DIGEST_SIZE = 32


class SnapshotError(ValueError):
    """Bytes that are no snapshot of an exchange. Says what was expected and what came."""


class Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of an Order that are state, in its order."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    quantity: int
    remaining: int
    hidden: int
    client_id: str
    terms: OrderTerms


class BookState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    halted: bool
    last: int
    book_sides: tuple[list[Kept], list[Kept], list[Kept], list[Kept]]  # each in serving order


class State(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    markets: list[Market]
    time_ms: int
    books: list[BookState]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def _encoded(level: Level) -> bytes:
    """The level's orders, oldest first, as msgpack that reads back as list[Kept]."""
    rows = [b""]
    order = level.first
    while order is not None:
        row = order.row
        if not row:
            row = order.row = _encoder.encode(state_of(order))
        rows.append(row)
        order = order.next
    rows[0] = _array_header(len(rows) - 1)
    return b"".join(rows)


def _array_header(length: int) -> bytes:
    """What begins a msgpack array of that length."""
    if length < 16:
        return bytes((0x90 | length,))
    if length < 1 << 16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


class LevelDigests:
    """The digests of one side's levels, side by side in key order."""

    def __init__(self, book_side: BookSide) -> None:
        self.book_side = book_side
        self.keys: list[int] = []
        self.digests = bytearray()

    def update(self) -> bytearray:
        book_side = self.book_side
        keys, digests = self.keys, self.digests
        for price in book_side.take_stale():
            key = price * book_side.sign
            at = bisect_left(keys, key)
            here = at < len(keys) and keys[at] == key
            start = at * _DIGEST_SIZE
            end = start + _DIGEST_SIZE if here else start
            level = book_side.levels.get(price)
            if level is None:
                del digests[start:end]
                del keys[at : at + here]
            else:
                digests[start:end] = sha256(_encoded(level)).digest()
                if not here:
                    keys.insert(at, key)
        return digests


class Digester:
    """Digests an exchange, remembering what has not changed since the last time."""

    def __init__(self, books: Mapping[str, Book], ledger: Ledger) -> None:
        self.books = list(books.values())
        self.ledger = ledger
        self.markets = _encoder.encode([book.market for book in self.books])
        self.book_sides = [
            LevelDigests(book_side)
            for book in self.books
            for book_side in (*book.sides, *book.stops)
        ]

    def digest(self) -> bytes:
        """A level's digest stands for its price and side too: they are terms of its orders."""
        whole = sha256(self.markets)
        heads = [(book.halted, book.last, book.open) for book in self.books]
        digests = [book_side.update() for book_side in self.book_sides]
        sizes = [len(each) for each in digests]
        whole.update(_encoder.encode((self.ledger.time_ms, heads, sizes)))
        for each in digests:
            whole.update(each)
        return whole.digest()


def dump(books: Mapping[str, Book], ledger: Ledger) -> bytes:
    """The snapshot of an exchange: a magic, the SHA-256 of the body, the body in msgpack."""
    body = _encoder.encode(
        State(
            [book.market for book in books.values()],
            ledger.time_ms,
            [_book_state(book) for book in books.values()],
        )
    )
    return b"".join((_MAGIC, bytes([SNAPSHOT_VERSION]), sha256(body).digest(), body))


def _book_state(book: Book) -> BookState:
    bids, asks, buys, sells = (
        [state_of(order) for level in book_side for order in level]
        for book_side in (*book.sides, *book.stops)
    )
    book_sides: Any = (bids, asks, buys, sells)  # of tuples that read back as Kept
    return BookState(book.halted, book.last, book_sides)


def load(data: bytes) -> State:
    """The state in a snapshot, its form checked. SnapshotError when it is none."""
    start = len(_MAGIC) + 1 + _DIGEST_SIZE
    if len(data) < start or not data.startswith(_MAGIC):
        raise SnapshotError(f"expected a snapshot, got {len(data)} bytes without its mark")
    version = data[len(_MAGIC)]
    if version != SNAPSHOT_VERSION:
        raise SnapshotError(f"expected snapshot version {SNAPSHOT_VERSION}, got {version}")
    body = memoryview(data)[start:]
    if sha256(body).digest() != data[start - _DIGEST_SIZE : start]:
        raise SnapshotError("the snapshot's bytes are not those it was written with")
    try:
        state = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"expected a snapshot's fields: {error}") from error
    if len(state.books) != len(state.markets):
        raise SnapshotError(
            f"expected {len(state.markets)} books, one a market, got {len(state.books)}"
        )
    return state


def fill(state: State, books: Mapping[str, Book], ledger: Ledger) -> None:
    """Give empty books the orders of `state`. SnapshotError when they can't be in a book."""
    ledger.time_ms = state.time_ms
    for book, saved in zip(books.values(), state.books, strict=True):
        book.restore(saved.halted, saved.last)
        for book_side, rows in zip((*book.sides, *book.stops), saved.book_sides, strict=True):
            for kept in rows:
                wrong = _wrong(kept, book_side, book)
                if wrong:
                    raise SnapshotError(f"{book.symbol}: order {kept.id}: {wrong}")
                order = _order(kept, book)
                book.put(book_side, order, order.terms.stop_price or order.price)
            book_side.take_changed()
        last = book.last
        if last and (book.buy_stops.best_key <= last or book.sell_stops.best_key <= -last):
            raise SnapshotError(f"{book.symbol}: expected stops ahead of the last trade price")
        if book.bids.best and book.asks.best and book.bids.best.price >= book.asks.best.price:
            raise SnapshotError(f"{book.symbol}: expected bids below asks, got them crossed")


def _order(kept: Kept, book: Book) -> Order:
    return Order(
        kept.id,
        book.owner(kept.account),
        kept.side,
        kept.price,
        kept.quantity,
        kept.remaining,
        kept.hidden,
        kept.client_id,
        shared(kept.terms),
        NOWHERE,
        None,
        None,
    )


def _wrong(kept: Kept, book_side: BookSide, book: Book) -> str:
    """Why `kept` can't be an order of `book_side`; empty when it can."""
    asked = kept.terms
    command = Submit(
        kept.id,
        kept.account,
        kept.market,
        kept.side,
        max(kept.quantity, asked.display),  # a replace may leave less than what it shows
        kept.price,
        asked.type,
        asked.tif,
        asked.post_only,
        asked.stop_price,
        asked.display,
        asked.self_trade,
        asked.expire_ms,
        kept.client_id,
    )
    reason = validation.malformed(command, book.market, book.ledger.time_ms)
    if reason is not None:
        return reason.name
    book_sides = book.stops if asked.stop_price else book.sides
    shown = kept.remaining - kept.hidden
    waits = asked.stop_price != 0  # and shows nothing yet
    iceberg = kept.hidden != 0 or asked.display != 0
    for wrong, text in (
        (kept.market != book.symbol, f"expected its market, got {kept.market!r}"),
        (
            book_sides[kept.side] is not book_side,
            "on the wrong side, or a stop among resting orders",
        ),
        (not validation.may_stay(command), "of a type that is never left open"),
        (kept.id in book.orders, "a second order of that id"),
        (not 0 < kept.remaining <= kept.quantity <= book.quantity_max, "open quantity impossible"),
        (kept.hidden < 0 or shown <= 0 or (waits and kept.hidden), "hidden quantity impossible"),
        (iceberg and not waits and shown > asked.display, "shows more than its display quantity"),
        (book.open >= book.orders_max, "more orders than the market takes"),
    ):
        if wrong:
            return str(text)
    return ""
