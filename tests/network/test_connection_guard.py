"""What libzmq does not bound is ended: on real connections, by the kernel's own counts."""

import contextlib
import os
import select
import socket
import sys
from collections.abc import Iterator

import pytest
import zmq

from peer.membership.identity import Identity
from peer.network.connection_guard import SUBSCRIBER_BYTES_MAX, UNHEARD_BYTES_MAX, ConnectionGuard
from peer.network.connection_limits import ADDRESS_CONNECTIONS_MAX
from tests.network.test_floods import IDENTITIES, Wires, beat
from tests.support.real_mesh import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard reads /proc")


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires()
    yield wires
    wires.close()


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@contextlib.contextmanager
def connected(door: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Their end and ours."""
    with socket.create_connection(("127.0.0.1", port_of(door))) as theirs:
        ours, _ = door.accept()
        with ours:
            theirs.settimeout(5)
            yield theirs, ours


def bring(theirs: socket.socket, ours: socket.socket, size: int) -> None:
    """Send so much, and take it in."""
    while size > 0:
        part = theirs.send(bytes(min(size, 64 * 1024)))
        size -= part
        while part:
            part -= len(ours.recv(part))


def ended(*theirs: socket.socket) -> list[socket.socket]:
    """Those whose connection is over; to nobody was anything sent."""
    readable, _, _ = select.select(theirs, [], [], 0.2)
    return [each for each in readable if each.recv(1) == b""]


def is_ended(theirs: socket.socket) -> bool:
    return ended(theirs) == [theirs]


def look(guard: ConnectionGuard) -> None:
    """At what the node has had time to take in."""
    for _ in range(3):
        guard.look()
        for _ in range(2):
            guard.turned()


def test_the_bytes_of_a_subscriber_are_bounded(door: socket.socket) -> None:
    guard = ConnectionGuard(publishing=port_of(door), answering=0)
    check_few_bytes(guard, door)


def test_the_bytes_of_a_stranger_who_asks_for_the_chain_are_bounded(door: socket.socket) -> None:
    guard = ConnectionGuard(publishing=0, answering=0)
    guard.watch(port_of(door))
    check_few_bytes(guard, door)


def check_few_bytes(guard: ConnectionGuard, door: socket.socket) -> None:
    with connected(door) as (theirs, ours):
        bring(theirs, ours, SUBSCRIBER_BYTES_MAX)
        guard.look()
        assert not is_ended(theirs)
        bring(theirs, ours, 1)
        guard.look()
        assert is_ended(theirs)
    assert guard.ended == 1


def test_the_bytes_of_a_message_are_bounded(door: socket.socket) -> None:
    guard = ConnectionGuard(publishing=0, answering=port_of(door))
    with connected(door) as (theirs, ours):
        for _ in range(3):
            bring(theirs, ours, UNHEARD_BYTES_MAX)
            look(guard)
            assert not is_ended(theirs)
            guard.hear(ours.fileno())
            look(guard)
        bring(theirs, ours, UNHEARD_BYTES_MAX + 1)
        look(guard)
        assert is_ended(theirs)


def test_bytes_that_the_node_had_no_time_to_read_do_not_count(
    door: socket.socket,
) -> None:
    guard = ConnectionGuard(publishing=0, answering=port_of(door))
    with connected(door) as (theirs, ours):
        for _ in range(3):
            bring(theirs, ours, UNHEARD_BYTES_MAX)
            guard.look()
            guard.look()
        assert not is_ended(theirs)
        guard.hear(ours.fileno())
        look(guard)
        assert not is_ended(theirs)


def test_the_bytes_of_a_members_message_are_bounded_too(door: socket.socket) -> None:
    """There the connection is ours."""
    guard = ConnectionGuard(publishing=0, answering=0)
    with connected(door) as (ours, theirs):
        guard.hear(ours.fileno())
        bring(theirs, ours, UNHEARD_BYTES_MAX)
        look(guard)
        guard.hear(ours.fileno())
        look(guard)
        bring(theirs, ours, UNHEARD_BYTES_MAX + 1)
        look(guard)
        assert theirs.recv(1) == b""


def test_the_connections_of_one_address_are_bounded(door: socket.socket) -> None:
    """Of those over which nothing was said yet, the oldest go."""
    guard = ConnectionGuard(publishing=0, answering=port_of(door))
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(connected(door)) for _ in range(ADDRESS_CONNECTIONS_MAX)]
        guard.look()
        assert guard.ended == 0
        late = stack.enter_context(connected(door))
        guard.look()
        assert guard.ended == 1
        assert not is_ended(late[0])
        assert len(ended(*(theirs for theirs, _ in first))) == 1
        guard.look()
        assert guard.ended == 1, "it is counted once"


def test_other_sockets_are_not_touched(door: socket.socket) -> None:
    guard = ConnectionGuard(publishing=1, answering=2)
    with connected(door) as (theirs, ours), open(os.devnull) as file:
        bring(theirs, ours, SUBSCRIBER_BYTES_MAX + 1)
        guard.look()
        assert not is_ended(theirs)
        assert not file.closed
    assert guard.ended == 0


def test_an_endless_subscriber_is_disconnected_and_the_others_still_hear(wires: Wires) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscriber, identity = context.socket(zmq.SUB), Identity.ephemeral()
    subscriber.linger = subscriber.sndhwm = 0
    subscriber.curve_secretkey = identity.curve_secret
    subscriber.curve_publickey = identity.curve_public
    subscriber.curve_serverkey = IDENTITIES[0].curve_public
    subscriber.connect(f"tcp://127.0.0.1:{wires.honest.port}")
    try:

        def is_disconnected() -> bool:
            for _ in range(200):
                subscriber.subscribe(os.urandom(200))
            wires.honest.beat(beat(member=0))  # only then libzmq looks at what they want
            wires.turn(50)
            wires.honest.guard.look()
            return wires.honest.guard.ended > 0

        wait_for("the end of it", is_disconnected)
        assert wires.honest.refused > 0
        wires.hear_each_other()
    finally:
        subscriber.close()
        context.term()
