"""Orders that were open when this peer continued from another's state, as the history keeps them.

Owns their table: the pieces of that state, without the orders that this peer had as they are there.
Must never decode an order before somebody asks for it: there may be a hundred thousand of them, and
the peer that takes them over is waited for.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from engine import HEAD_KEY, SnapshotError, key_of, opened, rows_of, spliced, symbols_of
from peer.replica.execution_record import Piece

_ADD = "INSERT OR REPLACE INTO opened VALUES (?, ?, ?, ?)"
_FIND = "SELECT number, time_ms, piece FROM opened WHERE key = ? ORDER BY number"
_HEAD = "SELECT piece FROM pieces WHERE key = ? ORDER BY number DESC LIMIT 1"

Ask = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


def add(
    db: sqlite3.Connection, number: int, time_ms: int, pieces: Iterable[tuple[int, bytes]]
) -> None:
    """Add the orders in these pieces, as they are after commit `number`."""
    rows = ((key, number, time_ms, piece) for key, piece in pieces)
    db.executemany(_ADD, rows)


def find(ask: Ask, id_: int) -> Iterator[tuple[int, Piece]]:
    """The order in each state that brought it, with the commit, oldest first. SnapshotError if one
    cannot be read."""
    key = key_of(id_)
    for number, time_ms, piece in ask(_FIND, (key,)):
        row = rows_of(key, piece).get(id_)
        if row is not None:
            yield number, Piece(time_ms, [], open=opened(id_, row, _symbols(ask, row.market)))


def _symbols(ask: Ask, place: int) -> list[str]:
    """All markets up to this place at least. The newest snapshot has those of all earlier ones."""
    symbols = [symbol for (head,) in ask(_HEAD, (HEAD_KEY,)) for symbol in symbols_of(head)]
    if place >= len(symbols):
        raise SnapshotError(f"expected more than {place} markets, got {len(symbols)}")
    return symbols


def forget(db: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Drop these orders. The others in their pieces stay."""
    by_key: defaultdict[int, list[int]] = defaultdict(list)
    for id_ in sorted(ids):
        by_key[key_of(id_)].append(id_)
    for key, gone in by_key.items():
        for number, _, piece in db.execute(_FIND, (key,)).fetchall():
            rest = spliced(piece, [(id_, b"") for id_ in gone])
            if not rest:
                db.execute("DELETE FROM opened WHERE key = ? AND number = ?", (key, number))
            elif rest != piece:
                values = rest, key, number
                db.execute("UPDATE opened SET piece = ? WHERE key = ? AND number = ?", values)
