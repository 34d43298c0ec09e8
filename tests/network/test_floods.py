"""Members, observers and strangers that send too much or nonsense, on real sockets.

The clock is the test's own; a turn of the mesh is a call of `receive`.
"""

import logging
import random
import time
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from discovery.grape import Address
from peer.consensus.block import FRAME_BYTES_MAX, NO_ATTESTATION, Attestation
from peer.consensus.committee import Mode
from peer.consensus.core import Pull
from peer.consensus.dag import WAITING_MAX
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network import messages
from peer.network.addresses import AddressBook
from peer.network.authenticator import Asker
from peer.network.links import FLOOD_MESSAGES, QUEUE_MESSAGES_MAX
from peer.network.mesh import (
    ALIVE_MS,
    FLOOD_PAUSE_MS,
    HEARTBEAT_MS,
    REQUESTS_PER_TURN_MAX,
    REST_MS,
    UNREAD_MS,
    Flooded,
    Mesh,
    Message,
)
from peer.network.messages import Answered, Asked, BlockIn, Heard, Heartbeat, Pulled
from peer.network.sockets import CURVE_BYTES
from peer.process.descriptors import Room
from peer.process.poller import Poller
from tests.support.real_mesh import MARKETS, wait_for

IDENTITIES = [Identity(bytes([n]) * 32) for n in range(1, 4)]
MEMBERS = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(IDENTITIES)]
CONFIG = MeshConfig("floods", Mode.CRASH, 1_700_000_000_000, MEMBERS, MARKETS, "any")


def beat(config: MeshConfig = CONFIG, member: int = 1, **changes: object) -> Heartbeat:
    rounds, hears = (0,) * len(MEMBERS), (True,) * len(MEMBERS)
    fields = (config.id, 0, member, 3_101, rounds, 0, NO_ATTESTATION, NO_ATTESTATION, 5, hears)
    return msgspec.structs.replace(Heartbeat(*fields), **changes)


class Wires:
    """The wires of member 0, and those of member 1, which says what it likes."""

    def __init__(self, room: Room | None = None) -> None:
        self._contexts: list[zmq.Context[zmq.Socket[bytes]]] = [zmq.Context() for _ in range(3)]
        self.honest = Mesh(self._contexts[0], CONFIG, IDENTITIES[0], Poller(), room=room)
        self.rogue = Mesh(self._contexts[1], CONFIG, IDENTITIES[1], Poller())
        self._observers: list[zmq.Socket[bytes]] = []
        self.now_ms = 1_000_000
        self.place = Address("127.0.0.1", self.rogue.port)
        self.honest.links[1].book.give(self.place)

    def turn(self, passed_ms: int = 0, quorum_round: int = 0) -> list[Message]:
        self.now_ms += passed_ms
        for _ in self.rogue.receive(self.now_ms):
            pass
        return list(self.honest.receive(self.now_ms, quorum_round))

    def hear_each_other(self) -> None:
        """Until a heartbeat of the rogue has come."""

        def heard() -> bool:
            self.rogue.beat(beat(fetch_port=self.rogue.fetch_port))
            return any(isinstance(m, Heard) for m in self.turn(HEARTBEAT_MS))

        wait_for("a heartbeat", heard)

    def say(self, *parts: bytes) -> None:
        self.rogue._pub.send_multipart(parts)

    def flood(self, *parts: bytes) -> list[Message]:
        """Say it again and again until the honest one has had enough; what that one took in."""
        taken: list[Message] = []

        def enough() -> bool:
            for _ in range(100):
                self.say(*parts)
            taken.extend(self.turn())
            return any(isinstance(message, Flooded) for message in taken)

        wait_for("the end of it", enough)
        return taken

    def observer(self, identity: Identity | None = None) -> zmq.Socket[bytes]:
        """A DEALER of somebody with any key, to member 0."""
        identity = identity or Identity.ephemeral()
        socket = self._contexts[2].socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_secretkey, socket.curve_publickey = (
            identity.curve_secret,
            identity.curve_public,
        )
        socket.curve_serverkey = IDENTITIES[0].curve_public
        socket.connect(f"tcp://127.0.0.1:{self.honest.fetch_port}")
        self._observers.append(socket)
        return socket

    def close(self) -> None:
        self.honest.close()
        self.rogue.close()
        for socket in self._observers:
            socket.close()
        for context in self._contexts:
            context.destroy(linger=0)


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires()
    yield wires
    wires.close()


