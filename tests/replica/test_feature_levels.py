"""The level of an epoch decides how blocks are read and what commands do, not the program."""

import msgspec
import pytest

from engine import Accepted, Reason, Rejected, Side, Submit
from peer.client.signer import Signer
from peer.consensus.block import Block, InvalidBlockError, OtherEpochError, Ref, decode
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Commit
from peer.membership.epochs import Epoch
from peer.replica.applied import Applied
from peer.replica.batch import command_id
from peer.replica.changes import Activate, AddMember, Approve, Change, RemoveMember
from peer.replica.feature_level import LEVELS, FeatureLevel, Levels, UnknownLevelError
from peer.replica.governance import Proposal
from peer.replica.members import Members
from peer.replica.signed import with_id
from peer.replica.state_machine import Replica
from tests.replica.test_governed_replica import Mesh, order
from tests.simulator.levels import NEXT_LEVELS, QUANTITY_MIN
from tests.support.epochs import first_epoch, key_of
from tests.support.pieces import pieces_of
from tests.support.real_mesh import MARKET, MARKETS

COMMITTEE = Committee(b"m" * 16, 3, Mode.CRASH)
FIRST = first_epoch(COMMITTEE)
ODD, EVEN = (Submit(0, "ann", MARKET, Side.BUY, 5, price) for price in (101, 102))


def mesh(levels: Levels = NEXT_LEVELS) -> Mesh:
    return Mesh(Replica(MARKETS, FIRST, levels=levels))


def activated(found: Mesh) -> Epoch:
    """The epoch of level 2 that follows this one, once the last commit is applied."""
    one = found.propose(0, Activate(2))
    found.commit((0, Approve(0, one, 0, 2)), (2, Approve(0, one, 0, 2)))
    applied = found.commit((1, Approve(0, one, 0, 2)))
    assert applied.epoch_end is not None
    return found.replica.next_epoch(applied.epoch_end)


def test_a_program_that_knows_more_follows_the_level_of_the_epoch() -> None:
    """ORDER-51: until the members activate level 2, both programs have the same state."""
    old, new = mesh(LEVELS), mesh()
    for one in (old, new):
        assert isinstance(one.commit((0, ODD)).results[0][0], Accepted)
    ends = [activated(one) for one in (old, new)]
    assert ends[0].seal == ends[1].seal
    assert ends[0].origin.level == 2


def test_the_next_level_begins_with_the_next_epoch() -> None:
    """ORDER-51, ORDER-52: the rule, the encoding and the migrated state; the hand-over digest is of
    the state before."""
    found = mesh()
    found.commit((0, ODD))
    epoch = activated(found)
    replica, before = found.replica, found.replica.latest()
    assert epoch.origin.digest == replica.attestation().digest
    replica.begin_epoch(epoch)
    assert replica.latest() == before, "what is stated of the last commit is of the old level"
    assert replica.exchange.digest() != before.digest
    assert replica.exchange.market(MARKET).quantity_min == QUANTITY_MIN
    refused = commit_in(replica, 2, ODD).results[0][0]
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.INVALID_PRICE
    assert isinstance(commit_in(replica, 2, EVEN).results[0][0], Accepted)
    assert commit_in(replica, 1, EVEN).results == [], "a payload of the level before"
    replica.exchange.check()


def commit_in(replica: Replica, level: int, command: Submit) -> Applied:
    """A commit with one command, in a payload of this level."""
    rules, seq = NEXT_LEVELS.of(level), replica.expected[0]
    data = rules.write_command(with_id(command, command_id(seq, 0)))
    ref = Ref(1, 0, b"d" * 32)
    block = Block(ref, (), rules.write(seq, [data]))
    number = replica.commit + 1
    return replica.apply(Commit(number, ref, replica.time_ms + 1, (block,), None))


def test_a_state_of_the_next_level_is_restored_under_its_rules() -> None:
    found = mesh()
    epoch = activated(found)
    with pytest.raises(UnknownLevelError, match="upgrade this peer to at least level 2"):
        Replica.restore(epoch, pieces_of(found.replica))
    found.replica.begin_epoch(epoch)
    assert found.replica.level.number == 2


def proposal(*changes: Change, force: bool = False) -> Proposal:
    return Proposal(256, changes, force, False, 0)


