"""What a graph says of each slot: its leader commits, it is skipped, or neither is known yet.

Owns the commit rule, of which crash and byzantine mode are two values, and the arithmetic of its
wave. A decision follows from the graph, the schedule and the rule alone: it is the same however
often and in whatever steps it is asked for. Must never keep a decision, or know what is committed.

A block *votes* for the block it refers to in a slot of the round before, and *blames* the slot if
it refers to none. In byzantine mode a block *certifies* what a quorum of its parents vote for.
`docs/ordering.md` states the rules that are named here, argues why no two peers decide differently,
and has the sources.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from peer.consensus.block import Block
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag
from peer.consensus.schedule import Schedule

WINDOW_ROUNDS = 64  # looked at together, at first


class Status(Enum):
    COMMIT = "commit"
    SKIP = "skip"
    UNDECIDED = "undecided"


class Slot(NamedTuple):
    """The place of a round's leader, and what becomes of it."""

    round: int
    leader: int
    status: Status
    block: Block | None = None  # of the leader's blocks the one that commits


@dataclass(frozen=True)
class Rule:
    """How many members decide a slot. A *voice* for a block is one that supports it: by a vote or,
    in byzantine mode, by a certificate."""

    wave: int  # rounds from a leader to the first that may be its anchor
    direct: int  # so many authors of voices commit a block
    skip: int  # so many authors of blames skip a slot
    indirect: int  # so many voices in its anchor's history commit a block; else its slot is skipped
    support: Callable[["Decider", Block, int, int], bytes | None]

    @classmethod
    def of(cls, committee: Committee) -> "Rule":
        n, q = committee.size, committee.quorum
        if committee.mode is Mode.BYZANTINE:
            return cls(wave=3, direct=q, skip=q, indirect=1, support=Decider.certificate)
        t = 2 * q - n  # so many members any two quorums share
        return cls(wave=2, direct=q, skip=n - t + 1, indirect=t, support=Decider.vote)

    @property
    def least(self) -> int:
        """So many authors at a round decide something directly, at the least."""
        return min(self.direct, self.skip)

    # The arithmetic of the wave: everything else asks here.

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
        """The slots that a block of this round blames or is a voice for."""
        return round_ - 1, round_ + 1 - self.wave


class Decider:
    """Reads `dag` under one schedule and one rule. It remembers who leads a round and what a block
    certifies, neither of which ever changes, and nothing else."""

    def __init__(self, dag: Dag, schedule: Schedule, rule: Rule) -> None:
        self.dag = dag
        self.schedule = schedule
        self.rule = rule
        self._leaders: dict[int, int] = {}
        self._certificates: dict[bytes, bytes | None] = {}  # a block has one, for one slot

    def leader(self, round_: int) -> int:
        leader = self._leaders.get(round_)
        if leader is None:
            leader = self._leaders[round_] = self.schedule.leader(round_)
        return leader

    def decided(self, first: int) -> Iterator[Slot]:
        """ORDER-16. The slots from `first` on, up to one that is undecided."""
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
        """What the graph says of the slots `first` to `last`, without a look at those above."""
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
        """ORDER-12, ORDER-13. What the voices for a slot and its blames say by themselves."""
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
        """ORDER-14. The first slot not skipped. If that is undecided there is no anchor yet."""
        for slot in later:
            if slot.status is not Status.SKIP:
                return slot.block
        return None

    def indirect(self, round_: int, anchor: Block) -> Slot:
        """ORDER-14. What the anchor's history says of a slot that is not decided directly."""
        leader, at = self.leader(round_), self.rule.voices(round_)
        voices = [[block] for block in self.dag.history(anchor, at) if block.round == at]
        block = self._supported(round_, leader, voices, self.rule.indirect)
        return Slot(round_, leader, Status.COMMIT if block else Status.SKIP, block)

    def _blames(self, round_: int, leader: int) -> int:
        """How many authors refer to no block of the leader's, in at least one of their blocks."""
        authors = self.dag.at(self.rule.votes(round_)).values()
        if len(authors) < self.rule.skip:
            return 0
        return sum(any(b.parent(round_, leader) is None for b in blocks) for blocks in authors)

    def _supported(
        self, round_: int, leader: int, voices: Collection[Sequence[Block]], enough: int
    ) -> Block | None:
        """The leader's block that enough voices are for. ORDER-15: the blocks of an equivocator are
        one voice, though for each of the blocks they support."""
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
        """Which block of the leader's a block of the round after refers to."""
        ref = block.parent(round_, leader)
        return None if ref is None else ref.digest

    def certificate(self, block: Block, round_: int, leader: int) -> bytes | None:
        """Which block of the leader's a quorum of the parents of a block two rounds later vote for.
        It has at most one parent an author, so there is one at most."""
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
