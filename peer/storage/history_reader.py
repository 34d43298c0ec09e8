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
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from engine import Trade
from peer.replica import execution_record as records
from peer.replica.execution_record import MEMBERS_SPACE, Piece, Record
from peer.replica.trade import MarketTrade
from peer.storage.database import LOG_BYTES_MAX

ROWS_MAX = 100_000  # trades per read, for a question about candles
ROUNDS_MAX = 20  # reads, for a single candle of more trades
REST_FROM_S = 0.005  # after a longer question, the reader rests for as long as it took
LOG_REST_S, LOG_LOOK_S = 0.25, 0.01  # longest rest and step while the log is too long
PIECES_MAX = 10_000  # commits that changed one order
RECORDS_MAX = 256  # kept in memory by one question
_LOW = 0xFFFFFFFF
_NOTHING = Record(0, [], [])
_log = logging.getLogger(__name__)

T = TypeVar("T")
_trades = msgspec.json.Decoder(list[MarketTrade]).decode
_numbers = msgspec.json.Decoder(list[int]).decode
_candles = msgspec.json.Decoder(list[tuple[int, ...]]).decode

# SQLite returns many rows as one JSON row. For each row that Python takes, its thread waits for its
# turn among all threads, and the journal's log can't restart meanwhile.
_TRADES = """
SELECT json_group_array(json_array(number, time_ms, price, quantity, side, maker, taker)) FROM (
    SELECT * FROM trades WHERE market = ? AND number < ? ORDER BY number DESC LIMIT ?
)
"""
_NEXT = """
SELECT number, time_ms FROM trades WHERE market = ? AND number >= ? ORDER BY number LIMIT 1
"""
# A sum of quantities could overflow 64 bits; its two halves can't.
_CANDLES = f"""
SELECT json_group_array(json_array(begins, first, last, high, low, upper, lower, count,
    (SELECT price FROM trades WHERE market = :market AND number = first),
    (SELECT price FROM trades WHERE market = :market AND number = last)
))
FROM (
    SELECT time_ms - time_ms % :interval AS begins, min(number) AS first, max(number) AS last,
        max(price) AS high, min(price) AS low, sum(quantity >> 32) AS upper,
        sum(quantity & {_LOW}) AS lower, count(*) AS count
    FROM (
        SELECT number, time_ms, price, quantity FROM trades
        WHERE market = :market AND number < :below ORDER BY number DESC LIMIT :rows
    )
    GROUP BY begins ORDER BY begins DESC LIMIT :candles
)
"""
# The trades of one order at one time. Times grow with the numbers: two bisections find the range.
_NUMBERS = """
WITH RECURSIVE bisection(time_ms, low, high) AS (
    SELECT column1, (SELECT min(number) FROM trades WHERE market = :market),
        1 + (SELECT max(number) FROM trades WHERE market = :market)
    FROM (VALUES (:time), (:time + 1))
    UNION ALL
    SELECT b.time_ms, iif(t.time_ms < b.time_ms, (low + high) / 2 + 1, low),
        iif(t.time_ms < b.time_ms, high, (low + high) / 2)
    FROM bisection b LEFT JOIN trades t ON t.market = :market AND t.number = (
        SELECT min(number) FROM trades WHERE market = :market AND number >= (low + high) / 2
    )
    WHERE low < high
)
SELECT json_group_array(number) FROM trades
WHERE market = :market AND (maker = :id OR taker = :id)
    AND number >= (SELECT max(low) FROM bisection WHERE time_ms = :time)
    AND number < (SELECT max(low) FROM bisection WHERE time_ms = :time + 1)
"""
_ENDED = "SELECT number FROM ended WHERE account = ? AND number <= ? ORDER BY number DESC LIMIT ?"
_RECORD = "SELECT data FROM records WHERE number = ?"
_BROUGHT = """
SELECT number FROM brought WHERE member = ? AND id <= ? ORDER BY id DESC LIMIT 1
"""
_TOUCHED = "SELECT number, piece FROM touched WHERE id = ? ORDER BY number DESC LIMIT ?"
_FIRST_TOUCHED = "SELECT number, piece FROM touched WHERE id = ? ORDER BY number LIMIT 1"
_OLDEST = "SELECT number, total, data FROM records WHERE number > ? ORDER BY number LIMIT 1"
_LAST_GAP = "SELECT max(last) FROM gaps"


