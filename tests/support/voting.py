"""Members that vote, for tests: commits of votes alone, and rules that answer as a test says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from engine import Event, MarketState, MarketStatus, Reason
from peer.consensus.committee import Committee, Mode
from peer.membership.identity import Identity
from peer.replica.changes import Approve, Change, HaltMarket, Propose, RemoveMember, Vote, Withdraw
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.governance import Governance, Outcome, Proposal

HALT = HaltMarket("X")
REMOVE = RemoveMember(2)
KEY = Identity(b"k" * 32).public.hex()
ENCODE = msgspec.msgpack.Encoder().encode


@dataclass
class Fake:
    """Rules whose answers the test gives. A change takes effect once."""

    must_wait: str = ""
    forbidden: set[Change] = field(default_factory=set)
    done: list[Change] = field(default_factory=list)

    def impossible(self, changes: Sequence[Change]) -> str:
        return "forbidden" if self.forbidden.intersection(changes) else ""

    def waits(self, proposal: Proposal) -> str:
        return "" if proposal.force else self.must_wait

    def carry_out(self, changes: Sequence[Change]) -> list[Event]:
        self.done += changes
        return [
            MarketState(each.symbol, MarketStatus.HALTED)
            for each in changes
            if isinstance(each, HaltMarket)
        ]


class Mesh:
    """A mesh of some members. Each `commit` has votes by (seat, vote) in their order."""

    def __init__(self, size: int = 3) -> None:
        self.committee = Committee(b"m" * 16, size, Mode.CRASH)
        self.state = Governance(range(size), self.committee.quorum)
        self.rules = Fake()
        self.number = 0
        self.time_ms = 1_000
        self.events: list[Event] = []
        self.ending: Proposal | None = None
        self._seqs = [0] * size

    def id_of(self, seat: int) -> int:
        """The id of the seat's next command."""
        return (self._seqs[seat] + 1) * MEMBERS_SPACE + seat

    def propose(self, seat: int, *changes: Change, force: bool = False) -> Vote:
        return Propose(self.id_of(seat), changes, force)

    def commit(
        self, *votes: tuple[int, Vote], authors: Sequence[int] = (), ms: int = 1
    ) -> list[Reason | None]:
        self.number += 1
        self.time_ms += ms
        self.state.begin_commit(self.number, self.time_ms, {*authors, *(seat for seat, _ in votes)})
        reasons = []
        for seat, vote in votes:
            self._seqs[seat] += 1
            reasons.append(self.state.take(vote, seat, self.rules))
        self.events, self.ending = self.state.end_commit(self.rules)
        self.state.check()
        return reasons

    def proposed(self, seat: int, *changes: Change, force: bool = False) -> int:
        """Make a proposal. Returns its id."""
        vote = self.propose(seat, *changes, force=force)
        assert self.commit((seat, vote)) == [None]
        return vote.id

    def approve(self, seat: int, proposal: int, epoch: int = 0) -> Reason | None:
        [reason] = self.commit((seat, Approve(self.id_of(seat), proposal, epoch)))
        return reason

    def withdraw(self, seat: int, proposal: int) -> Reason | None:
        [reason] = self.commit((seat, Withdraw(self.id_of(seat), proposal)))
        return reason

    def outcomes(self) -> dict[int, Outcome]:
        return {ended.proposal.id: ended.outcome for ended in self.state.ended}
