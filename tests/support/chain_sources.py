"""Chains of epochs for tests, and a stranger that hands one out."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence

import zmq

from peer.membership.epochs import Certificate, Epoch
from peer.membership.identity import Identity
from peer.membership.mesh_file import MeshConfig
from peer.network.authenticator import Authenticator
from peer.network.chain_server import ChainServer
from peer.network.connection_guard import ConnectionGuard
from peer.process.poller import Poller

LOOK_S = 0.02


def succession(first: Epoch, keys: Sequence[Identity]) -> list[Certificate]:
    """A chain in which each epoch has one member, signed by that of the one before. `keys[0]` is
    the member of `first`."""
    certificates = []
    for number, (old, new) in enumerate(itertools.pairwise(keys), 1):
        seat = first.seats[0].number
        following = first.following(
            [seat], [(f"m{number}", new.public)], 1, 10 * number, 10 * number, bytes(32)
        )
        signatures = {seat: old.sign(following.statement)}
        certificates.append(Certificate(following.origin, signatures))
        first = following
    return certificates


@contextlib.contextmanager
def stranger(config: MeshConfig, chain: Sequence[Certificate]) -> Iterator[int]:
    """Hands out a chain on 127.0.0.1, in a thread; yields the port."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    authenticator = Authenticator(context, config, Identity.ephemeral(), Poller())
    guard = ConnectionGuard(0, 0)
    server = ChainServer(context, config.id, authenticator, guard, "127.0.0.1", 0)
    stopping = threading.Event()

    def after(number: int) -> list[Certificate]:
        return [one for one in chain if one.origin.number > number]

    def serve() -> None:
        while not stopping.wait(LOOK_S):
            authenticator.answer()
            server.look(lambda: time.monotonic_ns() // 1_000, after)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.port
    finally:
        stopping.set()
        thread.join()
        server.close()
        authenticator.close()
        context.destroy(linger=0)