@pytest.mark.parametrize(
    ("parts", "taken_max"),
    [
        ((b"B", b"block after block"), WAITING_MAX),
        ((b"H", messages.encode(beat())), QUEUE_MESSAGES_MAX),
        ((b"H", b"no heartbeat"), 0),
        ((b"X", b"what is this"), 0),
        ((b"B",), 0),
        ((b"B", b"two", b"bodies"), 0),
    ],
)
def test_a_member_that_floods_is_not_heard_for_a_while(
    wires: Wires, parts: tuple[bytes, ...], taken_max: int
) -> None:
    wires.hear_each_other()
    link = wires.honest.links[1]
    taken = wires.flood(*parts)
    assert taken[-1] == Flooded(1)
    known = [m for m in taken if not isinstance(m, Flooded)]
    assert len(known) <= taken_max + 5  # heartbeats from before may still have been under way
    assert link.unread > FLOOD_MESSAGES
    assert link.barred == "floods"
    assert not wires.honest.alive(1, wires.now_ms)
    wires.honest.found(1, [wires.place, Address("127.0.0.9", wires.rogue.port)])
    wires.say(*parts)
    assert wires.turn(FLOOD_PAUSE_MS - 1) == []
    assert not link.addresses
    wires.turn(1)
    wires.hear_each_other()
    assert link.barred == ""


def test_occasional_unread_messages_are_not_a_flood(wires: Wires) -> None:
    """An honest member's blocks are, while this peer makes up for a pause."""
    wires.hear_each_other()
    link = wires.honest.links[1]

    def many() -> bool:
        for _ in range(100):
            wires.say(b"X", b"what is this")
        assert not any(isinstance(m, Flooded) for m in wires.turn(100 * UNREAD_MS))
        return link.unread > 2 * FLOOD_MESSAGES

    wait_for("many unread ones", many)
    assert link.barred == ""


def test_a_block_for_every_round_is_never_too_much(wires: Wires) -> None:
    """An honest author has at most one, however fast rounds go, and they begin anew with each
    epoch."""
    wires.hear_each_other()
    blocks = 0
    for round_ in [*range(WAITING_MAX + 20), *range(WAITING_MAX + 20)]:
        wires.say(b"B", b"of this round")

        def came(round_: int = round_) -> list[Message]:
            return [m for m in wires.turn(quorum_round=round_) if isinstance(m, BlockIn)]

        blocks += len(wait_for("the block", came))
    assert blocks == 2 * (WAITING_MAX + 20)
    assert wires.honest.links[1].unread == 0


def test_a_frame_that_is_too_long_never_arrives(wires: Wires) -> None:
    wires.hear_each_other()
    wires.say(b"B", bytes(FRAME_BYTES_MAX + CURVE_BYTES + 1))

    def silent() -> bool:
        assert not any(isinstance(message, BlockIn) for message in wires.turn(100))
        return not wires.honest.alive(1, wires.now_ms)

    wait_for("silence", silent)
    wires.hear_each_other()  # libzmq has ended that connection, and there is a new one
    wires.say(b"B", bytes(FRAME_BYTES_MAX))
    taken: list[Message] = []

    def came() -> bool:
        taken.extend(wires.turn())
        return any(isinstance(message, BlockIn) for message in taken)

    wait_for("the longest that may", came)
    assert [len(m.frame) for m in taken if isinstance(m, BlockIn)] == [FRAME_BYTES_MAX]


def test_unrequested_answers_are_not_read(wires: Wires) -> None:
    wires.hear_each_other()
    wires.honest.ask([Pull(1, (0, 0, 0))])

    def asked() -> list[tuple[Asker, Pulled]]:
        wires.turn()
        found = []
        for asker, request in wires.rogue.requests(wires.now_ms):
            if isinstance(request, Pulled):
                found.append((asker, request))
            elif isinstance(request, Asked):  # whether there is an answer at all
                wires.rogue.answer(request, [])
        return found

    [(asker, pulled)] = wait_for("the question", asked)
    assert asker.is_member
    for _ in range(3):
        wires.rogue.answer(pulled, [b"block"] * 5)
    link = wires.honest.links[1]
    taken: list[Message] = []

    def came() -> bool:
        taken.extend(wires.turn())
        return link.unread == 2

    wait_for("all three", came)
    assert [type(m) for m in taken] == [BlockIn] * 5 + [Answered]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"fetch_port": 0},
        {"fetch_port": 2**16},
        {"rounds": (2**48, 0, 0)},
        {"rounds": (-2, 0, 0)},
        {"commit": -1},
        {"hears": (1, 0, 2)},
        {"time_ms": 2**60},
        {"attestation": Attestation(1, b"d" * 10_000)},
        {"latest": Attestation(-5, b"d" * 32)},
    ],
)
def test_a_heartbeat_with_impossible_numbers_is_refused(
    wires: Wires, nonsense: dict[str, object]
) -> None:
    wires.hear_each_other()
    unread = wires.honest.links[1].unread
    wires.rogue.beat(beat(**nonsense))
    wait_for("it to be left unread", lambda: wires.turn() or wires.honest.links[1].unread > unread)
    assert wires.honest.links[1].unread == unread + 1


