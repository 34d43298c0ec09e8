"""Trades, candles and orders as far back as they are known: from the mirror, and before it the
journal.

Owns where the two meet. Reads the journal outside the mirrors' lock: must never hold that while it
waits for a disk.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from peer.client.units import Units
from peer.replica.order_state import OrderView, resting, submitted
from peer.replica.trade import MarketTrade
from peer.storage.history_reader import History, PastOrder
from web.auth.history_access import Asked
from web.contract.requests import CandlesQuery
from web.market_data.candles import Candle, Candles, of_past
from web.market_data.mirrors import Mirrors

Past = History | Asked


def trades(
    history: Past | None, of: Units, recent: Sequence[MarketTrade], before: int, limit: int
) -> list[MarketTrade]:
    """Those with numbers below `before`, the newest first; `recent` are the mirror's."""
    found = [trade for trade in recent if trade.number < before][:limit]
    below = found[-1].number if found else before
    if history is not None and len(found) < limit and below > 1:
        found += history.trades(of.market.symbol, below, limit - len(found))
    return found


def missed(found: Sequence[MarketTrade], before: int, limit: int, newest: int) -> int:
    """How many trades are between those of a page, and beyond it if it is not full, that are not
    known here: pruned long ago, or before a snapshot that this peer went on from."""
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
    """An account's orders that ended, with `before` those that did before that one; the last one
    first. `recent` are the mirror's, in the same order."""
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
    """The order with those of its fills, too, that the mirror was too young to see."""
    then = None if order.is_told else find_order(history, order.id)
    if then is None:
        return order
    fills = then.fills if then.filled == order.filled else [*then.fills, *order.fills]
    told = replace(order, fills=fills, time_ms=max(order.time_ms, then.time_ms))
    return told if told.is_told else order


def find_order(history: Past, number: int) -> OrderView | None:
    """An order that the mesh has ordered, as the journal has it."""
    found = history.order(number)
    return view_of(found) if found else None


def view_of(past: PastOrder) -> OrderView:
    """An order from what happened to it."""
    first = past.pieces[0]
    if first.open is not None:
        view = resting(first.open)
    elif first.rejected is not None:
        view = submitted(first.rejected, past.id)
    else:
        view = OrderView(past.id)
    for piece in past.pieces:
        for event in piece.events:
            view.apply(event)
        view.time_ms = piece.time_ms
    return view


def candles(
    history: History | None, mirrors: Mirrors, of: Units, kept: Candles, asked: CandlesQuery
) -> list[Candle]:
    """Those that began before `asked.before`, oldest first."""
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
