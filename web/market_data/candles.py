"""Candles of one market, gathered from its trades as they come.

Owns open, high, low, close and volume per interval since the gateway started, and before that as
far as it is told of the past. Must never show a candle without a trade. Pure.
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
CANDLES_MAX = 1_500  # of one answer
CANDLES_KEPT = 5_000  # of each interval
MINUTE_SECONDS = 60
DAY_MS = 86_400_000  # fewer minutes than candles are kept


@dataclass(slots=True)
class Candle:
    """Prices in ticks, volume in lots; `time_ms` is when its interval began."""

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
        """Earlier trades of the same interval."""
        self.first, self.open = past.first, past.open
        self.high, self.low = max(self.high, past.high), min(self.low, past.low)
        self.volume += past.volume
        self.trades += past.trades


def of_past(past: PastCandle) -> Candle:
    prices = (past.open, past.high, past.low, past.close)
    return Candle(past.time_ms, past.first, *prices, past.volume, past.trades)


class Day(NamedTuple):
    """The trades from `since_ms` on: prices in ticks, volume in lots. Without a trade no prices."""

    since_ms: int
    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    volume: int = 0


class Wish(NamedTuple):
    """What of the past is wanted next: trades with numbers below `below`, by intervals."""

    seconds: int
    below: int


class Candles:
    """With `has_history` what was before the gateway's time is filled from there, backwards and
    piece by piece; and what was lost on the way here is started anew."""

    def __init__(self, has_history: bool = False) -> None:
        self.last = 0  # number of the newest trade in them
        self.missed = 0  # trades that were lost on the way here
        self._has_history = has_history
        self._whole = (0, 0)  # number and time of the trade since which none is missing
        self._first = 0  # number of the oldest trade in them; 0: none yet
        self._full: set[int] = set()  # intervals of which nothing older is kept
        self._is_whole = not has_history  # no trade that is older is known anywhere
        self._kept: dict[int, deque[Candle]] = {
            seconds: deque(maxlen=CANDLES_KEPT) for seconds in INTERVALS_SECONDS
        }

    def add(self, trades: Iterable[MarketTrade]) -> None:
        """Take trades, oldest first; those known already are left out."""
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

    def wants_past(self) -> Wish | None:
        """What is to be filled in next, if anything is."""
        open_ = [seconds for seconds in INTERVALS_SECONDS if seconds not in self._full]
        if self._is_whole or not open_ or self._first <= 1:
            return None
        return Wish(open_[0], self._first)

    def fill(self, wish: Wish, past: Sequence[PastCandle]) -> None:
        """Put the newest that there is of a wish before what is here, if that is still the wish.
        `past` is oldest first, and its oldest may be a part of a candle; nothing: there is none."""
        if self.wants_past() != wish:
            return
        self._is_whole = not past
        for candle in reversed(past):
            is_next = candle.last == self._first - 1 == candle.first + candle.trades - 1
            if is_next and self._whole[0] == self._first:
                self._whole = (candle.first, candle.time_ms)
            self._first = candle.first
            for seconds, kept in self._kept.items():
                if seconds >= wish.seconds and seconds not in self._full:
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
        """Whether the journal may have trades before the newest of these candles, or of them."""
        kept = self._kept[seconds]
        if (self._is_whole or self._first <= 1) and len(kept) < CANDLES_KEPT:
            return False
        return not found or found[0].time_ms == kept[0].time_ms

    def newest(self, seconds: int, limit: int, before_ms: int | None = None) -> list[Candle]:
        """Up to `limit` candles, oldest first, that begin before a time. They are the caller's: the
        two of all that may still change are copies."""
        kept = self._kept[seconds]
        end = len(kept)
        if before_ms is not None:
            end = bisect_left(kept, before_ms, key=lambda candle: candle.time_ms)
        found = list(islice(kept, max(end - limit, 0), end))
        if found:
            found[0], found[-1] = replace(found[0]), replace(found[-1])
        return found

    def since(self, seconds: int, time_ms: int) -> list[Candle]:
        """Candles of an interval that has `time_ms` or a later moment in it, oldest first."""
        begins = time_ms - time_ms % (seconds * 1000)
        found: list[Candle] = []
        for candle in reversed(self._kept[seconds]):
            if candle.time_ms < begins:
                break
            found.append(candle)
        return found[::-1]

    def day(self, now_ms: int) -> Day:
        """The last 24 hours and the start of their first minute; less if less is known."""
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
