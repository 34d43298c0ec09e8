"""Connections that stand and bring nothing, on real sockets behind a proxy that forgets them.

The clock is the test's own; a turn of the mesh is a call of `receive`.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence

import pytest
import zmq

from discovery.grape import Address
from peer.cli.tap import Listener
from peer.consensus.core import Pull
from peer.network.answer_timeout import DOUBLINGS_MAX, PROBE_MS, UNANSWERED_MS
from peer.network.mesh import ALIVE_MS, HEARTBEAT_MS, Mesh, Message
from peer.network.messages import Answered, Asked, Heard, Heartbeat, Pulled
from peer.process.poller import Poller
from tests.network.test_floods import CONFIG, IDENTITIES, beat
from tests.support.cuttable import BACK, THERE, CuttableNetwork, cuttable_network
from tests.support.real_mesh import wait_for

ANSWER_S, DEAD_S = 10.0, 0.01  # patience with a connection that works, and with a dead one


class Pair:
    """The wires of member 0, which finds member 1 behind a proxy, and those of member 1."""

    def __init__(self) -> None:
        self._contexts: list[zmq.Context[zmq.Socket[bytes]]] = [zmq.Context() for _ in range(2)]
        self.ours = Mesh(self._contexts[0], CONFIG, IDENTITIES[0], Poller())
        self.other = Mesh(self._contexts[1], CONFIG, IDENTITIES[1], Poller())
        self.ports = [(mesh.port, mesh.fetch_port) for mesh in (self.ours, self.other)]
        self.answers = True  # member 1 does
        self.now_ms = 1_000_000
        self.link = self.ours.links[1]

    def turn(self, passed_ms: int = 0) -> list[Message]:
        """Member 1 speaks, and answers if it does; what member 0 takes in of it."""
        self.now_ms += passed_ms
        for _ in self.other.receive(self.now_ms):
            pass
        for _, request in self.other.requests(self.now_ms) if self.answers else ():
            assert isinstance(request, Asked | Pulled)
            self.other.answer(request, [])
        return list(self.ours.receive(self.now_ms))

    def beat(self) -> list[Message]:
        """The next heartbeat; what member 0 takes in until it has come."""
        taken: list[Message] = []
        self.other.beat(beat(fetch_port=self.other.fetch_port))
        self.now_ms += HEARTBEAT_MS

        def heard() -> bool:
            taken.extend(self.turn())
            return any(isinstance(message, Heard) for message in taken)

        wait_for("a heartbeat", heard)
        return taken

    def hear_for(self, passed_ms: int) -> None:
        for _ in range(passed_ms // HEARTBEAT_MS):
            self.beat()

    def until_heard(self) -> int:
        """How long it takes by the test's clock, though heartbeats need some time to come."""
        began_ms = self.now_ms

        def heard() -> bool:
            self.other.beat(beat(fetch_port=self.other.fetch_port))
            return any(isinstance(message, Heard) for message in self.turn(HEARTBEAT_MS))

        wait_for("a heartbeat", heard)
        return self.now_ms - began_ms

    def until_answered(self, renewals: int = 0) -> int:
        """Hear and ask now and then, as consensus does, until an answer is here; how long it took
        by the test's clock. With fewer renewals the connection is dead: nothing comes, and the
        clock goes on. Otherwise it waits for the answer, however busy the machine is."""
        began_ms = self.now_ms

        def answered() -> bool:
            works = self.link.renewed >= renewals
            self.ours.ask([Pull(1, (0, 0, 0))])
            taken = self.beat()
            until_s = time.monotonic() + (ANSWER_S if works else DEAD_S)
            while not any(isinstance(message, Answered) for message in taken):
                if time.monotonic() >= until_s:
                    return False
                taken = self.turn()
                time.sleep(0.001)
            return True

        wait_for("an answer", answered, 60)
        return self.now_ms - began_ms

    def hear_at_both(self, network: CuttableNetwork) -> None:
        """As happens when a new address is tried while the old one is only late."""
        network.cut(0)
        self.link.book.tell(Address("127.0.0.1", self.other.port))
        self.until_heard()
        network.heal(0, lose=False)

        def both() -> bool:
            self.until_heard()
            return len(self.link.fetch_places(self.now_ms - ALIVE_MS)) == 2

        wait_for("both", both)

    def hear_both_for(self, passed_ms: int) -> None:
        """Every heartbeat comes by both addresses, however busy the machine is."""

        def both() -> bool:
            self.turn()
            return len(self.link.fetch_places(self.now_ms)) == 2

        for _ in range(passed_ms // HEARTBEAT_MS):
            self.beat()
            wait_for("both", both)

    def close(self) -> None:
        for mesh in (self.ours, self.other):
            mesh.close()
        for context in self._contexts:
            context.term()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def network(pair: Pair) -> Iterator[CuttableNetwork]:
    with cuttable_network(pair.ports) as network:
        pair.link.book.give(Address(network.address(0, 1), pair.other.port))
        pair.until_heard()
        pair.until_answered()
        yield network


@pytest.mark.parametrize("ways", [(THERE,), (BACK,), (THERE, BACK)])
def test_a_fetch_connection_without_answers_is_replaced(
    pair: Pair, network: CuttableNetwork, ways: Sequence[int]
) -> None:
    network.swallow(0, 1, pair.other.fetch_port, ways)
    pair.until_answered(renewals=1)
    assert pair.link.renewed == 1
    assert pair.ours.alive(1, pair.now_ms), "it was heard all the time"


def test_a_dead_connection_is_noticed_without_requests(
    pair: Pair, network: CuttableNetwork
) -> None:
    network.swallow(0, 1, pair.other.fetch_port)
    pair.hear_for(PROBE_MS + UNANSWERED_MS + HEARTBEAT_MS)
    assert pair.link.renewed == 1
    assert pair.until_answered() < UNANSWERED_MS


def test_a_member_that_never_answers_costs_few_connections(
    pair: Pair, network: CuttableNetwork
) -> None:
    """Its messages come and its port is open: it may be stuck, or only pretend to answer."""
    pair.answers = False
    connected = network.connections(0, 1, pair.other.fetch_port)
    for _ in range(600):
        pair.ours.ask([Pull(1, (0, 0, 0))])
        pair.hear_for(1_000)
    longest_ms = UNANSWERED_MS << DOUBLINGS_MAX
    assert 10 <= pair.link.renewed <= 600_000 // longest_ms + DOUBLINGS_MAX
    assert network.connections(0, 1, pair.other.fetch_port) - connected <= pair.link.renewed
    assert pair.link.answer_timeout.unanswered_ms(pair.now_ms) >= 590_000
    pair.answers = True
    pair.until_answered()
    assert pair.link.answer_timeout.unanswered_ms(pair.now_ms) == 0


def test_a_member_that_falls_silent_is_heard_and_asked_again(
    pair: Pair, network: CuttableNetwork
) -> None:
    """All connections to it stand and bring nothing."""
    for port in pair.ports[1]:
        network.swallow(0, 1, port)
    silent_ms = pair.until_heard()
    assert silent_ms > ALIVE_MS
    assert pair.until_answered(renewals=1) < UNANSWERED_MS, "it is tried at once, and not for long"
    assert pair.link.renewed == 1


def test_a_member_is_asked_where_it_is_heard(pair: Pair, network: CuttableNetwork) -> None:
    """At first at the proxy's address, then at its own."""
    there = Address(network.address(0, 1), pair.other.fetch_port)
    assert pair.link.fetch_place == there
    network.close_port(0, 1, pair.other.port)
    pair.link.book.tell(Address("127.0.0.1", pair.other.port))
    pair.until_heard()
    pair.hear_for(2 * ALIVE_MS)
    assert pair.link.fetch_place == Address("127.0.0.1", pair.other.fetch_port)
    pair.until_answered()
    assert pair.link.renewed == 0


def test_a_member_that_does_not_answer_at_one_address_is_asked_at_another(
    pair: Pair, network: CuttableNetwork
) -> None:
    """One of its addresses is good for hearing it only."""
    pair.hear_at_both(network)
    network.close_port(0, 1, pair.other.fetch_port)
    pair.until_answered(renewals=1)
    assert pair.link.fetch_place == Address("127.0.0.1", pair.other.fetch_port)
    pair.hear_both_for(4 * ALIVE_MS)
    assert pair.link.fetch_place == Address("127.0.0.1", pair.other.fetch_port), "and stays there"
    assert pair.link.renewed == 1


def test_a_new_connection_does_not_reset_the_limits(pair: Pair, network: CuttableNetwork) -> None:
    pair.link.unread, excess = 7, pair.link.excess
    network.swallow(0, 1, pair.other.fetch_port)
    pair.until_answered(renewals=1)
    assert (pair.link.renewed, pair.link.unread) == (1, 7)
    assert pair.link.excess is excess


def test_the_tap_goes_on_listening(pair: Pair) -> None:
    listener = Listener(CONFIG, ("http://127.0.0.1:1",))  # a Grape that it is not asked for here
    with cuttable_network(pair.ports) as network, contextlib.closing(listener.messages()) as said:
        listener.books[1].give(Address(network.address(0, 1), pair.other.port))

        def is_heard() -> bool:
            pair.turn()
            pair.other.beat(beat())
            message = next(said)
            return message is not None and isinstance(message[1], Heartbeat)

        wait_for("a heartbeat", is_heard)
        network.swallow(0, 1, pair.other.port)
        for _ in range(20):  # what was on its way
            is_heard()
        assert not is_heard()
        wait_for("a heartbeat", is_heard)
    listener.__exit__(None, None, None)
