"""What the members have proposed and approved: the part of the replicated state that counts votes.

Owns open proposals, who approved them, which are accepted, and which members are present. Must
never know markets, keys or what a change does: `Rules` does. It follows from the one order of
commands and its clock alone, so it is the same on every peer.

The rules, as tests name them:

- D1. A proposal is accepted as one, by a quorum of approvals of this epoch. A seat counts once. The
  command that completes the quorum accepts the proposal for good: a member that is against it
  afterwards changes nothing. A member that proposes only to leave needs no approval but its own,
  unless it is forced or `unsealed`; else, as for a member that is lost meanwhile, a quorum counts
  as for any change.
- D2. An epoch ends with one proposal. Once it is accepted and nothing keeps it waiting, the same
  commit accepts nothing more.
- D4. A change of members waits until enough members of the new epoch are present.
- U. A member's approval, of any proposal, states which level of rules its program knows. The last
  one counts, also in later epochs.
- D5. A seat has at most PROPOSALS_OPEN_MAX open proposals, and they go with the seat. A proposal
  ends after PROPOSAL_MS.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

import msgspec

from engine import Event, Reason
from peer.replica.changes import Change, Propose, Vote, Withdraw, ends_epoch, leaves
from peer.replica.execution_record import MEMBERS_SPACE

PROPOSALS_OPEN_MAX = 4  # of one seat
PROPOSAL_MS = 7 * 24 * 3600 * 1000  # from the command, by the ordered clock
PRESENT_COMMITS = 10
ENDED_KEPT = 8  # proposals that are over, for people


class Outcome(IntEnum):
    """How a proposal ended."""

    DONE = 0  # its changes have taken effect
    WITHDRAWN = 1  # by its proposer
    REJECTED = 2  # so many members are against it that no quorum is left
    EXPIRED = 3
    IMPOSSIBLE = 4  # one of its changes became impossible: none took effect
    SEAT_GONE = 5  # its proposer is no member any more


class Proposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Its id is that of the command. Seats are ascending."""

    id: int
    changes: tuple[Change, ...]
    force: bool
    unsealed: bool
    time_ms: int
    approvals: tuple[int, ...] = ()  # of this epoch
    against: tuple[int, ...] = ()

    @property
    def seat(self) -> int:
        """Its proposer."""
        return self.id % MEMBERS_SPACE

    @property
    def ends_ms(self) -> int:
        return self.time_ms + PROPOSAL_MS

    @property
    def ends_epoch(self) -> bool:
        return ends_epoch(self.changes)


