"""What is always true of an exchange between two commands.

Owns the assertions. Must never change what it checks. A failure is a bug of the engine, whatever
the commands were.
"""

from collections.abc import Mapping

from engine.book import Book, Ledger
from engine.book_side import NO_KEY, SHARES_COUNTED_MAX, BookSide, Level, Order
from engine.vocabulary import SOURCES, OrderType, TimeInForce


def check(books: Mapping[str, Book], ledger: Ledger) -> None:
    """Assert every invariant of all books and of what they share. Visits every order."""
    found: list[Order] = []
    for symbol, book in books.items():
        assert book.symbol == symbol == book.market.symbol
        found += _check_book(book)
    assert len(found) == len(ledger.orders)
    assert all(ledger.orders[order.id] is order for order in found)
    dated = [order for order in found if order.terms.tif is TimeInForce.GTD]
    expiries = sorted((order.terms.expire_ms, order.id) for order in dated)
    assert list(ledger.expiries) == expiries
    assert all(expire_ms > ledger.time_ms for expire_ms, _ in expiries)


def _check_book(book: Book) -> list[Order]:
    """The book's orders. Assert that each is where its terms say."""
    found: list[Order] = []
    for side, (resting, waiting) in enumerate(zip(book.sides, book.stops, strict=True)):
        for order in _check_side(resting):
            assert order.terms.type is OrderType.LIMIT
            assert order.terms.stop_price == 0
            _check_order(book, order, side, order.price)
            found.append(order)
        for order in _check_side(waiting):
            assert order.terms.type in (OrderType.STOP, OrderType.STOP_LIMIT)
            assert order.hidden == 0
            _check_order(book, order, side, order.terms.stop_price)
            found.append(order)
    bids, asks = book.sides
    assert not bids.best or not asks.best or bids.best.price < asks.best.price
    if book.last:
        assert book.stops[0].best_key > book.last
        assert book.stops[1].best_key > -book.last
    assert book.halted or not book.closed
    assert not (book.closed and found)
    _check_accounts(book, found)
    return found


def _check_order(book: Book, order: Order, side: int, price: int) -> None:
    assert order.owner.market == book.symbol
    assert order.side == side
    assert order.level.price == price
    assert 0 < order.remaining <= order.quantity
    display = order.terms.display
    if order.hidden:
        assert 0 < order.remaining - order.hidden <= display
    elif display and order.terms.stop_price == 0:
        assert order.remaining <= display


def _check_accounts(book: Book, found: list[Order]) -> None:
    assert book.open == len(found) <= book.market.orders_max
    assert {order.owner.name for order in found} == book.accounts.keys()
    for name, owner in book.accounts.items():
        assert (name, book.symbol) == (owner.name, owner.market)
        mine = list(owner)
        assert 0 < len(mine) == owner.open <= book.market.orders_per_account_max
        newer: Order | None = None
        for order in mine:
            assert order.owner is owner
            assert order.newer is newer
            assert book.orders[order.id] is order
            newer = order
    assert sum(owner.open for owner in book.accounts.values()) == len(found)


def _check_side(book_side: BookSide) -> list[Order]:
    """The side's orders by level. Assert its keys, its cached best and its levels."""
    assert list(book_side.keys) == sorted(price * book_side.sign for price in book_side.levels)
    if book_side.levels:
        assert book_side.best_key == book_side.keys.best()
        assert book_side.best is book_side.levels[book_side.best_key * book_side.sign]
    else:
        assert book_side.best_key == NO_KEY
        assert book_side.best is None
    found: list[Order] = []
    for price, level in book_side.levels.items():
        assert level.price == price == level.key * book_side.sign
        assert level.book_side is book_side
        found += _check_level(level)
    return found


def _check_level(level: Level) -> list[Order]:
    """The level's orders. Assert the links in both directions and the totals."""
    queue: list[Order] = []
    previous: Order | None = None
    for order in level:
        assert order.level is level
        assert order.previous is previous
        assert order.id <= order.priority
        assert previous is None or previous.priority < order.priority
        queue.append(order)
        previous = order
    assert queue
    assert level.last is previous
    assert level.counted == queue[-1].priority or level.price in level.book_side.touched
    counted = [order for order in queue if order.priority <= level.counted]
    assert level.counted == (counted[-1].priority if counted else -1)
    hidden = sum(order.hidden for order in counted)
    shown = sum(order.remaining for order in counted) - hidden
    assert (level.orders, level.shown, level.hidden) == (len(counted), shown, hidden)
    _check_shares(level, counted)
    return queue


def _check_shares(level: Level, counted: list[Order]) -> None:
    shares: dict[int, tuple[int, int]] = {}
    for order in counted:
        shown, orders = shares.get(order.id % SOURCES, (0, 0))
        shares[order.id % SOURCES] = (shown + order.remaining - order.hidden, orders + 1)
    assert level.shares in (None, shares)
    assert level.shares is not None or len(counted) <= SHARES_COUNTED_MAX
