"""Finds the other members: at remembered addresses, at given addresses, and through the Grapes.

Owns the discovery thread and the file of addresses. Must never decide whether an address is good:
the node's address books do.
"""

import contextlib
import queue
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from discovery.grape import Address, Grape
from discovery.service import Discovery
from discovery.service_tracker import Event
from peer.membership.mesh_file import ConfigError
from peer.network.address_file import AddressFile
from peer.network.addresses import read_address
from peer.node.loop import Node

DISCOVERED_MAX = 1_000

Found = queue.Queue[Event]


class MemberFinder:
    """The constructor gives the node the addresses in the file `memory` and the given `places`,
    NAME=HOST:PORT. ConfigError if one is invalid. `start` asks the Grapes."""

    def __init__(self, node: Node, memory: Path, places: Sequence[str]) -> None:
        self._node = node
        self._memory = AddressFile(memory)
        self._discovery: Discovery | None = None
        self._sought: tuple[object, ...] = ()  # what the discovery announces and watches
        self._grapes: Sequence[str] = ()
        self._found: Found | None = None
        self._remembered = self._memory.load()
        self._recalled: set[int] = set()  # seats whose links know the remembered addresses
        self._recall()
        for place in places:
            self._give(place)

    def _give(self, place: str) -> None:
        numbers = {member.name: n for n, member in enumerate(self._node.config.members)}
        name, _, address = place.partition("=")
        if name not in numbers:
            raise ConfigError(f"expected NAME=HOST:PORT of a member, got {place!r:.100}")
        try:
            where = read_address(address)
            if numbers[name] in self._node.mesh.links:
                self._node.mesh.links[numbers[name]].book.give(where)
        except ValueError as error:
            raise ConfigError(f"--at {place!r:.100}: {error}") from None

    def _recall(self) -> None:
        """Give new links the addresses of an earlier run."""
        for seat, link in self._node.mesh.links.items():
            if seat not in self._recalled:
                self._recalled.add(seat)
                link.book.remember(self._remembered.get(self._keys.get(seat, ""), ()))

    @property
    def _keys(self) -> dict[int, str]:
        """The public keys of the members to connect to, by seat."""
        epochs = self._node.ledger.epochs.connected
        return {seat.number: seat.key.hex() for epoch in epochs for seat in epoch.seats}

    def start(self, grapes: Sequence[str], found: Found) -> None:
        """Announce this member to the Grapes and look up the others; puts events into `found`."""
        self._grapes, self._found = grapes, found
        self.follow()

    def follow(self) -> None:
        """Look for other members than before, if these have changed. Call it now and then."""
        node, found = self._node, self._found
        seat, own = node.ledger.seat, node.ledger.journal.key
        is_sought = seat is not None or own in node.ledger.replica.candidates
        announce = (node.config.service_of(own), node.mesh.port) if is_sought else None
        watch = [name for name, number in node.epochs.services.items() if number in node.mesh.links]
        sought = announce, *watch
        if not self._grapes or found is None or sought in ((None,), self._sought):
            return
        self._sought = sought
        self._recall()
        if self._discovery is not None:  # it may take a while to stop
            threading.Thread(target=self._discovery.stop, daemon=True).start()

        def hand_on(event: Event) -> None:
            with contextlib.suppress(queue.Full):  # discovery will find it again
                found.put_nowait(event)

        clients = [Grape([url]) for url in self._grapes]
        self._discovery = Discovery(clients, announce, watch, hand_on, rng=random.Random())
        self._discovery.start()

    def remember(self) -> None:
        """Store the present addresses of the members. Call it now and then."""
        self._memory.keep(self._addresses(), time.monotonic_ns() // 1_000_000)

    def stop(self) -> None:
        self._memory.close(self._addresses())
        if self._discovery is not None:
            self._discovery.stop()

    def _addresses(self) -> dict[str, list[Address]]:
        """The members' addresses that are worth remembering."""
        keys, links = self._keys, self._node.mesh.links.items()
        found = {keys[seat]: link.book.remembered for seat, link in links if seat in keys}
        return {key: addresses for key, addresses in found.items() if addresses}
