"""Asks strangers who the members of the mesh are today.

Owns a connection to each of a few addresses at a time. Must never believe an answer: the caller
verifies the chain.

Anyone can announce any address under the mesh's name. So they take turns, as the unproven addresses
of a member do, and none is preferred because it answered.
"""

import contextlib
import random
from collections.abc import Iterator, Sequence

import zmq

from discovery.grape import Address
from peer.membership.epochs import Certificate
from peer.network.addresses import FOUND_MAX, AddressBook
from peer.network.authenticator import Authenticator
from peer.network.chain_server import chain_identity
from peer.network.messages import ChainIn, ChainWanted, parse_answer, request
from peer.network.sockets import Sockets
from peer.process.poller import Poller

CHAIN_LENGTH_MAX = 1_024  # epochs, from one address
FORGERS_MAX = FOUND_MAX  # addresses that are not asked again
ASKED_MS = 5_000  # by then the first lookups are over, and those that they found have answered,
ASKED_MS_MAX = 60_000  # or there are too many to wait for

_NOBODY = -1  # no member: the address proves nothing


class _Asked:
    """What one address has answered so far."""

    def __init__(self, socket: zmq.Socket[bytes], above: int) -> None:
        self.socket = socket
        self.above = above
        self.chain: list[Certificate] = []

    def send(self) -> None:
        with contextlib.suppress(zmq.Again):
            last = self.chain[-1].origin.number if self.chain else self.above
            self.socket.send_multipart(request(ChainWanted(_NOBODY, last)), zmq.NOBLOCK)


class ChainClient:
    """Connects to nobody before `ask`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        mesh: bytes,
        authenticator: Authenticator,
    ) -> None:
        self._sockets = Sockets(context, authenticator, Poller())
        self._key = chain_identity(mesh).curve_public
        self._book = AddressBook(random.Random())
        self._asked: dict[Address, _Asked] = {}
        self._forgers: set[Address] = set()
        self._since_ms: int | None = None  # of asking

    def give(self, address: Address) -> None:
        """An operator gives this address. ValueError if there are too many."""
        self._book.give(address)

    def found(self, addresses: Sequence[Address]) -> None:
        """A lookup found addresses where somebody may answer."""
        self._book.find([address for address in addresses if address not in self._forgers])

    def ask(self, above: int, now_ms: int) -> None:
        """Ask at a few more addresses for the epochs after `above`. Call it often."""
        if self._since_ms is None:
            self._since_ms = now_ms
        turn = self._book.turn(now_ms)
        for address in turn.close:
            self._drop(address)
        for address, _ in turn.connect:
            where = f"tcp://{address}"
            socket = self._sockets.connect(zmq.DEALER, self._key, where, lasting=False)
            if socket is not None and address not in self._forgers:
                self._asked[address] = _Asked(socket, above)
                self._asked[address].send()
            elif socket is not None:
                self._sockets.close(socket)

    def has_asked(self, now_ms: int) -> bool:
        """Whether all that could be found were asked."""
        asked_ms = 0 if self._since_ms is None else now_ms - self._since_ms
        return asked_ms >= (ASKED_MS_MAX if self._book.has_untried else ASKED_MS)

    def answers(self) -> Iterator[tuple[Address, list[Certificate]]]:
        """What each address has answered so far, if there is more than at the last call."""
        for address, asked in list(self._asked.items()):
            with contextlib.suppress(zmq.Again):
                kind, *frames = asked.socket.recv_multipart(zmq.NOBLOCK)
                for answer in parse_answer(_NOBODY, kind, frames):
                    if isinstance(answer, ChainIn) and answer.certificates:
                        asked.chain += answer.certificates
                        yield address, asked.chain
                        if len(asked.chain) < CHAIN_LENGTH_MAX and address in self._asked:
                            asked.send()

    def refuse(self, address: Address) -> None:
        """The chain from this address is forged: do not ask there again."""
        if len(self._forgers) < FORGERS_MAX:
            self._forgers.add(address)
        self._drop(address)

    def _drop(self, address: Address) -> None:
        if (asked := self._asked.pop(address, None)) is not None:
            self._sockets.close(asked.socket)

    def rest(self) -> None:
        """Ask nobody for now."""
        self._since_ms = None
        if self._asked:
            for address in list(self._asked):
                self._drop(address)
            self._book.close_all()
