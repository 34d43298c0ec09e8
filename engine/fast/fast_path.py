"""The fast path: the most common commands, without a function call.

Owns one loop, which runs commands in order. Nearly all of them are cancels and plain limit orders
that rest. The loop does these two itself, by the same steps as `matching.submit` and `Book.cancel`,
because in CPython a call costs as much as linking an order into its queue. The books do everything
else. Must never know a rule that the books don't know: tests compare both, command by command.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec.structs import astuple

from engine import matching
from engine.book import Book
from engine.book_side import NOWHERE, Order
from engine.order_index import PARTS, SPAN
from engine.order_terms import PLAIN
from engine.vocabulary import (
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

Terms = tuple[Any, str, str, Any, Any, Any, Any, Any, Any, Any, Any, Any, Any, str]
# One call in C instead of fourteen attribute reads, each a search by name in compiled code.
_fields: Final[Callable[[Submit], Terms]] = astuple
LIMIT: Final = OrderType.LIMIT
GTC: Final = TimeInForce.GTC


def run(  # noqa: C901 one loop, written out: see above
    commands: Iterable[Command],
    books: Mapping[str, Book],
    parts: list[dict[int, Order]],
    other: Callable[[Any], list[Event]],
) -> list[list[Event]]:
    """Execute `commands` in order. Returns the events of each. `other` runs the other kinds."""
    results: list[list[Event]] = []
    # Python finds a local name several times as fast as a global or imported one.
    submits, cancels, accepts, leaves, plain = Submit, Cancel, Accepted, Cancelled, PLAIN
    fields, nowhere = _fields, NOWHERE
    buy, sell, limit, gtc, id_max = Side.BUY, Side.SELL, LIMIT, GTC, ID_MAX
    start = end = 0  # the valid ids that would be in `own`
    own = parts[0]
    book = next(iter(books.values()))
    symbol, bids, asks, accounts, quantity_min, quantity_max, orders_max, account_max = book.basics
    for command in commands:
        if type(command) is submits:
            (
                id,
                account,
                market,
                side,
                quantity,
                price,
                type_,
                tif,
                post_only,
                stop_price,
                display,
                self_trade,
                expire_ms,
                client_id,
            ) = fields(command)
            if market != symbol:
                if market not in books:
                    results.append(rejected(command, Reason.UNKNOWN_MARKET))
                    continue
                book = books[market]
                (
                    symbol,
                    bids,
                    asks,
                    accounts,
                    quantity_min,
                    quantity_max,
                    orders_max,
                    account_max,
                ) = book.basics
            ticks: int = price
            lots: int = quantity
            number: int = id
            if number < start or number >= end:  # neighbours come together
                if number < 1 or number > id_max:
                    results.append(matching.submit(book, command))
                    continue
                chunk = number // SPAN
                own = parts[chunk % PARTS]
                start = chunk * SPAN or 1
                end = (chunk + 1) * SPAN
            try:
                owner = accounts[account]
            except KeyError:
                results.append(matching.submit(book, command))
                continue
            # All zeros: a good till cancelled limit order without special terms.
            if (
                type_ is not limit
                or tif is not gtc
                or post_only
                or stop_price
                or display
                or self_trade
                or expire_ms
                or ticks < book.fast_low
                or ticks > book.fast_high
                or lots < quantity_min
                or lots > quantity_max
                or id in own
                or owner.open >= account_max
                or book.open >= orders_max
                or (client_id and len(client_id) > CLIENT_ID_LENGTH_MAX)
            ):
                results.append(matching.submit(book, command))
                continue
            if side is buy:
                book_side = bids
                crosses = asks.best_key <= ticks
            elif side is sell:
                book_side = asks
                crosses = bids.best_key <= -ticks
            else:
                results.append(matching.submit(book, command))
                continue
            if crosses:
                level = nowhere
                back = older = None
            else:
                here = book_side.levels.get(price)
                level = book_side.open(price) if here is None else here
                price = level.price
                back = level.last
                older = owner.newest
            order = Order(
                id,
                owner,
                side,
                price,
                quantity,
                quantity,
                client_id,
                plain,
                level,
                back,
                older,
                number,
            )
            events: list[Event] = [
                accepts(
                    id,
                    owner.name,
                    symbol,
                    side,
                    quantity,
                    price,
                    limit,
                    gtc,
                    0,
                    0,
                    0,
                    client_id,
                )
            ]
            results.append(events)
            if crosses:
                matching.take(book, order, events)
                continue
            if back is None:
                level.first = order
            else:
                back.next = order
                ahead: int = back.priority
                if ahead <= level.counted:
                    book_side.grows(level)
                if ahead >= number:
                    order.priority = ahead + 1
            level.last = order
            older.newer = order  # type: ignore[union-attr] # a stored owner has orders
            owner.newest = order
            owner.open += 1
            own[id] = order
            book.open += 1
        elif type(command) is cancels:
            id = command.order
            number = id
            orders = parts[number // SPAN % PARTS]
            try:
                found = orders[id]
            except KeyError:
                results.append(rejected(command, Reason.UNKNOWN_ORDER))
                continue
            owner = found.owner
            if owner.name != command.account:
                results.append(rejected(command, Reason.NOT_OWNER))
                continue
            if found.terms is not plain or owner.market is not symbol:
                results.append([books[owner.market].cancel(found)])
                continue
            older = found.older
            newer = found.newer
            if older is not None:
                older.newer = newer
            if newer is not None:
                newer.older = older
            else:
                owner.newest = older
                if older is None:
                    del accounts[owner.name]
            owner.open -= 1
            level = found.level
            if found.priority <= level.counted:
                level.book_side.leaves(level, found)
            before = found.previous
            after = found.next
            found.previous = found.next = found.older = found.newer = None
            if after is not None:
                after.previous = before
            else:
                level.last = before
            if before is not None:
                before.next = after
            else:
                level.first = after
                if after is None:
                    level.book_side.close(level)
            del orders[id]
            book.open -= 1
            results.append(
                [leaves(id, owner.name, symbol, found.side, found.price, found.remaining)]
            )
        else:
            results.append(other(command))
    return results


def rejected(command: Command, reason: Reason) -> list[Event]:
    return [Rejected(command.id, command.account, reason)]
