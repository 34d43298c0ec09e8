"""The gateway of one peer, assembled from its parts.

Owns the mirrors of the node and their feed, the pending commands, the streams to browsers and the
permissions. Must never touch the node's book: it is a client of its peer like any other program.
"""

import os
import threading
import time
from pathlib import Path

from peer.client.protocol import Reason, format_id
from peer.client.units import Units
from peer.replica.order_state import OrderView
from peer.storage.history_reader import History
from web.auth.access import Access
from web.auth.history_access import LimitedHistory, Readers
from web.auth.keys import Keys
from web.auth.signatures import Statements
from web.config import WAITING_MAX, Config
from web.contract.problems import Problem
from web.market_data.backfill import Backfill
from web.market_data.mirror_feed import MirrorFeed
from web.market_data.mirrors import Mirrors
from web.market_data.node_connection import Link
from web.market_data.pending_requests import PendingRequests
from web.streams.channels import Publisher
from web.streams.hub import Hub

UNANSWERED_SECONDS_MAX = 5.0  # while the node still sends updates


class Gateway:
    """Call `start` after any fork, then `stop`. Any thread may call the rest. `hub.source`, which
    makes the frames of the streams, must be set before."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.epoch = os.urandom(4).hex()
        self.mirrors = Mirrors()
        self.link = Link(config.node, self)
        self.pending = PendingRequests(self.link)
        self.hub = Hub(self.epoch, config.streams)
        self.publisher = Publisher(self.mirrors, self.hub, _wall_ms)
        self.access = Access(config, Keys(Path(config.keys)) if config.keys else None)
        self.statements = Statements(_wall_ms)
        self.history = History(Path(config.history)) if config.history else None
        self.feed = MirrorFeed(
            self.link, self.mirrors, self.publisher, has_history=self.history is not None
        )
        self.backfill = (
            Backfill(self.history, self.mirrors, self.publisher.ticker) if self.history else None
        )
        self.readers = Readers()
        self.waiting = threading.BoundedSemaphore(WAITING_MAX)

    def start(self) -> None:
        self.hub.start()
        self.link.start()
        if self.backfill is not None:
            self.backfill.start()

    @property
    def dead_parts(self) -> list[str]:
        """The parts of a started gateway that have failed. They do not recover: the process should
        end, so that its supervisor starts another one."""
        alive = {"link": self.link.is_alive, "hub": self.hub.is_alive}
        if self.backfill is not None:
            alive["backfill"] = self.backfill.is_alive
        return [name for name, is_alive in alive.items() if not is_alive]

    @property
    def is_of_a_member(self) -> bool:
        """Whether the peer takes orders as a member of the mesh, by its last view of that."""
        with self.mirrors.lock:
            mesh = self.mirrors.mesh
        return mesh is not None and mesh.role == "member"

    def stop(self) -> None:
        self.hub.stop()
        self.hub.join(1)
        self.link.stop()
        if self.backfill is not None and self.history is not None:
            self.backfill.stop()
            self.history.close()
        if self.access.keys is not None:
            self.access.keys.close()

    def unready(self) -> list[Reason]:
        """Why an order sent now would not be ordered soon, the worst reason first."""
        if dead := self.dead_parts:
            return [Reason("gateway", f"A part of this gateway has ended: {', '.join(dead)}.")]
        with self.mirrors.lock:
            state, mesh = self.mirrors.state, self.mirrors.mesh
        if state != "live" or mesh is None:
            return [Reason(state, f"This peer's node is {state}.")]
        if not self.link.is_connected:
            return [Reason("unreachable", "This gateway has no connection to its node.")]
        if self.link.unanswered_seconds > UNANSWERED_SECONDS_MAX:
            return [Reason("unanswered", "This peer's node does not answer requests.")]
        return mesh.unready

    def units(self, market: str) -> Units:
        """The units of a market, by default of the first. Problem if there is no such market."""
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

    def past(self, where: str) -> LimitedHistory | None:
        """The journal, within the limits of an address; None if there is no journal."""
        return LimitedHistory(self.history, self.readers, where) if self.history else None

    def open_order(self, account: str, number: int, seconds: float = 0.0) -> OrderView:
        """An open order of the account. Waits up to `seconds` for the account's orders. Problem if
        the account has no such order."""
        self.feed.watch(account)
        with self.mirrors.lock:
            mirror = self.mirrors.await_orders(account, seconds)
            known = mirror.open.get(number) if mirror else None
        if known is None:
            name = format_id(number)
            raise Problem(404, f"{account} has no open order {name}.", "unknown_order", id=name)
        return known

    # Callbacks of the link, on its thread.

    def on_connected(self) -> None:
        self.feed.ask()

    def on_tick(self, now: float) -> float | None:
        with self.mirrors.lock:
            self.feed.tick(now)
            self.publisher.flush(now)
            soon = self.publisher.seconds_to_flush(now)
        self.hub.wake()
        return soon


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
