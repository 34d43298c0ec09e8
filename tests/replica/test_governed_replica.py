"""Votes in members' blocks, and what they do to the replicated state."""

from collections.abc import Sequence

import msgspec
import pytest

from engine import (
    Accepted,
    Cancelled,
    Halt,
    Market,
    MarketState,
    MarketStatus,
    Reason,
    Rejected,
    Resume,
    Side,
    Submit,
)
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit
from peer.replica import execution_record as records
from peer.replica.applied import Applied
from peer.replica.batch import command_id, encode_batch
from peer.replica.changes import (
    AddMarket,
    AddMember,
    Approve,
    CancelAccount,
    Change,
    ChangeMarket,
    CloseMarket,
    HaltMarket,
    Propose,
    RemoveMember,
    ResumeMarket,
    Withdraw,
)
from peer.replica.governance import PROPOSALS_OPEN_MAX, Outcome
from peer.replica.signed import Item, with_id
from peer.replica.snapshot import GOVERNANCE, MEMBERS, PROPOSALS, InvalidSnapshotError
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch
from tests.support.pieces import pieces_of, rebuilt
from tests.support.real_mesh import MARKET, MARKETS
from tests.support.voting import KEY

COMMITTEE = Committee(b"m" * 16, 3, Mode.CRASH)
ENCODE = msgspec.msgpack.Encoder().encode


class Mesh:
    """A replica of three members' blocks."""

    def __init__(self, replica: Replica | None = None) -> None:
        self.replica = replica or Replica(MARKETS, first_epoch(COMMITTEE))

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
    assert type(applied.results[1][0]) is Accepted
    assert applied.closing == [MarketState(MARKET, MarketStatus.HALTED)]
    assert applied.epoch_end is None
    [[rejected]] = mesh.commit((2, order())).results
    assert rejected == Rejected(command_id(2, 2), "ann", Reason.MARKET_HALTED)
    two = mesh.propose(1, ResumeMarket(MARKET))
    assert mesh.commit((0, Approve(0, two, 0))).closing == [MarketState(MARKET, MarketStatus.OPEN)]


def test_what_proposals_do_is_in_the_record_of_their_commit() -> None:
    mesh = Mesh()
    one = mesh.propose(0, HaltMarket(MARKET))
    applied = mesh.commit((1, Approve(0, one, 0)))
    assert applied.record is not None
    assert applied.record.events == [[], [], [MarketState(MARKET, MarketStatus.HALTED)]]
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


def test_changes_of_members_wait_for_those_that_stay() -> None:
    """D4: two of three are present, and a mesh of these two needs both."""
    mesh = Mesh()
    one = mesh.propose(0, RemoveMember(1), HaltMarket(MARKET))
    applied = mesh.commit((1, Approve(0, one, 0)))
    assert (applied.closing, applied.epoch_end) == ([], None)
    proposal = mesh.replica.governance.proposals[one]
    assert mesh.replica.governance.accepted == [one]
    assert "1 of the 2 members" in mesh.replica.rules.waits(proposal)
    applied = mesh.commit((2, Submit(0, "ann", MARKET, Side.BUY, 5, 100)))
    assert applied.epoch_end == proposal
    assert applied.closing == [MarketState(MARKET, MarketStatus.HALTED)]


def accepted(mesh: Mesh, *changes: Change) -> Applied:
    """Make a proposal that a quorum approves. Returns the commit in which it takes effect."""
    one = mesh.propose(0, *changes)
    return mesh.commit((1, Approve(0, one, 0)))


def test_markets_come_change_and_go() -> None:
    """MATCH-34, MATCH-35, MATCH-36, in the replicated state."""
    mesh = Mesh()
    applied = accepted(mesh, AddMarket(Market("NEW", "1", "1")))
    assert applied.closing == [MarketState("NEW", MarketStatus.OPEN)]
    [[taken]] = mesh.commit((2, Submit(0, "ann", "NEW", Side.BUY, 5, 100))).results
    assert type(taken) is Accepted
    trades = mesh.commit((2, Submit(0, "bob", "NEW", Side.SELL, 2, 100))).trades
    assert [trade.number for trade in trades["NEW"]] == [1]
    accepted(mesh, ChangeMarket("NEW", quantity_min=3, orders_max=2_000_000))
    assert mesh.replica.markets[-1] == Market("NEW", "1", "1", 3, orders_max=2_000_000)
    [[event]] = mesh.commit((2, Submit(0, "ann", "NEW", Side.BUY, 2, 100))).results
    assert event == Rejected(command_id(3, 2), "ann", Reason.QUANTITY_TOO_SMALL)
    closing = accepted(mesh, CloseMarket("NEW")).closing
    assert closing[0] == MarketState("NEW", MarketStatus.CLOSED)
    assert [(e.id, e.reason) for e in closing if type(e) is Cancelled] == [
        (command_id(1, 2), Reason.MARKET_CLOSED)
    ]
    [[event]] = mesh.commit((2, Submit(0, "ann", "NEW", Side.BUY, 5, 100))).results
    assert event == Rejected(command_id(4, 2), "ann", Reason.MARKET_CLOSED)
    assert mesh.commit((0, Propose(0, (ResumeMarket("NEW"),)))).results != [[]]


