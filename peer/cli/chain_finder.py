"""Finds out who the members are today, if nobody that this peer knows is there; tells others.

Owns the two sockets for the chain of epochs and the announcement under the mesh's name. Must never
judge a chain: the node verifies it.
"""

import contextlib
import queue
import random
import threading
from collections.abc import Callable, Sequence

import zmq

from discovery.grape import Address, Grape
from discovery.service import Discovery
from discovery.service_tracker import Event, Found
from peer.membership.mesh_file import ConfigError
from peer.network.addresses import read_address
from peer.network.chain_client import ChainClient
from peer.network.chain_server import ChainServer
from peer.node.loop import Node

SILENCE_MS = 2_000  # without a quorum, until this peer asks strangers
FOUND_MAX = 100  # answers of Grapes that are not looked at yet


class ChainFinder:
    """The constructor binds. `places`: HOST:PORT where present members answer; ConfigError if one
    is invalid."""

    def __init__(
        self,
        node: Node,
        context: zmq.Context[zmq.Socket[bytes]],
        host: str,
        port: int,
        places: Sequence[str],
        now_us: Callable[[], int],
    ) -> None:
        mesh, authenticator = node.config.id, node.mesh.authenticator
        self._node = node
        self._now_us = now_us
        self._server = ChainServer(context, mesh, authenticator, node.mesh.guard, host, port)
        self._client = ChainClient(context, mesh, authenticator)
        self._silent_since_ms: int | None = None
        self._grapes: Sequence[str] = ()
        self._discovery: Discovery | None = None
        self._announced: tuple[str, int] | None = None
        self._found: queue.Queue[tuple[Address, ...]] = queue.Queue(FOUND_MAX)
        for place in places:
            try:
                self._client.give(read_address(place))
            except ValueError as error:
                raise ConfigError(f"--chain-at {place!r:.100}: {error}") from None

    def start(self, grapes: Sequence[str]) -> None:
        """Look up where others answer, and announce this peer there while it is a member."""
        self._grapes = grapes
        self._seek(self._announcement)

    def follow(self) -> None:
        """Answer others, and ask them if need be. Call it now and then, in the node's thread."""
        node = self._node
        if node.halted:
            return
        self._server.look(self._now_us, node.ledger.epochs.certificates)
        if self._discovery is not None and self._announced != self._announcement:
            threading.Thread(target=self._discovery.stop, daemon=True).start()  # it may take long
            self._seek(self._announcement)
        with contextlib.suppress(queue.Empty):
            while True:
                self._client.found(self._found.get_nowait())
        self._ask(self._now_us() // 1_000)

    def _ask(self, now_ms: int) -> None:
        node, epochs = self._node, self._node.ledger.epochs
        if node.mesh_status.quorum and not (epochs.lacks_pin or epochs.seeker.gap):
            self._silent_since_ms = None
            self._client.rest()
            node.mesh_status.alarms.clear("chain")
            return
        if self._silent_since_ms is None:
            self._silent_since_ms = now_ms
        if now_ms - self._silent_since_ms >= SILENCE_MS:
            self._client.ask(epochs.newest.number, now_ms)
            for place, chain in self._client.answers():
                if why := node.epochs.learn(chain, now_ms):
                    node.mesh_status.forged_chain(str(place), why)
                    self._client.refuse(place)
            has_asked_all = epochs.seeker.has_asked(node.mesh.heard(now_ms))
            if epochs.seeker.gap and has_asked_all and self._client.has_asked(now_ms):
                node.mesh_status.untrusted(epochs.seeker.gap)

    @property
    def _announcement(self) -> tuple[str, int] | None:
        node = self._node
        is_member = node.ledger.me is not None
        return (node.config.chain_service, self._server.port) if is_member else None

    def _seek(self, announcement: tuple[str, int] | None) -> None:
        if not self._grapes:
            return
        clients = [Grape([url]) for url in self._grapes]
        watch = [self._node.config.chain_service]
        self._discovery = Discovery(
            clients, announcement, watch, self._hand_on, rng=random.Random()
        )
        self._announced = announcement
        self._discovery.start()

    def _hand_on(self, event: Event) -> None:
        """Called in the threads of the discovery."""
        if isinstance(event, Found):
            with contextlib.suppress(queue.Full):  # discovery will find it again
                self._found.put_nowait(event.addresses)

    def stop(self) -> None:
        self._client.rest()
        self._server.close()
        if self._discovery is not None:
            self._discovery.stop()
