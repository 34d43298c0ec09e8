"""Where newcomers ask who the members are today.

Owns a ROUTER that answers anybody who has the mesh file, with the chain of certificates. Must never
answer anything else: a caller proves nothing.

A newcomer knows no key of a present member if all members of its mesh file are gone. So the key of
this socket follows from the mesh's id. Who has the mesh file can also pretend to be this socket,
but gains nothing: the chain proves itself.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b

import zmq

from peer.membership import epochs
from peer.membership.epochs import Certificate
from peer.membership.identity import Identity
from peer.network.authenticator import Authenticator
from peer.network.connection_guard import ConnectionGuard
from peer.network.messages import ChainAsked, parse_request
from peer.network.rate_limit import FairQueue
from peer.network.sockets import Sockets
from peer.process.poller import Poller

REQUESTS_PER_LOOK_MAX = 64
ANSWERS_PER_LOOK_MAX = 4

Certificates = Callable[[int], Iterable[Certificate]]  # of the epochs after one


def chain_identity(mesh: bytes) -> Identity:
    """The key of this socket in the mesh with this id."""
    return Identity(blake2b(mesh, digest_size=32, person=b"orderbook chain").digest())


class ChainServer:
    """The constructor binds; `port` is where others ask (0: any). Nothing wakes the node's loop for
    a request: they wait until the next `look`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        mesh: bytes,
        authenticator: Authenticator,
        guard: ConnectionGuard,
        host: str,
        port: int,
    ) -> None:
        sockets = Sockets(context, authenticator, Poller())
        self._authenticator = authenticator
        self._guard = guard
        self._router, self.port = sockets.serve(zmq.ROUTER, host, port, chain_identity(mesh))
        self._waiting: FairQueue[ChainAsked] = FairQueue(1)
        guard.watch(self.port)

    def look(self, now_us: Callable[[], int], certificates: Certificates) -> None:
        """Answer some requests, addresses in turn. Call it now and then."""
        self._take_in()
        for _ in range(ANSWERS_PER_LOOK_MAX):
            if (asked := self._waiting.next(now_us())) is None:
                return
            frames = map(epochs.encode, certificates(asked.above))
            self._router.send_multipart((asked.who, b"C", *frames))  # a full or gone one: dropped

    def _take_in(self) -> None:
        for _ in range(REQUESTS_PER_LOOK_MAX):
            try:
                who, *parts = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if not parts:
                continue
            asker = self._authenticator.asker(parts[0])
            self._guard.hear(int(parts[0].get(zmq.SRCFD)), asker)
            asked = parse_request(who.bytes, [part.bytes for part in parts[:3]])
            if asker is not None and isinstance(asked, ChainAsked):
                self._waiting.put(asker.name, asked)

    def close(self) -> None:
        self._router.close()
