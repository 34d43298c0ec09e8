"""The trades of a peer's past, read from its journal by another process.

Owns one read-only connection. Must never write, nor be used on the node's loop: a question about a
long time reads many rows. What was traded in the last moments is not here yet; the feed has that.
"""

import logging
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

from peer.api import TradeView

ROWS_MAX = 1_000_000  # trades that one question about candles may read
_LOW = 0xFFFFFFFF
_log = logging.getLogger(__name__)

_TRADES = """
SELECT number, time_ms, price, quantity, side, maker, taker FROM trades
WHERE market = ? AND number < ? ORDER BY number DESC LIMIT ?
"""
_NEXT = """
SELECT number, time_ms FROM trades WHERE market = ? AND number >= ? ORDER BY number LIMIT 1
"""
# A sum of quantities could leave 64 bits: its two halves do not.
_CANDLES = f"""
SELECT begins, first, last, high, low, upper, lower, count,
    (SELECT price FROM trades WHERE market = :market AND number = first),
    (SELECT price FROM trades WHERE market = :market AND number = last)
FROM (
    SELECT time_ms - time_ms % :interval AS begins, min(number) AS first, max(number) AS last,
        max(price) AS high, min(price) AS low, sum(quantity >> 32) AS upper,
        sum(quantity & {_LOW}) AS lower, count(*) AS count
    FROM (
        SELECT number, time_ms, price, quantity FROM trades
        WHERE market = :market AND number < :below ORDER BY number DESC LIMIT :rows
    )
    GROUP BY begins ORDER BY begins DESC LIMIT :limit
)
"""


class PastCandle(NamedTuple):
    """The trades `first` to `last` of one interval, which began at `time_ms`."""

    time_ms: int
    first: int
    last: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int


class History:
    """The journal at `path`, which may come into being later. For any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def trades(self, market: str, below: int, limit: int) -> list[TradeView]:
        """Up to `limit` trades with numbers below `below`, the newest first."""
        return [TradeView(*row) for row in self._ask(_TRADES, (market, below, limit))]

    def number_at(self, market: str, time_ms: int) -> int:
        """From this number on no trade is older than `time_ms`."""
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
        """Up to `limit` candles of the newest trades with numbers below `below`, oldest first. Only
        whole ones: of more than `rows_max` trades the last interval is left out."""
        values = {"market": market, "interval": interval_ms, "below": below}
        rows = self._ask(_CANDLES, values | {"limit": limit, "rows": rows_max})
        found = [
            PastCandle(begins, first, last, opened, high, low, closed, (upper << 32) + lower, count)
            for begins, first, last, high, low, upper, lower, count, opened, closed in rows
        ]
        if sum(candle.trades for candle in found) == rows_max:
            found.pop()
        return found[::-1]

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _ask(self, query: str, values: object) -> list[tuple[int, ...]]:
        """No rows if the journal is not there, of a version without trades, or damaged."""
        with self._lock:
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
                _log.warning("the journal's trades can't be read: %s", error)
                return []
