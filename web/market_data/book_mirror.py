"""One market's book as the node publishes it, kept up to date from deltas.

Owns the levels, the recent trades and the sequence numbers. Pure: no bytes, sockets or clocks. Not
thread-safe: callers hold the mirrors' lock.

There are two sequences. `seq` is the node's count of MarketUpdates. `number` is our count of frames
for browsers, which combine several updates.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from engine import MarketStatus
from peer.client.levels import SideMirror
from peer.client.protocol import Level, MarketUpdate, State
from peer.client.units import Units
from peer.replica.trade import TRADES_KEPT, MarketTrade
from web.market_data.candles import Candles

CHECKSUM_LEVELS = 10


class Delta(msgspec.Struct, frozen=True):
    """The changes since the previous frame."""

    number: int
    bids: list[Level]
    asks: list[Level]
    trades: list[MarketTrade]  # oldest first


class BookMirror:
    """One market. It stages updates until their commit is complete, so that levels, trades, commit
    and digest always describe the same moment."""

    def __init__(self, units: Units, candles: Candles | None = None) -> None:
        self.units = units
        self.status = MarketStatus.OPEN
        self.bids, self.asks = SideMirror(-1), SideMirror(1)
        self.trades: deque[MarketTrade] = deque(maxlen=TRADES_KEPT)  # newest first
        self.candles = candles or Candles()
        self.seq = -1
        self.number = 0
        self.commit = 0
        self.time_ms = 0
        self.digest = b""
        self.ready = False  # a State has been applied
        self._staged: list[MarketUpdate] = []
        self._new_trades: list[MarketTrade] = []

    def stage(self, update: MarketUpdate) -> None:
        """Keep `update` until its commit is complete."""
        assert self.ready, f"{update} came before a State"
        before = self._staged[-1].seq if self._staged else self.seq
        assert update.seq == before + 1, f"update {update.seq} came after {before}"
        self._staged.append(update)

    def complete(self, commit: int, time_ms: int, digest: bytes) -> bool:
        """Apply the staged updates: all of `commit` have come. True if there were any."""
        staged, self._staged = self._staged, []
        for update in staged:
            self._apply(update)
        self.commit, self.time_ms, self.digest = commit, time_ms, digest
        return bool(staged)

    def _apply(self, update: MarketUpdate) -> None:
        self.seq = update.seq
        self.bids.apply(update.bids, update.bid_shares)
        self.asks.apply(update.asks, update.ask_shares)
        self.trades.extendleft(update.trades)
        self.candles.add(update.trades)
        self._new_trades.extend(update.trades)

    def reset(self, state: State) -> None:
        """Start again from `state`."""
        self.bids.reset(state.bids, state.bid_shares)
        self.asks.reset(state.asks, state.ask_shares)
        self.trades = deque(state.trades, maxlen=TRADES_KEPT)
        self.candles.add(reversed(state.trades))
        self._new_trades.clear()
        self._staged.clear()
        self.seq, self.commit = state.seq, state.commit
        self.time_ms, self.digest = state.time_ms, state.digest
        self.number += 1
        self.ready = True

    @property
    def is_complete(self) -> bool:
        """Whether the mirror has every level of the book."""
        return self.bids.is_complete and self.asks.is_complete

    @property
    def has_changes(self) -> bool:
        return bool(self.bids.changed or self.asks.changed or self._new_trades)

    @property
    def is_short(self) -> bool:
        return self.bids.is_short or self.asks.is_short

    @property
    def sent_trades(self) -> tuple[int, list[MarketTrade]]:
        """The number of the newest trade in a past delta, and these trades, newest first."""
        sent = list(islice(self.trades, len(self._new_trades), None))
        if self._new_trades:
            return self._new_trades[0].number - 1, sent
        return (sent[0].number if sent else 0), sent

    def take_delta(self) -> Delta:
        self.number += 1
        trades, self._new_trades = self._new_trades, []
        bids, asks = self.bids.take_changes(), self.asks.take_changes()
        return Delta(self.number, bids, asks, trades)

    def checksum(self) -> int:
        """CRC32 of the ten best asks, then the ten best bids: price and quantity of each as text,
        without the point and leading zeros, concatenated (as Kraken does)."""
        return checksum_of(
            [
                text
                for side in (self.asks, self.bids)
                for level in side.levels(CHECKSUM_LEVELS)
                for text in (
                    self.units.price.text(level[0]),
                    self.units.quantity.text(level[1]),
                )
            ]
        )

    def check(self) -> None:
        self.bids.check()
        self.asks.check()
        self.candles.check()
        assert not self.ready or self.seq >= 0
        best_bid, best_ask = self.bids.levels(1), self.asks.levels(1)
        assert not (best_bid and best_ask) or best_bid[0][0] < best_ask[0][0], "a crossed book"


def checksum_of(texts: Iterable[str]) -> int:
    return zlib.crc32("".join(text.replace(".", "").lstrip("0") for text in texts).encode())


def format_levels(
    levels: Iterable[Level], price: Callable[[int], str], quantity: Callable[[int], str]
) -> list[tuple[str, str, int]]:
    return [(price(level[0]), quantity(level[1]), level[2]) for level in levels]
