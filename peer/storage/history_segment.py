"""How the history for people is stored: some commits a row, and some trades a row.

Owns the encodings. Must never do I/O.

A row costs the writer one place in one table, whatever is in it. So little in it has an index of
its own: the reader decodes a row that may have what it wants. Which one added an order, it finds by
the newest orders of each member so far. Which ones changed the order within SEARCHED_EVENTS, it
finds by a search for the order's 8 bytes. Later ones are in an index.
"""

import struct
from collections.abc import Iterable

import msgspec

from peer.replica.execution_record import Record
from peer.replica.trade import MarketTrade

_encode = msgspec.msgpack.Encoder().encode
_encode_text = msgspec.json.Encoder().encode
_segments = msgspec.msgpack.Decoder(list[tuple[int, Record]])
_encoded = msgspec.msgpack.Decoder(list[tuple[int, msgspec.Raw]])
_lasts = msgspec.msgpack.Decoder(dict[int, int])
_trades = msgspec.json.Decoder(list[MarketTrade])
_rows = msgspec.json.Decoder(list[list[MarketTrade]])

SEARCHED_EVENTS = 300_000  # of all orders, after a segment has added an order

Lasts = dict[int, int]  # member -> its newest order so far


def encode(records: Iterable[tuple[int, bytes]]) -> bytes:
    """A segment: commits and their encoded records, oldest first."""
    return _encode([(number, msgspec.Raw(record)) for number, record in records])


def decode(data: bytes) -> list[tuple[int, Record]]:
    """msgspec.DecodeError or UnicodeDecodeError if it is no segment."""
    return _segments.decode(data)


def split(data: bytes) -> list[tuple[int, bytes]]:
    """The encoded records of a segment."""
    return [(number, bytes(record)) for number, record in _encoded.decode(data)]


def encode_lasts(lasts: Lasts) -> bytes:
    return _encode(lasts)


def decode_lasts(data: bytes) -> Lasts:
    return _lasts.decode(data)


def encode_ids(ids: Iterable[int]) -> bytes:
    """Orders, to be searched for with `encode_ids([id])`. What is found may be a coincidence."""
    some = list(ids)
    return struct.pack(f"<{len(some)}Q", *some)


def encode_trades(trades: list[MarketTrade]) -> str:
    return _encode_text(trades).decode()


def decode_trades(text: str) -> list[MarketTrade]:
    return _trades.decode(text)


def decode_rows(texts: str) -> list[list[MarketTrade]]:
    """Rows of trades, as SQLite joins them with commas."""
    return _rows.decode(f"[{texts}]")
