"""The steps of a mesh that changes: which members come and go next.

Owns the mix of changes. Must never draw a step for which too few members would be there.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from peer.consensus.committee import Committee
from peer.membership.epochs import Epoch
from peer.replica.changes import AddMember, Change, RemoveMember, ReplaceMember
from peer.replica.members import presence_wanted
from tests.simulator.keys import address_of
from tests.simulator.node import NodePeer

if TYPE_CHECKING:
    from tests.simulator.epochrun import EpochRun

SIZE_MAX = 7


class Step(NamedTuple):
    """Changes of the members of an epoch, wanted by everybody."""

    epoch: int
    changes: tuple[Change, ...]
    unsealed: bool = False  # too many of the epoch before are lost to certify its end
    twin: tuple[Change, ...] = ()  # what all want as well: only one of the two can be
    by: NodePeer | None = None  # that leaves or joins without anybody's vote (ORDER-53, ORDER-54)

    @property
    def wanted(self) -> list[tuple[Change, ...]]:
        return [self.changes, self.twin] if self.twin else [self.changes]


class Steps:
    """Draws them, with the run's own random numbers. In an `is_open` mesh a peer may ask to be let
    in, once: nodes approve one in ten seconds."""

    def __init__(self, run: "EpochRun", random: Random, is_open: bool) -> None:
        self._run = run
        self._random = random
        self._is_open = is_open
        self._has_asked = False

    def draw(self) -> Step | None:
        """One that can be done: enough of the members that are not lost are there for it."""
        random, epoch = self._random, self._run.newest
        dead = [seat for seat in epoch.numbers if seat in self._run.unreliable]
        may_lose = len(dead) < epoch.committee.faults and not self._run.trouble.waiting
        may_lose = may_lose and not self._run.trouble.only_copies
        if random.random() < 0.3 and may_lose:
            dead += self._run.kill(epoch)
        if (alone := self._draw_alone(epoch)) is not None:
            return alone
        for _ in range(20):
            removed, added, replaced = self._choice(epoch, dead)
            if self._is_possible(epoch, removed | replaced, added + len(replaced)):
                changes: list[Change] = [RemoveMember(seat) for seat in sorted(removed)]
                changes += [ReplaceMember(seat, *self._run.joiner()) for seat in sorted(replaced)]
                changes += [AddMember(*self._run.joiner()) for _ in range(added)]
                self._run.world.note("world", f"a step in epoch {epoch.number}: {changes}")
                # With nobody to wait for, both are accepted in one commit.
                likely = 0.2 if self._run.joiners else 0.7
                twin = self._twin(epoch, changes) if random.random() < likely else ()
                return Step(epoch.number, tuple(changes), self._run.is_unsealed(epoch), twin)
        return None

    def _draw_alone(self, epoch: Epoch) -> Step | None:
        """A step that one peer wants, and nobody has to approve."""
        random, unsealed = self._random, self._run.is_unsealed(epoch)
        able = self.leavers(epoch)
        seat = random.choice(able) if able and random.random() < 0.2 and not unsealed else None
        if seat is not None and self.may_go(epoch, seat):
            key = next(each.key for each in epoch.seats if each.number == seat)
            peer = self._run.node_at(address_of(key))
            self._run.world.note(peer.address, f"wants to leave in epoch {epoch.number}")
            peer.leaves = True
            if peer.up:
                peer.node.epochs.own_votes.is_leaving = True
            return Step(epoch.number, (RemoveMember(seat),), by=peer)
        may_ask = self._is_open and not self._has_asked and not unsealed
        if may_ask and random.random() < 0.5 and self._is_possible(epoch, set(), 1):
            self._has_asked = True
            name, key = self._run.joiner(asks=True)
            self._run.world.note("world", f"{name} asks to be let into epoch {epoch.number}")
            return Step(epoch.number, (AddMember(name, key),), by=self._run.joiners[-1])
        return None

    def leavers(self, epoch: Epoch) -> list[int]:
        """The seats of members that neither lie nor are lost or stopped."""
        away = {peer.address for peer in self._run.trouble.waiting}
        able = [s for s in epoch.seats if s.number not in self._run.unreliable]
        return [s.number for s in able if address_of(s.key) not in away]

    def may_go(self, epoch: Epoch, seat: int) -> bool:
        """Whether enough members are there without this one."""
        return self._is_possible(epoch, {seat}, 0)

    def _twin(self, epoch: Epoch, changes: Sequence[Change]) -> tuple[Change, ...]:
        """A second change that can be done, if there is one."""
        seats = [seat for seat in epoch.numbers if self._is_possible(epoch, {seat}, 0)]
        found = [(RemoveMember(seat),) for seat in seats if (RemoveMember(seat),) != (*changes,)]
        return self._random.choice(found) if found else ()

    def _choice(self, epoch: Epoch, dead: list[int]) -> tuple[set[int], int, set[int]]:
        """Removed seats, how many new ones, replaced seats."""
        random, numbers = self._random, list(epoch.numbers)
        if dead and random.random() < 0.6:  # bury the dead
            buried = set(dead)
            return (buried, 0, set()) if random.random() < 0.5 else (set(), 0, buried)
        match random.choice(("grow", "grow", "shrink", "replace", "mix")):
            case "grow":
                return set(), random.choice((1, 2, 2)), set()
            case "shrink":
                return set(random.sample(numbers, min(2, len(numbers)))), 0, set()
            case "replace":
                return set(), 0, {random.choice(numbers)}
            case _:
                return {random.choice(numbers)}, random.choice((1, 2)), set()

    def _is_possible(self, epoch: Epoch, gone: set[int], new: int) -> bool:
        size = epoch.committee.size - len(gone) + new
        if not (1 <= size <= SIZE_MAX and new + len(gone) > 0):
            return False
        return self._run.has_room(new) and self._suffice(epoch, gone, new, self._run.unreliable)

    def _suffice(self, epoch: Epoch, gone: set[int], new: int, bad: set[int]) -> bool:
        """Whether enough members are there for a change, without the `bad` ones."""
        size = epoch.committee.size - len(gone) + new
        away = {peer.address for peer in self._run.trouble.waiting}
        alive = [s.number for s in epoch.seats if address_of(s.key) not in away]
        alive = [seat for seat in alive if seat not in bad]
        stay = len(set(alive) - gone) + new
        committee = Committee(epoch.committee.mesh, size, epoch.mode)
        return stay >= max(presence_wanted(committee), committee.quorum)

    def can_spare(self, step: Step, seat: int) -> bool:
        """Whether the step can be done without a member too."""
        gone = {seat} | self._run.unreliable
        return all(self._suffice(self._run.newest, *_sizes(each), gone) for each in step.wanted)


def _sizes(changes: Sequence[Change]) -> tuple[set[int], int]:
    """The seats that are gone after changes, and how many are new."""
    gone = {each.seat for each in changes if isinstance(each, RemoveMember | ReplaceMember)}
    return gone, sum(isinstance(each, AddMember | ReplaceMember) for each in changes)
