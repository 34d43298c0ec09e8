"""Votes in members' blocks, and what they do to the replicated state."""

from collections.abc import Sequence

import msgspec
import pytest

from engine import MarketState, Reason, Rejected, Side, Submit
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit
from peer.replica import execution_record as records
from peer.replica.changes import (
    AddMember,
    Approve,
    CancelAccount,
    Change,
    HaltMarket,
    Propose,
    RemoveMember,
    ResumeMarket,
    Withdraw,
)
from peer.replica.governance import PROPOSALS_OPEN_MAX
from peer.replica.signed import Item, with_id
from peer.replica.snapshot import GOVERNANCE, PROPOSALS, InvalidSnapshotError
from peer.replica.state_machine import Applied, Replica, command_id, encode_batch
from tests.replica.test_governance import KEY
from tests.support.pieces import pieces_of, rebuilt
from tests.support.real_mesh import MARKET, MARKETS

COMMITTEE = Committee(b"m" * 16, 3, Mode.CRASH)
ENCODE = msgspec.msgpack.Encoder().encode


class Mesh:
    """A replica of three members' blocks."""

    def __init__(self, replica: Replica | None = None) -> None:
        self.replica = replica or Replica(MARKETS, COMMITTEE)

    def commit(self, *items: tuple[int, Item], at_checkpoint: bool = False) -> Applied:
        """Apply items by their members, each in a block of its own."""
        replica, number = self.replica, self.replica.commit + 1
        taken = dict.fromkeys(range(3), 0)
        blocks = []
        for member, item in items:
            seq = replica.expected[member] + taken[member]
            taken[member] += 1
            payload = encode_batch(seq, [ENCODE(with_id(item, command_id(seq, member)))])
            blocks.append(Block(Ref(number, member, bytes([len(blocks)]) * 32), (), payload))
        checkpoint = None
        if at_checkpoint:
            first = Checkpoint.first(COMMITTEE)
            checkpoint = first._replace(commit=number, time_ms=1_000 + number)
        ref = Ref(number, 0, b"d" * 32)
        return replica.apply(Commit(number, ref, 1_000 + number, tuple(blocks), checkpoint))

    def propose(self, member: int, *changes: Change) -> int:
        """Make a proposal that its proposer approves. Returns its id."""
        applied = self.commit((member, Propose(0, changes)))
        assert applied.results == [[]]
        [id_] = applied.ids
        self.commit((member, Approve(0, id_, 0)))
        return id_


def order(account: str = "ann", side: Side = Side.BUY) -> Submit:
    return Submit(0, account, MARKET, side, 5, 100)


def test_votes_take_effect_at_the_end_of_their_commit() -> None:
    """The commands after the last approval in its commit are still under the old rules."""
    mesh = Mesh()
    one = mesh.propose(0, HaltMarket(MARKET))
    applied = mesh.commit((1, Approve(0, one, 0)), (2, order()))
    assert type(applied.results[1][0]).__name__ == "Accepted"
    assert applied.closing == [MarketState(MARKET, True)]
    assert applied.epoch_end is None
    [[rejected]] = mesh.commit((2, order())).results
    assert rejected == Rejected(command_id(2, 2), "ann", Reason.MARKET_HALTED)
    two = mesh.propose(1, ResumeMarket(MARKET))
    assert mesh.commit((0, Approve(0, two, 0))).closing == [MarketState(MARKET, False)]


def test_what_proposals_do_is_in_the_record_of_their_commit() -> None:
    mesh = Mesh()
    one = mesh.propose(0, HaltMarket(MARKET))
    applied = mesh.commit((1, Approve(0, one, 0)))
    assert applied.record is not None
    assert applied.record.events == [[], [], [MarketState(MARKET, True)]]
    assert records.decode(records.encode(applied.record)) == applied.record


def test_the_author_of_the_block_is_the_voter() -> None:
    """A vote under another member's id makes the payload invalid, as for any command."""
    mesh = Mesh()
    one = mesh.propose(0, HaltMarket(MARKET))
    vote = Approve(command_id(1, 1), one, 0)
    block = Block(Ref(9, 2, b"d" * 32), (), encode_batch(1, [ENCODE(vote)]))
    number = mesh.replica.commit + 1
    mesh.replica.apply(Commit(number, block.ref, 2_000, (block,), None))
    assert mesh.replica.invalid_payloads == 1
    assert mesh.replica.governance.proposals[one].approvals == (0,)


