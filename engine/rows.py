"""Open orders as bytes: one row per order. A piece has the rows whose ids share the high bits, and
whose sources are neighbours.

Owns that encoding. The same orders have exactly one encoding. Must never know a book.

A piece begins with its number of rows. Then come the lowest bits of their ids, ascending, the
lengths of the rows, and the rows. Every number before the rows has two bytes, the lowest first. So
the code changes one row without reading the others and needs no other index.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import ge
from typing import Final

import msgspec

from engine.book_side import Order
from engine.order_row import LONGEST_ROW_BYTES, Fields, Row, decode_rows, encode_row
from engine.order_terms import PLAIN
from engine.vocabulary import ID_MAX, SOURCES

CHUNK_SHIFT: Final = 12  # a piece has ids that differ only in this many lowest bits
_LOWS: Final = 1 << CHUNK_SHIFT
# Only 16 of the 256 sources are in one piece, so that it fits a message however many there are.
_GROUP_SHIFT: Final = 4
_GROUP_LAST: Final = SOURCES - 1 >> _GROUP_SHIFT
_GROUPS: Final = [bytes(range(n, n + 16)) for n in range(0, SOURCES, 1 << _GROUP_SHIFT)]
_GROUP_AT: Final = 48  # in a key, above the high bits of the ids
_CHANGES_FEW: Final = 4  # each costs less than an index of all rows
_ROWS_AT: Final = 2  # bytes, plus four per row
_NO_ROWS: Final = bytes(_ROWS_AT)
_SWAPPED: Final = sys.byteorder == "big"
# Bound here because compiled code looks up an imported name in a dictionary at each use.
_decode: Final = decode_rows
_encode: Final = encode_row


class SnapshotError(ValueError):
    """Pieces that are not a state of an exchange. Says what was expected and what came."""


# A piece with all orders it can have, and the longest of everything in each.
PIECE_BYTES_MAX: Final = _ROWS_AT + (_LOWS // SOURCES << _GROUP_SHIFT) * (4 + LONGEST_ROW_BYTES)


def row_of(order: Order) -> bytes:
    owner = order.owner
    terms = order.terms
    fields: Fields = (
        owner.name,
        owner.place,
        order.side,
        order.price,
        order.quantity,
        order.remaining,
        order.hidden,
        order.priority - order.id,
        order.client_id,
        None if terms is PLAIN else terms,
    )
    return _encode(fields)


def key_of(id: int) -> int:
    """The key of the piece that holds an order."""
    return id >> CHUNK_SHIFT | (id >> _GROUP_SHIFT & _GROUP_LAST) << _GROUP_AT


def ids_of(key: int) -> tuple[int, int]:
    """The lowest and the highest id that a piece can hold."""
    group, high = key >> _GROUP_AT, key & (1 << _GROUP_AT) - 1
    first = high << CHUNK_SHIFT | group << _GROUP_SHIFT
    return first, first + _LOWS - SOURCES + (1 << _GROUP_SHIFT) - 1


def spliced(piece: bytes, changes: Sequence[tuple[int, bytes]]) -> bytes:
    """The piece after `changes`: ascending ids with their rows. An empty row removes the order. A
    piece without rows is empty."""
    if len(changes) <= _CHANGES_FEW:
        for id, row in changes:
            piece = _changed(piece or _NO_ROWS, id % _LOWS, row)
        return piece if piece != _NO_ROWS else b""
    lows, lengths = _index(piece or _NO_ROWS)
    start = _ROWS_AT + 4 * len(lows)
    end = len(piece)
    last = lows[-1] if lows else -1
    new = len(changes)
    while new and changes[new - 1][0] % _LOWS > last:
        new -= 1
    added = [(id % _LOWS, row) for id, row in changes[new:] if row]
    parts = [row for _, row in reversed(added)]  # the last one first
    for id, row in reversed(changes[:new]):
        low = id % _LOWS
        at = bisect_left(lows, low)
        rest = offset = start + sum(lengths[:at])
        if at < len(lows) and lows[at] == low:
            rest += lengths[at]
            del lows[at], lengths[at]
        if row:
            lows.insert(at, low)
            lengths.insert(at, len(row))
        parts += (piece[rest:end], row)
        end = offset
    lows.extend([low for low, _ in added])
    lengths.extend([len(row) for _, row in added])
    if not lows:
        return b""
    parts += (piece[start:end], _header(lows, lengths))
    parts.reverse()
    return b"".join(parts)


def _changed(piece: bytes, low: int, row: bytes) -> bytes:
    """The piece after one change."""
    count = piece[0] | piece[1] << 8
    lengths_at = _ROWS_AT + 2 * count
    rows_at = lengths_at + 2 * count
    numbers = _numbers(piece[_ROWS_AT:rows_at])
    at = bisect_left(numbers, low, 0, count)
    low_at, length_at = _ROWS_AT + 2 * at, lengths_at + 2 * at
    row_at = rows_at + sum(numbers[count : count + at])
    old = row_end = 0
    if at < count and numbers[at] == low:
        old, row_end = 2, numbers[count + at]
    new = 2 if row else 0
    parts: tuple[bytes, ...]
    if old == new:
        parts = (piece[:length_at], len(row).to_bytes(new, "little"))
    else:
        parts = (
            (count + 1 if new else count - 1).to_bytes(_ROWS_AT, "little"),
            piece[_ROWS_AT:low_at],
            low.to_bytes(new, "little") if new else b"",
            piece[low_at + old : length_at],
            len(row).to_bytes(new, "little"),
        )
    after = piece[length_at + old : row_at], row, piece[row_at + row_end :]
    return b"".join(parts + after)


def read(key: int, piece: bytes) -> tuple[list[int], list[Fields]]:
    """The ids in the piece under `key`, ascending, and their rows. SnapshotError if invalid."""
    lows, lengths = _index(piece)
    body = piece[_ROWS_AT + 4 * len(lows) :]
    try:
        rows: list[Fields] = _decode(b"\xdd" + len(lows).to_bytes(4, "big") + body)  # an array
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"piece {key}: expected orders: {error}") from error
    encoded = list(map(_encode, rows))
    if not rows or list(map(len, encoded)) != lengths.tolist() or b"".join(encoded) != body:
        raise _not_canonical(key)
    return _ids(key, piece, lows), rows


def _ids(key: int, piece: bytes, lows: "array[int]") -> list[int]:
    """The ids in the piece, by their lowest bits. SnapshotError if they are not those of its key,
    ascending."""
    first, last = ids_of(key)
    base, group = first & -_LOWS, key >> _GROUP_AT
    ids = [base + low for low in lows]
    sources = piece[_ROWS_AT : _ROWS_AT + 2 * len(lows) : 2]
    if (
        any(map(ge, ids, ids[1:]))
        or lows[-1] >= _LOWS
        or not 0 < ids[0] <= ids[-1] <= ID_MAX
        or group > _GROUP_LAST
        or sources.translate(None, _GROUPS[group])
    ):
        raise SnapshotError(
            f"piece {key}: expected ascending ids from {max(1, first)} to {last}, of neighbouring "
            f"sources, got {ids!r:.200}"
        )
    return ids


def _not_canonical(key: int) -> SnapshotError:
    return SnapshotError(f"piece {key}: expected orders in canonical encoding, got another")


def rows_of(key: int, piece: bytes) -> dict[int, Row]:
    """The open orders in the piece under `key`, by ascending id. An empty piece has none."""
    if not piece:
        return {}
    return {id: Row(*fields) for id, fields in zip(*read(key, piece), strict=True)}


def changed_ids(key: int, before: bytes, after: bytes) -> list[int]:
    """The open orders in the piece under `key` that were not so in an earlier version of it, by
    ascending id. Reads no row."""
    first = ids_of(key)[0] & -_LOWS
    if not before:
        return [first + low for low in _index(after or _NO_ROWS)[0]]
    old = _rows(before)
    return [first + low for low, row in _rows(after).items() if old.get(low) != row]


def compared(key: int, before: bytes, after: bytes) -> tuple[list[int], bytes]:
    """What another version of the piece under `key` changes: the ids of the orders that go or
    become others, and a piece of only those that came or are others, empty if there is none.

    `before` is valid. `read` the second result: if it is valid too, so is `after`. Rows that are in
    both are not read. SnapshotError if `after` is invalid for another reason.
    """
    if not before:
        return [], after
    old = _rows(before)
    first = ids_of(key)[0] & -_LOWS
    if not after:
        return [first + low for low in old], b""
    lows, lengths = _index(after)
    if not lows or _ROWS_AT + 4 * len(lows) + sum(lengths) != len(after):
        raise _not_canonical(key)
    _ids(key, after, lows)
    new = _rows(after)
    gone = [first + low for low, row in old.items() if new.get(low) != row]
    return gone, _piece([(low, row) for low, row in new.items() if old.get(low) != row])


def _piece(rows: Sequence[tuple[int, bytes]]) -> bytes:
    """A piece of these rows, by the ascending lowest bits of their ids."""
    if not rows:
        return b""
    lows, lengths = array("H", [low for low, _ in rows]), array("H", [len(row) for _, row in rows])
    return b"".join([_header(lows, lengths), *[row for _, row in rows]])


def _rows(piece: bytes) -> dict[int, bytes]:
    """The rows by the lowest bits of their ids."""
    lows, lengths = _index(piece or _NO_ROWS)
    ends = accumulate(lengths, initial=_ROWS_AT + 4 * len(lows))
    rows = (piece[start:end] for start, end in pairwise(ends))
    return dict(zip(lows, rows, strict=True))


def _index(piece: bytes) -> tuple["array[int]", "array[int]"]:
    """The lowest bits of the ids in a piece, and the lengths of its rows."""
    count = int.from_bytes(piece[:_ROWS_AT], "little")
    data = piece[_ROWS_AT : _ROWS_AT + 4 * count]
    if len(data) < 4 * count:
        raise SnapshotError(f"expected an index of {4 * count} bytes, got {len(data)}")
    numbers = _numbers(data)
    return numbers[:count], numbers[count:]


def _numbers(data: bytes) -> "array[int]":
    numbers = array("H", data)
    if _SWAPPED:
        numbers.byteswap()
    return numbers


def _header(lows: "array[int]", lengths: "array[int]") -> bytes:
    numbers = array("H", [len(lows)]) + lows + lengths
    if _SWAPPED:
        numbers.byteswap()
    return numbers.tobytes()
