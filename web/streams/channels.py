"""The frames for browsers, made from the mirrors.

Owns the names of the channels, the contents of their snapshots and deltas, and how often they are
sent. The link's thread calls it; the hub's thread calls only `snapshot`.

    book/<market>     snapshot, then deltas with changed levels; `seq` without gaps
    peers/<market>    snapshot, then deltas with the peers' shares of the same levels
    trades/<market>   snapshot, then deltas with new trades; `seq` is the number of the last trade
    ticker/<market>   best prices, last trade and the last 24 hours, at most ten times a second
    candles/<market>/<seconds>  snapshot, then deltas with the candles that new trades changed
    orders/<account>  snapshot of open and finished orders, then deltas with changed orders
    commit            the newest commit, at most ten times a second
    mesh              the members, twice a second and at every change
    markets           all markets, at every change of one
    proposals         what members have proposed, at every change
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from peer.client.accounts import AccountMirror
from peer.client.protocol import DEPTH_MAX
from peer.replica.order_state import OrderView
from web.contract.market_responses import (
    Book,
    Candle,
    Levels,
    Market,
    Mesh,
    Ticker,
    Trade,
    shares_of,
)
from web.contract.proposal_responses import Proposals
from web.contract.responses import Order, fields_of
from web.market_data import candles as kept
from web.market_data.book_mirror import BookMirror, Delta
from web.market_data.candles import INTERVALS_SECONDS
from web.market_data.mirrors import Mirrors

FLUSH_SECONDS = 0.016  # between two frames of a market: one screen frame
COMMIT_SECONDS = 0.1

Json = dict[str, Any]
TICKER_SECONDS = 0.1
CANDLES_SENT = 500  # in a snapshot
MARKET_CHANNELS = ("book", "peers", "trades", "ticker", "candles")
ACCOUNT_CHANNELS = ("orders",)
GLOBAL_CHANNELS = ("commit", "mesh", "markets", "proposals")


class Sink(Protocol):
    def publish(self, channel: str, seq: int, payload: bytes, resets: bool = False) -> None: ...


def channel_key(kind: str, market: str, account: str, interval: int) -> str | None:
    """The hub's name for a channel; None if there is no such kind."""
    if kind == "candles":
        return f"{kind}/{market}/{interval}"
    if kind in MARKET_CHANNELS:
        return f"{kind}/{market}"
    if kind in ACCOUNT_CHANNELS:
        return f"{kind}/{account}"
    return kind if kind in GLOBAL_CHANNELS else None


