"""Commit rules and thresholds that are wrong, each in one point.

Owns them as classes to be passed in where the right ones go.
"""

from collections.abc import Collection, Sequence
from functools import cached_property

from peer.consensus.block import Block
from peer.consensus.committee import Committee
from peer.consensus.committer import SKIPPED, Commit, Committer, Decision


class SkipAtQuorum(Committee):
    """Crash: a leader that is skipped here has votes enough there."""

    @cached_property
    def skip(self) -> int:
        return self.quorum


class SkipOneLess(Committee):
    """Byzantine: the liar blames and votes."""

    @cached_property
    def skip(self) -> int:
        return self.quorum - 1


class SharedOneLess(Committee):
    """Crash: an anchor commits a leader that was skipped directly."""

    @cached_property
    def shared(self) -> int:
        return 2 * self.quorum - self.size - 1

    @cached_property
    def skip(self) -> int:
        return self.size - self.shared


class SharedOneMore(Committee):
    """Crash: an anchor skips a leader that was committed directly."""

    @cached_property
    def shared(self) -> int:
        return 2 * self.quorum - self.size + 1

    @cached_property
    def skip(self) -> int:
        return self.size - self.shared + 2


class DisjointQuorums(Committee):
    """Two halves of the members each carry every step alone."""

    @cached_property
    def quorum(self) -> int:
        return self.size // 2


class DirectOneLess(Committer):
    """An anchor's history need not hold what a direct commit stands on."""

    def _supported(
        self, round_: int, voices: Collection[Sequence[Block]], enough: int
    ) -> Block | None:
        return super()._supported(round_, voices, min(enough, self.committee.quorum - 1))


class PassesOver(Committer):
    """The anchor is the first slot known to be committed, though one before it is open."""

    @staticmethod
    def _anchor(later: list[Decision]) -> Block | None:
        return next((decision for decision in later if isinstance(decision, Block)), None)


class StaleDecisions(Committer):
    """What was decided beyond the change of a schedule stays so."""

    def _commit_schedule(self, commits: list[Commit]) -> bool:
        for decision in self._decided():
            self.next_round += 1
            if decision is not SKIPPED:
                commits.append(self._commit(decision))
        return False


class CountsWhatIsHere(Committer):
    """Who may lead follows from the blocks that came, not from those that are committed."""

    def _count_presence(self, round_: int) -> None:
        committed, self.heads = self.heads, [block.ref for block in self.dag.newest]
        super()._count_presence(round_)
        self.heads = committed
