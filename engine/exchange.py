"""All markets behind one door: commands in, events out, in the order they are given.

Owns the markets, the ordered clock and what is asked of the book from outside. Must never do I/O or
read a clock: time comes in through `advance`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from engine import disposal, invariants, matching, pre_trade_checks, restore, validation
from engine.book import Book, Ledger
from engine.book_side import Order
from engine.fast import lane
from engine.fast.lane import rejected
from engine.hash_tree import HashTree
from engine.pieces import Frozen, Pieces
from engine.rows import SnapshotError
from engine.vocabulary import (
    CancelAll,
    Command,
    Event,
    Halt,
    Market,
    OpenOrder,
    Reason,
    Reduce,
    Replace,
    Resume,
    Side,
)

ORDERS_RELEASED_MAX: Final = 10_000  # of exchanges that are gone, each time a clock moves


class Exchange:
    """Runs `markets`. MarketError when their configuration can't be run.

    The feeder gives every command an id it never gives again; a `Submit` whose id is that of an
    open order is rejected, ids of closed orders are not remembered.
    """

    def __init__(self, markets: Sequence[Market]) -> None:
        validation.check_markets(markets)
        disposal.release()
        self.ledger = Ledger()
        self.books = {
            market.symbol: Book(market, self.ledger, place) for place, market in enumerate(markets)
        }
        self.orders = self.ledger.orders
        disposal.watch(self, self.orders)
        self._pieces = Pieces(self.books, self.ledger)

    # Commands

    @property
    def time_ms(self) -> int:
        """The ordered clock, in milliseconds since the Unix epoch."""
        return self.ledger.time_ms

    def advance(self, time_ms: int) -> list[Event]:
        """Move the ordered clock to `time_ms`; an earlier time changes nothing.

        Orders good till then or earlier expire, by expiry time and then id.
        """
        disposal.release(ORDERS_RELEASED_MAX)
        ledger = self.ledger
        events: list[Event] = []
        if time_ms > ledger.time_ms:
            ledger.time_ms = time_ms
            while ledger.expiries and ledger.expiries[0][0] <= time_ms:
                order = ledger.orders[ledger.expiries[0][1]]
                events.append(self.books[order.owner.market].expire(order))
        return events

    def apply(self, command: Command) -> list[Event]:
        """Execute one command at the current time. Never raises: a refusal is an event."""
        return self.apply_batch((command,))[0]

    def apply_batch(self, commands: Iterable[Command]) -> list[list[Event]]:
        """Execute commands in order; the events of each. As `apply` one by one, and faster."""
        return lane.run(commands, self.books, self.orders, self._other)

    def _other(self, command: Any) -> list[Event]:
        return _OTHERS[type(command)](self, command)

    def _cancel_all(self, command: CancelAll) -> list[Event]:
        if command.market and command.market not in self.books:
            return rejected(command, Reason.UNKNOWN_MARKET)
        if command.side is not None and type(command.side) is not Side:
            return rejected(command, Reason.INVALID_SIDE)
        return [
            self.books[order.owner.market].cancel(order)
            for order in self._orders_of(command.account, command.market)
            if command.side is None or order.side is command.side
        ]

    def _reduce(self, command: Reduce) -> list[Event]:
        if command.quantity <= 0:
            return rejected(command, Reason.INVALID_QUANTITY)
        order = self.ledger.orders.get(command.order)
        if order is None:
            return rejected(command, Reason.UNKNOWN_ORDER)
        if order.owner.name != command.account:
            return rejected(command, Reason.NOT_OWNER)
        book = self.books[order.owner.market]
        reason = pre_trade_checks.refuses_reduce(book, order, command.quantity)
        if reason is not None:
            return rejected(command, reason)
        return [book.shrink(order, command.quantity)]

    def _replace(self, command: Replace) -> list[Event]:
        if command.quantity < 0:
            return rejected(command, Reason.INVALID_QUANTITY)
        if command.price < 0:
            return rejected(command, Reason.INVALID_PRICE)
        order = self.ledger.orders.get(command.order)
        if order is None:
            return rejected(command, Reason.UNKNOWN_ORDER)
        return matching.replace(self.books[order.owner.market], command, order)

    def _halt(self, command: Halt) -> list[Event]:
        return self._set_halted(command, True)

    def _resume(self, command: Resume) -> list[Event]:
        return self._set_halted(command, False)

    def _set_halted(self, command: Halt | Resume, halted: bool) -> list[Event]:
        book = self.books.get(command.market)
        if book is None:
            return rejected(command, Reason.UNKNOWN_MARKET)
        if book.halted is halted:
            reason = Reason.MARKET_HALTED if halted else Reason.MARKET_NOT_HALTED
            return rejected(command, reason)
        return [book.set_halted(halted)]

    # Questions

    def order(self, id: int) -> OpenOrder | None:
        """The open order of that id, None when there is none."""
        order = self.ledger.orders.get(id)
        return None if order is None else view(order)

    def open_orders(self, account: str, market: str = "") -> list[OpenOrder]:
        """The account's open orders, stops included, by ascending id; empty market: of all."""
        return [view(order) for order in self._orders_of(account, market)]

    def accounts(self) -> Iterator[tuple[str, int]]:
        """Who has open orders in a market, and how many; once for each market."""
        return ((o.name, o.open) for book in self.books.values() for o in book.accounts.values())

    def orders_open(self) -> Iterator[OpenOrder]:
        """Every open order, stops included, in no order to rely on."""
        return map(view, self.ledger.orders.values())

    def depth(self, market: str, side: Side, limit: int) -> list[tuple[int, int, int]]:
        """Up to `limit` best levels: price in ticks, shown quantity in lots, number of orders.

        KeyError when there is no such market, as in `changes` and `shares`.
        """
        return self.books[market].depth(side, limit)

    def shares(self, market: str, side: Side, price: int) -> list[tuple[int, int, int]]:
        """Who stands behind a level: source, shown quantity in lots, number of orders; by source.

        An order's source is its id modulo SOURCES.
        """
        return self.books[market].shares(side, price)

    def changes(self, market: str) -> list[tuple[Side, int, int, int]]:
        """Levels touched since the last call: side, price, shown quantity (0: level gone), orders.

        Bids first, each side best first. A caller that never asks pays a few bytes for every
        distinct price ever used.
        """
        return self.books[market].changes()

    def skip_changes(self, market: str) -> None:
        """Forget the levels touched so far: `changes` may tell them or not. Costs nothing."""
        self.books[market].skip_changes()

    def next_expiry(self) -> int | None:
        """When the next good-till-date order expires, in milliseconds; None when there is none."""
        expiries = self.ledger.expiries
        return expiries[0][0] if expiries else None

    def _orders_of(self, account: str, market: str) -> list[Order]:
        books = self.books
        chosen = [books[market]] if market in books else [] if market else list(books.values())
        found = [order for book in chosen for order in book.orders_of(account)]
        return sorted(found, key=lambda order: order.id)

    # State

    @property
    def tree(self) -> HashTree:
        """The tree of digests over all pieces, brought up to date: costs what changed since the
        last time. Equal states, equal pieces, equal digests.

        Once asked for, a caller that never asks again pays a few bytes for each order ever used.
        """
        return self._pieces.update()

    def digest(self) -> bytes:
        """SHA-256 over everything that can change a later event."""
        return self.tree.digest

    def piece(self, key: int) -> bytes:
        """The piece under `key` as of the last `tree`; empty if there was none."""
        return self._pieces.pieces.get(key, b"")

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The whole state by ascending key; `restore` makes an exchange of it."""
        return iter(self._pieces)

    def freeze(self) -> Frozen:
        """The pieces as they are now, for as long as the answer is kept open."""
        return self._pieces.freeze()

    @classmethod
    def restore(cls, pieces: Iterable[tuple[int, bytes]]) -> "Exchange":
        """The exchange that had these pieces: same digest, same future.

        SnapshotError says what is wrong with them.
        """
        given: dict[int, bytes] = {}
        for key, piece in pieces:
            if key in given:
                raise SnapshotError(f"expected a piece once, got {key} twice")
            given[key] = piece
        head = restore.read_head(given)
        try:
            exchange = cls(head.markets)
        except validation.MarketError as error:
            raise SnapshotError(str(error)) from error
        restore.fill(head, given, tuple(exchange.books.values()), exchange.ledger)
        exchange._pieces.restored(given)
        return exchange

    def check(self) -> None:
        """Assert every invariant. For tests: it visits every order."""
        invariants.check(self.books, self.ledger)
        self._pieces.check()


def view(order: Order) -> OpenOrder:
    """An open order as its owner sees it."""
    asked = order.terms
    return OpenOrder(
        order.id,
        order.owner.name,
        order.owner.market,
        order.side,
        order.price,
        order.remaining,
        order.quantity,
        asked.type,
        asked.tif,
        asked.stop_price,
        asked.display,
        asked.expire_ms,
        order.client_id,
    )


# Functions, not methods of one exchange: that would be in a circle with itself, and go only when
# the collector comes.
_OTHERS: Final[dict[type, Callable[..., list[Event]]]] = {
    CancelAll: Exchange._cancel_all,
    Reduce: Exchange._reduce,
    Replace: Exchange._replace,
    Halt: Exchange._halt,
    Resume: Exchange._resume,
}
