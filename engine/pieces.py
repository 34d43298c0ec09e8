"""The state of an exchange as pieces: byte strings under 64-bit keys, and one tree over them.

Owns the pieces, the tree of their digests, and how both follow the books. Must never change a book.

The highest four bits of the key give the kind of a piece. Kind 0 has open orders, see `rows`. Kind
1 is the head: markets, clock, halts and last prices. An update costs what changed since the last
one: a row for each changed order, and the digests above it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final
from weakref import ref

import msgspec

from engine.book import Book, Ledger
from engine.hash_tree import HashTree, Leaf, leaf_digest
from engine.rows import key_of, read, row_of, spliced
from engine.vocabulary import Market, MarketStatus

STATE_VERSION: Final = 4
KIND_SHIFT: Final = 60  # a key's bits above this are its kind: 0 orders, 1 the head
HEAD_KEY: Final = 1 << KIND_SHIFT


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
        self._book_sides = [side for book in self.books for side in (*book.sides, *book.stops)]
        self.limited()
        self._frozen: list[ref[Frozen]] = []  # weak: the caller may drop them
        self._follows = False

    def update(self) -> HashTree:
        """Bring the pieces up to date with the books. Returns their tree."""
        if not self._follows:
            self._follow()
            self.stale.update(self.ledger.orders)
        for book_side in self._book_sides:
            book_side.settle()
        self._frozen = [each for each in self._frozen if (one := each()) and one.is_open]
        rows: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)  # by piece
        for id in sorted(self.stale):
            order = self.ledger.orders.get(id)
            rows[key_of(id)].append((id, b"" if order is None else row_of(order)))
        self.stale.clear()
        old = self.pieces
        changes = [self._put(key, spliced(old.get(key, b""), of)) for key, of in rows.items()]
        head = encode((STATE_VERSION, self._markets, self.ledger.time_ms, self._heads()))
        if head != self.pieces.get(HEAD_KEY):
            changes.append(self._put(HEAD_KEY, head))
        self.tree = self.tree.updated(changes)
        return self.tree

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

    def _put(self, key: int, piece: bytes) -> Leaf:
        before = self.pieces.get(key, b"")
        for each in reversed(self._frozen):
            frozen = each()
            if frozen is not None and frozen.is_open and not frozen.keep(key, before):
                break  # all earlier ones have it too
        if not piece:
            self.pieces.pop(key, None)
            return Leaf(key, b"")
        self.pieces[key] = piece
        return Leaf(key, leaf_digest(key, piece))

    def restored(self, pieces: dict[int, bytes]) -> None:
        """Take `pieces` as the pieces of the books now."""
        self._follow()
        self.pieces = pieces
        leaves = (Leaf(key, leaf_digest(key, piece)) for key, piece in pieces.items())
        self.tree = HashTree().updated(leaves)

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
