"""Finds the other members: at remembered addresses, at given addresses, and through the Grapes.

Owns the discovery thread and the file of addresses. Must never decide whether an address is good:
the node's address books do.
"""

import contextlib
import queue
import random
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
        remembered = self._memory.load()
        for member, link in node.mesh.links.items():
            link.book.remember(remembered.get(node.config.members[member].key, ()))
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

    def start(self, grapes: Sequence[str], found: Found) -> None:
        """Announce this member to the Grapes and look up the others; puts events into `found`."""
        me, config = self._node.ledger.me, self._node.config
        announce = None if me is None else (config.service(me), self._node.mesh.port)
        watch = [config.service(number) for number in self._node.mesh.links]
        if not grapes or (announce is None and not watch):
            return

        def hand_on(event: Event) -> None:
            with contextlib.suppress(queue.Full):  # discovery will find it again
                found.put_nowait(event)

        clients = [Grape([url]) for url in grapes]
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
        members, links = self._node.config.members, self._node.mesh.links.items()
        found = {members[number].key: link.book.remembered for number, link in links}
        return {key: addresses for key, addresses in found.items() if addresses}
