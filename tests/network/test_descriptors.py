"""No descriptor is free: whoever needs one has it later, and nothing ends over it."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from discovery.grape import Address
from engine import Side
from peer.cli.gateway_process import RESTART_S, GatewayProcess
from peer.network.addresses import KNOWN_TRY_MS
from peer.network.connection_guard import ConnectionGuard
from peer.network.mesh import HEARTBEAT_MS, REST_MS
from peer.network.messages import Heard
from peer.process.descriptors import DESCRIPTORS_MIN, OBSERVERS_MAX, UNPROVEN_MAX, Room, room_of
from tests.network.test_floods import Wires, beat
from tests.support.alone import Alone
from tests.support.real_mesh import order, wait_for
from web.options import command_line


@contextlib.contextmanager
def none_free() -> Iterator[None]:
    """Nobody in this process can open anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.suppress(OSError):
            for _ in range(most):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        yield


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires()
    yield wires
    wires.close()


def limited(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    """What `raise_limit` does where so many may be open."""
    program = (
        "import resource; from peer.process.descriptors import raise_limit; "
        "print(raise_limit(4000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    command = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" -c "$1"'
    shell = ["/bin/sh", "-c", command, sys.executable, program]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


def test_the_limit_is_raised_as_far_as_it_may_and_is_needed() -> None:
    assert limited(600, 2_000).stdout == "2000 2000\n"
    assert limited(600, 5_000).stdout == "4000 4000\n"
    assert limited(5_000, 5_000).stdout == "5000 5000\n", "it is never lowered"
    few = limited(DESCRIPTORS_MIN - 1, DESCRIPTORS_MIN - 1)
    assert few.returncode == 1
    assert "are too few for a peer: expected" in few.stderr


def test_a_small_descriptor_limit_lowers_the_connection_limits() -> None:
    assert room_of(65_536) == Room(UNPROVEN_MAX, OBSERVERS_MAX)
    assert room_of(1_024) == Room(128, 128)


def test_a_member_is_connected_to_later(wires: Wires) -> None:
    rogue, link = wires.rogue, wires.honest.links[1]

    def is_heard() -> bool:
        rogue.beat(beat(fetch_port=rogue.fetch_port))
        return any(isinstance(message, Heard) for message in wires.turn(HEARTBEAT_MS))

    wait_for("the subscription", lambda: wires.turn() or rogue.guard._heard)
    elsewhere = Address("127.0.0.1", 1)
    with none_free():
        link.book.give(elsewhere)
        wait_for("a heartbeat", is_heard)
        assert link.fetch is None
        assert elsewhere not in link.addresses
    wait_for("the connection for fetches", lambda: is_heard() and link.fetch)
    wait_for("the other address", lambda: wires.turn(KNOWN_TRY_MS) or elsewhere in link.addresses)


def test_the_connection_guard_frees_descriptors_when_none_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, contextlib.ExitStack() as stack:
        guard = ConnectionGuard(publishing=0, answering=door.getsockname()[1], room=Room(5, 5))
        for _ in range(20):
            stack.enter_context(socket.create_connection(door.getsockname()))
            stack.enter_context(door.accept()[0])
        with none_free():
            guard.look()
        assert guard.ended == 15


def test_a_member_connects_and_stays_among_other_connections() -> None:
    """All of them at the address that it has itself, as behind one router."""
    room = Room(unproven=20, observers=10)
    wires = Wires(room)
    honest = wires.honest
    honest.guard.start()
    try:
        with contextlib.ExitStack() as stack:
            for number in range(60):
                port = (honest.port, honest.fetch_port)[number % 2]
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            observers = [wires.observer() for _ in range(30)]

            def asks() -> bool:
                """Every observer asks, so that it is known as one."""
                for one in observers:
                    one.send_multipart((b"F", b""), zmq.NOBLOCK)
                wires.turn(REST_MS)
                list(honest.requests(wires.now_ms))
                return honest.guard.ended >= 60 - 20 + 30 - 10

            wait_for("an end of most of them", asks)
            wires.rogue.links[0].book.give(Address("127.0.0.1", honest.port))

            def is_heard() -> bool:
                honest.beat(beat(member=0, fetch_port=honest.fetch_port))
                asks()
                return wires.rogue.alive(0, wires.now_ms)

            wait_for("the member to hear", is_heard)
            for _ in range(50):
                assert is_heard()
    finally:
        honest.guard.stop()
        wires.close()


def test_a_peer_trades_on(tmp_path: Path) -> None:
    """Snapshots included. Its client is connected already: at another's libzmq would end us all,
    which is why this must never happen to a peer for long."""
    with Alone(tmp_path / "me") as peer:
        peer.execute(order("a", Side.BUY, 1, 1))
        with none_free():
            for n in range(200):
                peer.execute(order("a", (Side.BUY, Side.SELL)[n % 2], 100 + n % 7, 1))
        assert not peer.node.halted


def test_the_gateway_is_started_later(tmp_path: Path) -> None:
    with none_free():
        gateway = GatewayProcess(command_line(data=tmp_path, bind="127.0.0.1:0"))
        gateway.watch()
    try:
        assert gateway._process is None
        time.sleep(RESTART_S)
        gateway.watch()
        assert gateway._process is not None
    finally:
        gateway.stop()