def test_a_refused_vote_has_a_reason() -> None:
    mesh = Mesh()
    asked: list[tuple[int, Item, Reason]] = [
        (0, Approve(0, 999, 0), Reason.UNKNOWN_PROPOSAL),
        (0, Withdraw(0, 999), Reason.UNKNOWN_PROPOSAL),
        (0, Propose(0, (HaltMarket("NONE"),)), Reason.IMPOSSIBLE_CHANGE),
        (0, Propose(0, (ResumeMarket(MARKET),)), Reason.IMPOSSIBLE_CHANGE),
    ]
    for member, vote, reason in asked:
        applied = mesh.commit((member, vote))
        assert applied.results == [[Rejected(applied.ids[0], "", reason)]]


def test_changes_of_members_wait() -> None:
    """D4: until the mesh can change its members, with plain words."""
    mesh = Mesh()
    one = mesh.propose(0, RemoveMember(2), HaltMarket(MARKET))
    applied = mesh.commit((1, Approve(0, one, 0)))
    assert (applied.closing, applied.epoch_end) == ([], None)
    proposal = mesh.replica.governance.proposals[one]
    assert mesh.replica.governance.accepted == [one]
    assert "cannot" in mesh.replica.rules.waits(proposal)


def grown() -> Replica:
    """At a checkpoint, with open proposals and one that waits."""
    mesh = Mesh()
    one = mesh.propose(0, AddMember("dave", KEY))
    mesh.propose(2, CancelAccount("ann"))
    done = mesh.propose(2, HaltMarket(MARKET))
    mesh.commit((1, Approve(0, one, 0)), (1, Approve(0, done, 0)), (0, order("bob")))
    mesh.commit(at_checkpoint=True)
    return mesh.replica


def test_the_pieces_hold_the_votes() -> None:
    replica = grown()
    pieces = pieces_of(replica)
    proposals = {PROPOSALS + 0, PROPOSALS + 2}
    assert {key for key in pieces if key >= GOVERNANCE} == {GOVERNANCE} | proposals
    restored = rebuilt(replica, COMMITTEE)
    assert pieces_of(restored) == pieces
    assert restored.governance.head == replica.governance.head
    assert restored.governance.open() == replica.governance.open()
    for each in (replica, restored):
        each.governance.check()
        mesh = Mesh(each)
        [other] = [p.id for p in each.governance.open() if p.seat == 2]
        mesh.commit((1, Approve(0, other, 0)), at_checkpoint=True)
        assert [ended.proposal.id for ended in each.governance.ended][-1] == other
    assert restored.tree.digest == replica.tree.digest


def test_a_piece_goes_when_its_seat_has_no_proposals() -> None:
    mesh = Mesh(grown())
    for proposal in mesh.replica.governance.open():
        mesh.commit((proposal.seat, Withdraw(0, proposal.id)))
    mesh.commit(at_checkpoint=True)
    assert [key for key in pieces_of(mesh.replica) if key >= GOVERNANCE] == [GOVERNANCE]
    assert pieces_of(rebuilt(mesh.replica, COMMITTEE)) == pieces_of(mesh.replica)


def wrong() -> Sequence[tuple[str, dict[int, bytes]]]:
    pieces = pieces_of(grown())
    [row] = msgspec.msgpack.decode(pieces[PROPOSALS])
    many = [[row[0] + 256 * n, *row[1:]] for n in range(PROPOSALS_OPEN_MAX + 1)]
    head = msgspec.msgpack.decode(pieces[GOVERNANCE])
    return [
        ("no head", {GOVERNANCE: b""}),
        ("noise", {GOVERNANCE: b"\xc1"}),
        ("an accepted proposal that is not there", {PROPOSALS: b""}),
        ("proposals of another seat", {PROPOSALS: b"", PROPOSALS + 1: pieces[PROPOSALS]}),
        ("proposals of no seat", {PROPOSALS + 3: ENCODE([[7 * 256 + 3, *row[1:]]])}),
        ("too many proposals", {PROPOSALS: ENCODE(many)}),
        ("a proposal twice", {PROPOSALS: ENCODE([row, row])}),
        ("an approval of no seat", {PROPOSALS: ENCODE([[*row[:5], [0, 1, 9], []]])}),
        ("presence of no seat", {GOVERNANCE: ENCODE([head[0], [[5, [1, 1]]], *head[2:]])}),
    ]


@pytest.mark.parametrize(("what", "change"), wrong())
def test_votes_that_no_replica_has_are_refused(what: str, change: dict[int, bytes]) -> None:
    pieces = {key: piece for key, piece in (pieces_of(grown()) | change).items() if piece}
    with pytest.raises(InvalidSnapshotError):
        Replica.restore(COMMITTEE, pieces)