@pytest.mark.parametrize(
    ("levels", "missing"),
    [
        ({}, "m0, m1, m2"),
        ({0: 2, 1: 1}, "m1, m2"),
        ({0: 2, 1: 2, 2: 3}, ""),
    ],
)
def test_members_that_are_present_must_know_the_next_level(
    levels: dict[int, int], missing: str
) -> None:
    """ORDER-51."""
    members = Members(FIRST)
    why = members.waits_for_level(proposal(Activate(2)), [0, 1, 2], levels)
    assert why.endswith(missing)
    assert bool(why) == bool(missing)
    assert members.waits_for_level(proposal(Activate(2), force=True), [0, 1, 2], levels) == ""
    assert members.waits_for_level(proposal(RemoveMember(1)), [0, 1, 2], levels) == ""


def test_absent_and_removed_members_need_not_know_it() -> None:
    """ORDER-51."""
    members, levels = Members(FIRST), {0: 2, 2: 2}
    assert members.waits_for_level(proposal(Activate(2)), [0, 2], levels) == ""
    both = proposal(Activate(2), RemoveMember(1), AddMember("new", key_of(3).public.hex()))
    assert members.waits_for_level(both, [0, 1, 2], levels) == ""


def test_an_accepted_level_waits_until_the_last_member_states_it() -> None:
    """ORDER-51: an approval counts as a statement also after the proposal was accepted."""
    found = mesh()
    one = found.propose(0, Activate(2))
    assert found.commit((1, Approve(0, one, 0, 2)), (2, order())).epoch_end is None
    assert found.commit((0, Approve(0, one, 0, 2))).epoch_end is None, "m2 has not said so"
    assert found.commit((2, Approve(0, one, 0, 1))).epoch_end is None, "m2 does not know it"
    end = found.commit((2, Approve(0, one, 0, 2))).epoch_end
    assert end is not None
    found.replica.begin_epoch(found.replica.next_epoch(end))
    assert found.replica.governance.levels == {0: 2, 1: 2, 2: 2}


def test_a_block_of_a_later_level_is_of_another_epoch_whatever_its_form() -> None:
    """ORDER-42: it is no misbehaviour."""
    prefix = [COMMITTEE.mesh, 1, b"s" * 32, 2]
    for rest in ([], [{"any": ["form"]}], [1, 2, [], b"", 0, [0, b""], "more"]):
        frame = msgspec.msgpack.encode([*prefix, *rest]) + b"s" * 64
        with pytest.raises(OtherEpochError):
            decode(frame, COMMITTEE)
    deep = msgspec.msgpack.encode([*prefix, 0])[:-1] + b"\x91" * 100_000
    for frame in (deep, msgspec.msgpack.encode([COMMITTEE.mesh, 0, b"", 1, 0]) + b"s" * 64):
        with pytest.raises(InvalidBlockError, match="not a block"):
            decode(frame, COMMITTEE)


def test_the_seal_contains_the_level() -> None:
    """ORDER-44."""
    ends = (FIRST.following((), (), level, 64, 1_000, b"d" * 32) for level in (1, 2))
    assert len({epoch.seal for epoch in ends}) == 2


def test_signatures_are_verified_ahead_in_every_epoch() -> None:
    """An author's number is not its seat once a member before it has left."""
    found = mesh()
    mine = Signer(key_of(9), COMMITTEE.mesh.hex(), lambda: 1_000)
    one = found.propose(0, RemoveMember(0))
    end = found.commit((2, order()), (1, Approve(0, one, 0))).epoch_end
    assert end is not None
    replica = found.replica
    replica.begin_epoch(replica.next_epoch(end))
    assert replica.members.epoch.numbers == (1, 2)
    signed = mine.sign(Submit(0, mine.account, MARKET, Side.BUY, 5, 100))
    seq = replica.expected[1]
    data = replica.level.write_command(with_id(signed, command_id(seq, 1)))
    replica.verify_ahead(Block(Ref(1, 0, b"d" * 32), (), replica.level.write(seq, [data])))
    assert len(replica.signers.signature_cache._known) == 1


def test_levels_have_no_gap() -> None:
    assert (LEVELS.highest, NEXT_LEVELS.highest) == (1, 2)
    assert LEVELS.unknown(1) == ""
    assert "knows level 1 at most" in LEVELS.unknown(2)
    assert LEVELS.unknown(0) != ""
    with pytest.raises(AssertionError):
        Levels(NEXT_LEVELS.of(2), FeatureLevel())
