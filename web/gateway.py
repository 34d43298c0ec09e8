"""One peer's gateway: its mirrors of the node, the commands on their way, the streams to browsers.

Owns which markets and accounts are mirrored and when a State is asked for again. Must never touch
the node's book: it is a client of its peer like any other program. Listens to the link on the
link's thread.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from engine import Command, Market, Submit
from peer.client.accounts import AccountMirror
from peer.client.protocol import (
    DEPTH_MAX,
    AccountUpdate,
    Committed,
    Done,
    FeedMessage,
    GetMarkets,
    GetOrders,
    GetState,
    Markets,
    MarketUpdate,
    Mesh,
    Orders,
    Reason,
    Refused,
    Reply,
    State,
    format_id,
    topic,
)
from peer.client.units import Units, units_of
from peer.replica.order_state import OrderView, Outcome, submitted
from peer.storage.history_reader import History
from web.auth.access import Access
from web.auth.history_access import Asked, Readers
from web.auth.keys import Keys
from web.auth.signatures import Statements
from web.config import ACCOUNTS_MAX, WAITING_MAX, Config
from web.contract.problems import Problem
from web.market_data.backfill import Recall
from web.market_data.book_mirror import BookMirror
from web.market_data.candles import Candles
from web.market_data.mirrors import Mirrors
from web.market_data.node_connection import Link
from web.market_data.pending_requests import Desk
from web.streams.channels import Publisher
from web.streams.hub import Hub

STALE_SECONDS = 2.5  # without a word from the node, which speaks twice a second
RETRY_SECONDS = 1.0  # an unanswered question is asked again
AUDIT_SECONDS = 2.0
UNANSWERED_SECONDS_MAX = 5.0  # for a node that is heard


class Gateway:
    """`start` after any fork, then `stop`. Everything else may be called from any thread. What its
    streams say comes from `hub.source`; `on_ordered` is told of every command that has its result,
    and of the seconds it took."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.epoch = os.urandom(4).hex()
        self.mirrors = Mirrors()
        self.link = Link(config.node, config.feed, self)
        self.desk = Desk(self.link, self._on_queued, self._on_done, self._on_withdrawn)
        self.hub = Hub(self.epoch, config.streams)
        self.publisher = Publisher(self.mirrors, self.hub, _wall_ms)
        self.access = Access(config, Keys(Path(config.keys)) if config.keys else None)
        self.statements = Statements(_wall_ms)
        self.history = History(Path(config.history)) if config.history else None
        self.recall = (
            Recall(self.history, self.mirrors, self.publisher.ticker) if self.history else None
        )
        self.readers = Readers()
        self.waiting = threading.BoundedSemaphore(WAITING_MAX)
        self.on_ordered: Callable[[Outcome, float], None] = lambda outcome, seconds: None
        self._connected = False
        self._heard = 0.0
        self._asked: dict[str, float] = {}  # question -> when
        self._audited = 0.0
        self._settling: deque[tuple[int, Outcome]] = deque()

    def start(self) -> None:
        self.hub.start()
        self.link.start()
        if self.recall is not None:
            self.recall.start()

    @property
    def dead_parts(self) -> list[str]:
        """What of a started gateway has ended by itself. It does not come back: a process that has
        such a part should end, so that its supervisor starts another one."""
        alive = {"link": self.link.is_alive, "hub": self.hub.is_alive}
        if self.recall is not None:
            alive["recall"] = self.recall.is_alive
        return [name for name, is_alive in alive.items() if not is_alive]

    def stop(self) -> None:
        self.hub.stop()
        self.hub.join(1)
        self.link.stop()
        if self.recall is not None and self.history is not None:
            self.recall.stop()
            self.history.close()
        if self.access.keys is not None:
            self.access.keys.close()

    def unready(self) -> list[Reason]:
        """Why an order sent here now would not be ordered soon, the worst first."""
        if dead := self.dead_parts:
            return [Reason("gateway", f"A part of this gateway has ended: {', '.join(dead)}.")]
        with self.mirrors.lock:
            state, mesh = self.mirrors.state, self.mirrors.mesh
        if state != "live" or mesh is None:
            return [Reason(state, f"This peer's node is {state}.")]
        if not self.link.is_connected:
            return [Reason("unreachable", "This gateway has no connection to its node.")]
        if self.link.unanswered_seconds > UNANSWERED_SECONDS_MAX:
            return [Reason("unanswered", "This peer's node speaks and does not answer.")]
        return mesh.unready

    def units(self, market: str) -> Units:
        """The units of a market, of the first one if none is named; Problem if there is none."""
        with self.mirrors.lock:
            book = self.mirrors.books.get(market or next(iter(self.mirrors.books), ""))
            if book is not None:
                return book.units
            known = ", ".join(self.mirrors.books)
        if not known:
            raise Problem(503, "This peer is starting: its markets are not known yet.", "starting")
        raise Problem(
            404, f"There is no market {market:.40}; there is {known}.", "unknown_market", "market"
        )

    @property
    def mesh_id(self) -> str:
        """In hex; Problem while it is not known."""
        if not self.mirrors.mesh_id:
            raise Problem(503, "This peer is starting: its mesh is not known yet.", "starting")
        return self.mirrors.mesh_id

    def past(self, where: str) -> Asked | None:
        """The journal as an address may ask it, if there is one."""
        return Asked(self.history, self.readers, where) if self.history else None

    def watch_account(self, name: str) -> None:
        """Mirror an account's orders from now on; the one watched longest ago makes room, if there
        is one that nobody listens to."""
        with self.mirrors.lock:
            accounts = self.mirrors.accounts
            known = accounts.pop(name, None)
            if known is None:
                if len(accounts) >= ACCOUNTS_MAX:
                    deaf = (name for name, mirror in accounts.items() if not mirror.listeners)
                    oldest = next(deaf, next(iter(accounts)))
                    del accounts[oldest]
                    self.link.subscribe(topic("account", oldest), on=False)
                known = AccountMirror(name)
                self.link.subscribe(topic("account", name))
            accounts[name] = known

    def note_listeners(self, name: str, listeners: int) -> None:
        """So many streams tell of an account's orders."""
        with self.mirrors.lock:
            if listeners:
                self.watch_account(name)
            if name in self.mirrors.accounts:
                self.mirrors.accounts[name].listeners = listeners

    def open_order(self, account: str, number: int, seconds: float = 0.0) -> OrderView:
        """An account's open order; its orders are waited for up to `seconds`. Problem if it has
        none of this number."""
        self.watch_account(account)
        with self.mirrors.lock:
            mirror = self.mirrors.await_orders(account, seconds)
            known = mirror.open.get(number) if mirror else None
        if known is None:
            name = format_id(number)
            raise Problem(404, f"{account} has no open order {name}.", "unknown_order", id=name)
        return known

    # What the link tells, on its thread.

    def on_connected(self) -> None:
        with self.mirrors.lock:
            self._connected = True
            self.mirrors.restart()
            self._asked.clear()
        self.link.request(GetMarkets(), self._take)

    def on_disconnected(self) -> None:
        self._connected = False

    def on_feed(self, message: FeedMessage) -> None:
        self._heard = time.monotonic()
        with self.mirrors.lock:
            if isinstance(message, MarketUpdate):
                book = self.mirrors.books.get(message.market)
                if book is not None:
                    book.stage(message)
            elif isinstance(message, AccountUpdate):
                account = self.mirrors.accounts.get(message.account)
                if account is not None:
                    self.publisher.orders(account, account.apply(message))
            elif isinstance(message, Committed):
                self._on_committed(message)
            else:
                self._on_mesh(message)

    def on_tick(self, now: float) -> float | None:
        with self.mirrors.lock:
            self._watch_node(now)
            self.publisher.flush(now)
            if self._connected:
                self._ask_what_is_missing(now)
                self._audit(now)
            soon = self.publisher.seconds_to_flush(now)
        self.hub.wake()
        return soon

    def _watch_node(self, now: float) -> None:
        fresh = self._connected and now - self._heard < STALE_SECONDS
        state = "live" if fresh else "stale"
        if self.mirrors.mesh is not None and state != self.mirrors.state:
            self.mirrors.state = state
            self.publisher.mesh()

    def _ask_what_is_missing(self, now: float) -> None:
        if not self.mirrors.books and self._may_ask("markets", now):
            self.link.request(GetMarkets(), self._take)
        for symbol, book in self.mirrors.books.items():
            if (book.stale or book.is_short) and self._may_ask(f"market/{symbol}", now):
                self.link.request(GetState(symbol, DEPTH_MAX), self._take)
        for name, account in self.mirrors.accounts.items():
            if account.stale and self._may_ask(f"account/{name}", now):
                self.link.request(GetOrders(name), self._take)

    def _may_ask(self, question: str, now: float) -> bool:
        if now - self._asked.get(question, -RETRY_SECONDS) < RETRY_SECONDS:
            return False
        self._asked[question] = now
        return True

    def _audit(self, now: float) -> None:
        """A gap tells of a loss, but no gap follows if the last update was lost: the seq of a State
        does. That may overtake the feed, so what is missing must be so at two audits."""
        if now - self._audited < AUDIT_SECONDS:
            return
        self._audited = now
        for symbol in self.mirrors.books:
            self.link.request(GetState(symbol, 1), self._take_audit)

    def _take_audit(self, reply: Reply) -> None:
        with self.mirrors.lock:
            book = self.mirrors.books.get(reply.market) if isinstance(reply, State) else None
            if book is not None and isinstance(reply, State):
                book.audit(reply.seq)

    def _take(self, reply: Reply) -> None:
        with self.mirrors.lock:
            if isinstance(reply, Markets):
                self._take_markets(reply)
            elif isinstance(reply, State):
                self._take_state(reply)
            elif isinstance(reply, Orders):
                self._take_orders(reply)
            else:
                assert isinstance(reply, Refused), f"{reply} answers a question"

    def _take_markets(self, markets: Markets) -> None:
        self.mirrors.peer, self.mirrors.mesh_id = markets.peer, markets.mesh
        for market in markets.markets:
            book = self.mirrors.books.get(market.symbol)
            if book is None or book.units.market != market:
                self.mirrors.books[market.symbol] = self._new_book(market)
                self.link.subscribe(topic("market", market.symbol))
        if self.mirrors.mesh is None:
            self.link.subscribe(topic("commit"))
            self.link.subscribe(topic("mesh"))
        self._ask_what_is_missing(time.monotonic())

    def _new_book(self, market: Market) -> BookMirror:
        return BookMirror(units_of(market), Candles(has_history=self.history is not None))

    def _take_state(self, state: State) -> None:
        book = self.mirrors.books.get(state.market)
        if book is None or (not book.stale and not book.is_short):
            return
        book.reset(state)
        self.mirrors.note_commit(state.commit, 0, state.time_ms, state.digest)
        self.publisher.market_reset(state.market)

    def _take_orders(self, orders: Orders) -> None:
        account = self.mirrors.accounts.get(orders.account)
        if account is not None and account.stale:
            account.reset(orders)
            self.mirrors.orders_known()
            self.publisher.orders_reset(orders.account)

    def _on_committed(self, message: Committed) -> None:
        for book in self.mirrors.books.values():
            book.complete(message.commit, message.time_ms, message.digest)
        self.mirrors.note_commit(message.commit, message.round, message.time_ms, message.digest)
        self.publisher.committed()
        self._settle()

    def _on_mesh(self, mesh: Mesh) -> None:
        self.mirrors.mesh = mesh
        self.mirrors.state = "live"
        self.publisher.mesh()

    # What the desk tells, on the link's thread.

    def _on_queued(self, commands: list[tuple[int, Command]]) -> None:
        now_ms = _wall_ms()
        with self.mirrors.lock:
            for number, command in commands:
                account = self.mirrors.accounts.get(command.account)
                if account is not None and isinstance(command, Submit):
                    new = account.add_pending([submitted(command, number, now_ms)])
                    self.publisher.orders(account, new)

    def _on_done(self, done: Done, outcomes: list[Outcome], seconds: float) -> None:
        for outcome in outcomes:
            self.on_ordered(outcome, seconds)
        with self.mirrors.lock:
            for outcome in outcomes:
                if outcome.order is not None and outcome.order.id == outcome.id:
                    outcome.order.time_ms = done.time_ms
                    self._settling.append((done.commit, outcome))
            self._settle()

    def _on_withdrawn(self, name: str, number: int) -> None:
        with self.mirrors.lock:
            account = self.mirrors.accounts.get(name)
            if account is not None:
                self.publisher.orders(account, account.withdraw([number]))

    def _settle(self) -> None:
        """Once the feed is past a commit, an order of it that still looks pending gets the outcome
        its sender was told."""
        while self._settling and self._settling[0][0] <= self.mirrors.commit:
            order = self._settling.popleft()[1].order
            account = self.mirrors.accounts.get(order.account) if order else None
            if order is not None and account is not None and account.settle(order):
                self.publisher.orders(account, [order])


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
