"""How orders meet: by price, then by time.

Owns what a submit and a replace do: trade, prevent trades of an account with itself, rest, expire,
and release the stops that the last trade price has reached. Every function that executes a command
returns or appends events in order. Must never do I/O, read a clock, use floats or depend on hash
order.

The code compares prices as side keys. For an incoming order, `reach` is the highest key of the
opposite side it may trade with. So one line of code serves both sides: a buy at 101 reaches ask
keys up to 101, a sell at 99 reaches bid keys up to -99.
"""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace as changed

from engine import pre_trade_checks, validation
from engine.book import Book
from engine.book_side import NOWHERE, BookSide, Level, Order
from engine.order_terms import PLAIN, OrderTerms, shared
from engine.vocabulary import (
    Accepted,
    Cancelled,
    Event,
    OrderType,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    SelfTrade,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
)

# Bound here because compiled code looks up an imported name in a dictionary at each use.
_trade: Final = Trade
_accepted: Final = Accepted
_PLAIN: Final = PLAIN
_NOWHERE: Final = NOWHERE

LIMIT: Final = OrderType.LIMIT
MARKET: Final = OrderType.MARKET
STOP: Final = OrderType.STOP
FOK: Final = TimeInForce.FOK
NONE: Final = SelfTrade.NONE
CANCEL_RESTING: Final = SelfTrade.CANCEL_RESTING
CANCEL_INCOMING: Final = SelfTrade.CANCEL_INCOMING
CANCEL_BOTH: Final = SelfTrade.CANCEL_BOTH


def submit(book: Book, command: Submit) -> list[Event]:
    """Accept an order, or reject it with a reason."""
    reason = pre_trade_checks.refuses(book, command)
    if reason is not None:
        return [Rejected(command.id, command.account, reason)]
    asked = OrderTerms(
        command.type,
        command.tif,
        command.post_only,
        command.stop_price,
        command.display,
        command.self_trade,
        command.expire_ms,
    )
    return _enter(book, command, shared(asked))


