"""Votes of this peer's member that no person gives, one after the other.

Owns when they are given: to leave, once the operator has said so, not to leave after all, and to
let others in. Must never judge whether a vote counts: the replica does.
"""

from msgspec.structs import replace

from peer.node.ledger import Ledger
from peer.node.open_admission import Admission
from peer.node.submissions import Submissions
from peer.replica.batch import seq_and_member
from peer.replica.changes import Approve, Propose, RemoveMember, Vote, Withdraw, leaves
from peer.replica.governance import PROPOSALS_OPEN_MAX, Proposal


class OwnVotes:
    """`put_in` is called now and then while this peer is a member and takes part."""

    def __init__(self, ledger: Ledger, submissions: Submissions, admission: Admission) -> None:
        self.is_leaving = False
        self._ledger = ledger
        self._submissions = submissions
        self._admission = admission
        self._last_seq = 0  # of the votes given so far
        self._stays_since = 0  # the first seq of this run, in which the peer is to be a member

    @property
    def cannot_leave(self) -> str:
        """Why this member cannot leave; empty if it can."""
        me = self._ledger.me
        return "" if me is None else self._ledger.replica.rules.impossible((RemoveMember(me),))

    @property
    def has_left(self) -> bool:
        """This peer was a member and is none any more, and nobody needs its signature now."""
        ledger = self._ledger
        return self.is_removed and ledger.replica.members.sealed

    @property
    def is_removed(self) -> bool:
        """This peer's key was a member's, and can never be one's again."""
        return self._ledger.me is None and self._ledger.seat is not None

    def stay(self) -> None:
        """Leaving ends with the run that was to leave: what an earlier one has proposed for that,
        and nobody has let happen, is withdrawn. Call it after recovery."""
        self._stays_since = self._submissions.next_seq

    def put_in(self, now_ms: int) -> None:
        """Put what is due into the next block."""
        if self._ledger.expected <= self._last_seq:
            return
        if self.is_leaving and not self.cannot_leave:
            self._leave(now_ms)
            return
        if (old := self._left_over()) is not None:
            self._vote(Withdraw(0, old), now_ms)
            return
        for vote in self._admission.votes(now_ms):
            self._vote(vote, now_ms)

    def _left_over(self) -> int | None:
        """A proposal to leave of an earlier run."""
        for one in self._mine() if self._stays_since else ():
            seq, me = seq_and_member(one.id)
            if seq < self._stays_since and leaves(one.changes, me):
                return one.id
        return None

    def _mine(self) -> list[Proposal]:
        """The open proposals of this member."""
        me, governance = self._ledger.me, self._ledger.replica.governance
        return [one for one in governance.open() if one.seat == me]

    def _leave(self, now_ms: int) -> None:
        me, governance = self._ledger.me, self._ledger.replica.governance
        assert me is not None
        mine = self._mine()
        own = next((one for one in mine if leaves(one.changes, me)), None)
        if own is None and len(mine) >= PROPOSALS_OPEN_MAX:
            # There is no room for one more. All of them end with the seat anyhow.
            waiting = [one for one in mine if one.id not in governance.accepted]
            self._vote(Withdraw(0, (waiting or mine)[0].id), now_ms)
        elif own is None:
            self._vote(Propose(0, (RemoveMember(me),)), now_ms)
        elif me not in own.approvals:
            self._vote(Approve(0, own.id, governance.epoch), now_ms)

    def _vote(self, vote: Vote, now_ms: int) -> None:
        """Put a vote into the next block; who proposes approves too."""
        ledger = self._ledger
        if isinstance(vote, Approve):
            vote = replace(vote, level=ledger.levels.highest)
        id_ = self._submissions.put(vote, now_ms)
        self._last_seq, _ = seq_and_member(id_)
        if isinstance(vote, Propose):
            self._vote(Approve(0, id_, ledger.replica.governance.epoch), now_ms)
