"""Candles of one market, gathered from its trades as they come.

Owns open, high, low, close and volume per interval since the gateway started, and before that as
far as the node's recent trades reach. Must never show a candle without a trade. Pure.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from peer.api import TradeView

INTERVALS_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
CANDLES_MAX = 1_000  # kept per interval


@dataclass
class Candle:
    """Prices in ticks, volume in lots; `time_ms` is when its interval began."""

    time_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    trades: int = 0

    def add(self, trade: TradeView) -> None:
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.close = trade.price
        self.volume += trade.quantity
        self.trades += 1


class Candles:
    def __init__(self) -> None:
        self.last = 0  # number of the newest trade in them
        self.missed = 0  # trades that were lost on the way here
        self._kept: dict[int, deque[Candle]] = {
            seconds: deque(maxlen=CANDLES_MAX) for seconds in INTERVALS_SECONDS
        }

    def add(self, trades: Iterable[TradeView]) -> None:
        """Take trades, oldest first; those known already are left out."""
        for trade in trades:
            if trade.number <= self.last:
                continue
            if self.last:
                self.missed += trade.number - self.last - 1
            self.last = trade.number
            for seconds, candles in self._kept.items():
                begins = trade.time_ms - trade.time_ms % (seconds * 1000)
                if not candles or candles[-1].time_ms != begins:
                    price = trade.price
                    candles.append(Candle(begins, price, price, price, price))
                candles[-1].add(trade)

    def newest(self, seconds: int, limit: int) -> list[Candle]:
        """Up to `limit` candles, oldest first. KeyError if there is no such interval."""
        return list(self._kept[seconds])[-limit:]

    def check(self) -> None:
        for seconds, candles in self._kept.items():
            times = [candle.time_ms for candle in candles]
            assert times == sorted(set(times)), "candles in order, one per interval"
            for candle in candles:
                assert candle.time_ms % (seconds * 1000) == 0
                assert candle.low <= min(candle.open, candle.close)
                assert candle.high >= max(candle.open, candle.close)
                assert candle.trades > 0
