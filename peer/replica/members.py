"""Who the members are, and which changes of them are possible: part of the replicated state.

Owns the epoch, the keys that were members' before, the boundaries, and what candidates have shown
of them. It follows from the one order of commands alone, so it is the same on every peer. Must
never count votes: `governance` does.

A *boundary* is a commit after which every peer takes the digest of its whole state. A candidate, a
key that a proposal would make a member's, signs the digest of a late boundary: that shows that it
has the state (D3).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine import Reason
from peer.consensus.committee import MEMBERS_MAX, Committee
from peer.membership.epochs import SEATS_MAX, Epoch
from peer.membership.identity import Verifier
from peer.replica.changes import Activate, AddMember, Change, RemoveMember, ReplaceMember
from peer.replica.governance import Proposal
from peer.replica.handover import Sealed, Stated, statement_of

STATEMENT_COMMITS = 1_024  # so old may a candidate's statement be when it is ordered,
FRESH_COMMITS = 128  # and so old when it takes a seat: then it follows the others as they go on

Boundary = tuple[int, bytes]  # a commit, and the digest after it


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The state of this module, without the epoch."""

    sealed: bool
    gone: tuple[bytes, ...]  # keys of removed seats
    boundaries: tuple[Boundary, ...]  # before this one, ascending
    stated: tuple[tuple[bytes, int], ...]  # candidates' keys, and the boundary each has shown


class Plan(NamedTuple):
    """What changes make of an epoch."""

    removed: frozenset[int]
    added: tuple[tuple[str, bytes], ...]  # names and keys
    level: int

    def committee_of(self, epoch: Epoch) -> Committee:
        size = epoch.committee.size - len(self.removed) + len(self.added)
        return Committee(epoch.committee.mesh, size, epoch.mode)


