"""Turns the graph into one sequence of commits.

Owns the state between commits: the first undecided slot, the schedule, the committed blocks and the
authors' newest ones. `decide` says which leaders commit, `linearize` in which order their ancestors
follow, `schedule` who leads next, `garbage` which blocks can go. Reads the graph, and writes it
only to collect garbage. Must never see a clock, a socket or a payload's meaning.
"""

from typing import NamedTuple

from peer.consensus.block import Block, Ref, genesis
from peer.consensus.clock import ordered_time_ms
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag
from peer.consensus.decide import Decider, Rule, Status
from peer.consensus.garbage import expiry_round, gc_round, gc_rounds
from peer.consensus.linearize import linearize
from peer.consensus.schedule import Rotation, Schedule

CHECKPOINT_EVERY = 64  # commits


class Checkpoint(NamedTuple):
    """The whole state of the commit rule at the end of a commit, after any change of schedule: the
    same on every peer. A peer with it and the blocks above the gc rounds can continue from here."""

    commit: int
    next_round: int
    time_ms: int
    schedule: Schedule
    presence: tuple[int, ...]
    heads: tuple[Ref, ...]  # the newest committed block of each author
    times_ms: tuple[int, ...]  # the times in these blocks
    committed: tuple[bytes, ...]  # byzantine: digests of the committed blocks above the gc round

    @classmethod
    def first(cls, committee: Committee) -> "Checkpoint":
        """The checkpoint before any commit of the epoch: only its genesis blocks are committed."""
        everyone, zero = tuple(range(committee.size)), (0,) * committee.size
        heads = tuple(block.ref for block in genesis(committee))
        times_ms = (committee.created_ms,) * committee.size
        digests = tuple(ref.digest for ref in heads if committee.mode is Mode.BYZANTINE)
        schedule = Schedule(0, everyone)
        begins_ms = committee.created_ms
        return cls(committee.ended, 1, begins_ms, schedule, zero, heads, times_ms, digests)

    @classmethod
    def between(cls, commit: int, time_ms: int) -> "Checkpoint":
        """The checkpoint between two epochs: the commit rule remembers nothing. The genesis blocks
        of the next epoch, which its seal determines, stand in for it."""
        return cls(commit, 1, time_ms, Schedule(0, ()), (), (), (), ())

    @property
    def is_between(self) -> bool:
        return not self.heads

    def gc_rounds(self, mode: Mode) -> list[int]:
        """The rounds, by author, at and below which all blocks are collected."""
        return gc_rounds(mode, gc_round(self.next_round - 1), self.heads)


class Commit(NamedTuple):
    """One step of the total order, numbered from 1: blocks, in the order to apply them."""

    number: int
    leader: Ref
    time_ms: int
    blocks: tuple[Block, ...]
    checkpoint: Checkpoint | None  # every CHECKPOINT_EVERY commits


