"""The decision on each slot: its leader's block commits, the slot is skipped, or it is undecided.

Owns the commit rule, with one value for crash and one for byzantine mode, and the arithmetic of its
wave. A decision depends only on the graph, the schedule and the rule, not on when or how often it
is asked for. Must never store a decision, or know which blocks are committed.

A block *votes* for its parent in a slot of the previous round, and *blames* the slot if it has no
parent there. In byzantine mode a block *certifies* a block if a quorum of its parents vote for
that. `docs/ordering.md` states the rules that are named here, argues why no two peers decide
differently, and gives the sources.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from peer.consensus.block import Block
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag
from peer.consensus.schedule import Schedule

WINDOW_ROUNDS = 64  # slots decided together, at first


class Status(Enum):
    COMMIT = "commit"
    SKIP = "skip"
    UNDECIDED = "undecided"


class Slot(NamedTuple):
    """The slot of a round's leader, and the decision on it."""

    round: int
    leader: int
    status: Status
    block: Block | None = None  # the leader's block that commits


@dataclass(frozen=True)
class Rule:
    """How many members decide a slot. A *voice* for a block is a block that supports it: by a vote
    or, in byzantine mode, by a certificate."""

    wave: int  # rounds from a leader to its first possible anchor
    direct: int  # number of authors with voices that commits a block
    skip: int  # number of authors with blames that skips a slot
    indirect: int  # number of voices in the anchor's history that commits a block, else a skip
    support: Callable[["Decider", Block, int, int], bytes | None]

    @classmethod
    def of(cls, committee: Committee) -> "Rule":
        n, q = committee.size, committee.quorum
        if committee.mode is Mode.BYZANTINE:
            return cls(wave=3, direct=q, skip=q, indirect=1, support=Decider.certificate)
        t = 2 * q - n  # any two quorums share at least this many members
        return cls(wave=2, direct=q, skip=n - t + 1, indirect=t, support=Decider.vote)

    @property
    def least(self) -> int:
        """The smallest number of authors at a round that can decide a slot directly."""
        return min(self.direct, self.skip)

    # The arithmetic of the wave is only here.

    @staticmethod
    def votes(slot: int) -> int:
        """The round of the votes for a slot's leader, and of the blames."""
        return slot + 1

    def voices(self, slot: int) -> int:
        """The round of the voices for a slot."""
        return slot + self.wave - 1

    def anchors(self, slot: int) -> int:
        """The first round whose leader may be the anchor of a slot."""
        return slot + self.wave

    def judged(self, round_: int) -> tuple[int, int]:
        """The slots that a block of this round may blame, or be a voice for."""
        return round_ - 1, round_ + 1 - self.wave


class Decider:
    """Reads `dag` under one schedule and one rule. It caches the leader of a round and the
    certificate of a block, which never change, and nothing else."""

    def __init__(self, dag: Dag, schedule: Schedule, rule: Rule) -> None:
        self.dag = dag
        self.schedule = schedule
        self.rule = rule
        self._leaders: dict[int, int] = {}
        self._certificates: dict[bytes, bytes | None] = {}  # a block has at most one

    def leader(self, round_: int) -> int:
        leader = self._leaders.get(round_)
        if leader is None:
            leader = self._leaders[round_] = self.schedule.leader(round_)
        return leader

    def decided(self, first: int) -> Iterator[Slot]:
        """ORDER-16. The decided slots from `first` on, up to the first undecided one."""
        top = self.dag.highest_round - 1
        window = WINDOW_ROUNDS
        while first <= top:
            last = min(top, first + window)
            for slot in self.decide(first, last):
                if slot.status is Status.UNDECIDED:
                    break
                yield slot
                first += 1
                window = WINDOW_ROUNDS
            if first <= last:
                if last == top:
                    return
                window *= 2

    def decide(self, first: int, last: int) -> list[Slot]:
        """The decisions on the slots `first` to `last`, without regard to those above."""
        slots: dict[int, Slot] = {}
        for round_ in range(last, first - 1, -1):
            slot = self.direct(round_)
            if slot.status is Status.UNDECIDED:
                later = (slots[r] for r in range(self.rule.anchors(round_), last + 1))
                if (anchor := self.anchor(later)) is not None:
                    slot = self.indirect(round_, anchor)
            slots[round_] = slot
        return [slots[round_] for round_ in range(first, last + 1)]

    def direct(self, round_: int) -> Slot:
        """ORDER-12, ORDER-13. The decision by the voices and blames for a slot alone."""
        leader = self.leader(round_)
        if self._blames(round_, leader) >= self.rule.skip:
            return Slot(round_, leader, Status.SKIP)
        voices = self.dag.at(self.rule.voices(round_)).values()
        block = None
        if len(voices) >= self.rule.direct:
            block = self._supported(round_, leader, voices, self.rule.direct)
        return Slot(round_, leader, Status.COMMIT if block else Status.UNDECIDED, block)

    @staticmethod
    def anchor(later: Iterable[Slot]) -> Block | None:
        """ORDER-14. The block of the first slot that is not skipped; None if it is undecided."""
        for slot in later:
            if slot.status is not Status.SKIP:
                return slot.block
        return None

    def indirect(self, round_: int, anchor: Block) -> Slot:
        """ORDER-14. The decision by the anchor's history, on a slot that has no direct one."""
        leader, at = self.leader(round_), self.rule.voices(round_)
        voices = [[block] for block in self.dag.history(anchor, at) if block.round == at]
        block = self._supported(round_, leader, voices, self.rule.indirect)
        return Slot(round_, leader, Status.COMMIT if block else Status.SKIP, block)

    def _blames(self, round_: int, leader: int) -> int:
        """The number of authors with at least one block that has no parent in the slot."""
        authors = self.dag.at(self.rule.votes(round_)).values()
        if len(authors) < self.rule.skip:
            return 0
        return sum(any(b.parent(round_, leader) is None for b in blocks) for blocks in authors)

    def _supported(
        self, round_: int, leader: int, voices: Collection[Sequence[Block]], enough: int
    ) -> Block | None:
        """The leader's block with enough voices. ORDER-15: the blocks of an equivocator count as
        one voice, but as one for each block that they support."""
        support = self.rule.support
        counts: dict[bytes, int] = {}
        for blocks in voices:
            for digest in {support(self, block, round_, leader) for block in blocks}:
                if digest is not None:
                    counts[digest] = counts.get(digest, 0) + 1
        for digest, count in counts.items():
            if count >= enough:
                return self.dag.blocks[digest]
        return None

    def vote(self, block: Block, round_: int, leader: int) -> bytes | None:
        """The leader's block that a block of the next round has as a parent."""
        ref = block.parent(round_, leader)
        return None if ref is None else ref.digest

    def certificate(self, block: Block, round_: int, leader: int) -> bytes | None:
        """The leader's block for which a quorum of the parents of a block, two rounds later, vote.
        A block has at most one parent per author, so there is at most one."""
        if block.ref.digest not in self._certificates:
            at, votes = self.rule.votes(round_), dict[bytes, int]()
            for ref in block.parents:
                if ref.round == at:
                    vote = self.vote(self.dag.blocks[ref.digest], round_, leader)
                    if vote is not None:
                        votes[vote] = votes.get(vote, 0) + 1
            quorum = self.dag.committee.quorum
            winners = [vote for vote, count in votes.items() if count >= quorum]
            self._certificates[block.ref.digest] = winners[0] if winners else None
        return self._certificates[block.ref.digest]