class Ended(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    proposal: Proposal
    outcome: Outcome
    time_ms: int


class Seen(NamedTuple):
    """A seat's newest committed block: the commit and its time."""

    commit: int
    time_ms: int


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The state without the open proposals."""

    epoch: int
    seen: tuple[tuple[int, Seen], ...]  # by seat
    accepted: tuple[int, ...]
    ended: tuple[Ended, ...]
    levels: tuple[tuple[int, int], ...]  # by seat


class Rules(Protocol):
    """What changes are, which this module must not know."""

    def impossible(self, changes: Sequence[Change]) -> str:
        """Why the changes, all together, cannot take effect in the present state; empty if they
        can."""

    def waits(self, proposal: Proposal) -> str:
        """What an accepted proposal that ends the epoch waits for (D4); empty: nothing."""

    def carry_out(self, changes: Sequence[Change]) -> list[Event]:
        """Let the changes take effect, except those of members and level."""


class Governance:
    """`seats` may vote, and `quorum` of them accept a proposal. ValueError if the head and the
    proposals are no state."""

    def __init__(
        self,
        seats: Iterable[int],
        quorum: int,
        head: Head | None = None,
        proposals: Iterable[Proposal] = (),
    ) -> None:
        self.seats = tuple(seats)
        self.quorum = quorum
        self.commit = 0
        self.time_ms = 0
        self.epoch = head.epoch if head else 0
        self.seen = dict(head.seen) if head else {}
        self.levels = dict(head.levels) if head else {}  # that members have said they know, by seat
        self.proposals = {proposal.id: proposal for proposal in proposals}
        self.accepted = list(head.accepted) if head else []  # and waiting, the first accepted first
        self.ended = deque(head.ended if head else (), ENDED_KEPT)
        self.version = 0  # grows with each change of a proposal, for those who show them
        self.done: list[Proposal] = []  # that took effect with this commit
        self._ending: int | None = None  # the proposal that ends the epoch with this commit
        self._changed = {proposal.seat for proposal in self.proposals.values()}
        if not self._is_possible():
            raise ValueError("expected proposals and presence of members")

    def _is_possible(self) -> bool:
        seats, per_seat = set(self.seats), [p.seat for p in self.proposals.values()]
        return (
            seats.issuperset(self.seen)
            and seats.issuperset(self.levels)
            and seats.issuperset(per_seat)
            and all(per_seat.count(seat) <= PROPOSALS_OPEN_MAX for seat in seats)
            and len(set(self.accepted)) == len(self.accepted)
            and self.proposals.keys() >= set(self.accepted)
            and all(seats.issuperset(p.approvals) for p in self.proposals.values())
        )

    # One commit: its blocks, then its votes, then its end

    def begin_commit(self, number: int, time_ms: int, authors: Iterable[int]) -> None:
        """A commit begins that has blocks of these seats. Proposals that are too old end."""
        self.commit, self.time_ms = number, time_ms
        self._ending = None
        self.done.clear()
        seen = Seen(number, time_ms)
        self.seen.update((seat, seen) for seat in authors)
        for proposal in self.open():
            if proposal.ends_ms <= time_ms:
                self._end(proposal, Outcome.EXPIRED)

    def take(self, vote: Vote, seat: int, rules: Rules) -> Reason | None:
        """A seat's next vote in the order. Returns why it changes nothing; None if it counts."""
        if isinstance(vote, Propose):
            return self._propose(vote, seat, rules)
        proposal = self.proposals.get(vote.proposal)
        if proposal is None:
            return Reason.UNKNOWN_PROPOSAL
        if isinstance(vote, Withdraw):
            return self._withdraw(proposal, seat)
        if vote.epoch != self.epoch:
            return Reason.OTHER_EPOCH
        self.levels[seat] = vote.level
        self._approve(proposal, seat, rules)
        return None

    def _propose(self, vote: Propose, seat: int, rules: Rules) -> Reason | None:
        mine = [each for each in self.proposals.values() if each.seat == seat]
        if len(mine) >= PROPOSALS_OPEN_MAX:
            return Reason.TOO_MANY_PROPOSALS
        if rules.impossible(vote.changes):
            return Reason.IMPOSSIBLE_CHANGE
        self._put(Proposal(vote.id, vote.changes, vote.force, vote.unsealed, self.time_ms))
        return None

    def _withdraw(self, proposal: Proposal, seat: int) -> Reason | None:
        """An accepted proposal that still waits may be withdrawn by its proposer alone."""
        is_accepted = proposal.id in self.accepted
        if seat == proposal.seat:
            if is_accepted and (self._ending == proposal.id or not proposal.ends_epoch):
                return Reason.ALREADY_ACCEPTED
            self._end(proposal, Outcome.WITHDRAWN)
            return None
        if is_accepted:
            return Reason.ALREADY_ACCEPTED
        approvals = _without(proposal.approvals, seat)
        against = _with(proposal.against, seat)
        self._put(msgspec.structs.replace(proposal, approvals=approvals, against=against))
        if len(self.seats) - len(against) < self.quorum:
            self._end(self.proposals[proposal.id], Outcome.REJECTED)
        return None

    def _approve(self, proposal: Proposal, seat: int, rules: Rules) -> None:
        if proposal.id in self.accepted:
            return
        approvals = _with(proposal.approvals, seat)
        against = _without(proposal.against, seat)
        proposal = msgspec.structs.replace(proposal, approvals=approvals, against=against)
        self._put(proposal)
        if self._is_enough(proposal) and self._ending is None:
            self.accepted.append(proposal.id)
            if proposal.ends_epoch and _may_take_effect(proposal, rules):
                self._ending = proposal.id

    def needed(self, proposal: Proposal) -> int:
        """How many members must approve."""
        return 1 if self._leaves(proposal) else self.quorum

    @staticmethod
    def _leaves(proposal: Proposal) -> bool:
        """Whether its member wants to leave by it, in this epoch, as soon as the others can do
        without it: one member alone must not stop them, or leave a gap in the chain of epochs."""
        waits = not (proposal.force or proposal.unsealed)
        return (
            waits
            and proposal.seat in proposal.approvals
            and leaves(proposal.changes, proposal.seat)
        )

    def _is_enough(self, proposal: Proposal) -> bool:
        return len(proposal.approvals) >= self.needed(proposal)

    def end_commit(self, rules: Rules) -> tuple[list[Event], Proposal | None]:
        """Carry out what is accepted and waits for nothing. Returns the events of it, and the
        proposal with which the epoch ends, if it does: `begin_epoch` must follow."""
        events: list[Event] = []
        ending = None
        for proposal in [self.proposals[id_] for id_ in self.accepted]:
            if rules.impossible(proposal.changes):
                if self._ending == proposal.id:
                    self._ending = None
                self._end(proposal, Outcome.IMPOSSIBLE)
                continue
            if proposal.ends_epoch:
                if self._ending is None and not rules.waits(proposal):
                    self._ending = proposal.id
                if self._ending != proposal.id:
                    continue
                ending = proposal
            events += rules.carry_out(proposal.changes)
            self.done.append(proposal)
            self._end(proposal, Outcome.DONE)
        return events, ending

    def begin_epoch(self, epoch: int, seats: Iterable[int], quorum: int) -> None:
        """Continue under other seats. Approvals and presence begin anew."""
        self.epoch, self.seats, self.quorum = epoch, tuple(seats), quorum
        self.version += 1
        self.accepted.clear()
        self.seen.clear()
        self.levels = {seat: self.levels[seat] for seat in self.seats if seat in self.levels}
        self._ending = None
        for proposal in self.open():
            if proposal.seat in self.seats:
                self._put(msgspec.structs.replace(proposal, approvals=(), against=()))
            else:
                self._end(proposal, Outcome.SEAT_GONE)

    def drop_impossible(self, rules: Rules) -> None:
        """End what the change of members has made impossible: otherwise changes of seats that are
        gone would fill their proposers' shares for days."""
        for proposal in self.open():
            if rules.impossible(proposal.changes):
                self._end(proposal, Outcome.IMPOSSIBLE)

    def _put(self, proposal: Proposal) -> None:
        self.proposals[proposal.id] = proposal
        self._note(proposal)

    def _note(self, proposal: Proposal) -> None:
        self._changed.add(proposal.seat)
        self.version += 1

    def _end(self, proposal: Proposal, outcome: Outcome) -> None:
        del self.proposals[proposal.id]
        self._note(proposal)
        if proposal.id in self.accepted:
            self.accepted.remove(proposal.id)
        self.ended.append(Ended(proposal, outcome, self.time_ms))

    # Questions

    def open(self) -> list[Proposal]:
        """The open proposals, the oldest first."""
        return sorted(self.proposals.values(), key=lambda each: (each.time_ms, each.id))

    def present(self, seats: Iterable[int]) -> list[int]:
        """Those of these seats that have a block in one of the last PRESENT_COMMITS commits."""
        least = self.commit - PRESENT_COMMITS
        return [seat for seat in seats if seat in self.seen and self.seen[seat].commit > least]

    def awaits(self, seat: int | None) -> bool:
        """Whether an accepted change waits, and this member is not present."""
        return bool(self.accepted) and seat in self.seats and not self.present((seat,))

    # State, in pieces: the head, and the proposals of each seat

    @property
    def head(self) -> Head:
        seen = tuple(sorted(self.seen.items()))
        levels = tuple(sorted(self.levels.items()))
        return Head(self.epoch, seen, tuple(self.accepted), tuple(self.ended), levels)

    def changed_seats(self) -> Iterator[tuple[int, list[Proposal]]]:
        """The seats whose proposals changed since the last call, with all their proposals."""
        changed, self._changed = sorted(self._changed), set()
        for seat in changed:
            theirs = (each for each in self.proposals.values() if each.seat == seat)
            yield seat, sorted(theirs, key=lambda each: each.id)

    def check(self) -> None:
        """Assert every invariant."""
        assert self._is_possible()
        for id_, proposal in self.proposals.items():
            assert id_ == proposal.id
            assert proposal.approvals == tuple(sorted(set(proposal.approvals)))
            assert not set(proposal.approvals) & set(proposal.against)
            assert id_ not in self.accepted or self._is_enough(proposal)


def _may_take_effect(proposal: Proposal, rules: Rules) -> bool:
    return not rules.impossible(proposal.changes) and not rules.waits(proposal)


def _with(seats: tuple[int, ...], seat: int) -> tuple[int, ...]:
    return tuple(sorted({*seats, seat}))


def _without(seats: tuple[int, ...], seat: int) -> tuple[int, ...]:
    return tuple(each for each in seats if each != seat)


_heads = msgspec.msgpack.Decoder(Head)
_proposals = msgspec.msgpack.Decoder(list[Proposal])


def read(
    seats: Iterable[int], quorum: int, head: bytes, proposals: Mapping[int, bytes]
) -> Governance:
    """The governance of these pieces. ValueError or msgspec.DecodeError if they are none."""
    rows = [_proposals.decode(proposals[seat]) for seat in sorted(proposals)]
    return Governance(seats, quorum, _heads.decode(head), [each for row in rows for each in row])
