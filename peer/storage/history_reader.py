"""A peer's past trades and orders, read from its journal by another process.

Owns one read-only connection. Must never write or run on the node's loop: a question about a long
time reads many rows. The last moments are missing here; the feed has them.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine import SnapshotError, Trade
from peer.replica import execution_record as records
from peer.replica.execution_record import MEMBERS_SPACE, Piece, Record
from peer.storage import history_segment as segment
from peer.storage import opened_orders
from peer.storage.database import LOG_BYTES_MAX
from peer.storage.history_segment import SEARCHED_EVENTS, Lasts
from peer.storage.past_trades import PastCandle as PastCandle
from peer.storage.past_trades import PastTrades

REST_FROM_S = 0.005  # after a longer question, the reader rests for as long as it took
LOG_REST_S, LOG_LOOK_S = 0.25, 0.01  # longest rest and step while the log is too long
PIECES_MAX = 10_000  # the last commits that changed one order, beside the first
SEGMENTS_MAX = 64  # kept in memory by one question
COMMITS_SEARCHED = 64  # first, for an order; then four times as many, and so on
_log = logging.getLogger(__name__)

_ENDED = """
SELECT number FROM ended
WHERE account = ? AND number <= (
    SELECT ifnull(min(number), ?2) FROM segments WHERE number >= ?2
)
ORDER BY number DESC LIMIT ?
"""
_SEGMENT = "SELECT data FROM segments WHERE number = ?"
_NEXT = "SELECT number, total, lasts FROM segments WHERE number >= ? ORDER BY number LIMIT 1"
_NEWEST = "SELECT max(number) FROM segments"
_SOON = """
SELECT number FROM touched_soon WHERE number > ? AND number <= ? AND instr(ids, ?) ORDER BY number
"""
# The first commit, and the last ones, with the segments that have them.
_TOUCHED = """
SELECT number, piece, (SELECT min(number) FROM segments WHERE number >= touched.number)
FROM touched WHERE id = ?1 AND number = (SELECT min(number) FROM touched WHERE id = ?1)
UNION SELECT * FROM (
    SELECT number, piece, (SELECT min(number) FROM segments WHERE number >= touched.number)
    FROM touched WHERE id = ?1 ORDER BY number DESC LIMIT ?2
)
ORDER BY number
"""
_OLDEST = "SELECT total, data FROM segments WHERE number > ? ORDER BY number LIMIT 1"
_LAST_GAP = "SELECT max(last) FROM gaps"


class PastOrder(NamedTuple):
    """An order and what each commit did to it, oldest first. `trades` has the numbers of its
    trades, in the same order; 0 if the trade is no longer there."""

    id: int
    pieces: list[Piece]
    trades: list[int]


class _Opened(NamedTuple):
    number: int
    record: Record
    pieces: dict[int, Piece]


class _Reached(NamedTuple):
    """A segment, and its total."""

    number: int
    total: int


class _Segments(dict[int, list[_Opened]]):
    """The commits of the last SEGMENTS_MAX segments that one question read."""

    def __init__(self, read: Callable[[int], list[tuple[int, Record]]]) -> None:
        self._read = read

    def __missing__(self, number: int) -> list[_Opened]:
        found = self._read(number)
        if len(self) >= SEGMENTS_MAX:
            del self[next(iter(self))]
        opened = [_Opened(commit, record, records.pieces_of(record)) for commit, record in found]
        self[number] = opened
        return opened


class History(PastTrades):
    """The journal at `path`, which may not exist yet. For any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def order(self, id_: int) -> PastOrder | None:
        """What is known of an order that the mesh ordered; None if nothing."""
        return self._order(id_, _Segments(self._segment))

    def owner(self, id_: int) -> str:
        """The account of an order that the mesh ordered, without reading all of the order's events.
        Empty if nothing is known."""
        first = next(self._pieces(id_, _Segments(self._segment)), None)
        return records.owner_in(first[1]) if first else ""

    def orders_ended(self, account: str, below: int | None, limit: int) -> list[PastOrder] | None:
        """Up to `limit` ended orders of the account, last ended first. With `below`, those that
        ended before the order with this id; None if that order is not known to have ended."""
        opened = _Segments(self._segment)
        last = 2**62 if below is None else self._ended_at(below, opened)
        if not last:
            return None
        found: list[int] = []
        for (segment_number,) in self._ask(_ENDED, (account, last, limit + 1)):
            for number, record, _ in reversed(opened[segment_number]):
                ids = records.ended_in(record, account) if number <= last else []
                if number == last and below in ids:
                    ids = ids[: ids.index(below)]
                found += reversed(ids)
            if len(found) >= limit:
                break
        orders = (self._order(id_, opened) for id_ in found[:limit])
        return [order for order in orders if order is not None]

    def orders_since(self) -> int:
        """Order events are known without gaps from this time on, in milliseconds. 0: from the
        beginning."""
        gap = self._ask(_LAST_GAP, ())
        last = (gap[0][0] if gap else 0) or 0
        for total, data in self._ask(_OLDEST, (last,)):
            found = _decoded(data)
            events = sum(len(events) for _, record in found for events in record.events)
            is_first = not last and total == events
            return 0 if is_first or not found else found[0][1].time_ms
        return 0

    def _ended_at(self, id_: int, opened: "_Segments") -> int:
        """The commit that ended the order; 0 if unknown."""
        for number, piece in self._pieces(id_, opened):
            if piece.events and records.ends(piece.events[-1], id_):
                return number
        return 0

    def _order(self, id_: int, opened: "_Segments") -> PastOrder | None:
        pieces: list[Piece] = []
        for _, piece in self._pieces(id_, opened):
            if piece.open:
                pieces.clear()
            pieces.append(piece)
            del pieces[1:-PIECES_MAX]
        return PastOrder(id_, pieces, list(self._numbers(id_, pieces))) if pieces else None

    def _pieces(self, id_: int, opened: "_Segments") -> Iterator[tuple[int, Piece]]:
        """What each commit did to an order, with its number, oldest first, up to its end."""
        known, kept, late = 0, self._taken_over(id_), []  # up to this commit; pieces; segments
        for number, data, there in self._ask(_TOUCHED, (id_, PIECES_MAX)):
            if data:
                kept.append((number, records.decode_piece(data)))
            else:
                late.append(there)
        for known, before in sorted(kept, key=itemgetter(0)):
            yield known, before
        for segment_number in self._segments_with(id_, known, late):
            for number, _, pieces in opened[segment_number]:
                piece = pieces.get(id_) if number > known else None
                if piece is not None:
                    known = number
                    yield number, piece
                    if records.ends(piece.events[-1], id_):
                        return

    def _taken_over(self, id_: int) -> list[tuple[int, Piece]]:
        """The order in the states from which this peer continued. None if a piece is damaged."""
        try:
            return list(opened_orders.find(self._ask, id_))
        except SnapshotError as error:
            _log.warning("cannot read a part of the journal's history: %s", error)
            return []

    def _segments_with(self, id_: int, known: int, late: list[int]) -> Iterator[int]:
        """The segments that may have something about an order, oldest first: the one that added it,
        if nothing is `known`, those that touched it soon, and those that are known to be `late`."""
        member, wanted = id_ % MEMBERS_SPACE, segment.encode_ids([id_])
        first = self._first(lambda _, lasts: lasts.get(member, 0) >= id_, known + 1)
        if first is not None:
            if not known:
                yield first.number
            most = first.total + SEARCHED_EVENTS
            last = self._first(lambda total, _: total >= most, first.number)
            end = last.number if last else self._ask(_NEWEST, ())[0][0]
            after, span = known or first.number, COMMITS_SEARCHED
            while after < end:
                for (number,) in self._ask(_SOON, (after, min(after + span, end), wanted)):
                    yield number
                after += span
                span *= 4
        yield from late

    def _first(self, is_reached: Callable[[int, Lasts], bool], least: int) -> "_Reached | None":
        """The first segment from commit `least` on whose total and newest orders are so far; None
        if there is none."""
        low, high, found = least, (self._ask(_NEWEST, ()) or [(None,)])[0][0] or 0, None
        while low <= high:
            middle = (low + high) // 2
            next_ = self._ask(_NEXT, (middle,))
            if not next_:
                high = middle - 1
                continue
            number, total, lasts = next_[0]
            if is_reached(total, segment.decode_lasts(lasts)):
                high, found = middle - 1, _Reached(number, total)
            else:
                low = number + 1
        return found

    def _numbers(self, id_: int, pieces: Iterable[Piece]) -> Iterator[int]:
        """The numbers of an order's trades."""
        for time_ms, same in groupby(pieces, attrgetter("time_ms")):
            trades = [e for piece in same for e in piece.events if type(e) is Trade]
            if trades:
                there = self._at(trades[0].market, time_ms)
                found = [trade.number for trade in there if id_ in (trade.maker, trade.taker)]
                yield from found if len(found) == len(trades) else [0] * len(trades)

    def _segment(self, number: int) -> list[tuple[int, Record]]:
        """The records of a segment; none if it is missing."""
        for (data,) in self._ask(_SEGMENT, (number,)):
            return _decoded(data)
        return []

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """No rows if the journal is missing, damaged or of a version without these tables. During a
        read, the node's writes can't restart the log. So the reader rests after a long read. If the
        log is too long, it rests until the log restarts."""
        with self._lock:
            began, log_bytes = time.monotonic(), self._log_bytes()
            found = self._read(query, values)
            took_s = time.monotonic() - began
            if took_s > REST_FROM_S:
                time.sleep(took_s)
                self._await_new_log(log_bytes)
            return found

    def _await_new_log(self, before: int) -> None:
        """Stop waiting if the log does not grow: the node may write nothing for long."""
        until = time.monotonic() + LOG_REST_S
        while max(LOG_BYTES_MAX, before) < self._log_bytes() and time.monotonic() < until:
            time.sleep(LOG_LOOK_S)

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            if self._db is None:
                self._db = sqlite3.connect(
                    f"{self._path.absolute().as_uri()}?mode=ro",
                    uri=True,
                    check_same_thread=False,
                    isolation_level=None,
                )
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            _log.warning("cannot read the journal: %s", error)
            return []


def _decoded(data: bytes) -> list[tuple[int, Record]]:
    """No records if the segment is damaged."""
    try:
        return segment.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("cannot read a part of the journal's history: %s", error)
        return []