def test_changes_of_one_proposal_follow_each_other() -> None:
    new = AddMarket(Market("NEW", "1", "1"))
    mesh = Mesh()
    events = accepted(mesh, new, HaltMarket("NEW"), ChangeMarket("NEW", quantity_min=2)).closing
    assert events == [MarketState("NEW", status) for status in list(MarketStatus)[:2]]
    refused = mesh.commit(
        (0, Propose(0, (HaltMarket(MARKET), HaltMarket(MARKET)))),
        (1, Propose(0, (CloseMarket(MARKET), ResumeMarket(MARKET)))),
        (2, Propose(0, (AddMarket(Market("NEWER", "1", "1")), new))),
    )
    reasons = [event.reason for [event] in refused.results if type(event) is Rejected]
    assert reasons == [Reason.IMPOSSIBLE_CHANGE] * 3


def test_a_change_that_another_proposal_made_impossible_does_nothing() -> None:
    """D1: and none of its proposal."""
    mesh = Mesh()
    one = mesh.propose(0, HaltMarket(MARKET))
    two = mesh.propose(1, CancelAccount("ann"), HaltMarket(MARKET))
    mesh.commit((0, order()))
    applied = mesh.commit((1, Approve(0, one, 0)), (0, Approve(0, two, 0)))
    assert applied.closing == [MarketState(MARKET, MarketStatus.HALTED)]
    assert mesh.replica.governance.ended[-1].outcome is Outcome.IMPOSSIBLE


def test_orders_of_an_account_are_cancelled_by_vote() -> None:
    """MATCH-37: of a key account too, whose orders then count no more."""
    mesh = Mesh()
    mesh.commit((0, order()), (1, order()), (2, order("bob")))
    applied = accepted(mesh, CancelAccount("ann"))
    found = [(e.id, e.reason) for e in applied.closing if type(e) is Cancelled]
    reason = Reason.CANCELLED_BY_VOTE
    assert found == [(command_id(1, 0), reason), (command_id(1, 1), reason)]
    assert mesh.replica.exchange.open_orders("ann") == []
    assert applied.done[0].changes == (CancelAccount("ann"),)
    mesh.replica.key_orders.check(mesh.replica.exchange.orders_open())


def test_only_an_approved_proposal_halts_a_market() -> None:
    mesh = Mesh()
    results = mesh.commit((0, Halt(0, "op", MARKET)), (1, order()), (2, Resume(0, "op", MARKET)))
    first, (accepted_,), last = results.results
    assert type(accepted_) is Accepted
    assert first == [Rejected(command_id(1, 0), "op", Reason.NEEDS_APPROVAL)]
    assert last == [Rejected(command_id(1, 2), "op", Reason.NEEDS_APPROVAL)]


def test_the_pieces_hold_markets_that_came() -> None:
    mesh = Mesh()
    accepted(mesh, AddMarket(Market("NEW", "1", "1")), AddMarket(Market("OLD", "1", "1")))
    for account, side in (("ann", Side.BUY), ("bob", Side.SELL), ("ann", Side.BUY)):
        mesh.commit((2, Submit(0, account, "NEW", side, 5, 100)))
    accepted(mesh, CloseMarket("OLD"), ChangeMarket("NEW", quantity_min=5))
    mesh.commit(at_checkpoint=True)
    again = Mesh(rebuilt(mesh.replica, COMMITTEE))
    assert again.replica.markets == mesh.replica.markets
    assert again.replica.trades == mesh.replica.trades
    for each in (mesh, again):
        accepted(each, AddMarket(Market("NEWEST", "1", "1")))
        each.commit((0, Submit(0, "bob", "NEW", Side.SELL, 5, 100)), at_checkpoint=True)
    assert pieces_of(again.replica) == pieces_of(mesh.replica)
    assert mesh.replica.trade_numbers["NEW"] == 2


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
    assert {key for key in pieces if key >= GOVERNANCE} == {GOVERNANCE, MEMBERS} | proposals
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
    assert [key for key in pieces_of(mesh.replica) if key >= GOVERNANCE] == [GOVERNANCE, MEMBERS]
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
        Replica.restore(first_epoch(COMMITTEE), pieces)
