"""The state of an exchange as pieces: byte strings under 64-bit keys, and one tree over them.

Owns the pieces, the tree of their digests, and how both follow the books. Must never change a book.

The highest four bits of the key give the kind of a piece. Kind 0 has open orders, see `rows`. Kind
1 is the head: markets, clock, halts and last prices. An update costs what changed since the last
one: a row for each changed order, and the digests above it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from weakref import ref

import msgspec

from engine.book import Book, Ledger
from engine.hash_tree import HashTree, leaf_digest
from engine.order_index import PARTS, SPAN
from engine.rows import SnapshotError, key_of, read, row_of, spliced
from engine.vocabulary import Market, MarketStatus

STATE_VERSION: Final = 4
KIND_SHIFT: Final = 60  # a key's bits above this are its kind: 0 orders, 1 the head
HEAD_KEY: Final = 1 << KIND_SHIFT
# More work than this does not wait for an update. Each is a few milliseconds.
ORDERS_MAX: Final = 4_000
PIECE_ORDERS: Final = 8  # to change a piece takes as long as so many orders in it
LEAVES_MAX: Final = 2_048


class BookState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    status: MarketStatus
    last: int


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    markets: list[Market]
    time_ms: int
    books: list[BookState]


encode: Final = msgspec.msgpack.Encoder().encode
decode_head: Final = msgspec.msgpack.Decoder(Head).decode


def symbols_of(head: bytes) -> list[str]:
    """The markets in the piece of the head, closed ones included: an order names its market by its
    place among them, which never changes. SnapshotError if the piece is invalid."""
    try:
        return [market.symbol for market in decode_head(head).markets]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"expected markets and clock: {error}") from error


class Frozen:
    """The pieces at one moment. It keeps the old bytes of each piece that changes later."""

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        self._pieces: Mapping[int, bytes] | None = pieces
        self._before: dict[int, bytes] = {}

    def piece(self, key: int) -> bytes:
        """The piece at that moment; empty if there was none."""
        assert self._pieces is not None, "this frozen state is closed"
        before = self._before.get(key)
        return self._pieces.get(key, b"") if before is None else before

    @property
    def is_open(self) -> bool:
        return self._pieces is not None

    @property
    def kept(self) -> int:
        """The number of pieces changed since."""
        return len(self._before)

    def keep(self, key: int, piece: bytes) -> bool:
        """Keep `piece`, which is about to change. False if it has changed before."""
        if key in self._before:
            return False
        self._before[key] = piece
        return True

    def close(self) -> None:
        """Drop every kept piece."""
        self._pieces = None
        self._before.clear()


class Pieces:
    """The pieces of an exchange. `update` brings them up to date."""

    def __init__(self, books: Mapping[str, Book], ledger: Ledger) -> None:
        self.books = list(books.values())
        self.ledger = ledger
        self.stale: set[int] = set()  # ids of orders that changed since the last update
        self.pieces: dict[int, bytes] = {}
        self.tree = HashTree()
        self._leaves: dict[int, bytes] = {}  # digests of changed pieces that the tree lacks
        self._book_sides = [side for book in self.books for side in (*book.sides, *book.stops)]
        self.limited()
        self._frozen: list[ref[Frozen]] = []  # weak: the caller may drop them
        self._follows = False

    def update(self) -> HashTree:
        """Bring the pieces up to date with the books. Returns their tree."""
        if not self._follows:
            self._follow()
            self.stale.update(self.ledger.orders)
        self._encode()
        head = encode((STATE_VERSION, self._markets, self.ledger.time_ms, self._heads()))
        if head != self.pieces.get(HEAD_KEY):
            self._put([(HEAD_KEY, head)])
        self._hash()
        return self.tree

    def keep_up(self, left: int) -> None:
        """Do a part of the next update, which is `left` calls away, if much is to be done. So
        neither takes long. Waiting saves work where the same pieces change again."""
        if not self._follows:
            return
        if len(self._leaves) >= LEAVES_MAX or left == 2:
            self._hash()
            return
        waiting = len(self.stale) + sum(len(side.touched) for side in self._book_sides)
        work = waiting + PIECE_ORDERS * min(waiting, len(self.pieces))
        if work >= ORDERS_MAX or left == 1:
            self._encode()

    def _encode(self) -> None:
        """Bring each piece up to date. Their digests wait for `_hash`."""
        for book_side in self._book_sides:
            book_side.settle()
        parts = self.ledger.orders.parts
        rows: dict[int, list[tuple[int, bytes]]] = {}  # by piece
        for id in sorted(self.stale):
            order = parts[id // SPAN % PARTS].get(id)
            row = b"" if order is None else row_of(order)
            key = key_of(id)
            if key in rows:
                rows[key].append((id, row))
            else:
                rows[key] = [(id, row)]
        self.stale.clear()
        self._put((key, spliced(self.piece(key), changes)) for key, changes in rows.items())

    def _hash(self) -> None:
        """Bring the tree up to date with the pieces."""
        self.tree = self.tree.updated(self._leaves.items())
        self._leaves.clear()

    def _follow(self) -> None:
        """Start to collect the ids of changed orders."""
        self._follows = True
        for book_side in self._book_sides:
            book_side.settle()
            book_side.stale = self.stale

    def limited(self) -> None:
        """The limits of a market have changed."""
        self._markets = msgspec.Raw(encode([book.market for book in self.books]))

    def added(self, book: Book) -> None:
        """There is another book, without orders."""
        self.books.append(book)
        self._book_sides += (*book.sides, *book.stops)
        if self._follows:
            for book_side in (*book.sides, *book.stops):
                book_side.stale = self.stale
        self.limited()

    def _heads(self) -> list[tuple[int, int]]:
        return [(book.status, book.last) for book in self.books]

    def _put(self, changes: Iterable[tuple[int, bytes]]) -> None:
        """Replace pieces, at most one per key. An empty one removes its key."""
        self._frozen = [each for each in self._frozen if (one := each()) and one.is_open]
        frozen = [one for each in reversed(self._frozen) if (one := each())]
        pieces, leaves = self.pieces, self._leaves
        for key, piece in changes:
            before = pieces.get(key, b"")
            for one in frozen:
                if not one.keep(key, before):
                    break  # all earlier ones have it too
            if piece:
                pieces[key] = piece
                leaves[key] = leaf_digest(key, piece)
            else:
                pieces.pop(key, None)
                leaves[key] = b""

    def piece(self, key: int) -> bytes:
        """Empty if there is none."""
        return self.pieces.get(key, b"")

    def revised(self, changes: Mapping[int, bytes]) -> None:
        """The books have become those of another state, of which these pieces are different. All
        pieces were up to date before."""
        for book_side in self._book_sides:
            book_side.settle()
        self.stale.clear()
        self._put(changes.items())
        self._hash()

    def freeze(self) -> Frozen:
        self.update()
        frozen = Frozen(self.pieces)
        self._frozen.append(ref(frozen))
        return frozen

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        self.update()
        return iter(sorted(self.pieces.items()))

    def check(self) -> None:
        """Assert that every order not marked stale is up to date. For tests."""
        if not self._follows:
            return
        orders = self.ledger.orders
        inside: set[int] = set()
        for key, piece in self.pieces.items():
            if key != HEAD_KEY:
                ids, rows = read(key, piece)
                inside.update(ids)
                for id, row in zip(ids, rows, strict=True):
                    assert id in self.stale or encode(row) == row_of(orders[id])
        for order in orders.values():
            counted = order.priority <= order.level.counted
            assert order.id in inside or order.id in self.stale or not counted