def test_a_member_that_moves_with_every_heartbeat_uses_one_socket(wires: Wires) -> None:
    """A new fetch port costs this peer a new socket, so it is believed once in a while only."""
    wires.hear_each_other()
    wires.now_ms += ALIVE_MS
    link, places = wires.honest.links[1], set[Address]()
    for port in range(4_000, 4_050):
        wires.rogue.beat(beat(fetch_port=port))
    heard: list[Message] = []

    def came() -> bool:
        for said in wires.honest.receive(wires.now_ms):
            if isinstance(said, Heard) and said.heartbeat.fetch_port in range(4_000, 4_050):
                heard.append(said)
                places.add(link.fetch_place)
        return len(heard) >= 50

    wait_for("all of them", came)
    assert len(places) == 1


def test_a_member_of_another_mesh_is_refused_and_counted_and_logged_once(
    wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    other = msgspec.structs.replace(CONFIG, name="another")
    caplog.set_level(logging.WARNING)

    def counted() -> bool:
        wires.rogue.beat(beat(other))
        assert wires.turn(HEARTBEAT_MS) == []
        return wires.honest.links[1].foreign >= 5

    wait_for("some heartbeats", counted)
    assert wires.honest.links[1].barred == "another mesh"
    assert [r.getMessage() for r in caplog.records] == [
        f"at {wires.place} is member 1 of another mesh"
    ]


def test_endless_requests_are_read_in_bounded_portions(wires: Wires) -> None:
    observer = wires.observer()
    request = messages.request(Pull(0, (0, 0, 0)))

    def asks() -> list[object]:
        for _ in range(200):
            try:
                observer.send_multipart(request, zmq.NOBLOCK)
            except zmq.Again:
                break
        wires.turn()
        return list(wires.honest.requests(wires.now_ms))

    wait_for("a full turn of requests", lambda: len(asks()) == REQUESTS_PER_TURN_MAX)
    assert wires.honest.due_ms == wires.now_ms + REST_MS
    assert asks() == [], "nothing is read while it rests"
    wires.now_ms += REST_MS
    [(asker, _), *_] = wait_for("more of them", asks)
    assert (asker.is_member, asker.name) == (False, "127.0.0.1")


RUBBISH: list[list[bytes]] = [
    [b""],
    [b"P"],
    [b"P", b"\xc1"],
    [b"P", messages.encode((0, 0))],
    [b"P", messages.encode((2**60, 0, 0))],
    [b"S", messages.encode((0, -1))],
    [b"Q", b"what"],
    [b"B", b"a block, where only questions go"],
    [b"H", messages.encode(beat())],
    [b"F", b"x" * 32, b"and", b"much", b"more"],
    [b"F", bytes(200_000)],
]


def test_invalid_requests_are_dropped(wires: Wires) -> None:
    """The last of it is too long: libzmq ends that connection, not the others."""
    honest, rogue = wires.observer(), wires.observer()
    for parts in RUBBISH:
        rogue.send_multipart(parts)
    for _ in range(3):
        honest.send_multipart(messages.request(Pull(0, (0, 0, 0))))
    seen: list[object] = []

    def came() -> bool:
        wires.turn(REST_MS)
        seen.extend(request for _, request in wires.honest.requests(wires.now_ms))
        return len(seen) == 3

    wait_for("what makes sense", came)
    time.sleep(0.1)
    assert came(), "and nothing else"


def test_a_false_member_is_not_heard(wires: Wires) -> None:
    """Announced under the member's name; the link is made to the member's key."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    claims = Mesh(context, CONFIG, Identity.ephemeral(), Poller())
    try:
        link = wires.honest.links[1]
        link.book = AddressBook(random.Random(1))
        wires.honest.found(1, [Address("127.0.0.1", claims.port)])
        for _ in range(50):
            claims.beat(beat())
            list(claims.receive(wires.now_ms))
            assert wires.turn(10) == []
            time.sleep(0.01)
        wires.honest.found(1, [wires.place])
        wires.hear_each_other()
        assert link.address == str(wires.place)
    finally:
        claims.close()
        context.destroy(linger=0)


def test_a_member_that_is_cut_off_is_not_answered_either(wires: Wires) -> None:
    wires.hear_each_other()
    member = wires.observer(IDENTITIES[1])

    def asked() -> list[object]:
        wires.turn(REST_MS)
        return list(wires.honest.requests(wires.now_ms))

    member.send_multipart(messages.request(Pull(0, (0, 0, 0))))
    assert wait_for("its request", asked)
    wires.honest.cut(1)
    assert wires.honest.links[1].barred == "cut off"
    for _ in range(10):
        member.send_multipart(messages.request(Pull(0, (0, 0, 0))))
        wires.turn(REST_MS)
        assert list(wires.honest.requests(wires.now_ms)) == []
        time.sleep(0.02)