class PastOrder(NamedTuple):
    """An order and what each commit did to it, oldest first. `trades` has the numbers of its
    trades, in the same order; 0 if the trade is no longer there."""

    id: int
    pieces: list[Piece]
    trades: list[int]


class PastCandle(NamedTuple):
    """The trades `first` to `last` of one interval, which starts at `time_ms`."""

    time_ms: int
    first: int
    last: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int

    def after(self, earlier: "PastCandle") -> "PastCandle":
        """Add the earlier trades of the same interval."""
        return PastCandle(
            self.time_ms,
            earlier.first,
            self.last,
            earlier.open,
            max(self.high, earlier.high),
            min(self.low, earlier.low),
            self.close,
            self.volume + earlier.volume,
            self.trades + earlier.trades,
        )


class _Opened(NamedTuple):
    record: Record
    pieces: dict[int, Piece]


class _Records(dict[int, _Opened]):
    """The last RECORDS_MAX records that one question read, by commit."""

    def __init__(self, read: Callable[[int], Record]) -> None:
        self._read = read

    def __missing__(self, number: int) -> _Opened:
        record = self._read(number)
        if len(self) >= RECORDS_MAX:
            del self[next(iter(self))]
        opened = self[number] = _Opened(record, records.pieces_of(record))
        return opened


