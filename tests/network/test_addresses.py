"""A member is found where it is, on real sockets, whatever else is said of it.

The clock is the test's own; a turn of the mesh is a call of `receive`.
"""

import socket
import time
from collections.abc import Iterator

import pytest
import zmq

from discovery.grape import Address
from peer.consensus.block import NO_ATTESTATION
from peer.consensus.committee import Mode
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.addresses import OPEN_MAX, UNPROVEN_AT_ONCE, UNPROVEN_TRY_MS
from peer.network.mesh import ALIVE_MS, Mesh
from peer.network.messages import Asked, Heartbeat
from peer.process.poller import Poller
from tests.support.real_mesh import MARKETS

TURN_MS = 20


class Pair:
    """The wires of two members, and as many strangers as a test makes."""

    def __init__(self) -> None:
        self.identities = [Identity.ephemeral() for _ in range(2)]
        members = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(self.identities)]
        self.config = MeshConfig("pair", Mode.CRASH, 1_700_000_000_000, members, MARKETS, [])
        self._closing: list[tuple[Mesh, zmq.Context[zmq.Socket[bytes]]]] = []
        self.mesh, self.other = (self.wires(identity) for identity in self.identities)
        self.now_ms = 0

    def wires(self, identity: Identity, config: MeshConfig | None = None) -> Mesh:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        mesh = Mesh(context, config or self.config, identity, Poller())
        self._closing.append((mesh, context))
        return mesh

    def turn(self, *speaking: Mesh, hears: tuple[bool, bool] = (True, True)) -> None:
        """All of them say that they are member 1."""
        self.now_ms += TURN_MS
        for one in speaking:
            numbers = (0, 0), 0, NO_ATTESTATION, NO_ATTESTATION, 0, hears
            one.beat(Heartbeat(one.config.id, 0, 1, one.fetch_port, *numbers))
            list(one.receive(self.now_ms))
            for _, asked in one.requests(self.now_ms):
                if isinstance(asked, Asked):
                    one.answer(asked, [])
        list(self.mesh.receive(self.now_ms))

    def hears(self, seconds: float, *speaking: Mesh) -> bool:
        """Whether member 0 hears its member 1 in time."""
        for _ in range(int(seconds * 1_000 / TURN_MS)):
            self.turn(*(speaking or (self.other,)))
            if self.mesh.alive(1, self.now_ms):
                return True
            time.sleep(TURN_MS / 1_000)
        return False

    def close(self) -> None:
        for mesh, context in self._closing:
            mesh.close()
            context.destroy(linger=0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def at(mesh: Mesh) -> Address:
    return Address("127.0.0.1", mesh.port)


def nowhere(number: int) -> Address:
    return Address("127.0.0.9", 1 + number)


def test_many_wrong_addresses_do_not_hide_a_member(pair: Pair) -> None:
    """Nobody is at most of them, then there are those who take a connection and say nothing, a
    stranger with a key of its own, a member of another mesh, this peer itself, and places that
    cannot even be tried."""
    other_mesh = MeshConfig("another", Mode.CRASH, 1, pair.config.members, MARKETS, [])
    stranger = pair.wires(Identity.ephemeral())
    foreign = pair.wires(pair.identities[1], other_mesh)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as mute:
        wrong = [nowhere(n) for n in range(2 * UNPROVEN_AT_ONCE)]
        wrong += [at(stranger), at(foreign), at(pair.mesh), Address(*mute.getsockname())]
        wrong += [Address("no such host", 1), Address("", 0), Address("10.0.0.1", 10**6)]
        for _ in range(3):
            pair.mesh.found(1, wrong)
        pair.mesh.found(1, [*wrong, at(pair.other)])
        assert pair.hears(20, pair.other, stranger, foreign)
    assert pair.mesh.links[1].address == str(at(pair.other))
    assert len(pair.mesh.links[1].addresses) <= OPEN_MAX


def test_a_working_connection_stays_without_a_lookup_result(pair: Pair) -> None:
    pair.mesh.found(1, [at(pair.other)])
    assert pair.hears(5)
    socket_before = pair.mesh.links[1].addresses[at(pair.other)].socket
    for n in range(100):
        pair.mesh.found(1, [nowhere(1_000 + 100 * n + m) for m in range(100)])
        pair.turn(pair.other)
        assert pair.mesh.links[1].addresses[at(pair.other)].socket is socket_before
        time.sleep(0.005)
    assert pair.mesh.alive(1, pair.now_ms)


def test_a_member_that_is_not_heard_sends_its_address(pair: Pair) -> None:
    """No lookup has member 1, but it knows where member 0 is, and reads there that it is deaf."""
    pair.other.found(0, [at(pair.mesh)])
    for _ in range(500):
        numbers = (0, 0), 0, NO_ATTESTATION, NO_ATTESTATION, 0
        said = Heartbeat(pair.config.id, 0, 0, pair.mesh.fetch_port, *numbers, (True, False))
        pair.mesh.beat(said)
        list(pair.mesh.requests(pair.now_ms))
        pair.turn(pair.other)
        if pair.mesh.alive(1, pair.now_ms):
            break
        time.sleep(TURN_MS / 1_000)
    assert pair.mesh.links[1].address == str(at(pair.other))


def test_blocks_are_fetched_where_a_member_was_heard_first(pair: Pair) -> None:
    """It can be heard at two places; the socket that asks it does not go back and forth."""

    def turn() -> None:
        pair.turn(pair.other)
        for _, request in pair.other.requests(pair.now_ms):
            assert isinstance(request, Asked)
            pair.other.answer(request, [])
        time.sleep(0.002)

    pair.mesh.found(1, [at(pair.other), Address("localhost", pair.other.port)])
    for _ in range(int((2 * UNPROVEN_TRY_MS + 2 * ALIVE_MS) / TURN_MS)):
        turn()
        fetch = pair.mesh.links[1].fetch
        if len(pair.mesh.links[1].addresses) == 2 and fetch is not None:
            break
    for _ in range(int(5 * ALIVE_MS / TURN_MS)):
        turn()
        assert pair.mesh.links[1].fetch is fetch
