"""A second implementation of the market's rules, slow and obvious, to compare with the engine.

Shares only the vocabulary with the engine. A book is one list of orders, searched from end to end;
a fill-or-kill is tried on a copy. Must never be made fast, or be written from the engine's code.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from engine import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    TIME_MS_MAX,
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    Event,
    Expired,
    Halt,
    Market,
    MarketError,
    MarketState,
    MarketStatus,
    OpenOrder,
    OrderType,
    Reason,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    Resume,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
)

LIMITS = (OrderType.LIMIT, OrderType.STOP_LIMIT)
STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)
AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


@dataclass
class Row:
    terms: Submit
    price: int
    quantity: int
    remaining: int
    waiting: bool  # a stop that has not been triggered
    type: OrderType
    stop_price: int
    shown: int = 0
    place: int = 0  # in the queue: lower is earlier


@dataclass
class Rules:
    market: Market
    last: int = 0
    status: MarketStatus = MarketStatus.OPEN

    def in_band(self, price: int, around: int) -> bool:
        percent = self.market.price_band_percent
        return not percent or not around or abs(price - around) * 100 <= around * percent


class NaiveExchange:
    """Must give the same events as `engine.Exchange`."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.markets = {market.symbol: Rules(market) for market in markets}
        self.rows: list[Row] = []
        self.time_ms = 0
        self.places = 0

    # Commands

    def advance(self, time_ms: int) -> list[Event]:
        self.time_ms = max(self.time_ms, time_ms)
        due = [row for row in self.rows if 0 < row.terms.expire_ms <= self.time_ms]
        due.sort(key=lambda row: (row.terms.expire_ms, row.terms.id))
        return [self._drop(row, Expired) for row in due]

    def apply(self, command: Command) -> list[Event]:
        reason = next((reason for reason in Reason if self._applies(reason, command)), None)
        if reason is not None:
            return [Rejected(command.id, command.account, reason)]
        events: list[Event] = []
        match command:
            case Submit():
                self._submit(command, events)
            case Cancel():
                events.append(self._drop(self._row(command.order), Cancelled))
            case CancelAll():
                rows = [row for row in self.rows if self._meant(row, command)]
                rows.sort(key=lambda row: row.terms.id)
                events.extend(self._drop(row, Cancelled) for row in rows)
            case Reduce():
                events.append(self._reduce(self._row(command.order), command.quantity))
            case Replace():
                self._replace(command, events)
            case Halt() | Resume():
                halts = isinstance(command, Halt)
                status = MarketStatus.HALTED if halts else MarketStatus.OPEN
                self.markets[command.market].status = status
                events.append(MarketState(command.market, status))
        return events

    # Markets

    def add_market(self, market: Market) -> list[Event]:
        is_open = [each for each in self.markets.values() if each.status is not MarketStatus.CLOSED]
        if market.symbol in self.markets or len(is_open) >= 64 or len(self.markets) >= 256:
            raise MarketError
        self.markets[market.symbol] = Rules(market)
        return [MarketState(market.symbol, MarketStatus.OPEN)]

    def change_market(self, market: Market) -> list[Event]:
        rules = self._not_closed(market.symbol)
        old = rules.market
        same = ("symbol", "tick", "lot")
        free = ("quantity_min", "price_band_percent")
        for name in Market.__struct_fields__:
            before, after = getattr(old, name), getattr(market, name)
            if (after < before and name not in free) or (after != before and name in same):
                raise MarketError
        rules.market = market
        return []

    def close_market(self, symbol: str) -> list[Event]:
        self._not_closed(symbol).status = MarketStatus.CLOSED
        rows = [row for row in self.rows if row.terms.market == symbol]
        events: list[Event] = [MarketState(symbol, MarketStatus.CLOSED)]
        return events + self._drop_all(rows, Reason.MARKET_CLOSED)

    def cancel_account(self, account: str) -> list[Event]:
        rows = [row for row in self.rows if row.terms.account == account]
        return self._drop_all(rows, Reason.CANCELLED_BY_VOTE)

    def _not_closed(self, symbol: str) -> Rules:
        if symbol not in self.markets or self.markets[symbol].status is MarketStatus.CLOSED:
            raise MarketError
        return self.markets[symbol]

    def _drop_all(self, rows: list[Row], reason: Reason) -> list[Event]:
        rows.sort(key=lambda row: row.terms.id)
        events = [self._drop(row, Cancelled) for row in rows]
        return [msgspec.structs.replace(event, reason=reason) for event in events]

    def _meant(self, row: Row, command: CancelAll) -> bool:
        return (
            row.terms.account == command.account
            and command.market in ("", row.terms.market)
            and command.side in (None, row.terms.side)
        )

    def _submit(self, terms: Submit, events: list[Event]) -> None:
        row = Row(
            terms,
            terms.price,
            terms.quantity,
            terms.quantity,
            terms.type in STOPS,
            terms.type,
            terms.stop_price,
        )
        events.append(
            Accepted(
                terms.id,
                terms.account,
                terms.market,
                terms.side,
                terms.quantity,
                terms.price,
                terms.type,
                terms.tif,
                terms.stop_price,
                terms.display,
                terms.expire_ms,
                terms.client_id,
            )
        )
        self._place(row, events)

    def _replace(self, command: Replace, events: list[Event]) -> None:
        row = self._row(command.order)
        self.rows.remove(row)
        row.price = command.price or row.price
        row.quantity = row.remaining = command.quantity or row.remaining
        events.append(self._say(row, Replaced))
        self._place(row, events)

    def _place(self, row: Row, events: list[Event]) -> None:
        if row.waiting:
            self._queue(row)
        else:
            self._execute(row, events)
        self._trigger(row.terms.market, events)

    def _reduce(self, row: Row, remaining: int) -> Event:
        row.remaining = remaining
        row.shown = min(row.shown, remaining)
        return self._say(row, Reduced)

    # Matching

    def _execute(self, row: Row, events: list[Event]) -> None:
        market = self.markets[row.terms.market]
        around = market.last
        if row.terms.tif is TimeInForce.FOK and not self._would_fill(row):
            events.append(self._say(row, Expired))
            return
        while row.remaining:
            maker = self._best(row, market, around)
            if maker is None:
                break
            if row.terms.self_trade and maker.terms.account == row.terms.account:
                self._prevent(row, maker, events)
            else:
                self._trade(row, maker, market, events)
        if not row.remaining:
            return
        if row.type in LIMITS and row.terms.tif not in AT_ONCE:
            self._queue(row)
        else:
            events.append(self._say(row, Expired))

    def _best(self, taker: Row, market: Rules, around: int) -> Row | None:
        """The next maker for `taker`."""

        def better(row: Row) -> tuple[int, int]:
            return (row.price if row.terms.side is Side.SELL else -row.price, row.place)

        buys = taker.terms.side is Side.BUY
        found = []
        for row in self.rows:
            if row.waiting or row.terms.market != taker.terms.market:
                continue
            if row.terms.side is taker.terms.side:
                continue
            if taker.type is OrderType.MARKET:
                beyond = row.price > around if buys else row.price < around
                fits = not beyond or market.in_band(row.price, around)
            else:
                fits = row.price <= taker.price if buys else row.price >= taker.price
            if fits:
                found.append(row)
        return min(found, key=better, default=None)

    def _trade(self, taker: Row, maker: Row, market: Rules, events: list[Event]) -> None:
        quantity = min(taker.remaining, maker.shown)
        for row in (taker, maker):
            row.remaining -= quantity
        maker.shown -= quantity
        market.last = maker.price
        events.append(
            Trade(
                market.market.symbol,
                taker.terms.side,
                maker.price,
                quantity,
                maker.terms.id,
                taker.terms.id,
                maker.terms.account,
                taker.terms.account,
                maker.remaining,
                taker.remaining,
            )
        )
        if not maker.remaining:
            self.rows.remove(maker)
        elif not maker.shown:
            self.rows.remove(maker)
            self._queue(maker)

    def _prevent(self, taker: Row, maker: Row, events: list[Event]) -> None:
        mode = taker.terms.self_trade
        if mode is SelfTrade.DECREMENT:
            smaller = min(taker.remaining, maker.remaining)
            if maker.remaining == smaller:
                events.append(self._drop(maker, Cancelled))
            else:
                events.append(self._reduce(maker, maker.remaining - smaller))
            if taker.remaining == smaller:
                events.append(self._say(taker, Cancelled))
                taker.remaining = 0
            else:
                taker.remaining -= smaller
                events.append(self._say(taker, Reduced))
            return
        if mode in (SelfTrade.CANCEL_RESTING, SelfTrade.CANCEL_BOTH):
            events.append(self._drop(maker, Cancelled))
        if mode in (SelfTrade.CANCEL_INCOMING, SelfTrade.CANCEL_BOTH):
            events.append(self._say(taker, Cancelled))
            taker.remaining = 0

    def _would_fill(self, row: Row) -> bool:
        """Try it on a copy of the exchange."""
        trial = copy.deepcopy(self)
        taker = copy.deepcopy(row)
        wanted = taker.remaining
        market = trial.markets[taker.terms.market]
        around = market.last
        traded: list[Event] = []
        while taker.remaining:
            maker = trial._best(taker, market, around)
            if maker is None:
                break
            if taker.terms.self_trade and maker.terms.account == taker.terms.account:
                trial._prevent(taker, maker, [])
            else:
                trial._trade(taker, maker, market, traded)
        return sum(trade.quantity for trade in traded if isinstance(trade, Trade)) == wanted

    def _trigger(self, symbol: str, events: list[Event]) -> None:
        market = self.markets[symbol]
        while True:
            reached = [row for row in self.rows if row.waiting and row.terms.market == symbol]
            reached = [row for row in reached if self._reached(row, market.last)]
            if not reached:
                return
            self.rows = [row for row in self.rows if row not in reached]
            for row in sorted(reached, key=self._stop_order):
                row.waiting = False
                row.type = OrderType.MARKET if row.type is OrderType.STOP else OrderType.LIMIT
                row.stop_price = 0
                events.append(self._say(row, Triggered))
                self._execute(row, events)

    def _reached(self, row: Row, last: int) -> bool:
        if not last:
            return False
        if row.terms.side is Side.BUY:
            return last >= row.stop_price
        return last <= row.stop_price

    def _stop_order(self, row: Row) -> tuple[int, int, int]:
        price = row.stop_price if row.terms.side is Side.BUY else -row.stop_price
        return (row.terms.side, price, row.place)

    # Keeping

    def _queue(self, row: Row) -> None:
        self.places += 1
        row.place = self.places
        display = row.terms.display
        row.shown = min(display, row.remaining) if display else row.remaining
        self.rows.append(row)

    def _drop(self, row: Row, kind: type) -> Event:
        self.rows.remove(row)
        return self._say(row, kind)

    def _say(self, row: Row, kind: type) -> Event:
        terms = row.terms
        event: Event = kind(
            terms.id, terms.account, terms.market, terms.side, row.price, row.remaining
        )
        return event

    def _row(self, id: int) -> Row:
        (row,) = [row for row in self.rows if row.terms.id == id]
        return row

    # Refusing: whether one reason applies to a command, given that none before it does

    def _applies(self, reason: Reason, command: Command) -> bool:
        match command:
            case Submit():
                return self._refuses_submit(reason, command)
            case Cancel() | Reduce() | Replace():
                return self._refuses_change(reason, command)
            case CancelAll():
                return (
                    reason is Reason.UNKNOWN_MARKET
                    and command.market != ""
                    and command.market not in self.markets
                ) or (
                    reason is Reason.INVALID_SIDE
                    and command.side is not None
                    and not isinstance(command.side, Side)
                )
            case Halt() | Resume():
                if reason is Reason.UNKNOWN_MARKET:
                    return command.market not in self.markets
                status = self.markets[command.market].status
                if reason is Reason.MARKET_CLOSED:
                    return status is MarketStatus.CLOSED
                if isinstance(command, Halt):
                    return reason is Reason.MARKET_HALTED and status is MarketStatus.HALTED
                return reason is Reason.MARKET_NOT_HALTED and status is MarketStatus.OPEN

    def _refuses_submit(self, reason: Reason, terms: Submit) -> bool:  # noqa: C901 a table
        if reason is Reason.UNKNOWN_MARKET:
            return terms.market not in self.markets
        rules = self.markets[terms.market]
        market = rules.market
        mine = [row for row in self.rows if row.terms.market == terms.market]
        stays = terms.type in STOPS or (terms.type is OrderType.LIMIT and terms.tif not in AT_ONCE)
        match reason:
            case Reason.INVALID_ID:
                return terms.id < 1 or terms.id > ID_MAX
            case Reason.INVALID_ACCOUNT:
                return terms.account == "" or len(terms.account) > ACCOUNT_LENGTH_MAX
            case Reason.INVALID_CLIENT_ID:
                return len(terms.client_id) > CLIENT_ID_LENGTH_MAX
            case Reason.INVALID_SIDE:
                return not isinstance(terms.side, Side)
            case Reason.INVALID_TYPE:
                return self._senseless(terms)
            case Reason.INVALID_QUANTITY:
                return terms.quantity <= 0
            case Reason.INVALID_PRICE:
                return self._bad_price(terms.type in LIMITS, terms.price, market)
            case Reason.INVALID_STOP_PRICE:
                return self._bad_price(terms.type in STOPS, terms.stop_price, market)
            case Reason.INVALID_DISPLAY:
                return terms.display != 0 and (
                    terms.type not in LIMITS
                    or terms.tif in AT_ONCE
                    or terms.display < 0
                    or terms.display > terms.quantity
                    or terms.quantity > terms.display * market.iceberg_slices_max
                )
            case Reason.INVALID_EXPIRY:
                if terms.tif is TimeInForce.GTD:
                    return terms.expire_ms <= self.time_ms or terms.expire_ms > TIME_MS_MAX
                return terms.expire_ms != 0
            case Reason.DUPLICATE_ID:
                return any(row.terms.id == terms.id for row in self.rows)
            case Reason.MARKET_CLOSED:
                return rules.status is MarketStatus.CLOSED
            case Reason.MARKET_HALTED:
                return rules.status is MarketStatus.HALTED
            case Reason.QUANTITY_TOO_SMALL:
                return terms.quantity < market.quantity_min
            case Reason.QUANTITY_TOO_LARGE:
                return terms.quantity > market.quantity_max
            case Reason.OUTSIDE_PRICE_BAND:
                return self._outside(rules, terms.type, terms.price, terms.stop_price)
            case Reason.TOO_MANY_ORDERS:
                count = sum(row.terms.account == terms.account for row in mine)
                return stays and count >= market.orders_per_account_max
            case Reason.BOOK_FULL:
                return stays and len(mine) >= market.orders_max
            case Reason.WOULD_CROSS:
                return terms.post_only and self._crosses(terms, terms.price)
            case _:
                return False

    def _refuses_change(self, reason: Reason, command: Cancel | Reduce | Replace) -> bool:
        found = [row for row in self.rows if row.terms.id == command.order]
        if reason is Reason.UNKNOWN_ORDER:
            return not found
        if reason is Reason.NOT_OWNER:
            return found[0].terms.account != command.account
        if isinstance(command, Reduce):
            return self._refuses_reduce(reason, command, found)
        if isinstance(command, Replace):
            return self._refuses_replace(reason, command, found)
        return False

    def _refuses_reduce(self, reason: Reason, command: Reduce, found: list[Row]) -> bool:
        if reason is Reason.INVALID_QUANTITY:
            return command.quantity <= 0
        if not found:
            return False
        market = self.markets[found[0].terms.market].market
        match reason:
            case Reason.QUANTITY_TOO_SMALL:
                return command.quantity < market.quantity_min
            case Reason.QUANTITY_TOO_LARGE:
                return command.quantity > market.quantity_max
            case Reason.NOT_SMALLER:
                return command.quantity >= found[0].remaining
            case _:
                return False

    def _refuses_replace(self, reason: Reason, command: Replace, found: list[Row]) -> bool:
        if reason is Reason.INVALID_QUANTITY:
            return command.quantity < 0
        if not found:
            return reason is Reason.INVALID_PRICE and command.price < 0
        row = found[0]
        rules = self.markets[row.terms.market]
        market = rules.market
        price = command.price or row.price
        quantity = command.quantity or row.remaining
        match reason:
            case Reason.INVALID_PRICE:
                return command.price < 0 or self._bad_price(row.type in LIMITS, price, market)
            case Reason.INVALID_DISPLAY:
                display = row.terms.display
                return display != 0 and quantity > display * market.iceberg_slices_max
            case Reason.MARKET_HALTED:
                return rules.status is MarketStatus.HALTED
            case Reason.QUANTITY_TOO_SMALL:
                return command.quantity != 0 and quantity < market.quantity_min
            case Reason.QUANTITY_TOO_LARGE:
                return command.quantity != 0 and quantity > market.quantity_max
            case Reason.OUTSIDE_PRICE_BAND:
                return command.price != 0 and self._outside(rules, row.type, price, row.stop_price)
            case Reason.WOULD_CROSS:
                return row.terms.post_only and self._crosses(row.terms, price)
            case _:
                return False

    def _senseless(self, terms: Submit) -> bool:
        if not isinstance(terms.type, OrderType) or not isinstance(terms.tif, TimeInForce):
            return True
        if not isinstance(terms.self_trade, SelfTrade):
            return True
        if terms.post_only and (terms.type is not OrderType.LIMIT or terms.tif in AT_ONCE):
            return True
        return terms.type is OrderType.MARKET and terms.tif is TimeInForce.GTD

    def _bad_price(self, needed: bool, price: int, market: Market) -> bool:
        return not 1 <= price <= market.price_max if needed else price != 0

    def _outside(self, rules: Rules, type: OrderType, price: int, stop_price: int) -> bool:
        if type is OrderType.LIMIT:
            return not rules.in_band(price, rules.last)
        return type is OrderType.STOP_LIMIT and not rules.in_band(price, stop_price)

    def _crosses(self, terms: Submit, price: int) -> bool:
        for row in self.rows:
            if row.waiting or row.terms.market != terms.market or row.terms.side is terms.side:
                continue
            if row.price <= price if terms.side is Side.BUY else row.price >= price:
                return True
        return False

    # Looking

    def queue(self, market: str, side: Side) -> list[tuple[int, int, int]]:
        """Resting orders in the order they would trade: id, shown quantity, open quantity."""
        rows = [row for row in self.rows if row.terms.market == market and not row.waiting]
        rows = [row for row in rows if row.terms.side is side]
        rows.sort(key=lambda row: (row.price if side is Side.SELL else -row.price, row.place))
        return [(row.terms.id, row.shown, row.remaining) for row in rows]

    def depth(self, market: str, side: Side) -> list[tuple[int, int, int]]:
        levels: dict[int, tuple[int, int]] = {}
        for id, shown, _ in self.queue(market, side):
            price = self._row(id).price
            quantity, orders = levels.get(price, (0, 0))
            levels[price] = (quantity + shown, orders + 1)
        return [(price, *level) for price, level in levels.items()]

    def shares(self, market: str, side: Side, price: int) -> list[tuple[int, int, int]]:
        """Of the orders at a price, by their id modulo 256: shown quantity and how many."""
        shares: dict[int, tuple[int, int]] = {}
        for id, shown, _ in self.queue(market, side):
            if self._row(id).price == price:
                quantity, orders = shares.get(id % 256, (0, 0))
                shares[id % 256] = (quantity + shown, orders + 1)
        return [(source, *share) for source, share in sorted(shares.items())]

    def open_orders(self, account: str) -> list[OpenOrder]:
        rows = [row for row in self.rows if row.terms.account == account]
        return [
            OpenOrder(
                row.terms.id,
                row.terms.account,
                row.terms.market,
                row.terms.side,
                row.price,
                row.remaining,
                row.quantity,
                row.type,
                row.terms.tif,
                row.stop_price,
                row.terms.display,
                row.terms.expire_ms,
                row.terms.client_id,
            )
            for row in sorted(rows, key=lambda row: row.terms.id)
        ]
