"""What keeps the mirrors up to date: the gateway's subscriptions at its node.

Owns what is subscribed to, and when it is asked for again. Markets, commits and the mesh are one
subscription, since they must fit together; each account is one of its own. Messages are taken on
the link's thread, in the order in which they happened; must never let one of them go by.
"""

import time
from functools import partial
from typing import Protocol

from engine import Market
from peer.client.accounts import AccountMirror
from peer.client.protocol import (
    AccountUpdate,
    Answer,
    Committed,
    GetMarkets,
    Markets,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
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

STALE_SECONDS = 2.5  # without a word from the node, which speaks twice a second
ASK_SECONDS = 1.0  # between two questions for the markets: they show that the node answers
_MARKETS = "markets"  # the key of the subscription that is not an account's


class Audience(Protocol):
    """Who is told what the mirrors show now."""

    def market_reset(self, market: str) -> None: ...
    def orders_reset(self, account: str) -> None: ...
    def orders(self, account: AccountMirror, changed: list[OrderView]) -> None: ...
    def committed(self) -> None: ...
    def mesh(self) -> None: ...


class MirrorFeed:
    """`watch` and `note_listeners` may be called from any thread, the rest from the link's."""

    def __init__(self, link: Link, mirrors: Mirrors, audience: Audience, has_history: bool) -> None:
        self._link = link
        self._mirrors = mirrors
        self._audience = audience
        self._has_history = has_history
        self._live: dict[str, tuple[int, Call]] = {}  # subscriptions, by key
        self._count = 0  # of them so far
        self._heard = 0.0
        self._asked = 0.0
        self._is_short = False  # a book is, and its state is on its way

    def watch(self, name: str) -> None:
        """Mirror an account's orders from now on; the one watched longest ago makes room, if there
        is one that nobody listens to."""
        with self._mirrors.lock:
            accounts = self._mirrors.accounts
            known = accounts.pop(name, None)
            if known is None and len(accounts) >= ACCOUNTS_MAX:
                deaf = (name for name, mirror in accounts.items() if not mirror.listeners)
                self._unwatch(next(deaf, next(iter(accounts))))
            accounts[name] = known or AccountMirror(name)
            if known is None:
                self._subscribe(topic("account", name))

    def _unwatch(self, name: str) -> None:
        del self._mirrors.accounts[name]
        _, subscription = self._live.pop(topic("account", name), (0, None))
        if subscription is not None:
            self._link.end(subscription)

    def note_listeners(self, name: str, listeners: int) -> None:
        """So many streams tell of an account's orders."""
        with self._mirrors.lock:
            if listeners:
                self.watch(name)
            if name in self._mirrors.accounts:
                self._mirrors.accounts[name].listeners = listeners

    def ask(self) -> None:
        """What there is at the node, and by the answer what is missing here."""
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
            return  # it is asked again
        with self._mirrors.lock:
            self._mirrors.peer, self._mirrors.mesh_id = answer.peer, answer.mesh
            for market in answer.markets:
                book = self._mirrors.books.get(market.symbol)
                if book is None or book.units.market != market:
                    self._mirrors.books[market.symbol] = self._new_book(market)
            if _MARKETS not in self._live:
                topics = [topic("market", symbol) for symbol in self._mirrors.books]
                self._subscribe(_MARKETS, *topics, topic("commit"), topic("mesh"))
            for name in self._mirrors.accounts:
                if topic("account", name) not in self._live:
                    self._subscribe(topic("account", name))

    def _new_book(self, market: Market) -> BookMirror:
        return BookMirror(units_of(market), Candles(has_history=self._has_history))

    def _subscribe(self, key: str, *topics: str) -> None:
        """To one topic, which is the key, or to several."""
        self._count += 1
        take = partial(self._take, key, self._count)
        request = Subscribe(list(topics or [key]))
        self._live[key] = self._count, self._link.request(request, take)

    def _take(self, key: str, number: int, message: Answer) -> None:
        self._heard = time.monotonic()
        with self._mirrors.lock:
            if self._live.get(key, (0, None))[0] != number:
                return  # of a subscription that was ended
            match message:
                case State():
                    self._is_short = False
                    self._mirrors.books[message.market].reset(message)
                    self._audience.market_reset(message.market)
                case MarketUpdate():
                    self._mirrors.books[message.market].stage(message)
                case Committed():
                    self._commit(message)
                case Mesh():
                    self._mirrors.mesh, self._mirrors.state = message, "live"
                    self._audience.mesh()
                case Orders():
                    self._mirrors.accounts[message.account].take(message)
                    self._mirrors.orders_known()
                    self._audience.orders_reset(message.account)
                case PendingUpdate() | AccountUpdate():
                    account = self._mirrors.accounts[message.account]
                    self._audience.orders(account, account.take(message))
                case Refused():
                    del self._live[key]  # it is asked for again

    def _commit(self, message: Committed) -> None:
        mirrors = self._mirrors
        for book in mirrors.books.values():
            book.complete(message.commit, message.time_ms, message.digest)
        mirrors.note_commit(message.commit, message.round, message.time_ms, message.digest)
        self._audience.committed()
        if not self._is_short and any(book.is_short for book in mirrors.books.values()):
            self._is_short = True
            self._link.ask_again(self._live[_MARKETS][1])
