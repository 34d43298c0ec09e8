"""The fast lane: most of what a market is asked to do, without a call.

Owns one loop, which runs commands in order. Nearly all of them are plain limit orders that rest,
and cancels; these two are done right here, by the same steps as `Book.submit` and `Book.cancel` but
written out, because in CPython a call costs as much as linking an order into its queue. Everything
else goes to the books. Must never know a rule that the books don't know: tests hold it against
them, command by command.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from engine.book import Book
from engine.ladder import Order
from engine.order import PLAIN
from engine.orders import (
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    Accepted,
    Cancel,
    Cancelled,
    Command,
    Event,
    OrderType,
    Reason,
    Rejected,
    Side,
    Submit,
    TimeInForce,
)

# Bound here because compiled code looks an imported name up in a dictionary each time it is used.
_Accepted: Final = Accepted
_Cancelled: Final = Cancelled
_Submit: Final = Submit
_Cancel: Final = Cancel
_PLAIN: Final = PLAIN
_ID_MAX: Final[Any] = ID_MAX
BUY: Final = Side.BUY
SELL: Final = Side.SELL
LIMIT: Final = OrderType.LIMIT
GTC: Final = TimeInForce.GTC


def run(  # noqa: C901 one loop, written out: see above
    commands: Iterable[Command],
    books: Mapping[str, Book],
    orders: dict[int, Order],
    others: Mapping[type, Callable[[Any], list[Event]]],
) -> list[list[Event]]:
    """Execute `commands` in order; the events of each. `others` are those of neither kind."""
    results: list[list[Event]] = []
    book = next(iter(books.values()))
    symbol, bids, asks, accounts, quantity_min, quantity_max, orders_max, account_max = book.lane
    for command in commands:
        if type(command) is _Submit:
            if command.market != symbol:
                if command.market not in books:
                    results.append(rejected(command, Reason.UNKNOWN_MARKET))
                    continue
                book = books[command.market]
                (
                    symbol,
                    bids,
                    asks,
                    accounts,
                    quantity_min,
                    quantity_max,
                    orders_max,
                    account_max,
                ) = book.lane
            id: Any = command.id
            side: Any = command.side
            price: Any = command.price
            quantity: Any = command.quantity
            client_id = command.client_id
            owner = accounts.get(command.account)
            # A zero is a good till cancelled limit order without further wishes.
            if (
                owner is None
                or command.type
                or command.tif
                or command.post_only
                or command.stop_price
                or command.display
                or command.self_trade
                or command.expire_ms
                or not book.price_low <= price <= book.price_high
                or not quantity_min <= quantity <= quantity_max
                or not 0 < id <= _ID_MAX
                or id in orders
                or len(owner[1]) >= account_max
                or book.open >= orders_max
                or (client_id and len(client_id) > CLIENT_ID_LENGTH_MAX)
                or book.halted
            ):
                results.append(book.submit(command))
                continue
            if side is BUY:
                ladder = bids
                key = -price
                crosses = asks.best_key <= price
            elif side is SELL:
                ladder = asks
                key = price
                crosses = bids.best_key <= -price
            else:
                results.append(book.submit(command))
                continue
            if crosses:
                results.append(book.enter(command, _PLAIN))
                continue
            level = ladder.levels.get(key)
            if level is None:
                level = ladder.open(key)
            elif level.totals is not None:
                ladder.touch(level)
            account, mine = owner
            back = level.previous
            level.previous = back.next = orders[id] = mine[id] = Order(
                id,
                account,
                symbol,
                side,
                level.price,
                quantity,
                quantity,
                0,
                client_id,
                _PLAIN,
                mine,
                level,
                back,
                level,
            )
            book.open += 1
            results.append(
                [
                    _Accepted(
                        id, account, symbol, side, quantity, price, LIMIT, GTC, 0, 0, 0, client_id
                    )
                ]
            )
        elif type(command) is _Cancel:
            order = orders.get(command.order)
            if order is None:
                results.append(rejected(command, Reason.UNKNOWN_ORDER))
                continue
            account = order.account
            if account != command.account:
                results.append(rejected(command, Reason.NOT_OWNER))
                continue
            if order.conditions is not _PLAIN or order.market != symbol:
                results.append([books[order.market].cancel(order)])
                continue
            id = order.id
            mine = order.mine
            level = order.level
            before = order.previous
            after = order.next
            del orders[id]
            del mine[id]
            if not mine:
                del accounts[account]
            book.open -= 1
            before.next = after
            after.previous = before
            if level.totals is not None:
                level.ladder.touch(level)
            if before is after:
                level.ladder.close(level)
            results.append(
                [_Cancelled(id, account, symbol, order.side, order.price, order.remaining)]
            )
        else:
            results.append(others[type(command)](command))
    return results


def rejected(command: Command, reason: Reason) -> list[Event]:
    return [Rejected(command.id, command.account, reason)]
