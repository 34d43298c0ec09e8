"""Candles of one market, made from its trades.

Owns open, high, low, close and volume per interval: since the gateway started, and before that as
far as they were filled in from the journal. Must never show a candle without a trade. Pure.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from peer.replica.trade import MarketTrade
from peer.storage.history_reader import PastCandle

INTERVALS_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
CANDLES_MAX = 1_500  # in one response
CANDLES_KEPT = 5_000  # per interval
MINUTE_SECONDS = 60
DAY_MS = 86_400_000  # it has fewer minutes than CANDLES_KEPT


@dataclass(slots=True)
class Candle:
    """Prices in ticks, volume in lots; `time_ms` is the start of its interval."""

    time_ms: int
    first: int  # number of its first trade
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    trades: int = 0

    def add(self, trade: MarketTrade) -> None:
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.close = trade.price
        self.volume += trade.quantity
        self.trades += 1

    def extend_back(self, past: PastCandle) -> None:
        """Add earlier trades of the same interval."""
        self.first, self.open = past.first, past.open
        self.high, self.low = max(self.high, past.high), min(self.low, past.low)
        self.volume += past.volume
        self.trades += past.trades


def of_past(past: PastCandle) -> Candle:
    prices = (past.open, past.high, past.low, past.close)
    return Candle(past.time_ms, past.first, *prices, past.volume, past.trades)


class Day(NamedTuple):
    """Figures of the trades since `since_ms`: prices in ticks, volume in lots, all 0 without a
    trade."""

    since_ms: int
    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    volume: int = 0


class PastRange(NamedTuple):
    """Missing past candles of an interval: those of trades with numbers below `below`."""

    seconds: int
    below: int


class Candles:
    """With `has_history` the past is filled in from the journal, backwards and in parts. After a
    gap in the trades, everything is filled in again."""

    def __init__(self, has_history: bool = False) -> None:
        self.last = 0  # number of the newest trade
        self.missed = 0  # trades lost in gaps
        self._has_history = has_history
        self._whole = (0, 0)  # number and time of the trade since which there is no gap
        self._first = 0  # number of the oldest trade; 0: none yet
        self._full: set[int] = set()  # intervals with CANDLES_KEPT candles
        self._is_whole = not has_history  # there are no older trades in the journal
        self._kept: dict[int, deque[Candle]] = {
            seconds: deque(maxlen=CANDLES_KEPT) for seconds in INTERVALS_SECONDS
        }

    def add(self, trades: Iterable[MarketTrade]) -> None:
        """Add trades, oldest first. Skips those that it has."""
        for trade in trades:
            if trade.number <= self.last:
                continue
            if trade.number > self.last + 1:
                self._whole = (trade.number, trade.time_ms)
                if self.last:
                    self._note_gap(trade.number - self.last - 1)
            self.last = trade.number
            self._first = self._first or trade.number
            for seconds, candles in self._kept.items():
                begins = trade.time_ms - trade.time_ms % (seconds * 1000)
                if not candles or candles[-1].time_ms != begins:
                    price = trade.price
                    candles.append(Candle(begins, trade.number, price, price, price, price))
                candles[-1].add(trade)

    def _note_gap(self, count: int) -> None:
        if not self._has_history:
            self.missed += count
            return
        self._first, self._is_whole = 0, False
        self._full.clear()
        for candles in self._kept.values():
            candles.clear()

    def missing_past(self) -> PastRange | None:
        """The next range to fill in, if there is one."""
        open_ = [seconds for seconds in INTERVALS_SECONDS if seconds not in self._full]
        if self._is_whole or not open_ or self._first <= 1:
            return None
        return PastRange(open_[0], self._first)

    def fill(self, wanted: PastRange, past: Sequence[PastCandle]) -> None:
        """Add the newest candles of a range, if that is still the next range. `past` is oldest
        first; its oldest may be a partial candle. An empty `past` means that there are none."""
        if self.missing_past() != wanted:
            return
        self._is_whole = not past
        for candle in reversed(past):
            is_next = candle.last == self._first - 1 == candle.first + candle.trades - 1
            if is_next and self._whole[0] == self._first:
                self._whole = (candle.first, candle.time_ms)
            self._first = candle.first
            for seconds, kept in self._kept.items():
                if seconds >= wanted.seconds and seconds not in self._full:
                    self._fill_one(seconds, kept, candle)

    def _fill_one(self, seconds: int, kept: deque[Candle], candle: PastCandle) -> None:
        begins = candle.time_ms - candle.time_ms % (seconds * 1000)
        if kept and kept[0].time_ms == begins:
            kept[0].extend_back(candle)
        elif len(kept) == CANDLES_KEPT:
            self._full.add(seconds)
        else:
            kept.appendleft(of_past(candle._replace(time_ms=begins)))

    def needs_past(self, seconds: int, found: Sequence[Candle]) -> bool:
        """Whether the journal may have trades of these candles or before them."""
        kept = self._kept[seconds]
        if (self._is_whole or self._first <= 1) and len(kept) < CANDLES_KEPT:
            return False
        return not found or found[0].time_ms == kept[0].time_ms

    def newest(self, seconds: int, limit: int, before_ms: int | None = None) -> list[Candle]:
        """Up to `limit` candles, oldest first, that begin before a time. The first and the last
        are copies, since only these may still change."""
        kept = self._kept[seconds]
        end = len(kept)
        if before_ms is not None:
            end = bisect_left(kept, before_ms, key=lambda candle: candle.time_ms)
        found = list(islice(kept, max(end - limit, 0), end))
        if found:
            found[0], found[-1] = replace(found[0]), replace(found[-1])
        return found

    def since(self, seconds: int, time_ms: int) -> list[Candle]:
        """Candles from the one that contains `time_ms` on, oldest first."""
        begins = time_ms - time_ms % (seconds * 1000)
        found: list[Candle] = []
        for candle in reversed(self._kept[seconds]):
            if candle.time_ms < begins:
                break
            found.append(candle)
        return found[::-1]

    def day(self, now_ms: int) -> Day:
        """Figures of the last 24 hours, from the start of a minute; of less if less is known."""
        begins = (now_ms - DAY_MS) // 60_000 * 60_000
        number, whole_ms = self._whole
        since_ms = max(begins, whole_ms) if number > 1 else begins
        minutes = self.since(MINUTE_SECONDS, since_ms)
        if not minutes:
            return Day(since_ms)
        return Day(
            since_ms,
            minutes[0].open,
            max(minute.high for minute in minutes),
            min(minute.low for minute in minutes),
            minutes[-1].close,
            sum(minute.volume for minute in minutes),
        )

    def check(self) -> None:
        for seconds, candles in self._kept.items():
            times = [candle.time_ms for candle in candles]
            assert times == sorted(set(times)), "candles in order, one per interval"
            for candle in candles:
                assert candle.time_ms % (seconds * 1000) == 0
                assert candle.low <= min(candle.open, candle.close)
                assert candle.high >= max(candle.open, candle.close)
                assert candle.trades > 0
