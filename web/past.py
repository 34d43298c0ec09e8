"""Trades and candles as far back as they are known: from the mirror, and before it the journal.

Owns where the two meet. Reads the journal outside the mirrors' lock: must never hold that while it
waits for a disk.
"""

import time
from collections.abc import Sequence

from peer.api import TradeView
from peer.history import History, PastCandle
from web.candles import CANDLES_MAX, Candle, Candles, of_past
from web.gateway import Gateway
from web.schema import CandlesQuery
from web.units import Units

JOURNAL_SECONDS = 0.5  # the node's journal has a trade no later than this


def trades(
    history: History | None, of: Units, recent: Sequence[TradeView], before: int, limit: int
) -> list[TradeView]:
    """Those with numbers below `before`, the newest first; `recent` are the mirror's."""
    found = [trade for trade in recent if trade.number < before][:limit]
    below = found[-1].number if found else before
    if history is not None and len(found) < limit and below > 1:
        found += history.trades(of.market.symbol, below, limit - len(found))
    return found


def candles(gateway: Gateway, of: Units, kept: Candles, asked: CandlesQuery) -> list[Candle]:
    """Those that began before `asked.before`, oldest first."""
    history, seconds = gateway.history, asked.interval
    if history is not None:
        _fill(gateway, history, of, kept, seconds)
    with gateway.mirrors.lock:
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


def _fill(gateway: Gateway, history: History, of: Units, kept: Candles, seconds: int) -> None:
    """Once for an interval: what it was before the gateway's time."""
    with gateway.mirrors.lock:
        below = kept.wants_past(seconds)
    if below is None:
        return

    def read() -> list[PastCandle]:
        return history.candles(of.market.symbol, seconds * 1000, below, CANDLES_MAX)

    past = read()
    if not past or past[-1].last != below - 1:
        time.sleep(JOURNAL_SECONDS)
        past = read()  # what is missing now this peer never had: it came by a snapshot
    with gateway.mirrors.lock:
        kept.fill(seconds, below, past)