class Committer:
    """Continues from `checkpoint`, or starts from the genesis blocks."""

    def __init__(
        self,
        committee: Committee,
        dag: Dag,
        checkpoint: Checkpoint | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        self.committee = committee
        self.dag = dag
        self.rotation = rotation or Rotation()
        self.uncommitted_payloads: dict[bytes, Block] = {}
        self._expired_blocks: list[Block] = []  # not taken yet
        self._rule = Rule.of(committee)
        self._least = self._rule.least
        self._touched: set[int] = set()  # slots that blocks noted since `advance` may decide
        self._go_on(checkpoint or Checkpoint.first(committee))

    def _go_on(self, checkpoint: Checkpoint) -> None:
        self.commits = checkpoint.commit
        self.next_round = checkpoint.next_round  # the first slot not decided yet
        self.time_ms = checkpoint.time_ms
        self.decider = Decider(self.dag, checkpoint.schedule, self._rule)
        self.heads = list(checkpoint.heads)
        self.times_ms = list(checkpoint.times_ms)
        self._presence = list(checkpoint.presence)
        self._committed = set(checkpoint.committed)
        self._gc_round = gc_round(self.next_round - 1)  # as of the last commit
        self._expiry_round = expiry_round(self.committee.mode, self.next_round - 1)

    @property
    def schedule(self) -> Schedule:
        return self.decider.schedule

    def leader(self, round_: int) -> int:
        return self.decider.leader(round_)

    def note(self, block: Block) -> None:
        """Note an accepted block: it may decide some slots, and its commands wait for a commit."""
        if len(self.dag.at(block.round)) >= self._least:
            self._touched.update(self._rule.judged(block.round))
        if block.payload and block.round > self._expiry_round and self.wants(block.ref):
            self.uncommitted_payloads[block.ref.digest] = block

    def wants(self, ref: Ref) -> bool:
        """Whether a block can still be committed."""
        return not self._is_committed(ref)

    def _is_committed(self, ref: Ref) -> bool:
        """Whether a commit has the block, or it is too old for any. In crash mode the committed
        blocks are the beginning of each author's chain."""
        if self.committee.mode is Mode.CRASH:
            return ref.round <= self.heads[ref.author].round
        return ref.round <= self._expiry_round or ref.digest in self._committed

    def advance(self) -> list[Commit]:
        """All new commits that the graph decides, in order. All decisions rest on direct ones, so
        there are none unless a block noted since the last call made a direct decision."""
        touched, self._touched = self._touched, set()
        commits: list[Commit] = []
        if any(r >= self.next_round and self._is_decided(r) for r in touched):
            while self._commit_schedule(commits):
                pass
        return commits

    def _is_decided(self, round_: int) -> bool:
        return self.decider.direct(round_).status is not Status.UNDECIDED

    def _commit_schedule(self, commits: list[Commit]) -> bool:
        """Commit the decided slots under this schedule, up to its last commit; returns whether the
        schedule ended. Then the decisions on later slots are void, as they get other leaders."""
        decider = self.decider
        for slot in decider.decided(self.next_round):
            self.next_round += 1
            if slot.block is not None:
                commits.append(self._commit(slot.block))
                if self.decider is not decider:
                    return True
        return False

    def _commit(self, leader: Block) -> Commit:
        self.commits += 1
        self._expire(expiry_round(self.committee.mode, leader.round))
        blocks = linearize(leader, self.dag.blocks, self._is_committed)
        for block in blocks:
            if self.committee.mode is Mode.BYZANTINE:
                self._committed.add(block.ref.digest)
            self.uncommitted_payloads.pop(block.ref.digest, None)
            if block.round > self.heads[block.author].round:
                self.heads[block.author] = block.ref
                self.times_ms[block.author] = block.time_ms
        self.time_ms = max(self.time_ms, ordered_time_ms(self.times_ms))
        self._rotate(leader.round)
        self._gc_round = gc_round(leader.round)
        checkpoint = self._checkpoint() if self.commits % CHECKPOINT_EVERY == 0 else None
        return Commit(self.commits, leader.ref, self.time_ms, blocks, checkpoint)

    def _expire(self, expiry: int) -> None:
        """Note the blocks that have expired: they will never be committed."""
        if expiry > self._expiry_round:
            self._expiry_round = expiry
            expired = [b for b in self.uncommitted_payloads.values() if b.round <= expiry]
            for block in expired:
                del self.uncommitted_payloads[block.ref.digest]
            self._expired_blocks += expired

    def take_expired(self) -> list[Block]:
        """The blocks with commands that have expired since the last call."""
        expired, self._expired_blocks = self._expired_blocks, []
        return expired

    def _rotate(self, round_: int) -> None:
        """Count the authors present in a commit, and change the schedule if it is due."""
        for author in self.rotation.present(round_, self.heads):
            self._presence[author] += 1
        if (self.commits - self.committee.ended) % self.rotation.commits == 0:
            least = self.committee.faults + 1
            schedule = self.rotation.after(self.schedule, self._presence, least)
            self._presence = [0] * self.committee.size
            self.decider = Decider(self.dag, schedule, self._rule)

    def _checkpoint(self) -> Checkpoint:
        here = (self.dag.blocks.get(digest) for digest in self._committed)
        kept = sorted(b.ref.digest for b in here if b is not None and b.round > self._gc_round)
        return Checkpoint(
            self.commits,
            self.next_round,
            self.time_ms,
            self.schedule,
            tuple(self._presence),
            tuple(self.heads),
            tuple(self.times_ms),
            tuple(kept),
        )

    def collect_garbage(self) -> list[Block]:
        """Drop the blocks that no rule needs any more; returns the blocks that the graph accepts
        because of that."""
        if self._gc_round <= max(self.dag.gc_rounds):
            return []
        rounds = gc_rounds(self.committee.mode, self._gc_round, self.heads)
        accepted = self.dag.collect_garbage(rounds)
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