class Publisher:
    def __init__(self, mirrors: Mirrors, sink: Sink, wall_ms: Callable[[], int]) -> None:
        self._mirrors = mirrors
        self._sink = sink
        self._wall_ms = wall_ms
        self._minute = 0
        self._encode = msgspec.json.Encoder().encode
        self._flushed: dict[str, float] = {}
        self._mesh_seq = self._markets_seq = self._proposals_seq = 0
        self._commit_seq = 0
        self._commit_at = 0.0
        self._commit_due = False
        self._tickers: dict[str, Ticker] = {}
        self._ticked: dict[str, float] = {}
        self._ticker_seq = 0
        self._ticker_due: set[str] = set()
        # The optional channels that have had a listener. They are published from then on, so that a
        # stream that resumes misses nothing.
        self._asked_for: set[str] = set()

    def wanted(self, channel: str) -> None:
        """Publish `channel` from now on: it has a listener. Thread-safe."""
        self._asked_for.add(channel)

    def snapshot(self, channel: str) -> tuple[int, bytes] | None:
        """A channel's whole state and the seq that it covers, which has been published; None while
        it is unknown."""
        kind, _, name = channel.partition("/")
        with self._mirrors.lock:
            if kind == "candles":
                view = self._candles_snapshot(name)
            elif kind == "ticker":
                view = self._ticker(self._mirrors.books.get(name))
            elif kind in MARKET_CHANNELS:
                view = self._market_snapshot(kind, self._mirrors.books.get(name))
            elif kind == "orders":
                view = self._orders_snapshot(self._mirrors.accounts.get(name))
            else:
                view = self._global_view(kind)
        return None if view is None else (view["seq"], self._encode(view))

    def market_reset(self, market: str) -> None:
        for kind in ("book", "trades"):
            self._publish_snapshot(f"{kind}/{market}")
        optional = (f"peers/{market}", f"ticker/{market}")
        for channel in (*optional, *(f"candles/{market}/{s}" for s in INTERVALS_SECONDS)):
            if channel in self._asked_for:
                self._publish_snapshot(channel)

    def orders_reset(self, account: str) -> None:
        self._publish_snapshot(f"orders/{account}")

    def mesh(self) -> None:
        self._mesh_seq += 1
        self._publish_snapshot("mesh")

    def markets(self) -> None:
        self._markets_seq += 1
        self._publish_snapshot("markets")

    def proposals(self) -> None:
        self._proposals_seq += 1
        self._publish_snapshot("proposals")

    def committed(self) -> None:
        self._commit_due = True

    def ticker(self, market: str) -> None:
        """Note that a market's ticker may have changed."""
        if f"ticker/{market}" in self._asked_for:
            self._ticker_due.add(market)

    def orders(self, account: AccountMirror, changed: list[OrderView]) -> None:
        if not changed or not account.ready:
            return
        account.number += 1
        view = {
            "channel": "orders",
            "type": "delta",
            "account": account.account,
            "seq": account.number,
            "orders": self._orders(changed),
        }
        self._sink.publish(f"orders/{account.account}", account.number, self._encode(view))

    def flush(self, now: float) -> None:
        """Publish the changes that are due."""
        if self._wall_ms() // 60_000 != self._minute:  # the last 24 hours have moved
            self._minute = self._wall_ms() // 60_000
            for market in self._mirrors.books:
                self.ticker(market)
        for market, book in self._mirrors.books.items():
            if book.has_changes and now - self._flushed.get(market, 0.0) >= FLUSH_SECONDS:
                self._flushed[market] = now
                self._flush_book(market, book)
            if market in self._ticker_due and now - self._ticked.get(market, 0.0) >= TICKER_SECONDS:
                self._ticker_due.discard(market)
                self._ticked[market] = now
                self._flush_ticker(market, book)
        if self._commit_due and now - self._commit_at >= COMMIT_SECONDS:
            self._commit_due, self._commit_at = False, now
            self._commit_seq += 1
            self._publish_snapshot("commit")

    def seconds_to_flush(self, now: float) -> float | None:
        """Seconds until `flush` has something to publish; None if there are no changes."""
        due = [
            self._flushed.get(market, 0.0) + FLUSH_SECONDS
            for market, book in self._mirrors.books.items()
            if book.has_changes
        ]
        due += [self._ticked.get(market, 0.0) + TICKER_SECONDS for market in self._ticker_due]
        if self._commit_due:
            due.append(self._commit_at + COMMIT_SECONDS)
        return max(0.0, min(due) - now) if due else None

    def _flush_book(self, market: str, book: BookMirror) -> None:
        delta = book.take_delta()
        self.ticker(market)
        self._sink.publish(f"book/{market}", delta.number, self._encode(_book_delta(book, delta)))
        if f"peers/{market}" in self._asked_for:
            peers = _peers(book, "delta", delta.bids, delta.asks)
            self._sink.publish(f"peers/{market}", delta.number, self._encode(peers))
        if delta.trades:
            seq = delta.trades[-1].number
            trades = [Trade.of(trade, book.units) for trade in delta.trades]
            view = self._view("trades", "delta", seq) | {"market": market, "trades": trades}
            self._sink.publish(f"trades/{market}", seq, self._encode(view))
            for seconds in INTERVALS_SECONDS:
                self._flush_candles(market, book, seconds, delta.trades[0].time_ms)

    def _flush_candles(self, market: str, book: BookMirror, seconds: int, since_ms: int) -> None:
        channel = f"candles/{market}/{seconds}"
        if channel in self._asked_for:
            changed = book.candles.since(seconds, since_ms)
            view = self._candles_view(book, seconds, "delta", book.candles.last, changed)
            self._sink.publish(channel, view["seq"], self._encode(view))

    def _flush_ticker(self, market: str, book: BookMirror) -> None:
        ticker = Ticker.of(book, self._wall_ms())
        if ticker != self._tickers.get(market):
            self._tickers[market] = ticker
            self._ticker_seq += 1
            self._publish_snapshot(f"ticker/{market}")

    def _publish_snapshot(self, channel: str) -> None:
        found = self.snapshot(channel)
        if found is not None:
            self._sink.publish(channel, *found, resets=True)

    def _market_snapshot(self, kind: str, book: BookMirror | None) -> Json | None:
        if book is None or not book.ready:
            return None
        if kind == "book":
            view = self._view(kind, "snapshot", book.number) | fields_of(Book.of(book, DEPTH_MAX))
            return view | {"complete": book.is_complete}
        if kind == "peers":
            levels = (side.levels(DEPTH_MAX) for side in (book.bids, book.asks))
            return _peers(book, "snapshot", *levels)
        seq, told = book.sent_trades
        trades = [Trade.of(trade, book.units) for trade in reversed(told)]
        market = book.units.market.symbol
        return self._view(kind, "snapshot", seq) | {"market": market, "trades": trades}

    def _ticker(self, book: BookMirror | None) -> Json | None:
        if book is None or not book.ready:
            return None
        ticker = Ticker.of(book, self._wall_ms())
        self._tickers.setdefault(book.units.market.symbol, ticker)
        return self._view("ticker", "update", self._ticker_seq) | fields_of(ticker)

    def _candles_snapshot(self, name: str) -> Json | None:
        market, _, seconds = name.rpartition("/")
        book = self._mirrors.books.get(market)
        if book is None or not book.ready:
            return None
        newest = book.candles.newest(int(seconds), CANDLES_SENT)
        seq, _ = book.sent_trades  # candles of later trades will be sent again, whole
        return self._candles_view(book, int(seconds), "snapshot", seq, newest)

    def _candles_view(
        self, book: BookMirror, seconds: int, kind: str, seq: int, candles: list[kept.Candle]
    ) -> Json:
        return self._view("candles", kind, seq) | {
            "market": book.units.market.symbol,
            "interval": seconds,
            "candles": [Candle.of(candle, book.units) for candle in candles],
        }

    def _orders_snapshot(self, account: AccountMirror | None) -> Json | None:
        if account is None or not account.ready:
            return None
        view = self._view("orders", "snapshot", account.number)
        finished = self._orders(list(account.finished.values()))
        orders = self._orders(list(account.open.values()))
        return view | {"account": account.account, "orders": orders, "finished": finished}

    def _orders(self, orders: list[OrderView]) -> list[Order]:
        return [Order.of(order, self._mirrors.units(order.market)) for order in orders]

    def _global_view(self, kind: str) -> Json | None:
        match kind:
            case "commit":
                return self._commit_view()
            case "mesh":
                return self._mesh_view()
            case "markets":
                books = self._mirrors.books.values()
                view = self._view(kind, "update", self._markets_seq)
                return view | {"markets": [Market.of(book) for book in books]}
        proposals = self._mirrors.proposals
        if proposals is None:
            return None
        view = self._view(kind, "update", self._proposals_seq)
        return view | fields_of(Proposals.of(proposals))

    def _commit_view(self) -> Json:
        mirrors = self._mirrors
        return self._view("commit", "update", self._commit_seq) | {
            "commit": mirrors.commit,
            "round": mirrors.round,
            "time": mirrors.time_ms,
            "digest": mirrors.digest.hex(),
        }

    def _mesh_view(self) -> Json:
        mirrors = self._mirrors
        view = self._view("mesh", "update", self._mesh_seq)
        if mirrors.mesh is None:
            return view | {"state": mirrors.state}
        return view | fields_of(Mesh.of(mirrors.mesh, mirrors.state))

    @staticmethod
    def _view(channel: str, kind: str, seq: int) -> Json:
        return {"channel": channel, "type": kind, "seq": seq}


def _book_delta(mirror: BookMirror, delta: Delta) -> Json:
    view = fields_of(Book.with_levels(mirror, delta.bids, delta.asks))
    del view["digest"]
    return {"channel": "book", "type": "delta"} | view


def _peers(mirror: BookMirror, kind: str, bids: Levels, asks: Levels) -> Json:
    """The price and the peers' shares of each level; no shares for a level that is gone."""
    price, quantity = mirror.units.price.text, mirror.units.quantity.text
    view: Json = {
        "channel": "peers",
        "type": kind,
        "seq": mirror.number,
        "market": mirror.units.market.symbol,
    }
    for name, side, levels in (("bids", mirror.bids, bids), ("asks", mirror.asks, asks)):
        shares = ((level[0], side.shares(level[0])) for level in levels)
        view[name] = [(price(ticks), shares_of(each, quantity)) for ticks, each in shares]
    return view