class History:
    """The journal at `path`, which may not exist yet. For any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def trades(self, market: str, below: int, limit: int) -> list[MarketTrade]:
        """Up to `limit` trades with numbers below `below`, newest first."""
        found = self._ask_many(_TRADES, (market, below, limit), _trades)
        return sorted(found, key=attrgetter("number"), reverse=True)

    def number_at(self, market: str, time_ms: int) -> int:
        """No trade from this number on is older than `time_ms`."""
        low, high = 0, 1 + max((t.number for t in self.trades(market, 2**62, 1)), default=0)
        while low < high:
            middle = (low + high) // 2
            next_ = self._ask(_NEXT, (market, middle))
            if next_ and next_[0][1] < time_ms:
                low = next_[0][0] + 1
            else:
                high = middle
        return low

    def candles(
        self, market: str, interval_ms: int, below: int, limit: int, rows_max: int = ROWS_MAX
    ) -> list[PastCandle]:
        """Up to `limit` candles of the newest trades with numbers below `below`, oldest first. All
        are whole: beyond `rows_max` trades the oldest interval is left out, unless it is the only
        one."""
        found = self.parts(market, interval_ms, below, rows_max, limit + 1)
        if len(found) > limit:
            return found[1:]
        count = sum(candle.trades for candle in found)
        for _ in range(ROUNDS_MAX):
            if count < rows_max or len(found) != 1:
                break
            older = self.parts(market, interval_ms, found[0].first, rows_max)
            count = sum(candle.trades for candle in older)
            if older and older[-1].time_ms == found[0].time_ms:
                found[0] = found[0].after(older.pop())
            found = older + found
        if count == rows_max and len(found) > 1:
            del found[0]
        return found[-limit:]

    def parts(
        self, market: str, interval_ms: int, below: int, rows_max: int, limit: int = ROWS_MAX
    ) -> list[PastCandle]:
        """The last `limit` candles of the newest `rows_max` trades with numbers below `below`,
        oldest first. The oldest candle may lack earlier trades."""
        values = {"market": market, "interval": interval_ms, "below": below, "rows": rows_max}
        found = self._ask_many(_CANDLES, values | {"candles": limit}, _candles)
        return sorted(
            PastCandle(begins, first, last, opened, high, low, closed, (upper << 32) + lower, count)
            for begins, first, last, high, low, upper, lower, count, opened, closed in found
        )

    def order(self, id_: int) -> PastOrder | None:
        """What is known of an order that the mesh ordered; None if nothing."""
        return self._order(id_, _Records(self._record))

    def owner(self, id_: int) -> str:
        """The account of an order that the mesh ordered, without reading the order's events. Empty
        if nothing is known."""
        for number in self._brought_by(id_):
            if piece := records.pieces_of(self._record(number)).get(id_):
                return records.owner_in(piece)
        for number, data in self._ask(_FIRST_TOUCHED, (id_,)):
            piece = records.decode_piece(data) if data else None
            piece = piece or records.pieces_of(self._record(number)).get(id_)
            return records.owner_in(piece) if piece else ""
        return ""

    def orders_ended(self, account: str, below: int | None, limit: int) -> list[PastOrder] | None:
        """Up to `limit` ended orders of the account, last ended first. With `below`, those that
        ended before the order with this id; None if that order is not known to have ended."""
        kept = _Records(self._record)
        last = 2**62 if below is None else self._ended_at(below, kept)
        if not last:
            return None
        found: list[int] = []
        for (number,) in self._ask(_ENDED, (account, last, limit + 1)):
            ids = records.ended_in(kept[number].record, account)
            if number == last and below in ids:
                ids = ids[: ids.index(below)]
            found += reversed(ids)
            if len(found) >= limit:
                break
        orders = (self._order(id_, kept) for id_ in found[:limit])
        return [order for order in orders if order is not None]

    def orders_since(self) -> int:
        """Order events are known without gaps from this time on, in milliseconds. 0: from the
        beginning."""
        gap = self._ask(_LAST_GAP, ())
        last = (gap[0][0] if gap else 0) or 0
        for _, total, data in self._ask(_OLDEST, (last,)):
            record = _decoded(data)
            is_first = not last and total == sum(map(len, record.events))
            return 0 if is_first else record.time_ms
        return 0

    def _ended_at(self, id_: int, kept: "_Records") -> int:
        """The commit that ended the order; 0 if unknown."""
        numbers = [number for number, _ in self._ask(_TOUCHED, (id_, 1))]
        for number in numbers or self._brought_by(id_):
            piece = kept[number].pieces.get(id_)
            if piece and records.ends(piece.events[-1], id_):
                return number
        return 0

    def _brought_by(self, id_: int) -> list[int]:
        """The commit that may have added the order."""
        return [number for (number,) in self._ask(_BROUGHT, (id_ % MEMBERS_SPACE, id_))]

    def _order(self, id_: int, kept: "_Records") -> PastOrder | None:
        touched = dict(self._ask(_TOUCHED, (id_, PIECES_MAX)))
        for number in self._brought_by(id_):
            touched.setdefault(number, None)
        pieces: list[Piece] = []
        for number in sorted(touched):
            data = touched[number]
            piece = records.decode_piece(data) if data else kept[number].pieces.get(id_)
            if piece and piece.open:
                pieces.clear()
            if piece:
                pieces.append(piece)
        return PastOrder(id_, pieces, list(self._numbers(id_, pieces))) if pieces else None

    def _numbers(self, id_: int, pieces: Iterable[Piece]) -> Iterator[int]:
        """The numbers of an order's trades."""
        for time_ms, same in groupby(pieces, attrgetter("time_ms")):
            trades = [e for piece in same for e in piece.events if type(e) is Trade]
            if trades:
                values = {"market": trades[0].market, "time": time_ms, "id": id_}
                found = self._ask_many(_NUMBERS, values, _numbers)
                yield from sorted(found) if len(found) == len(trades) else [0] * len(trades)

    def _record(self, number: int) -> Record:
        """The record of a commit; without events if it is missing."""
        for (data,) in self._ask(_RECORD, (number,)):
            return _decoded(data)
        return _NOTHING

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _ask_many(self, query: str, values: object, read: Callable[[str], list[T]]) -> list[T]:
        """Like `_ask`, for a query that returns its rows as one JSON list."""
        return [each for (text,) in self._ask(query, values) for each in read(text)]

    def _ask(self, query: str, values: object) -> list[tuple[Any, ...]]:
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

    def _read(self, query: str, values: object) -> list[tuple[Any, ...]]:
        try:
            if self._db is None:
                self._db = sqlite3.connect(
                    f"{self._path.absolute().as_uri()}?mode=ro",
                    uri=True,
                    check_same_thread=False,
                    isolation_level=None,
                )
            return self._db.execute(query, values).fetchall()  # type: ignore[arg-type]
        except sqlite3.Error as error:
            _log.warning("cannot read the journal: %s", error)
            return []


def _decoded(data: bytes) -> Record:
    """No events if the record is damaged."""
    try:
        return records.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("cannot read a record of the journal: %s", error)
        return _NOTHING
