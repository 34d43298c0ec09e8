"""Which candidates a peer connects to, and what it hears of them."""

import time
from collections.abc import Iterator

import pytest
import zmq

from discovery.grape import Address
from engine import Market
from peer.consensus.block import NO_ATTESTATION
from peer.consensus.committee import Committee, Mode
from peer.membership.epochs import SEATS_MAX, Epoch
from peer.membership.identity import curve_public
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.mesh import Mesh
from peer.network.messages import Heartbeat, is_of
from peer.node.candidates import FOLLOWED_MAX, Candidates
from peer.process.poller import Poller
from peer.replica.changes import AddMember, Propose, RemoveMember
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch, key_of
from tests.support.real_mesh import wait_for

MESH = b"m" * 16
MEMBERS = [key_of(seat).public for seat in range(3)]


@pytest.fixture
def replica() -> Replica:
    return Replica([Market("X", "1", "1")], first_epoch(Committee(MESH, 3, Mode.CRASH)))


def added(seat: int) -> AddMember:
    return AddMember(f"m{seat}", key_of(seat).public.hex())


def propose(replica: Replica, seq: int, *seats: int) -> int:
    """The member in seat 0 proposes to add keys. Returns the proposal's id."""
    vote = Propose(seq * MEMBERS_SPACE, tuple(map(added, seats)))
    assert replica.governance.take(vote, 0, replica.rules) is None
    return vote.id


def test_candidates_have_numbers_that_are_no_seats_and_keep_them(replica: Replica) -> None:
    """ORDER-55."""
    candidates = Candidates()
    assert candidates.have_changed(replica)
    assert candidates.followed(replica, MEMBERS) == {}
    assert not candidates.have_changed(replica)
    propose(replica, 1, 3)
    assert candidates.have_changed(replica)
    assert candidates.followed(replica, MEMBERS) == {SEATS_MAX: key_of(3).public}
    propose(replica, 2, 3, 4)
    both = {SEATS_MAX: key_of(3).public, SEATS_MAX + 1: key_of(4).public}
    assert candidates.followed(replica, MEMBERS) == both
    del both[SEATS_MAX]
    assert candidates.followed(replica, [*MEMBERS, key_of(3).public]) == both, "a member by now"


def test_of_many_candidates_those_that_the_members_have_accepted_come_first(
    replica: Replica,
) -> None:
    """ORDER-55."""
    first = 3
    for seq in range(1, 5):
        last = propose(replica, seq, *range(first, first + 8))
        first += 8
    replica.governance.accepted.append(last)
    candidates = Candidates()
    keys = list(candidates.followed(replica, MEMBERS).values())
    assert keys[:8] == [key_of(seat).public for seat in range(first - 8, first)]
    assert len(keys) == FOLLOWED_MAX == 32
    replica.governance.accepted.clear()
    assert next(iter(candidates.followed(replica, MEMBERS).values())) == key_of(3).public


def test_only_members_of_a_later_epoch_are_heard_among_candidates() -> None:
    """ORDER-55."""
    epoch = first_epoch(Committee(MESH, 3, Mode.CRASH))
    attestations = NO_ATTESTATION, NO_ATTESTATION
    says = Heartbeat(MESH, 1, 3, 1, (0,), 0, *attestations, 0, (True,))
    assert is_of(says, epoch, SEATS_MAX)
    for other in (
        Heartbeat(MESH, 0, 3, 1, (0, 0, 0), 0, *attestations, 0, (True,) * 3),
        Heartbeat(b"n" * 16, 1, 3, 1, (0,), 0, *attestations, 0, (True,)),
    ):
        assert not is_of(other, epoch, SEATS_MAX)


def test_a_candidate_speaks_as_one_wherever_it_has_no_seat() -> None:
    """ORDER-55: what a member says so in its own epoch is a lie, and nobody reads it."""
    epoch = first_epoch(Committee(MESH, 3, Mode.CRASH))
    attestations = NO_ATTESTATION, NO_ATTESTATION
    for number, member, is_read in (
        (0, SEATS_MAX, True),
        (0, SEATS_MAX + 1, True),  # its number here is this peer's affair
        (1, SEATS_MAX, True),
        (1, 2, True),  # it is behind, or ahead, where this seat is another's or nobody's
        (0, 3, True),
        (0, 2, False),
    ):
        hears = (True,) * 5
        says = Heartbeat(MESH, number, SEATS_MAX, 1, (0,) * 5, 0, *attestations, 0, hears)
        assert is_of(says, epoch, member) is is_read, (number, member)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    members = [Member(f"m{seat}", key_of(seat).public.hex()) for seat in range(3)]
    config = MeshConfig("three", Mode.CRASH, 0, members, [Market("X", "1", "1")], [])
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    mesh = Mesh(context, config, key_of(0), Poller())
    yield mesh
    mesh.close()
    context.destroy()


def test_a_candidate_that_becomes_a_member_keeps_its_link(mesh: Mesh) -> None:
    """ORDER-55."""
    epoch = Epoch.first(mesh.config)
    mesh.stand_in([epoch], {SEATS_MAX: key_of(3).public, SEATS_MAX + 1: key_of(4).public})
    assert list(mesh.links) == [1, 2, SEATS_MAX, SEATS_MAX + 1]
    link = mesh.links[SEATS_MAX]
    key = curve_public(key_of(3).public)
    assert mesh.authenticator._allows(key, b"mesh")
    assert key not in mesh.authenticator._members, "it asks as observers do"
    added = [("m3", key_of(3).public)]
    following = epoch.following([RemoveMember(2).seat], added, 1, 64, 1_000, b"d" * 32)
    mesh.stand_in([following, epoch], {})
    assert sorted(mesh.links) == [1, 2, 3], "and the other one has none"
    assert mesh.links[3] is link
    assert link.member == 3
    assert key in mesh.authenticator._members
    mesh.cut(SEATS_MAX)  # of a number that has no link any more


def test_a_candidate_is_connected_before_it_has_a_seat(mesh: Mesh) -> None:
    """ORDER-55: it tells the members where it is, and they hear it; but they ask it for nothing."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    other = Mesh(context, mesh.config, key_of(3), Poller())
    epoch = Epoch.first(mesh.config)
    mesh.stand_in([epoch], {SEATS_MAX: key_of(3).public})
    other.links[0].book.give(Address("127.0.0.1", mesh.port))
    attestations = NO_ATTESTATION, NO_ATTESTATION

    def beat(one: Mesh, number: int) -> None:
        place = one.config.id, 0, number, one.fetch_port
        one.beat(Heartbeat(*place, (0,) * 3, 0, *attestations, 0, (True,) * 3))

    def heard() -> bool:
        now_ms = time.monotonic_ns() // 1_000_000
        for one, number in ((mesh, 0), (other, SEATS_MAX)):
            beat(one, number)
            list(one.receive(now_ms))
            list(one.requests(now_ms))
        return mesh.alive(SEATS_MAX, now_ms)

    wait_for("a heartbeat of the candidate", heard)
    now_ms = time.monotonic_ns() // 1_000_000
    assert mesh.links[SEATS_MAX].fetch is not None, "it can be asked as soon as it is a member"
    assert mesh.heard(now_ms) == []
    assert other.heard(now_ms) == [0]
    other.close()
    context.destroy()
