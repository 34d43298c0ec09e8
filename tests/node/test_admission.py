"""ORDER-54: whom the nodes of an open mesh let in by themselves, and how fast."""

from dataclasses import dataclass, field
from typing import cast

from peer.consensus.committee import Committee, Mode
from peer.membership.admission import AdmissionRequest, admission_request
from peer.membership.mesh_file import Member, MeshConfig
from peer.node.ledger import Ledger
from peer.node.open_admission import ASK_MS, PACE_MS, PATIENCE_MS, REQUESTS_MAX, Admission
from peer.replica.changes import AddMember, Approve, HaltMarket, Propose, RemoveMember, Withdraw
from peer.replica.governance import Proposal
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch, key_of
from tests.support.real_mesh import MARKETS

MEMBERS = [Member(f"m{n}", key_of(n).public.hex()) for n in range(3)]
OPEN = MeshConfig("m", Mode.CRASH, 1, MEMBERS, MARKETS, "any", "open")
VOTE = MeshConfig("m", Mode.CRASH, 1, MEMBERS, MARKETS, "any", "vote")
OLD = PACE_MS * 10  # long after the start


@dataclass
class _Journal:
    key: bytes


@dataclass
class _Ledger:
    me: int | None
    key: int
    replica: Replica = field(init=False)

    def __post_init__(self) -> None:
        self.replica = Replica(MARKETS, first_epoch(Committee(OPEN.id, 3, Mode.CRASH)))

    @property
    def seat(self) -> int | None:
        return self.me

    @property
    def journal(self) -> _Journal:
        return _Journal(key_of(self.key).public)

    def sign(self, data: bytes) -> bytes:
        return key_of(self.key).sign(data)


def admission(
    config: MeshConfig = OPEN, me: int | None = 0, key: int = 0
) -> tuple[Admission, Replica]:
    ledger = _Ledger(me, key)
    return Admission(config, cast("Ledger", ledger)), ledger.replica


def asks(name: str, key: int) -> AdmissionRequest:
    return admission_request(OPEN.id, name, key_of(key).public, key_of(key).sign)


def proposed(replica: Replica, seat: int, *changes: object, force: bool = False) -> Proposal:
    proposals = replica.governance.proposals
    id_ = 256 * (len(proposals) + 1) + seat
    proposals[id_] = Proposal(id_, changes, force, False, 1)  # type: ignore[arg-type]
    return proposals[id_]


def add(name: str, key: int) -> AddMember:
    return AddMember(name, key_of(key).public.hex())


def test_who_asks_is_proposed_and_one_in_ten_seconds() -> None:
    node, replica = admission()
    node.asked(asks("dave", 8))
    node.asked(asks("erin", 9))
    assert list(node.votes(OLD)) == [Propose(0, (add("dave", 8),))]
    proposed(replica, 0, add("dave", 8))
    assert list(node.votes(OLD + PACE_MS - 1)) == []
    replica.governance.proposals.clear()
    assert list(node.votes(OLD + PACE_MS)) == [Propose(0, (add("erin", 9),))]


def test_others_proposals_to_add_one_member_are_approved() -> None:
    node, replica = admission()
    for change in (HaltMarket("BTC-USD"), RemoveMember(1)):
        proposed(replica, 1, change)
    proposed(replica, 1, add("dave", 8), add("erin", 9))
    proposed(replica, 1, add("dave", 8), force=True)
    assert list(node.votes(OLD)) == []
    good = proposed(replica, 2, add("dave", 8))
    assert list(node.votes(OLD)) == [Approve(0, good.id, 0)]
    assert list(node.votes(OLD)) == []


def test_an_own_proposal_has_a_minute() -> None:
    node, replica = admission()
    own = proposed(replica, 0, add("dave", 8))
    other = proposed(replica, 1, add("erin", 9))
    found = [vote for ms in range(0, PATIENCE_MS + 1, PACE_MS) for vote in node.votes(OLD + ms)]
    assert not any(isinstance(vote, Withdraw) for vote in found)
    assert list(node.votes(OLD + PATIENCE_MS + 1)) == [Withdraw(0, own.id)]
    assert other.id in replica.governance.proposals


def test_only_genuine_requests_of_new_keys_and_names_count() -> None:
    node, replica = admission()
    node.asked(AdmissionRequest("dave", key_of(8).public, key_of(9).sign(b"x")))
    node.asked(asks("m1", 8))
    node.asked(asks("other", 1))
    assert list(node.votes(OLD)) == []
    proposed(replica, 2, add("dave", 8))
    list(node.votes(OLD))
    node.asked(asks("dave", 8))
    assert list(node.votes(OLD + PACE_MS)) != [Propose(0, (add("dave", 8),))]


def test_few_requests_wait() -> None:
    node, _ = admission()
    for number in range(REQUESTS_MAX + 5):
        node.asked(asks(f"n{number}", 10 + number))
    made = [vote for n in range(30) for vote in node.votes(OLD + n * PACE_MS)]
    assert len(made) == REQUESTS_MAX


def test_a_mesh_that_votes_lets_nobody_in_by_itself() -> None:
    node, replica = admission(VOTE)
    node.asked(asks("dave", 8))
    proposed(replica, 1, add("dave", 8))
    assert list(node.votes(OLD)) == []


def test_a_peer_asks_one_member_after_the_other_until_it_is_proposed() -> None:
    guest, replica = admission(me=None, key=8)
    assert guest.request([0, 1], 0) is None, "it only follows"
    guest.wanted_name = "dave"
    assert guest.request([], 0) is None
    asked = [guest.request([0, 1], ms) for ms in range(0, 20_000, 100)]
    found = [one for one in asked if one is not None]
    assert len(found) == 20_000 // ASK_MS
    assert {member for member, _ in found} == {0, 1}
    assert all(request.is_genuine(OPEN.id) for _, request in found)
    assert not found[0][1].is_genuine(b"another mesh")
    proposed(replica, 1, add("dave", 8))
    assert guest.request([0, 1], 50_000) is None
