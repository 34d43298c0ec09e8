"""The gateway's subscriptions at its node, which keep the mirrors up to date.

Owns what the gateway subscribes to, and when it does so again. Markets, commits and the mesh are
one subscription, since they must fit together; each account is another one. Messages come on the
link's thread, in the order in which they happened. Must never skip one.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from engine import Market, MarketStatus
from peer.client.accounts import AccountMirror
from peer.client.protocol import (
    TOPICS_PER_REQUEST_MAX,
    AccountUpdate,
    Answer,
    Committed,
    GetMarkets,
    MarketList,
    Markets,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
    Proposals,
    Refused,
    State,
    Subscribe,
    topic,
)
from peer.client.units import units_of
from peer.replica.order_state import OrderView
from web.config import ACCOUNTS_MAX
from web.market_data.book_mirror import BookMirror
from web.market_data.candles import Candles
from web.market_data.mirrors import Mirrors
from web.market_data.node_connection import Call, Link

STALE_SECONDS = 2.5  # without a message from the node, which sends two a second
ASK_SECONDS = 1.0  # between two requests for the markets, which show that the node answers
_MARKETS = "markets"  # the key of the subscription to markets, commits and the mesh
_GLOBAL = ("commit", "mesh", "markets", "proposals")


def _fits(before: Market, after: Market) -> bool:
    """Whether a book of the one market is still one of the other."""
    return (before.tick, before.lot) == (after.tick, after.lot)


class Audience(Protocol):
    """Gets the changes of the mirrors."""

    def market_reset(self, market: str) -> None: ...
    def orders_reset(self, account: str) -> None: ...
    def orders(self, account: AccountMirror, changed: list[OrderView]) -> None: ...
    def committed(self) -> None: ...
    def mesh(self) -> None: ...
    def markets(self) -> None: ...
    def proposals(self) -> None: ...


class MirrorFeed:
    """Any thread may call `watch` and `note_listeners`, only the link's thread the rest."""

    def __init__(self, link: Link, mirrors: Mirrors, audience: Audience, has_history: bool) -> None:
        self._link = link
        self._mirrors = mirrors
        self._audience = audience
        self._has_history = has_history
        self._live: dict[str, tuple[int, Call]] = {}  # subscriptions, by key
        self._count = 0  # subscriptions so far
        self._heard = 0.0
        self._asked = 0.0
        self._is_short = False  # a book is short, and its state was requested

    def watch(self, name: str) -> None:
        """Mirror an account's orders from now on. If there are too many accounts, drops the one
        watched longest ago, preferably one without listeners."""
        with self._mirrors.lock:
            accounts = self._mirrors.accounts
            known = accounts.pop(name, None)
            if known is None and len(accounts) >= ACCOUNTS_MAX:
                unused = (name for name, mirror in accounts.items() if not mirror.listeners)
                self._unwatch(next(unused, next(iter(accounts))))
            accounts[name] = known or AccountMirror(name)
            if known is None:
                self._subscribe(topic("account", name))

    def _unwatch(self, name: str) -> None:
        del self._mirrors.accounts[name]
        _, subscription = self._live.pop(topic("account", name), (0, None))
        if subscription is not None:
            self._link.end(subscription)

    def note_listeners(self, name: str, listeners: int) -> None:
        """Set how many streams have subscribed to an account's orders."""
        with self._mirrors.lock:
            if listeners:
                self.watch(name)
            if name in self._mirrors.accounts:
                self._mirrors.accounts[name].listeners = listeners

    def ask(self) -> None:
        """Request the markets. The answer starts the subscriptions that are missing."""
        self._asked = time.monotonic()
        self._link.request(GetMarkets(), self._take_markets)

    def tick(self, now: float) -> None:
        fresh = self._link.is_connected and now - self._heard < STALE_SECONDS
        state = "live" if fresh else "stale"
        if self._mirrors.mesh is not None and state != self._mirrors.state:
            self._mirrors.state = state
            self._audience.mesh()
        if self._link.is_connected and now - self._asked >= ASK_SECONDS:
            self.ask()

    def _take_markets(self, answer: Answer) -> None:
        if not isinstance(answer, Markets):
            return  # `tick` asks again
        with self._mirrors.lock:
            self._mirrors.peer, self._mirrors.mesh_id = answer.peer, answer.mesh
            self._note_markets(answer.markets, answer.statuses)
            if _MARKETS not in self._live:
                self._subscribe_to_markets()
            for name in self._mirrors.accounts:
                if topic("account", name) not in self._live:
                    self._subscribe(topic("account", name))

    def _note_markets(self, markets: Sequence[Market], statuses: Sequence[MarketStatus]) -> bool:
        """Take over markets and their limits. Returns whether there are new markets."""
        books, is_news, news = self._mirrors.books, False, False
        for number, market in enumerate(markets):
            status = statuses[number] if number < len(statuses) else MarketStatus.OPEN
            book = books.get(market.symbol)
            if book is None or not _fits(book.units.market, market):
                candles = Candles(has_history=self._has_history)
                book = books[market.symbol] = BookMirror(units_of(market), candles)
                is_news = True
            news |= is_news or (book.units.market, book.status) != (market, status)
            if book.units.market != market:
                book.units = units_of(market)
            book.status = status
        if news:
            self._audience.markets()
        return is_news

    def _subscribe_to_markets(self) -> None:
        """Subscribe to all that must fit together. Closed markets come last: if there are too many,
        some are left out."""
        _, subscription = self._live.pop(_MARKETS, (0, None))
        if subscription is not None:
            self._link.end(subscription)
        books = self._mirrors.books
        symbols = sorted(books, key=lambda symbol: books[symbol].status is MarketStatus.CLOSED)
        room = TOPICS_PER_REQUEST_MAX - len(_GLOBAL)
        topics = [topic("market", symbol) for symbol in symbols[:room]]
        self._subscribe(_MARKETS, *topics, *_GLOBAL)

    def _subscribe(self, key: str, *topics: str) -> None:
        """Subscribe to `topics`, by default to the one topic `key`."""
        self._count += 1
        take = partial(self._take, key, self._count)
        request = Subscribe(list(topics or [key]))
        self._live[key] = self._count, self._link.request(request, take)

    def _take(self, key: str, number: int, message: Answer) -> None:
        self._heard = time.monotonic()
        with self._mirrors.lock:
            if self._live.get(key, (0, None))[0] != number:
                return  # the subscription was ended
            match message:
                case Orders():
                    self._mirrors.accounts[message.account].take(message)
                    self._mirrors.orders_known()
                    self._audience.orders_reset(message.account)
                case PendingUpdate() | AccountUpdate():
                    account = self._mirrors.accounts[message.account]
                    self._audience.orders(account, account.take(message))
                case Refused():
                    del self._live[key]  # the next answer to `ask` starts it again
                case _:
                    self._take_of_all(message)

    def _take_of_all(self, message: Answer) -> None:
        """A message of the subscription to markets, commits and the mesh."""
        mirrors = self._mirrors
        match message:
            case State():
                self._is_short = False
                mirrors.books[message.market].reset(message)
                self._audience.market_reset(message.market)
            case MarketUpdate():
                mirrors.books[message.market].stage(message)
            case Committed():
                self._commit(message)
            case Mesh():
                mirrors.mesh, mirrors.state = message, "live"
                self._audience.mesh()
            case MarketList():
                if self._note_markets(message.markets, message.statuses):
                    self._subscribe_to_markets()
            case Proposals():
                mirrors.proposals = message
                self._audience.proposals()

    def _commit(self, message: Committed) -> None:
        mirrors = self._mirrors
        for book in mirrors.books.values():
            book.complete(message.commit, message.time_ms, message.digest)
        mirrors.note_commit(message.commit, message.round, message.time_ms, message.digest)
        self._audience.committed()
        if not self._is_short and any(book.is_short for book in mirrors.books.values()):
            self._is_short = True
            self._link.ask_again(self._live[_MARKETS][1])
