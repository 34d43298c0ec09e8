"""From the graph to one order: which leaders commit, and what each of them brings along.

Owns the commit rule, the schedule of leaders and the order inside a commit. Reads the graph, never
writes it but to forget what is settled; must never see a clock, a socket or a payload's meaning.

Deciding is a pure function of the graph and the schedule: the same graph gives the same answer,
however often and in whatever steps it is asked. `docs/ordering.md` argues why it is safe.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag

COMMITS_PER_SCHEDULE = 10
PUNCTUAL_ROUNDS = 3  # an author this close behind a commit's leader counts as present in it
GARBAGE_ROUNDS = 60  # byzantine: what is so far below a commit's leader and not committed never is
KEPT_ROUNDS = 100  # so many committed rounds are kept for those a little behind
SETTLE_ROUNDS = 50  # at a time
CHECKPOINT_EVERY = 64  # commits
WINDOW_ROUNDS = 64


class Skipped(Enum):
    SKIPPED = "skipped"


SKIPPED = Skipped.SKIPPED
Decision = Block | Skipped | None  # the committed leader, none for this round, or not known yet


class Schedule(NamedTuple):
    """Who may lead, until COMMITS_PER_SCHEDULE commits were made under it."""

    number: int
    eligible: tuple[int, ...]

    def leader(self, round_: int) -> int:
        """By a hash: a plain rotation lets a dead member and an unlucky beat block for ever."""
        seed = round_.to_bytes(8, "big") + self.number.to_bytes(8, "big")
        draw = int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")
        return self.eligible[draw % len(self.eligible)]


class Checkpoint(NamedTuple):
    """All that the commit rule remembers at the end of a commit, after any change of schedule: the
    same on every peer. With the blocks above `line` one can go on from here."""

    commit: int
    next_round: int
    time_ms: int
    schedule: Schedule
    presence: tuple[int, ...]
    heads: tuple[Ref, ...]  # the newest committed block of each author
    times_ms: tuple[int, ...]  # and the time it says
    committed: tuple[bytes, ...]  # byzantine: digests of the committed blocks above the line

    @property
    def line(self) -> int:
        """What is committed at or below this round is not needed any more."""
        return _line(self.next_round)

    def floors(self, mode: Mode) -> list[int]:
        """The rounds, by author, at and below which everything is settled. In crash mode what an
        author made above its head is still to come, however old."""
        line = self.line
        return [min(h.round, line) if mode is Mode.CRASH else line for h in self.heads]


def _line(next_round: int) -> int:
    """In steps that are the same for all: what one peer accepts because it is settled there, any
    other accepts too once it has committed as much."""
    return max((next_round - 1 - KEPT_ROUNDS) // SETTLE_ROUNDS * SETTLE_ROUNDS, -1)


def ordered_time_ms(times_ms: Sequence[int]) -> int:
    """The ordered clock, of the times that all members last said: their lower median. Of n clocks
    (n - 1) // 2 may be ahead by any amount and do not move it, nor do as many that stand still or
    belong to members that are silent."""
    return sorted(times_ms)[(len(times_ms) - 1) // 2]


class Commit(NamedTuple):
    """The `number`-th step of the one order, counted from 1: blocks to apply in this order."""

    number: int
    leader: Ref
    time_ms: int
    blocks: tuple[Block, ...]
    checkpoint: Checkpoint | None  # every CHECKPOINT_EVERY commits


class Committer:
    def __init__(
        self,
        committee: Committee,
        dag: Dag,
        checkpoint: Checkpoint | None = None,
        commits_per_schedule: int = COMMITS_PER_SCHEDULE,
        punctual_rounds: int = PUNCTUAL_ROUNDS,
    ) -> None:
        self.committee = committee
        self.dag = dag
        self._commits_per_schedule = commits_per_schedule
        self._punctual_rounds = punctual_rounds
        self.next_round = 1  # the first slot not decided yet
        self.commits = 0
        self.time_ms = committee.created_ms
        self.schedule = Schedule(0, tuple(range(committee.size)))
        self.heads = [block.ref for block in dag.newest]  # newest committed block of each author
        self.times_ms = [committee.created_ms] * committee.size  # what it says
        self.uncommitted_payloads: dict[bytes, Block] = {}
        self.lost: list[Block] = []  # byzantine: fell below the garbage line uncommitted
        self._committed: set[bytes] = {ref.ref.digest for ref in dag.blocks.values()}
        self._presence = [0] * committee.size
        self._floor = -1  # byzantine: the garbage line
        self._leaders: dict[int, int] = {}  # of this schedule, as far as anybody asked
        self._certificates: dict[bytes, bytes | None] = {}  # the same, by block
        self._line = -1  # of the last commit
        self._touched: list[int] = []  # slots that blocks noted since the last `advance` may decide
        if checkpoint is not None:
            self._go_on(checkpoint)

    def _go_on(self, checkpoint: Checkpoint) -> None:
        self.next_round = checkpoint.next_round
        self.commits = checkpoint.commit
        self.time_ms = checkpoint.time_ms
        self.schedule = checkpoint.schedule
        self.heads = list(checkpoint.heads)
        self.times_ms = list(checkpoint.times_ms)
        self._committed = set(checkpoint.committed)
        self._presence = list(checkpoint.presence)
        self._line = checkpoint.line
        if self.committee.mode is Mode.BYZANTINE:
            self._floor = max(self.next_round - 1 - GARBAGE_ROUNDS, -1)

    def note(self, block: Block) -> None:
        """A block was accepted: it may decide the slots it votes or certifies in, and its commands
        wait for a commit."""
        wave = self.committee.wave
        self._touched += [r for r in (block.round - 1, block.round + 1 - wave) if r > 0]
        if block.payload and block.round > self._floor and not self._is_committed(block.ref):
            self.uncommitted_payloads[block.ref.digest] = block

    def wants(self, ref: Ref) -> bool:
        """Whether a block is still to be committed."""
        return not self._is_committed(ref)

    def leader(self, round_: int) -> int:
        leader = self._leaders.get(round_)
        if leader is None:
            leader = self._leaders[round_] = self.schedule.leader(round_)
        return leader

    def advance(self) -> list[Commit]:
        """Every commit the graph now decides, in order. All decisions rest on direct ones, so
        there is nothing new unless the blocks noted since the last time made one."""
        touched, self._touched = set(self._touched), []
        commits: list[Commit] = []
        if any(r >= self.next_round and self._direct(r) is not None for r in touched):
            while self._commit_schedule(commits):
                pass
        return commits

    def _commit_schedule(self, commits: list[Commit]) -> bool:
        """Commit what is decided under this schedule, to its last commit; whether it ended. The
        decisions on later slots are void then: they have other leaders."""
        schedule = self.schedule
        for decision in self._decided():
            self.next_round += 1
            if decision is not SKIPPED:
                commits.append(self._commit(decision))
                if self.schedule != schedule:
                    return True
        return False

    def _decided(self) -> Iterator[Block | Skipped]:
        """The decisions from the first open slot on, up to one that is not known yet."""
        top = self.dag.highest_round - 1
        first, window = self.next_round, WINDOW_ROUNDS
        while first <= top:
            last = min(top, first + window)
            for decision in self.decide(first, last):
                if decision is None:
                    break
                yield decision
                first += 1
                window = WINDOW_ROUNDS
            if first <= last:
                if last == top:
                    return
                window *= 2

    def decide(self, first: int, last: int) -> list[Decision]:
        """What the graph says of the slots `first` to `last`, knowing nothing above `last`."""
        decisions: list[Decision] = [None] * (last - first + 1)
        for round_ in range(last, first - 1, -1):
            decision = self._direct(round_)
            if decision is None:
                anchor = self._anchor(decisions[round_ - first + self.committee.wave :])
                if anchor is not None:
                    decision = self._indirect(round_, anchor)
            decisions[round_ - first] = decision
        return decisions

    @staticmethod
    def _anchor(later: list[Decision]) -> Block | None:
        """The first slot that is not skipped; if that one is undecided there is no anchor yet."""
        for decision in later:
            if decision is not SKIPPED:
                return decision
        return None

    def _direct(self, round_: int) -> Decision:
        """What the votes and blames, or certificates, for a slot themselves say."""
        if self._blames(round_) >= self.committee.skip:
            return SKIPPED
        voices = self.dag.at(round_ + self.committee.wave - 1).values()
        if len(voices) < self.committee.quorum:
            return None
        return self._supported(round_, voices, self.committee.quorum)

    def _blames(self, round_: int) -> int:
        """How many authors refer to no block of the leader's."""
        leader, authors = self.leader(round_), self.dag.at(round_ + 1).values()
        if len(authors) < self.committee.skip:
            return 0
        return sum(any(b.parent(round_, leader) is None for b in blocks) for blocks in authors)

    def _indirect(self, round_: int, anchor: Block) -> Decision:
        """What the anchor's history says of a slot that is not decided directly."""
        at = round_ + self.committee.wave - 1
        voices = [[block] for block in self.dag.history(anchor, at) if block.round == at]
        enough = self.committee.shared if self.committee.mode is Mode.CRASH else 1
        return self._supported(round_, voices, enough) or SKIPPED

    def _supported(
        self, round_: int, voices: Collection[Sequence[Block]], enough: int
    ) -> Block | None:
        """The leader's block that enough voices are for. The blocks of an equivocator are one
        voice, though for each of the blocks they support."""
        leader = self.leader(round_)
        supports = self._vote if self.committee.mode is Mode.CRASH else self._certificate
        counts: dict[bytes, int] = {}
        for blocks in voices:
            for digest in {supports(block, round_, leader) for block in blocks}:
                if digest is not None:
                    counts[digest] = counts.get(digest, 0) + 1
        for digest, count in counts.items():
            if count >= enough:
                return self.dag.blocks[digest]
        return None

    @staticmethod
    def _vote(block: Block, round_: int, leader: int) -> bytes | None:
        """Which block of the leader's a block of the round after refers to."""
        ref = block.parent(round_, leader)
        return None if ref is None else ref.digest

    def _certificate(self, block: Block, round_: int, leader: int) -> bytes | None:
        """Which block of the leader's a quorum of the parents vote for that a block two rounds
        later has; it has at most one parent an author."""
        if block.ref.digest not in self._certificates:
            votes: dict[bytes, int] = {}
            for ref in block.parents:
                if ref.round == round_ + 1:
                    vote = self._vote(self.dag.blocks[ref.digest], round_, leader)
                    if vote is not None:
                        votes[vote] = votes.get(vote, 0) + 1
            winners = [v for v, count in votes.items() if count >= self.committee.quorum]
            self._certificates[block.ref.digest] = winners[0] if winners else None
        return self._certificates[block.ref.digest]

    def _commit(self, leader: Block) -> Commit:
        self.commits += 1
        blocks = self._linearise(leader)
        for block in blocks:
            if self.committee.mode is Mode.BYZANTINE:
                self._committed.add(block.ref.digest)
            self.uncommitted_payloads.pop(block.ref.digest, None)
            if block.round > self.heads[block.author].round:
                self.heads[block.author] = block.ref
                self.times_ms[block.author] = block.time_ms
        self.time_ms = max(self.time_ms, ordered_time_ms(self.times_ms))
        self._count_presence(leader.round)
        self._line = _line(self.next_round)
        checkpoint = self._checkpoint() if self.commits % CHECKPOINT_EVERY == 0 else None
        return Commit(self.commits, leader.ref, self.time_ms, blocks, checkpoint)

    def _checkpoint(self) -> Checkpoint:
        committed: list[bytes] = []
        if self.committee.mode is Mode.BYZANTINE:
            committed = sorted(
                digest
                for digest in self._committed
                if (block := self.dag.blocks.get(digest)) is not None and block.round > self._line
            )
        return Checkpoint(
            self.commits,
            self.next_round,
            self.time_ms,
            self.schedule,
            tuple(self._presence),
            tuple(self.heads),
            tuple(self.times_ms),
            tuple(committed),
        )

    def _linearise(self, leader: Block) -> tuple[Block, ...]:
        """The leader's not yet committed ancestors and itself: by round, and within a round by a
        hash that no author can turn to its favour without choosing the leader's digest."""
        if self.committee.mode is Mode.BYZANTINE:
            self._raise_floor(leader.round - GARBAGE_ROUNDS)
        found = [leader]
        seen = {leader.ref.digest}
        for block in found:
            for ref in block.parents:
                if ref.digest not in seen and not self._is_committed(ref):
                    seen.add(ref.digest)
                    found.append(self.dag.blocks[ref.digest])
        salt = leader.ref.digest

        def place(block: Block) -> tuple[int, bytes, bytes]:
            draw = blake2b(salt + bytes([block.author]), digest_size=16).digest()
            return block.round, draw, block.ref.digest

        return tuple(sorted(found, key=place))

    def _is_committed(self, ref: Ref) -> bool:
        if self.committee.mode is Mode.CRASH:
            return ref.round <= self.heads[ref.author].round
        return ref.round <= self._floor or ref.digest in self._committed

    def _raise_floor(self, floor: int) -> None:
        self._floor = max(self._floor, floor)
        for digest, block in list(self.uncommitted_payloads.items()):
            if block.round <= self._floor:
                self.lost.append(self.uncommitted_payloads.pop(digest))

    def _count_presence(self, round_: int) -> None:
        for author, head in enumerate(self.heads):
            self._presence[author] += round_ - head.round <= self._punctual_rounds
        if self.commits % self._commits_per_schedule == 0:
            self.schedule = Schedule(self.schedule.number + 1, self._eligible())
            self._presence = [0] * self.committee.size
            self._leaders.clear()
            self._certificates.clear()

    def _eligible(self) -> tuple[int, ...]:
        """Those present in half of the schedule's commits, and never fewer than f + 1: then at
        least one of them is not faulty."""
        ranked = sorted(range(self.committee.size), key=lambda a: (-self._presence[a], a))
        enough = sum(2 * count >= self._commits_per_schedule for count in self._presence)
        return tuple(sorted(ranked[: max(enough, self.committee.faults + 1)]))

    def settle(self) -> list[Block]:
        """Let the graph forget what nothing needs any more; what it accepts by that."""
        line = self._line
        if line <= max(self.dag.floor):
            return []
        if self.committee.mode is Mode.CRASH:
            floor = [min(head.round, line) for head in self.heads]
        else:
            floor = [line] * self.committee.size
        accepted = self.dag.settle(floor)
        self._committed &= self.dag.blocks.keys()
        return accepted

    def check(self) -> None:
        """Assert every invariant."""
        self.dag.check()
        assert len(self.schedule.eligible) >= self.committee.faults + 1
        assert self.next_round >= 1
        for digest, block in self.uncommitted_payloads.items():
            assert digest in self.dag.blocks
            assert not self._is_committed(block.ref), block
