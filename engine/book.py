"""One market: matches orders by price, then by time.

Owns the market's resting orders and waiting stops, its last trade price and whether it is halted,
and turns commands into events. Must never do I/O, read a clock, use floats or depend on hash order.

Prices are compared as ladder keys. For an incoming order `reach` is the highest key of the opposite
ladder it may trade with, so that one line of code serves both sides: a buy at 101 reaches ask keys
up to 101, a sell at 99 reaches bid keys up to -99.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, Final

from msgspec.structs import replace
from sortedcontainers import SortedList

from engine import gate, rules
from engine.ladder import NOWHERE, Ladder, Level, Order
from engine.order import PLAIN, Conditions, shared
from engine.orders import (
    Accepted,
    Cancelled,
    Event,
    Expired,
    Market,
    MarketState,
    OrderType,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
)

# Bound here because compiled code looks an imported name up in a dictionary each time it is used.
_cancelled: Final = Cancelled
_trade: Final = Trade
_PLAIN: Final = PLAIN
_NO_ORDERS: Final[dict[int, Order]] = {}

BUY: Final = Side.BUY
SELL: Final = Side.SELL
LIMIT: Final = OrderType.LIMIT
MARKET: Final = OrderType.MARKET
STOP: Final = OrderType.STOP
GTC: Final = TimeInForce.GTC
FOK: Final = TimeInForce.FOK
NONE: Final = SelfTrade.NONE
CANCEL_RESTING: Final = SelfTrade.CANCEL_RESTING
CANCEL_INCOMING: Final = SelfTrade.CANCEL_INCOMING
CANCEL_BOTH: Final = SelfTrade.CANCEL_BOTH


class Ledger:
    """What the books of one exchange share: the clock, open orders by id, and their expiries."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.orders: dict[int, Order] = {}
        self.expiries: SortedList[tuple[int, int]] = SortedList()  # expire_ms, id


