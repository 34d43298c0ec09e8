"""All markets behind one interface: commands in, events out, in the caller's order.

Owns the markets, the ordered clock and the queries of callers. Must never do I/O or read a clock:
the caller passes time to `advance`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from engine import disposal, invariants, matching, pre_trade_checks, restore, validation
from engine.book import Book, Ledger
from engine.book_side import Order
from engine.fast import fast_path
from engine.fast.fast_path import rejected
from engine.hash_tree import HashTree
from engine.pieces import HEAD_KEY, Frozen, Pieces
from engine.restore import Came
from engine.rows import SnapshotError
from engine.vocabulary import (
    CancelAll,
    Command,
    Event,
    Halt,
    Market,
    MarketState,
    MarketStatus,
    OpenOrder,
    Reason,
    Reduce,
    Replace,
    Resume,
    Side,
)

ORDERS_RELEASED_MAX: Final = 10_000  # of deleted exchanges, each time a clock moves


class Exchange:
    """Runs `markets`. MarketError when it can't run their configuration.

    The caller gives every command a new id. The exchange rejects a `Submit` with the id of an open
    order. It does not remember ids of closed orders.
    """

    def __init__(self, markets: Sequence[Market]) -> None:
        validation.check_markets(markets)
        disposal.release()
        self.ledger = Ledger()
        self.books = {
            market.symbol: Book(market, self.ledger, place) for place, market in enumerate(markets)
        }
        self.orders = self.ledger.orders
        disposal.watch(self, self.orders.parts)
        self._pieces = Pieces(self.books, self.ledger)
        self._is_in_haste = False

    # Commands

    @property
    def time_ms(self) -> int:
        """The ordered clock, in milliseconds since the Unix epoch."""
        return self.ledger.time_ms

    def advance(self, time_ms: int) -> list[Event]:
        """Move the ordered clock to `time_ms`. An earlier time changes nothing.

        Orders good till then or earlier expire, by expiry time, then by id.
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
        """Execute commands in order. Returns the events of each, as `apply`, but faster."""
        return fast_path.run(commands, self.books, self.orders.parts, self._other)

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
        if book.closed:
            return rejected(command, Reason.MARKET_CLOSED)
        if book.halted is halted:
            reason = Reason.MARKET_HALTED if halted else Reason.MARKET_NOT_HALTED
            return rejected(command, reason)
        return [book.set_halted(halted)]

    # Markets. The caller decides who may change them: MarketError if it is impossible.

    def add_market(self, market: Market) -> list[Event]:
        """Add a market. Its symbol is new, also among closed ones."""
        validation.check_added(market, self.markets())
        return [MarketState(market.symbol, self._add(market).status)]

    def _add(self, market: Market) -> Book:
        book = self.books[market.symbol] = Book(market, self.ledger, len(self.books))
        self._pieces.added(book)
        return book

    def change_market(self, market: Market) -> list[Event]:
        """Give the market of that symbol these limits. There is no event."""
        book = self._book(market.symbol)
        validation.check_changed(book.market, market)
        book.limit(market)
        self._pieces.limited()
        return []

    def close_market(self, symbol: str) -> list[Event]:
        """Cancel all orders of a market, for the reason MARKET_CLOSED. It takes no more."""
        return self._book(symbol).close()

    def cancel_account(self, account: str) -> list[Event]:
        """Cancel all orders of an account for the reason CANCELLED_BY_VOTE, by ascending id."""
        return [
            self.books[order.owner.market].cancel(order, Reason.CANCELLED_BY_VOTE)
            for order in self._orders_of(account, "")
        ]

    def markets(self) -> dict[str, MarketStatus]:
        """The status of each market, closed ones included, in the order in which they came."""
        return {symbol: book.status for symbol, book in self.books.items()}

    def market(self, symbol: str) -> Market:
        """A market's configuration. KeyError if there is none."""
        return self.books[symbol].market

    def _book(self, symbol: str) -> Book:
        """The book of a market that is not closed."""
        book = self.books.get(symbol)
        if book is None or book.closed:
            raise validation.MarketError(f"expected a market that is not closed, got {symbol!r}")
        return book

    # Questions

    def order(self, id: int) -> OpenOrder | None:
        """The open order with this id; None when there is none."""
        order = self.ledger.orders.get(id)
        return None if order is None else view(order)

    def open_orders(self, account: str, market: str = "") -> list[OpenOrder]:
        """The account's open orders, stops included, by ascending id. Empty market: all."""
        return [view(order) for order in self._orders_of(account, market)]

    def accounts(self) -> Iterator[tuple[str, int]]:
        """Each account with its number of open orders, once for each market."""
        return ((o.name, o.open) for book in self.books.values() for o in book.accounts.values())

    @property
    def open_count(self) -> int:
        """How many orders are open, stops included."""
        return sum(book.open for book in self.books.values())

    def orders_open(self) -> Iterator[OpenOrder]:
        """Every open order, stops included, in unspecified order."""
        return map(view, self.ledger.orders.values())

    def depth(self, market: str, side: Side, limit: int) -> list[tuple[int, int, int]]:
        """Up to `limit` best levels: price in ticks, shown quantity in lots, number of orders.

        KeyError for an unknown market, as in `changes` and `shares`.
        """
        return self.books[market].depth(side, limit)

    def shares(self, market: str, side: Side, price: int) -> list[tuple[int, int, int]]:
        """Who stands behind a level: source, shown quantity in lots, number of orders; by source.

        An order's source is its id modulo SOURCES.
        """
        return self.books[market].shares(side, price)

    def ahead(self, id: int, orders_max: int) -> tuple[int, int, bool] | None:
        """What stands before an open order at its price: lots shown, orders, and whether that is
        all; after `orders_max` orders the count ends.

        None if the order is in no queue of the book: it is not open, or a stop that waits.
        """
        order = self.ledger.orders.get(id)
        if order is None or order.level.book_side not in self.books[order.owner.market].sides:
            return None
        lots = orders = 0
        before = order.previous
        while before is not None and orders < orders_max:
            lots += before.remaining - before.hidden
            orders += 1
            before = before.previous
        return lots, orders, before is None

    def changes(self, market: str) -> list[tuple[Side, int, int, int]]:
        """Levels touched since the last call: side, price, shown quantity (0: level gone), orders.

        Bids first, each side best first. If the caller never calls this, every distinct price ever
        used costs a few bytes.
        """
        return self.books[market].changes()

    def skip_changes(self, market: str) -> None:
        """Drop the levels touched so far. `changes` may still report some. Costs nothing."""
        self.books[market].skip_changes()

    def next_expiry(self) -> int | None:
        """The time of the next good-till-date expiry, in milliseconds; None if there is none."""
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
        """The tree of digests over all pieces, up to date. Costs what changed since the last call.
        Equal states have equal pieces and equal digests.

        After the first call, each order ever used costs a few bytes until the next call.
        """
        return self._pieces.update()

    def keep_up(self, left: int) -> None:
        """Do a part of what the next `tree` has to do, if that is much. Call it after each commit,
        with the number of commits `left` until the next `tree`. Then no call takes long, however
        many orders have changed since the last `tree`."""
        if not self._is_in_haste:
            self._pieces.keep_up(left)

    @contextmanager
    def in_haste(self) -> Iterator[None]:
        """Nobody waits between commands: the next `tree` does all its work at once, for less."""
        self._is_in_haste = True
        try:
            yield
        finally:
            self._is_in_haste = False
        self.keep_up(1)

    def digest(self) -> bytes:
        """SHA-256 over everything that can change a later event."""
        return self.tree.digest

    def piece(self, key: int) -> bytes:
        """The piece under `key` at the last `tree`, if no command came after it; empty if there was
        none."""
        return self._pieces.piece(key)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The whole state by ascending key. `restore` makes an exchange from it."""
        return iter(self._pieces)

    def freeze(self) -> Frozen:
        """The pieces as they are now, until the caller closes the result."""
        return self._pieces.freeze()

    @classmethod
    def restore(cls, pieces: Iterable[tuple[int, bytes]]) -> "Exchange":
        """The exchange that had these pieces, with the same digest and the same future.

        SnapshotError says what is wrong with the pieces.
        """
        given: dict[int, bytes] = {}
        for key, piece in pieces:
            if key in given:
                raise SnapshotError(f"expected each key once, got {key} twice")
            given[key] = piece
        try:
            exchange = cls(restore.read_head(given).markets)
        except validation.MarketError as error:
            raise SnapshotError(str(error)) from error
        for key, piece in given.items():
            if not piece:
                raise SnapshotError(f"piece {key}: expected its canonical encoding, got nothing")
        exchange.revise(given)
        return exchange

    def revise(self, changes: Mapping[int, bytes]) -> Came:
        """Become the exchange of which these pieces are different; an empty one is not there. Costs
        what differs. Returns the orders that came or are other orders now. `changes` does not
        report them.

        SnapshotError says what is wrong with the pieces. Then this exchange is of no use any more.
        """
        pieces = self._pieces
        pieces.update()
        before = {key: pieces.piece(key) for key in changes}
        head = restore.read_head(changes if HEAD_KEY in changes else pieces.pieces)
        self._follow(head.markets)
        books = tuple(self.books.values())
        came = restore.change(head, before, changes, books, self.ledger)
        pieces.revised(changes)
        return came

    def _follow(self, markets: Sequence[Market]) -> None:
        """The known markets may have other limits, and more may have come."""
        symbols = [market.symbol for market in markets]
        if symbols[: len(self.books)] != list(self.books):
            raise SnapshotError(f"expected the markets {list(self.books)} first, got {symbols}")
        try:
            validation.check_markets(markets)
        except validation.MarketError as error:
            raise SnapshotError(str(error)) from error
        for market in markets:
            if market.symbol not in self.books:
                self._add(market)
            elif market != self.books[market.symbol].market:
                self.books[market.symbol].limit(market)
        self._pieces.limited()

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


# Functions, not methods of one exchange: these would make a reference cycle, and only the garbage
# collector could free the exchange.
_OTHERS: Final[dict[type, Callable[..., list[Event]]]] = {
    CancelAll: Exchange._cancel_all,
    Reduce: Exchange._reduce,
    Replace: Exchange._replace,
    Halt: Exchange._halt,
    Resume: Exchange._resume,
}
