"""What to ask the commit rule about every graph.

Owns two questions. `Decisions` asks for the decision on each slot, with leaders that are given:
what of a block that can read are votes, certificates and which of them are in its history.
`Commits` asks for all that comes out, the blocks of each commit in their order, its time and who
may lead after it, while schedules change: what of a block that can read is its whole history.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit, Committer
from peer.consensus.dag import Dag
from peer.consensus.decide import Decider, Rule, Slot, Status
from peer.consensus.schedule import Rotation, Schedule
from tests.exhaustive import rule
from tests.exhaustive.graphs import Fact, Family, Kind, Node, numbers

NOBODY = -1  # leads the slots that do not matter


class Given(Schedule):
    """Leaders by round."""

    def leader(self, round_: int) -> int:
        return self.eligible[round_]


class Decisions(Family[tuple[int, ...]]):
    """An outcome is the decision on each slot of `leaders`, which has all that may be anchors.

    With a `crown`, graphs end at the round of the last slot. Of what is above it, a lower decision
    can only read which of that slot's blocks is the anchor; so each of them, in turn, is made it by
    blocks of all honest members that all build upon it.
    """

    def __init__(
        self,
        committee: Committee,
        rounds: int,
        leaders: Mapping[int, int],
        liars: tuple[int, ...] = (),
        crown: bool = False,
        rule: Callable[[Committee], Rule] = Rule.of,
        decider: type[Decider] = Decider,
    ) -> None:
        super().__init__(committee, rounds, leaders, liars)
        self._crown = crown
        self._wave = Rule.of(committee).wave
        table = (leaders.get(round_, NOBODY) for round_ in range(rounds + self._wave))
        self._decider = decider(self.dag, Given(0, tuple(table)), rule(committee))

    def judge(self) -> tuple[int, ...]:
        last = self.dag.highest_round - 1
        found = self._decider.decide(1, last) if last > 0 else []
        return tuple(_code(found[s - 1]) if s <= last else rule.UNKNOWN for s in self.leaders)

    def expected(self, graph: int) -> tuple[int, ...]:
        """What it should be, by the oracle."""
        blocks = {number: self.kinds[number] for number in numbers(graph)}
        byzantine = self.committee.mode is Mode.BYZANTINE
        decided = rule.decisions(blocks, self.leaders, self.committee.size, byzantine)
        return tuple(decided[slot] for slot in self.leaders)

    def extends(self, more: tuple[int, ...], less: tuple[int, ...]) -> bool:
        return all(old in (rule.UNKNOWN, new) for new, old in zip(more, less, strict=True))

    def past(self, round_: int, author: int, facts: frozenset[Fact]) -> frozenset[Fact]:
        """Votes, or certificates, for slots of which this block may be the anchor, or one above."""
        anchors = [
            s for s, who in self.leaders.items() if s > round_ or (s, who) == (round_, author)
        ]
        if not anchors:
            return frozenset()
        return frozenset(f for f in facts if f[0] + self._wave <= max(anchors))

    def facts(self, kind: Kind, number: int) -> frozenset[Fact]:
        if self.committee.mode is Mode.BYZANTINE:
            return frozenset({(kind.round - 2, kind.certifies)} if kind.certifies else ())
        return frozenset({(kind.round - 1, kind.vote, kind.author)} if kind.vote else ())

    def _close(self, round_: int, graph: int, ways: int) -> None:
        super()._close(round_, graph, ways)
        if self._crown and round_ == self.rounds:
            for anchor in self.nodes[self.leaders[round_]]:
                if anchor.kind.round == round_:
                    self._put_crown(graph, anchor)

    def _put_crown(self, graph: int, anchor: Node) -> None:
        honest = [a for a in range(self.committee.size) if a not in self.liars]
        below = [self._standing(author, self.rounds) for author in range(self.committee.size)]
        below[anchor.kind.author] = anchor
        with_it = graph
        for round_ in range(self.rounds + 1, self.rounds + self._wave):
            votes = anchor.number if round_ == self.rounds + 1 else 0
            certifies = anchor.number if round_ == self.rounds + 2 else 0
            for author in honest:
                parents = (
                    self.nodes[author][-1],
                    *(n for n in below if n and n.kind.author != author),
                )
                with_it |= 1 << self.push(
                    Kind(round_, author, votes, certifies, frozenset()), parents
                )
            below = [self._standing(author, round_) for author in range(self.committee.size)]
        self._visit(with_it, 0)
        self.compare(with_it, self.outcomes[with_it], graph)
        for _ in range(with_it.bit_count() - graph.bit_count()):
            self.pop()

    def _standing(self, author: int, round_: int) -> Node | None:
        """The first block of an author at a round."""
        return next((n for n in self.nodes[author] if n.kind.round == round_), None)


def mesh(mode: Mode, size: int, kind: type[Committee] = Committee) -> Committee:
    return kind(b"every graph.....", size, mode)


def patterns(slots: Sequence[int], taken: Sequence[int], size: int) -> Iterator[dict[int, int]]:
    """All ways to give leaders to slots, but for the names of members that are not `taken`: of
    these, the lowest number comes first."""
    if not slots:
        yield {}
        return
    for leader in range(min(max(taken, default=-1) + 2, size)):
        for rest in patterns(slots[1:], (*taken, leader), size):
            yield {slots[0]: leader, **rest}


def _code(slot: Slot) -> int:
    """As the oracle says it: the number of a block is its digest."""
    if slot.block is not None:
        return _number(slot.block)
    return rule.SKIPPED if slot.status is Status.SKIP else rule.UNKNOWN


def _number(block: Block | Ref) -> int:
    ref = block.ref if isinstance(block, Block) else block
    return int.from_bytes(ref.digest, "big")


class Committed(NamedTuple):
    """What somebody has committed."""

    commits: tuple[tuple[int, int, tuple[int, ...]], ...]  # leader, time, blocks in order
    then: tuple[object, ...]  # what the commit rule remembers after the last of them


class Commits(Family[Committed]):
    """An outcome is what comes of the blocks, one after another, lower rounds first."""

    def __init__(
        self,
        committee: Committee,
        rounds: int,
        first_schedule: int,
        commits_per_schedule: int,
        punctual_rounds: int,
        committer: type[Committer] = Committer,
    ) -> None:
        super().__init__(committee, rounds)
        schedule = Schedule(first_schedule, tuple(range(committee.size)))
        self._committer = partial(
            committer,
            checkpoint=Checkpoint.first(committee)._replace(schedule=schedule),
            rotation=Rotation(commits_per_schedule, punctual_rounds),
        )

    def judge(self) -> Committed:
        dag = Dag(self.committee)
        committer = self._committer(self.committee, dag)
        commits: list[Commit] = []
        for block in self.dag.pushed:
            for accepted in dag.add(block):
                committer.note(accepted)
            commits += committer.advance()
        committer.check()
        said = ((_number(c.leader), c.time_ms, tuple(map(_number, c.blocks))) for c in commits)
        then = *committer.schedule, *(ref[:2] for ref in committer.heads)
        return Committed(tuple(said), then)

    def extends(self, more: Committed, less: Committed) -> bool:
        count = len(less.commits)
        return more.commits[:count] == less.commits and (
            len(more.commits) > count or more.then == less.then
        )

    def past(self, round_: int, author: int, facts: frozenset[Fact]) -> frozenset[Fact]:
        """All blocks below; but nobody refers to those of the last round, which only vote."""
        return frozenset(f for f in facts if round_ < self.rounds or f[0] == round_ - 1)

    def facts(self, kind: Kind, number: int) -> frozenset[Fact]:
        return frozenset({(kind.round, number)})
