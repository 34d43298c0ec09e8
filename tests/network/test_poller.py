"""Waiting for input of ZeroMQ sockets: nothing is missed, and nothing wakes the loop in vain."""

import select
import time
from collections.abc import Iterator

import pytest
import zmq

from peer.process.poller import Poller
from tests.support.real_mesh import wait_for

LONG_MS = 5_000
SHORT_MS = 50


class Wires:
    """A polled ROUTER and DEALER, and the other end of both."""

    def __init__(self) -> None:
        self.poller = Poller()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router, self.dealer, self.other = (
            self._context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER, zmq.ROUTER)
        )
        self.caller = self._context.socket(zmq.DEALER)
        self.caller.connect(f"tcp://127.0.0.1:{self.router.bind_to_random_port('tcp://127.0.0.1')}")
        self.dealer.connect(f"tcp://127.0.0.1:{self.other.bind_to_random_port('tcp://127.0.0.1')}")
        for socket in (self.router, self.dealer):
            self.poller.register(socket)
        self.dealer.send(b"hello")
        self.name, _ = self.other.recv_multipart()
        self.settle()

    def settle(self) -> None:
        """Nothing is under way any more."""
        self.poller.poll(SHORT_MS)
        for socket in (self.router, self.dealer):
            assert self.read(socket) == []
        self.poller.poll(SHORT_MS)

    def read(self, socket: zmq.Socket[bytes], most: int = 100) -> list[list[bytes]]:
        found = self.poller.read(socket, most)
        return [[part.bytes for part in parts] for parts in found]

    def waited_ms(self, timeout_ms: int) -> float:
        began_s = time.monotonic()
        self.poller.poll(timeout_ms)
        return (time.monotonic() - began_s) * 1_000

    def signalled(self, socket: zmq.Socket[bytes]) -> bool:
        descriptor = socket.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        return bool(select.select([descriptor], [], [], 0)[0])

    def close(self) -> None:
        self._context.destroy(0)


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires()
    yield wires
    wires.close()


def test_a_message_ends_the_wait_and_is_read_whole(wires: Wires) -> None:
    wires.caller.send_multipart([b"one", b"two", b"three"])
    assert wires.waited_ms(LONG_MS) < LONG_MS
    [[_, *parts]] = wires.read(wires.router)
    assert parts == [b"one", b"two", b"three"]
    assert wires.read(wires.dealer) == []
    assert wires.waited_ms(SHORT_MS) >= SHORT_MS


def test_what_was_not_read_is_there_after_the_next_poll(wires: Wires) -> None:
    for number in range(5):
        wires.caller.send(bytes([number]))
    found: list[bytes] = []
    while len(found) < 5:
        assert wires.waited_ms(LONG_MS) < LONG_MS
        some = wires.read(wires.router, 2)
        assert len(some) <= 2
        found += [body for _, body in some]
    assert found == [bytes([number]) for number in range(5)]
    assert wires.waited_ms(SHORT_MS) >= SHORT_MS


def test_a_message_whose_news_a_send_has_taken_is_not_missed(wires: Wires) -> None:
    wires.other.send_multipart([wires.name, b"answer"])
    wait_for("the news", lambda: wires.signalled(wires.dealer))
    time.sleep(0.01)  # libzmq looks for news at most once in about a millisecond of sends
    wires.poller.sent(wires.dealer)
    wires.dealer.send(b"question")
    assert not wires.signalled(wires.dealer), "expected that the send took the news"
    assert wires.waited_ms(LONG_MS) < LONG_MS
    assert wires.read(wires.dealer) == [[b"answer"]]


def test_a_message_that_nobody_reads_stays(wires: Wires) -> None:
    wires.other.send_multipart([wires.name, b"answer"])
    wait_for("the news", lambda: wires.signalled(wires.dealer))
    wires.poller.sent(wires.dealer)
    for _ in range(3):
        assert wires.waited_ms(LONG_MS) < LONG_MS
    assert wires.read(wires.dealer) == [[b"answer"]]


def test_a_socket_may_rest(wires: Wires) -> None:
    wires.poller.unregister(wires.router)
    wires.caller.send(b"request")
    wires.poller.sent(wires.router)
    assert wires.waited_ms(SHORT_MS) >= SHORT_MS
    wires.poller.register(wires.router)
    assert wires.waited_ms(LONG_MS) < LONG_MS
    assert [body for _, body in wires.read(wires.router)] == [b"request"]