class Members:
    """`sealed`: the begin of the epoch is certified in the order. `certificate`: the signatures
    that did it, by seat, if that was applied here; no part of the state."""

    def __init__(self, epoch: Epoch, head: Head | None = None) -> None:
        self.epoch = epoch
        self.sealed = head.sealed if head else epoch.number == 0
        self.certificate: dict[int, bytes] = {}
        self._gone = list(head.gone) if head else []
        self._boundaries = list(head.boundaries) if head else []
        self._stated = dict(head.stated) if head else {}

    @property
    def head(self) -> Head:
        stated = tuple(sorted(self._stated.items()))
        return Head(self.sealed, tuple(self._gone), tuple(self._boundaries), stated)

    def begin_epoch(self, epoch: Epoch) -> None:
        """Other members from now on. Who has a seat is no candidate any more."""
        kept = {seat.number for seat in epoch.seats}
        self._gone += [seat.key for seat in self.epoch.seats if seat.number not in kept]
        for seat in epoch.seats:
            self._stated.pop(seat.key, None)
        self.epoch, self.sealed, self.certificate = epoch, False, {}

    # Boundaries and candidates

    def note_boundary(self, commit: int, digest: bytes) -> None:
        """A boundary; its digest cannot be in the state that it is of, but is in the next one."""
        self._boundaries.append((commit, digest))

    def forget(self, commit: int) -> None:
        """Drop what is too old at this commit. Call at each boundary, before its digest is made."""
        least = commit - STATEMENT_COMMITS
        self._boundaries = [one for one in self._boundaries if one[0] >= least]
        self._stated = {key: at for key, at in self._stated.items() if at >= least}

    @property
    def newest_boundary(self) -> Boundary | None:
        return self._boundaries[-1] if self._boundaries else None

    def stated(self, key: bytes) -> int | None:
        """The last boundary of which a candidate has shown the state; None if of none."""
        return self._stated.get(key)

    def take_statement(self, stated: Stated, candidates: Iterable[bytes]) -> Reason | None:
        """A member puts a candidate's statement into the order. Returns why it does not count."""
        if stated.key not in candidates or self._stated.get(stated.key, -1) >= stated.commit:
            return Reason.IMPOSSIBLE_CHANGE
        if (stated.commit, stated.digest) not in self._boundaries:
            return Reason.IMPOSSIBLE_CHANGE
        text = statement_of(self.epoch.origin.mesh, stated.commit, stated.digest)
        if not Verifier(stated.key).verify(text, stated.signature):
            return Reason.BAD_SIGNATURE
        self._stated[stated.key] = stated.commit
        return None

    def seal(self, sealed: Sealed) -> Reason | None:
        """E4. The signatures over this epoch's seal, in the order. Returns why they don't count."""
        before = self.epoch.previous
        if sealed.epoch != self.epoch.number or before is None:
            return Reason.OTHER_EPOCH
        if not before.certifies(self.epoch.seal, sealed.signatures):
            return Reason.BAD_SIGNATURE
        self.sealed, self.certificate = True, sealed.signatures
        return None

    # Changes

    def following(self, proposal: Proposal, commit: int, digest: bytes, time_ms: int) -> Epoch:
        """The epoch that follows `commit`, which this proposal has made the last one."""
        return self.epoch.following(*plan_of(proposal.changes, self.epoch), commit, time_ms, digest)

    def impossible(self, changes: Sequence[Change]) -> str:
        """Why these changes of members, all together, are impossible now; empty if they are not."""
        seats = {seat.number: seat for seat in self.epoch.seats}
        names = {seat.name for seat in self.epoch.seats}
        keys = {seat.key for seat in self.epoch.seats} | set(self._gone)
        ever = self.epoch.origin.seats_ever
        for change in changes:
            if isinstance(change, RemoveMember | ReplaceMember):
                if change.seat not in seats:
                    return f"no member has seat {change.seat + 1}"  # people count from one
                names.discard(seats.pop(change.seat).name)
            if isinstance(change, AddMember | ReplaceMember):
                key = bytes.fromhex(change.key)
                if change.name in names or key in keys:
                    return f"the name or the key of {change.name} is a member's, or was"
                names.add(change.name)
                keys.add(key)
                ever += 1
            if isinstance(change, Activate) and (why := self._impossible_level(change.level)):
                return why
        size = len(names)
        if not 1 <= size <= MEMBERS_MAX or ever > SEATS_MAX:
            return f"a mesh has 1 to {MEMBERS_MAX} members and {SEATS_MAX} seats ever"
        return ""

    def _impossible_level(self, level: int) -> str:
        """Must not depend on which levels this program knows: other versions judge alike."""
        here = self.epoch.origin.level
        if level <= here:
            return f"level {here} holds already"
        return "" if level == here + 1 else f"the level after {here} is {here + 1}, not {level}"

    def waits(self, proposal: Proposal, present: Collection[int]) -> str:
        """What a proposal waits for (D4, E4); empty: nothing. `present`: the seats with a block in
        the last commits."""
        if not (self.sealed or proposal.unsealed):
            return "the hand-over of the last change is not certified yet"
        if proposal.force:
            return ""
        plan = plan_of(proposal.changes, self.epoch)
        here = len(set(present) - plan.removed)
        here += sum(map(self._is_fresh, (key for _, key in plan.added)))
        wanted = presence_wanted(plan.committee_of(self.epoch))
        if here >= wanted:
            return ""
        names = ", ".join(self._missing(plan, present))
        return f"{here} of the {wanted} members it needs are present, not {names}"

    def _missing(self, plan: Plan, present: Collection[int]) -> Iterator[str]:
        """The names of the members of a new epoch that are not present."""
        for seat in self.epoch.seats:
            if seat.number not in plan.removed and seat.number not in present:
                yield seat.name
        for name, key in plan.added:
            if not self._is_fresh(key):
                yield f"{name}, which has not shown a late state"

    def _is_fresh(self, key: bytes) -> bool:
        """Whether a candidate has shown a late state; everybody has the one after commit 0."""
        stated, newest = self._stated.get(key), self.newest_boundary
        if stated is None or newest is None:
            return False
        return stated >= max(newest[0] - FRESH_COMMITS, min(newest[0], 1))

    def waits_for_level(
        self, proposal: Proposal, present: Collection[int], levels: Mapping[int, int]
    ) -> str:
        """ORDER-51. Which present members have not said that they know the rules of the next level;
        empty: all have. `levels`: what each has said, by seat."""
        plan = plan_of(proposal.changes, self.epoch)
        if proposal.force or plan.level == self.epoch.origin.level:
            return ""
        names = [
            seat.name
            for seat in self.epoch.seats
            if seat.number in present and seat.number not in plan.removed
            if levels.get(seat.number, 0) < plan.level
        ]
        if not names:
            return ""
        return f"an approval that states level {plan.level} is missing of {', '.join(names)}"


def presence_wanted(new: Committee) -> int:
    """How many members of a new epoch must be present before it may begin (D4): one more than its
    quorum, so that it can lose one and still go on. One or two members cannot lose any, and no
    more than all can be present."""
    return new.quorum if new.size <= 2 else min(new.quorum + 1, new.size)


def plan_of(changes: Sequence[Change], epoch: Epoch) -> Plan:
    """What the changes make of the epoch."""
    removed = {each.seat for each in changes if isinstance(each, RemoveMember | ReplaceMember)}
    added = tuple(
        (each.name, bytes.fromhex(each.key))
        for each in changes
        if isinstance(each, AddMember | ReplaceMember)
    )
    levels = [each.level for each in changes if isinstance(each, Activate)]
    return Plan(frozenset(removed), added, levels[-1] if levels else epoch.origin.level)


def keys_of(changes: Iterable[Change]) -> list[bytes]:
    """The keys that the changes would make members'."""
    added = (each for each in changes if isinstance(each, AddMember | ReplaceMember))
    return [bytes.fromhex(each.key) for each in added]