def _enter(book: Book, command: Submit, asked: OrderTerms) -> list[Event]:
    """Accept an order that passed every check."""
    owner = book.owner(command.account)
    order = Order(
        command.id,
        owner,
        command.side,
        command.price,
        command.quantity,
        command.quantity,
        command.client_id,
        asked,
        _NOWHERE,
        None,
        None,
        0,
    )
    events: list[Event] = [
        _accepted(
            order.id,
            owner.name,
            book.symbol,
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
        book.wait(order)
    else:
        _execute(book, order, events)
    _trigger(book, events)
    return events


def replace(book: Book, command: Replace, order: Order) -> list[Event]:
    """Give an open order a new price or quantity and a new place, or reject the command."""
    price = command.price or order.price
    quantity = command.quantity or order.remaining
    reason = pre_trade_checks.refuses_replace(book, command, order, price, quantity)
    if reason is not None:
        return [Rejected(command.id, command.account, reason)]
    book.remove(order)
    order.price = price
    order.quantity = order.remaining = quantity
    events: list[Event] = [
        Replaced(order.id, order.owner.name, book.symbol, order.side, price, quantity)
    ]
    if order.terms.stop_price:
        book.wait(order)
    else:
        _execute(book, order, events)
        _trigger(book, events)
    return events


def take(book: Book, order: Order, events: list[Event]) -> None:
    """Execute a plain limit order: as any other, without checks for special terms."""
    price = order.price
    _match(book, order, -price if order.side else price, events)
    if order.remaining:
        book.rest(order)
    _trigger(book, events)


def _execute(book: Book, order: Order, events: list[Event]) -> None:
    """Trade what can trade. The remainder rests or expires."""
    asked = order.terms
    price = order.price
    if asked.type is MARKET:  # reaches to the edge of the price band
        price = book.price_low if order.side else book.price_high
    reach = -price if order.side else price
    if asked.tif is not FOK or _fills_whole(book, order, reach):
        _match(book, order, reach, events)
    left = order.remaining
    if not left:
        return
    if validation.may_rest(asked.type, asked.tif):
        order.hidden = max(0, left - asked.display) if asked.display else 0
        book.rest(order)
    else:
        events.append(book.expired(order))


def _match(book: Book, taker: Order, reach: int, events: list[Event]) -> None:
    """Trade `taker` against the opposite side as far as it reaches."""
    side = taker.side
    id = taker.id
    owner = taker.owner
    account = owner.name
    symbol = book.symbol
    left = taker.remaining
    careful = taker.terms.self_trade is not NONE
    book_side = book.bids if side else book.asks
    price = 0
    while left and book_side.best_key <= reach:
        level = book_side.best
        assert level is not None
        maker = level.first
        assert maker is not None
        if careful and maker.owner is owner:
            left = _prevent(book, taker, left, maker, events)
            continue
        price = level.price
        rest = maker.remaining
        traded = rest - maker.hidden
        if traded > left:
            traded = left
        left -= traded
        rest -= traded
        events.append(
            _trade(symbol, side, price, traded, maker.id, id, maker.owner.name, account, rest, left)
        )
        if rest:
            book_side.fill(level, maker, traded)
        else:
            book.remove(maker)
    taker.remaining = left
    if price:
        book.traded(price)


def _prevent(book: Book, taker: Order, quantity: int, maker: Order, events: list[Event]) -> int:
    """Prevent a trade of `taker` with `maker`, of one account. Returns the taker's remainder."""
    mode = taker.terms.self_trade
    if mode is CANCEL_RESTING:
        events.append(book.cancel(maker))
        return quantity
    left = 0
    if mode is CANCEL_BOTH:
        events.append(book.cancel(maker))
    elif mode is not CANCEL_INCOMING:
        left = quantity - maker.remaining
        events.append(book.shrink(maker, -left) if left < 0 else book.cancel(maker))
    kind, what = (Reduced, left) if left > 0 else (Cancelled, quantity)
    events.append(kind(taker.id, taker.owner.name, book.symbol, taker.side, taker.price, what))
    return max(0, left)


def _fills_whole(book: Book, taker: Order, reach: int) -> bool:
    """Whether all of a fill-or-kill order would trade, hidden quantity included."""
    quantity = taker.remaining
    for level in book.sides[1 - taker.side]:
        if level.key > reach:
            break
        if taker.terms.self_trade is NONE:
            quantity -= level.shown + level.hidden
        else:
            available, stopped = _available(taker, level)
            quantity -= available
            if stopped:
                break
        if quantity <= 0:
            break
    return bool(quantity <= 0)


def _available(taker: Order, level: Level) -> tuple[int, bool]:
    """What `taker` could trade at `level`, and whether an order of its own account would stop it.

    Before that order, the taker meets every other order once: one shown slice of each.
    """
    whole = slices = 0
    for order in level:
        if order.owner is not taker.owner:
            whole += order.remaining
            slices += order.remaining - order.hidden
        elif taker.terms.self_trade is not CANCEL_RESTING:
            return slices, True
    return whole, False


def _trigger(book: Book, events: list[Event]) -> None:
    """Release the stops that the last trade price has reached, in waves, until none is left.

    A released stop is no longer a stop, so this ends.
    """
    buys = book.buy_stops
    sells = book.sell_stops
    last = book.last
    while last and (buys.best_key <= last or sells.best_key <= -last):
        wave = [*_reached(buys, last), *_reached(sells, -last)]
        for order in wave:
            book.remove(order)
        for order in wave:
            asked = order.terms
            released = MARKET if asked.type is STOP else LIMIT
            order.terms = shared(changed(asked, type=released, stop_price=0))
            events.append(
                Triggered(
                    order.id,
                    order.owner.name,
                    book.symbol,
                    order.side,
                    order.price,
                    order.remaining,
                )
            )
            _execute(book, order, events)
        last = book.last


def _reached(stops: BookSide, reach: int) -> Iterator[Order]:
    for level in stops:
        if level.key > reach:
            return
        yield from level
