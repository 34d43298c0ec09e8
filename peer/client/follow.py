"""What happens at a node, told in decimals: the books, trades and orders that one stream follows.

Owns how the feed's messages become whole values, and the cure for lost ones: it asks the node. A
slow reader gets fewer books, but every trade as long as the node knows it.
"""

from collections.abc import Iterable, Iterator

from peer.client.accounts import AccountMirror
from peer.client.connection import NodeClient
from peer.client.protocol import AccountUpdate, Committed, FeedMessage, MarketUpdate, Mesh, topic
from peer.client.records import Book, Order, Trade, book_of, order_of, trade_of
from peer.client.units import Units
from peer.replica.order_state import OrderView
from peer.replica.trade import MarketTrade

BEATS_PER_AUDIT = 4  # the mesh is told of twice a second
KINDS = ("book", "trades", "orders", "commit", "mesh")
Item = Book | Trade | Order | Committed | Mesh


class Follower:
    """One stream: `kinds` of the markets in `units`; orders are those of one account. Subscribe to
    `topics` first, then `begin`, then `take` what comes."""

    def __init__(
        self, node: NodeClient, kinds: frozenset[str], units: dict[str, Units], account: str
    ) -> None:
        self._node = node
        self._kinds = kinds
        self._units = units
        self._seqs: dict[str, int] = {}  # what the last State of a market covers
        self._beats = 0
        self._audited = 0  # the commit at the last audit
        self._owed = 0  # seq that the node's orders had reached by then
        self._traded = dict.fromkeys(units, 0)  # number of the last trade told
        self._mirror = AccountMirror(account) if "orders" in kinds else None

    @property
    def topics(self) -> list[bytes]:
        found = [topic("commit")] if "commit" in self._kinds else []
        if self._kinds & {"book", "trades"}:
            found += [topic("market", symbol) for symbol in self._units]
        if self._mirror is not None:
            found.append(topic("account", self._mirror.account))
        return found

    def begin(self, depth: int) -> Iterator[Item]:
        """The books and the open orders as they are."""
        self._depth = depth
        if self._kinds & {"book", "trades"}:
            for symbol in self._units:
                state = self._node.state(symbol, depth)
                self._seqs[symbol] = state.seq
                self._traded[symbol] = state.trades[0].number if state.trades else 0
                if "book" in self._kinds:
                    yield book_of(state, self._units[symbol])
        if self._mirror is not None:
            yield from self._ask_orders(self._mirror)

    def take(self, message: FeedMessage) -> Iterator[Item]:
        match message:
            case MarketUpdate():
                yield from self._take_market(message)
            case AccountUpdate() if self._mirror is not None:
                yield from self._tell_orders(self._mirror.apply(message))
                if self._mirror.stale:
                    yield from self._ask_orders(self._mirror)
            case Committed() if "commit" in self._kinds:
                yield message
            case Mesh():
                if "mesh" in self._kinds:
                    yield message
                self._beats += 1
                if self._beats % BEATS_PER_AUDIT == 0 and message.commit != self._audited:
                    yield from self._audit(message.commit)

    def _take_market(self, update: MarketUpdate) -> Iterator[Item]:
        symbol = update.market
        news = [trade for trade in update.trades if trade.number > self._traded[symbol]]
        lost = bool(news) and news[0].number > self._traded[symbol] + 1
        if update.seq > self._seqs[symbol] and ("book" in self._kinds or lost):
            yield from self._ask_market(symbol)
        else:
            yield from self._tell_trades(symbol, news)

    def _ask_market(self, symbol: str) -> Iterator[Item]:
        """What is new of it; the seq is another one also when the node was started again."""
        state = self._node.state(symbol, self._depth)
        yield from self._tell_trades(symbol, state.trades[::-1])
        if "book" in self._kinds and state.seq != self._seqs[symbol]:
            yield book_of(state, self._units[symbol])
        self._seqs[symbol] = state.seq

    def _audit(self, commit: int) -> Iterator[Item]:
        """Nothing follows the last message, so that it was lost shows only to who asks."""
        self._audited = commit
        if self._kinds & {"book", "trades"}:
            for symbol in self._units:
                yield from self._ask_market(symbol)
        if self._mirror is not None:
            seq = self._node.orders(self._mirror.account).seq
            # What it had reached at the last audit must be here by now.
            if self._mirror.seq < min(self._owed, seq) or seq < self._mirror.seq:
                yield from self._ask_orders(self._mirror)
            elif seq > self._mirror.seq:
                self._audited = -1  # look again
            self._owed = seq

    def _tell_trades(self, symbol: str, trades: list[MarketTrade]) -> Iterator[Trade]:
        """Those not told yet, oldest first."""
        for trade in trades:
            if trade.number > self._traded[symbol]:
                self._traded[symbol] = trade.number
                if "trades" in self._kinds:
                    yield trade_of(trade, self._units[symbol])

    def _ask_orders(self, mirror: AccountMirror) -> Iterator[Order]:
        mirror.reset(self._node.orders(mirror.account))
        yield from self._tell_orders(mirror.open.values())

    def _tell_orders(self, views: Iterable[OrderView]) -> Iterator[Order]:
        for view in views:
            if view.market in self._units:
                yield order_of(view, self._units[view.market])
