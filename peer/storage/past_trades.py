"""A market's past trades and candles, from the rows of a journal.

Owns how many rows a question reads, and what becomes of their trades. Must never keep any.
"""

from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from peer.replica.trade import MarketTrade
from peer.storage import history_segment as segment

TRADES_MAX = 100_000  # per read, for a question about candles
ROUNDS_MAX = 20  # reads, for a single candle of more trades
ROWS_MAX = 1_000  # of trades, in one query

# SQLite returns many rows as one. For each row that Python takes, its thread waits for its turn
# among all threads, and the journal's log can't restart meanwhile.
_TRADES = """
SELECT group_concat(data) FROM (
    SELECT data FROM trades WHERE market = ? AND number < ? ORDER BY number DESC LIMIT ?
)
"""
_FROM = "SELECT data FROM trades WHERE market = ? AND number >= ? ORDER BY number LIMIT 1"
_NEXT = """
SELECT number, time_ms FROM trades WHERE market = ? AND number >= ? ORDER BY number LIMIT 1
"""

_number = attrgetter("number")
_time_ms = attrgetter("time_ms")


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


class PastTrades:
    """Questions about trades. A subclass asks the journal."""

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def trades(self, market: str, below: int, limit: int) -> list[MarketTrade]:
        """Up to `limit` trades with numbers below `below`, newest first."""
        return self._below(market, below, limit)[::-1]

    def _below(self, market: str, below: int, limit: int) -> list[MarketTrade]:
        """The same, oldest first."""
        parts: list[list[MarketTrade]] = []
        count, rows, next_ = 0, 1, below
        while count < limit:
            part = self._rows_below(market, next_, rows)
            if not part:
                break
            next_ = part[0].number
            part = part[: bisect_left(part, below, key=_number)]
            parts.append(part)
            count += len(part)
            rows = min(4 * rows, ROWS_MAX)
        found = [trade for part in reversed(parts) for trade in part]
        return found[max(len(found) - limit, 0) :]

    def _rows_below(self, market: str, below: int, rows: int) -> list[MarketTrade]:
        """The trades of the last rows that begin below a number, oldest first."""
        [(texts,)] = self._ask(_TRADES, (market, below, rows)) or [(None,)]
        parts = segment.decode_rows(texts) if texts else []
        return [trade for part in sorted(parts, key=lambda part: part[0].number) for trade in part]

    def number_at(self, market: str, time_ms: int) -> int:
        """No trade from this number on is older than `time_ms`, and all before are."""
        newest = self.trades(market, 2**62, 1)
        low, high = 1, 1 + (newest[0].number if newest else 0)
        while low < high:
            middle = (low + high) // 2
            next_ = self._ask(_NEXT, (market, middle))
            if next_ and next_[0][1] < time_ms:
                low = next_[0][0] + 1
            else:
                high = middle
        # The last row that begins before that time ends with its last trade that is older.
        older = [trade for trade in self._rows_below(market, low, 1) if trade.time_ms < time_ms]
        return older[-1].number + 1 if older else low

    def _at(self, market: str, time_ms: int) -> Iterator[MarketTrade]:
        """The trades at a time, by ascending number."""
        number = self.number_at(market, time_ms)
        for trade in self._rows_below(market, number + 1, 1):
            if trade.time_ms == time_ms:
                yield trade
                number = trade.number + 1
        while following := self._ask(_FROM, (market, number)):
            for trade in segment.decode_trades(following[0][0]):
                if trade.time_ms != time_ms:
                    return
                yield trade
                number = trade.number + 1

    def candles(
        self, market: str, interval_ms: int, below: int, limit: int, trades_max: int = TRADES_MAX
    ) -> list[PastCandle]:
        """Up to `limit` candles of the newest trades with numbers below `below`, oldest first. All
        are whole: beyond `trades_max` trades the oldest interval is left out, unless it is the only
        one."""
        found = self.parts(market, interval_ms, below, trades_max, limit + 1)
        if len(found) > limit:
            return found[1:]
        count = sum(candle.trades for candle in found)
        for _ in range(ROUNDS_MAX):
            if count < trades_max or len(found) != 1:
                break
            older = self.parts(market, interval_ms, found[0].first, trades_max)
            count = sum(candle.trades for candle in older)
            if older and older[-1].time_ms == found[0].time_ms:
                found[0] = found[0].after(older.pop())
            found = older + found
        if count == trades_max and len(found) > 1:
            del found[0]
        return found[-limit:]

    def parts(
        self,
        market: str,
        interval_ms: int,
        below: int,
        trades_max: int,
        limit: int = TRADES_MAX,
    ) -> list[PastCandle]:
        """The last `limit` candles of the newest `trades_max` trades with numbers below `below`,
        oldest first. The oldest candle may lack earlier trades."""
        trades = self._below(market, below, trades_max)
        found: list[PastCandle] = []
        end = len(trades)
        while end and len(found) < limit:
            begins = trades[end - 1].time_ms // interval_ms * interval_ms
            start = bisect_left(trades, begins, 0, end, key=_time_ms)
            found.append(_candle(begins, trades[start:end]))
            end = start
        return found[::-1]


def _candle(begins: int, trades: list[MarketTrade]) -> PastCandle:
    prices = [trade.price for trade in trades]
    return PastCandle(
        begins,
        trades[0].number,
        trades[-1].number,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(trade.quantity for trade in trades),
        len(trades),
    )
