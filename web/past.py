"""Trades, candles and orders as far back as they are known: from the mirror, and before it the
journal.

Owns where the two meet, and the thread that looks up a market's last day as soon as it is known.
Reads the journal outside the mirrors' lock: must never hold that while it waits for a disk.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from peer.history import History, PastOrder
from peer.orders import OrderView, resting, submitted
from peer.trade import MarketTrade
from peer.units import Units
from web.candles import Candle, Candles, Wish, of_past
from web.mirror import BookMirror
from web.mirrors import Mirrors
from web.readers import Asked
from web.schema import CandlesQuery

JOURNAL_SECONDS = 0.5  # the node's journal has a trade no later than this
LOOK_SECONDS = 0.25  # how soon a market that became known is noticed
STEP_ROWS = 20_000  # trades that are read at a time
RESTS = 1  # times as long as it read


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


class Recall:
    """Fills the candles of every market from the journal, after a loss of messages again; a little
    at a time, so that nobody waits for it and the journal rests between. `on_day` is told of the
    market, under the mirrors' lock."""

    def __init__(self, history: History, mirrors: Mirrors, on_day: Callable[[str], None]) -> None:
        self._history = history
        self._mirrors = mirrors
        self._on_day = on_day
        self._doubted: dict[str, tuple[Wish, float]] = {}  # what the journal may not have yet
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Gives up the last question only when it is answered."""
        self._stopping.set()
        self._thread.join(1)

    def _run(self) -> None:
        rest_s = LOOK_SECONDS
        while not self._stopping.wait(rest_s):
            with self._mirrors.lock:
                books = [book for book in self._mirrors.books.values() if book.ready]
                wishes = [(book, book.candles.wants_past()) for book in books]
            began = time.monotonic()
            went_on = [self._step(book, wish) for book, wish in wishes if wish is not None]
            took_s = time.monotonic() - began
            rest_s = RESTS * took_s if any(went_on) else LOOK_SECONDS

    def _step(self, book: BookMirror, wish: Wish) -> bool:
        """Whether something of the wish was fulfilled."""
        symbol, interval_ms = book.units.market.symbol, wish.seconds * 1000
        past = self._history.parts(symbol, interval_ms, wish.below, STEP_ROWS)
        if (not past or past[-1].last != wish.below - 1) and self._may_come(symbol, wish):
            return False
        with self._mirrors.lock:
            book.candles.fill(wish, past)
            self._on_day(symbol)
        return True

    def _may_come(self, symbol: str, wish: Wish) -> bool:
        """Whether the journal may still get what is missing. Later it is clear that this peer never
        had it: it came by a snapshot."""
        now = time.monotonic()
        doubted, since = self._doubted.get(symbol, (None, now))
        if doubted != wish:
            self._doubted[symbol] = (wish, now)
            return True
        return now - since < JOURNAL_SECONDS
