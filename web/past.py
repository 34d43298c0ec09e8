"""Trades and candles as far back as they are known: from the mirror, and before it the journal.

Owns where the two meet, and the thread that looks up a market's last day as soon as it is known.
Reads the journal outside the mirrors' lock: must never hold that while it waits for a disk.
"""

import threading
import time
from collections.abc import Callable, Sequence

from peer.api import TradeView
from peer.history import History, PastCandle
from peer.units import Units
from web.candles import CANDLES_MAX, MINUTE_SECONDS, Candle, Candles, of_past
from web.mirrors import Mirrors
from web.schema import CandlesQuery

JOURNAL_SECONDS = 0.5  # the node's journal has a trade no later than this
LOOK_SECONDS = 0.25  # how soon a market that became known is noticed


def trades(
    history: History | None, of: Units, recent: Sequence[TradeView], before: int, limit: int
) -> list[TradeView]:
    """Those with numbers below `before`, the newest first; `recent` are the mirror's."""
    found = [trade for trade in recent if trade.number < before][:limit]
    below = found[-1].number if found else before
    if history is not None and len(found) < limit and below > 1:
        found += history.trades(of.market.symbol, below, limit - len(found))
    return found


def candles(
    history: History | None, mirrors: Mirrors, of: Units, kept: Candles, asked: CandlesQuery
) -> list[Candle]:
    """Those that began before `asked.before`, oldest first."""
    seconds = asked.interval
    if history is not None:
        fill(history, mirrors, of, kept, seconds)
    with mirrors.lock:
        found = kept.newest(seconds, asked.limit, asked.before)
    wanted = asked.limit - len(found)
    if history is None or not wanted:
        return found
    symbol, interval_ms = of.market.symbol, seconds * 1000
    if found:
        below = found[0].first
    else:
        below = history.number_at(symbol, -(-asked.before // interval_ms) * interval_ms)
    older = history.candles(symbol, interval_ms, below, wanted)
    return [of_past(candle) for candle in older] + found


def fill(
    history: History, mirrors: Mirrors, of: Units, kept: Candles, seconds: int = MINUTE_SECONDS
) -> None:
    """Once for an interval: what it was before the gateway's time."""
    with mirrors.lock:
        below = kept.wants_past(seconds)
    if below is None:
        return

    def read() -> list[PastCandle]:
        return history.candles(of.market.symbol, seconds * 1000, below, CANDLES_MAX)

    past = read()
    if not past or past[-1].last != below - 1:
        time.sleep(JOURNAL_SECONDS)
        past = read()  # what is missing now this peer never had: it came by a snapshot
    with mirrors.lock:
        kept.fill(seconds, below, past)


class Recall:
    """Fills the minutes of the last day of every market, after a loss of messages again. `on_day`
    is told of the market, under the mirrors' lock. `start` after any fork."""

    def __init__(self, history: History, mirrors: Mirrors, on_day: Callable[[str], None]) -> None:
        self._history = history
        self._mirrors = mirrors
        self._on_day = on_day
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Gives up the last question only when it is answered."""
        self._stopping.set()
        self._thread.join(1)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            with self._mirrors.lock:
                books = [
                    book
                    for book in self._mirrors.books.values()
                    if book.ready and book.candles.wants_past(MINUTE_SECONDS) is not None
                ]
            for book in books:
                fill(self._history, self._mirrors, book.units, book.candles)
                with self._mirrors.lock:
                    self._on_day(book.units.market.symbol)
