"""Trades, candles and orders as far back as they are known: the newest from the mirror, older ones
from the journal.

Owns the joint of the two. Must never hold the mirrors' lock while it reads the journal.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from engine import Trade
from peer.client.units import Units
from peer.replica.order_state import OrderView, resting, submitted
from peer.replica.trade import MarketTrade
from peer.storage.history_reader import History, PastOrder
from web.auth.history_access import LimitedHistory
from web.contract.requests import CandlesQuery
from web.market_data.candles import Candle, Candles, of_past
from web.market_data.mirrors import Mirrors

Past = History | LimitedHistory


def trades(
    history: Past | None, of: Units, recent: Sequence[MarketTrade], before: int, limit: int
) -> list[MarketTrade]:
    """Trades with numbers below `before`, newest first. `recent` are those of the mirror."""
    found = [trade for trade in recent if trade.number < before][:limit]
    below = found[-1].number if found else before
    if history is not None and len(found) < limit and below > 1:
        found += history.trades(of.market.symbol, below, limit - len(found))
    return found


def missed(found: Sequence[MarketTrade], before: int, limit: int, newest: int) -> int:
    """How many trades this peer does not have, between those of a page and, if the page is not
    full, below it. They were pruned, or are older than a snapshot that this peer fetched."""
    top = min(before - 1, newest)
    bottom = found[-1].number if len(found) >= limit else 1
    return top - bottom + 1 - len(found)


def finished(
    history: Past | None,
    account: str,
    recent: Sequence[OrderView],
    before: int | None,
    limit: int,
) -> list[OrderView]:
    """The finished orders of an account, last one first; with `before`, only those that ended
    before that order. `recent` are those of the mirror, in the same order."""
    ids = [order.id for order in recent]
    place = 0 if before is None else ids.index(before) + 1 if before in ids else len(ids)
    if history is None:
        return list(recent[place : place + limit])
    older = history.orders_ended(account, before, limit)
    if older is None and before in ids:  # the journal does not have it yet
        older = history.orders_ended(account, None, limit + place)
    shown = set(ids[:place])
    views = [view_of(order) for order in older or () if order.id not in shown]
    known = {order.id for order in views}
    newer = takewhile(lambda order: order.id not in known, recent[place : place + limit])
    return [*(completed(history, order) for order in newer), *views][:limit]


def completed(history: Past, order: OrderView) -> OrderView:
    """The order, together with the fills that came before the mirror began."""
    then = None if order.is_told else find_order(history, order.id)
    if then is None:
        return order
    fills = then.fills if then.filled == order.filled else [*then.fills, *order.fills]
    told = replace(order, fills=fills, time_ms=max(order.time_ms, then.time_ms))
    return told if told.is_told else order


def find_order(history: Past, number: int) -> OrderView | None:
    """An order from the journal; None if the journal does not have it."""
    found = history.order(number)
    return view_of(found) if found else None


def view_of(past: PastOrder) -> OrderView:
    """An order, made from its events."""
    first = past.pieces[0]
    if first.open is not None:
        view = resting(first.open)
    elif first.rejected is not None:
        view = submitted(first.rejected, past.id)
    else:
        view = OrderView(past.id)
    numbers = iter(past.trades)
    for piece in past.pieces:
        for event in piece.events:
            view.apply(event, piece.time_ms, next(numbers) if type(event) is Trade else 0)
        view.time_ms = piece.time_ms
    return view


def candles(
    history: History | None, mirrors: Mirrors, of: Units, kept: Candles, asked: CandlesQuery
) -> list[Candle]:
    """Candles that began before `asked.before`, oldest first."""
    seconds = asked.interval
    with mirrors.lock:
        found = kept.newest(seconds, asked.limit, asked.before)
        needs_past = kept.needs_past(seconds, found)
    if history is None or not needs_past:
        return found
    symbol, interval_ms = of.market.symbol, seconds * 1000
    if found:
        below = found[0].first
    else:
        below = history.number_at(symbol, -(-asked.before // interval_ms) * interval_ms)
    older = history.candles(symbol, interval_ms, below, asked.limit - len(found) + 1)
    if older and found and older[-1].time_ms == found[0].time_ms:
        found[0].extend_back(older.pop())
    return ([of_past(candle) for candle in older] + found)[-asked.limit :]
