"""Books, trades and orders in decimals, made from the messages of one feed.

Owns how messages become whole values. Pure. A program that reads slowly gets fewer books, but every
trade that the node still has.
"""

from collections.abc import Iterable, Iterator, Sequence

from peer.client.accounts import AccountMirror
from peer.client.levels import SideMirror
from peer.client.protocol import (
    AccountUpdate,
    Committed,
    MarketList,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
    State,
    Streamed,
    topic,
)
from peer.client.records import Book, Order, Trade, book_of, order_of, trade_of
from peer.client.units import Units, units_of
from peer.replica.order_state import OrderView
from peer.replica.trade import MarketTrade

KINDS = ("book", "trades", "orders", "commit", "mesh")
Item = Book | Trade | Order | Committed | Mesh


class _Market:
    """One market's levels as of the last commit, and the updates since."""

    def __init__(self, units: Units) -> None:
        self.units = units
        self.bids, self.asks = SideMirror(-1), SideMirror(1)
        self.staged: list[MarketUpdate] = []
        self.traded: int | None = None  # number of the last trade passed on
        self.has_changed = False

    def reset(self, state: State) -> list[MarketTrade]:
        """Start again from `state`; returns the trades since the last one passed on."""
        self.bids.reset(state.bids, state.bid_shares)
        self.asks.reset(state.asks, state.ask_shares)
        self.staged.clear()
        self.has_changed = True
        if self.traded is None:  # skip trades from before the stream
            self.traded = state.trades[0].number if state.trades else 0
        return self._note(state.trades[::-1])

    def complete(self) -> list[MarketTrade]:
        """Apply the staged updates: their commit has come. Returns its trades, oldest first."""
        trades: list[MarketTrade] = []
        for update in self.staged:
            for side, levels in ((self.bids, update.bids), (self.asks, update.asks)):
                side.apply(levels, [])
                side.take_changes()
            trades += self._note(update.trades)
            self.has_changed = True
        self.staged.clear()
        return trades

    def _note(self, trades: Iterable[MarketTrade]) -> list[MarketTrade]:
        assert self.traded is not None
        new = [trade for trade in trades if trade.number > self.traded]
        self.traded = max((trade.number for trade in new), default=self.traded)
        return new


class Follower:
    """One stream: `kinds` of items for the markets in `units`, and orders of one account. With
    `has_all`, these are all markets, and orders in markets that are added later come too. Give it
    the messages of `topics`, in order."""

    def __init__(
        self,
        kinds: Iterable[str],
        units: dict[str, Units],
        account: str,
        depth: int,
        has_all: bool = False,
    ) -> None:
        self._has_all = has_all
        self._kinds = frozenset(kinds)
        self._depth = depth
        self._units = units
        self._markets: dict[str, _Market] = {}
        if self._kinds & {"book", "trades"}:
            self._markets = {symbol: _Market(each) for symbol, each in units.items()}
        self._mirror = AccountMirror(account) if "orders" in self._kinds else None

    @property
    def topics(self) -> list[str]:
        """The topics to subscribe to. Always includes the mesh, which shows that the node lives."""
        found = [topic("market", symbol) for symbol in self._markets]
        if self._mirror is not None:
            found.append(topic("account", self._mirror.account))
            if self._has_all:
                found.append(topic("markets"))
        if self._markets or "commit" in self._kinds:
            found.append(topic("commit"))
        return [*found, topic("mesh")]

    @property
    def is_short(self) -> bool:
        """Whether a book has too few levels left although it is deeper: it needs a new state."""
        return any(side.is_short for m in self._markets.values() for side in (m.bids, m.asks))

    def take(self, messages: Sequence[Streamed]) -> Iterator[Item]:
        """The items in the next messages. A book that changes several times comes once, at the
        end."""
        commits = [n for n, message in enumerate(messages) if isinstance(message, Committed)]
        for number, message in enumerate(messages):
            match message:
                case State():
                    yield from self._reset(message)
                case MarketUpdate():
                    self._markets[message.market].staged.append(message)
                case Orders() | PendingUpdate() | AccountUpdate():
                    yield from self._orders(message)
                case MarketList():
                    self._units.update((each.symbol, units_of(each)) for each in message.markets)
                case Committed():
                    yield from self._commit(message, number == commits[-1])
                case Mesh() if "mesh" in self._kinds:
                    yield message

    def _reset(self, state: State) -> Iterator[Item]:
        market = self._markets[state.market]
        yield from self._trades(market, market.reset(state))
        yield from self._book(market, state)

    def _commit(self, commit: Committed, is_last: bool) -> Iterator[Item]:
        for market in self._markets.values():
            yield from self._trades(market, market.complete())
            if is_last:
                yield from self._book(market, commit)
        if "commit" in self._kinds:
            yield commit

    def _book(self, market: _Market, at: State | Committed) -> Iterator[Book]:
        if market.has_changed and "book" in self._kinds:
            sides = (market.bids.levels(self._depth), market.asks.levels(self._depth))
            yield book_of(at, *sides, market.units)
        market.has_changed = False

    def _trades(self, market: _Market, trades: Iterable[MarketTrade]) -> Iterator[Trade]:
        if "trades" in self._kinds:
            yield from (trade_of(trade, market.units) for trade in trades)

    def _orders(self, message: Orders | PendingUpdate | AccountUpdate) -> Iterator[Order]:
        assert self._mirror is not None
        views: list[OrderView] = self._mirror.take(message)
        for view in views:
            if view.market in self._units:
                yield order_of(view, self._units[view.market])
