"""The rows of a piece of orders, to look at and to forge."""

from collections.abc import Iterable
from typing import Any

import msgspec

from engine import CHUNK_SHIFT, Row
from engine.rows import rows_of, spliced

FIELDS = Row._fields


def unpacked(key: int, piece: bytes) -> list[tuple[int, list[Any]]]:
    """The id and the fields of each row."""
    return [(id, list(row)) for id, row in rows_of(key, piece).items()]


def packed(rows: Iterable[tuple[int, list[Any]]]) -> bytes:
    """A piece of these, whatever they say. An id counts as far as a piece keeps it."""
    piece = b""
    for id, fields in rows:
        piece = spliced(piece, [(id, msgspec.msgpack.encode(fields))])
    return piece


def beyond(piece: bytes) -> bytes:
    """The piece with a last id that its piece can't have."""
    count = int.from_bytes(piece[:2], "little")
    return piece[: 2 * count] + (1 << CHUNK_SHIFT).to_bytes(2, "little") + piece[2 * count + 2 :]