class Book:
    """The orders of one market. Every method that executes returns, or appends, events in order."""

    def __init__(self, market: Market, ledger: Ledger) -> None:
        self.market = market
        self.symbol = market.symbol
        self.ledger = ledger
        self.orders = ledger.orders
        # Of every account with open orders: its name, as all its orders refer to it, and these.
        self.accounts: dict[str, tuple[str, dict[int, Order]]] = {}
        self.bids = Ladder(-1)
        self.asks = Ladder(1)
        self.sides = (self.bids, self.asks)
        self.buy_stops = Ladder(1)
        self.sell_stops = Ladder(-1)
        self.stops = (self.buy_stops, self.sell_stops)
        self.open = 0
        self.last = 0  # trade price; 0: no trade yet
        self.halted = False
        self.price_low: Any = 1
        self.price_high: Any = market.price_max
        self.quantity_min: Any = market.quantity_min
        self.quantity_max: Any = market.quantity_max
        self.orders_max = market.orders_max
        self.orders_per_account_max = market.orders_per_account_max
        self.lane = (
            self.symbol,
            self.bids,
            self.asks,
            self.accounts,
            self.quantity_min,
            self.quantity_max,
            self.orders_max,
            self.orders_per_account_max,
        )

    # Commands

    def submit(self, terms: Submit) -> list[Event]:
        reason = gate.refuses(self, terms)
        if reason is not None:
            return [Rejected(terms.id, terms.account, reason)]
        asked = Conditions(
            terms.type,
            terms.tif,
            terms.post_only,
            terms.stop_price,
            terms.display,
            terms.self_trade,
            terms.expire_ms,
        )
        return self.enter(terms, shared(asked))

    def cancel(self, order: Order) -> Event:
        """Take an open order out. Also what self-trade prevention does to a resting one."""
        self.remove(order)
        return _cancelled(
            order.id, order.account, order.market, order.side, order.price, order.remaining
        )

    def expire(self, order: Order) -> Event:
        self.remove(order)
        return _expired(order, order.remaining)

    def reduce(self, command: Reduce, order: Order) -> Event:
        quantity = command.quantity
        reason = gate.refuses_reduce(self, order, quantity)
        if reason is not None:
            return Rejected(command.id, command.account, reason)
        return self._shrink(order, quantity)

    def replace(self, command: Replace, order: Order) -> list[Event]:
        price = command.price or order.price
        quantity = command.quantity or order.remaining
        reason = gate.refuses_replace(self, command, order, price, quantity)
        if reason is not None:
            return [Rejected(command.id, command.account, reason)]
        self.remove(order)
        order.price = price
        order.quantity = order.remaining = quantity
        events: list[Event] = [
            Replaced(order.id, order.account, order.market, order.side, price, quantity)
        ]
        if order.conditions.stop_price:
            self._wait(order)
        else:
            self._execute(order, events)
            self._trigger(events)
        return events

    def set_halted(self, halted: bool) -> Event:
        self.halted = halted
        return MarketState(self.symbol, halted)

    # Execution

    def enter(self, terms: Submit, asked: Conditions) -> list[Event]:
        """Take in an order that nothing is wrong with."""
        order = Order(
            terms.id,
            terms.account,
            self.symbol,
            terms.side,
            terms.price,
            terms.quantity,
            terms.quantity,
            0,
            terms.client_id,
            asked,
            _NO_ORDERS,
            NOWHERE,
            NOWHERE,
            NOWHERE,
        )
        events: list[Event] = [
            Accepted(
                order.id,
                order.account,
                order.market,
                order.side,
                order.quantity,
                order.price,
                asked.type,
                asked.tif,
                asked.stop_price,
                asked.display,
                asked.expire_ms,
                order.client_id,
            )
        ]
        if asked.stop_price:
            self._wait(order)
        else:
            self._execute(order, events)
        self._trigger(events)
        return events

    def _execute(self, order: Order, events: list[Event]) -> None:
        """Trade what can be traded; what is left rests or expires."""
        asked = order.conditions
        price = order.price
        if asked.type is MARKET:  # reaches to the edge of the price band
            price = self.price_low if order.side else self.price_high
        reach = -price if order.side else price
        left = order.remaining
        if asked.tif is not FOK or self._fills_whole(order, reach):
            left = self._match(order, reach, events)
        if not left:
            return
        if rules.may_rest(asked.type, asked.tif):
            order.remaining = left
            order.hidden = max(0, left - asked.display) if asked.display else 0
            self.put(self.sides[order.side], order, order.price)
        else:
            events.append(_expired(order, left))

    def _match(self, taker: Order, reach: int, events: list[Event]) -> int:
        """Trade `taker` against the opposite ladder; what is left to rest or expire, in lots."""
        side = taker.side
        id = taker.id
        account = taker.account
        symbol = self.symbol
        quantity = taker.remaining
        careful = taker.conditions.self_trade is not NONE
        ladder = self.bids if side else self.asks
        price = 0
        while quantity and ladder.best_key <= reach:
            level = ladder.best
            assert level is not None
            maker: Order = level.next  # type: ignore[assignment]
            if careful and maker.account == account:
                quantity = self._prevent(taker, quantity, maker, events)
                continue
            price = level.price
            left = maker.remaining
            traded = left - maker.hidden
            if traded > quantity:
                traded = quantity
            quantity -= traded
            left -= traded
            events.append(
                _trade(
                    symbol,
                    side,
                    price,
                    traded,
                    maker.id,
                    id,
                    maker.account,
                    account,
                    left,
                    quantity,
                )
            )
            if left:
                ladder.fill(level, maker, traded)
            else:
                self.remove(maker)
        if price:
            self.last = price
            if self.market.price_band_percent:
                self.price_low, self.price_high = rules.band(price, self.market)
        return quantity

    def _prevent(self, taker: Order, quantity: int, maker: Order, events: list[Event]) -> int:
        """Keep `taker` and `maker`, of one account, from trading; what is left of the taker."""
        mode = taker.conditions.self_trade
        if mode is CANCEL_RESTING:
            events.append(self.cancel(maker))
            return quantity
        left = 0
        if mode is CANCEL_BOTH:
            events.append(self.cancel(maker))
        elif mode is not CANCEL_INCOMING:
            left = quantity - maker.remaining
            events.append(self._shrink(maker, -left) if left < 0 else self.cancel(maker))
        kind, what = (Reduced, left) if left > 0 else (Cancelled, quantity)
        events.append(kind(taker.id, taker.account, taker.market, taker.side, taker.price, what))
        return max(0, left)

    def _fills_whole(self, taker: Order, reach: int) -> bool:
        """Whether all of a fill-or-kill order would trade, hidden quantity included."""
        quantity = taker.remaining
        for level in self.sides[1 - taker.side]:
            if level.key > reach:
                break
            if taker.conditions.self_trade is NONE:
                _, shown, hidden = level.count()
                quantity -= shown + hidden
            else:
                available, stopped = self._available(taker, level)
                quantity -= available
                if stopped:
                    break
            if quantity <= 0:
                break
        return quantity <= 0

    def _available(self, taker: Order, level: Level) -> tuple[int, bool]:
        """What `taker` could trade at `level`, and whether its own order there would stop it.

        Up to its own order it meets every other order of the level once: one shown slice of each.
        """
        whole = slices = 0
        for order in level:
            if order.account != taker.account:
                whole += order.remaining
                slices += order.remaining - order.hidden
            elif taker.conditions.self_trade is not CANCEL_RESTING:
                return slices, True
        return whole, False

    def _trigger(self, events: list[Event]) -> None:
        """Release the stops the last trade price has reached, wave by wave until there are none.

        A stop is released once, as an order that is no stop, so this ends.
        """
        buys = self.buy_stops
        sells = self.sell_stops
        last = self.last
        while last and (buys.best_key <= last or sells.best_key <= -last):
            wave = [*_reached(buys, last), *_reached(sells, -last)]
            for order in wave:
                self.remove(order)
            for order in wave:
                asked = order.conditions
                released = MARKET if asked.type is STOP else LIMIT
                order.conditions = shared(replace(asked, type=released, stop_price=0))
                events.append(
                    Triggered(
                        order.id,
                        order.account,
                        order.market,
                        order.side,
                        order.price,
                        order.remaining,
                    )
                )
                self._execute(order, events)
            last = self.last

    # Where orders are kept

    def _wait(self, order: Order) -> None:
        order.hidden = 0
        self.put(self.stops[order.side], order, order.conditions.stop_price)

    def put(self, ladder: Ladder, order: Order, price: int) -> None:
        """At the back of the queue of `price`."""
        key = price * ladder.sign
        level = ladder.levels.get(key)
        if level is None:
            level = ladder.open(key)
        else:
            ladder.touch(level)
        level.append(order)
        owner = self.accounts.get(order.account)
        if owner is None:
            owner = self.accounts[order.account] = (order.account, {})
        order.account, order.mine = owner
        self.orders[order.id] = order.mine[order.id] = order
        self.open += 1
        if order.conditions.expire_ms:
            self.ledger.expiries.add((order.conditions.expire_ms, order.id))

    def remove(self, order: Order) -> None:
        id = order.id
        level = order.level
        previous = order.previous
        following = order.next
        mine = order.mine
        del self.orders[id]
        del mine[id]
        if not mine:
            del self.accounts[order.account]
        self.open -= 1
        previous.next = following
        following.previous = previous
        if level.totals is not None:
            level.ladder.touch(level)
        if previous is following:
            level.ladder.close(level)
        if order.conditions is not _PLAIN and order.conditions.expire_ms:
            self.ledger.expiries.remove((order.conditions.expire_ms, id))

    def _shrink(self, order: Order, remaining: int) -> Event:
        """Leave `remaining` of `order`, taken from what it hides first; it keeps its place."""
        shown = order.remaining - order.hidden
        order.remaining = remaining
        order.hidden = max(0, remaining - shown)
        order.level.ladder.touch(order.level)
        return Reduced(order.id, order.account, order.market, order.side, order.price, remaining)

    # Questions

    def orders_of(self, account: str) -> Collection[Order]:
        """The account's open orders, in no order to rely on."""
        _, mine = self.accounts.get(account, ("", {}))
        return mine.values()

    def depth(self, side: Side, limit: int) -> list[tuple[int, int, int]]:
        rows = []
        for level in islice(self.sides[side], max(0, limit)):
            orders, shown, _ = level.count()
            rows.append((level.price, shown, orders))
        return rows

    def queue(self, side: Side, price: int) -> list[tuple[int, int]]:
        ladder = self.sides[side]
        level = ladder.levels.get(price * ladder.sign)
        return [] if level is None else [(each.id, each.remaining - each.hidden) for each in level]

    def changes(self) -> list[tuple[Side, int, int, int]]:
        rows = []
        for side, ladder in zip(Side, self.sides, strict=True):
            for key in ladder.take_changed():
                level = ladder.levels.get(key)
                orders, shown, _ = level.count() if level is not None else (0, 0, 0)
                rows.append((side, key * ladder.sign, shown, orders))
        return rows

    # Restoring

    def restore(self, halted: bool, last: int) -> None:
        self.halted = halted
        self.last = last
        self.price_low, self.price_high = rules.band(last, self.market)


def _expired(order: Order, left: int) -> Event:
    return Expired(order.id, order.account, order.market, order.side, order.price, left)


def _reached(stops: Ladder, reach: int) -> Iterator[Order]:
    for level in stops:
        if level.key > reach:
            return
        yield from level
