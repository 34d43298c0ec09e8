"""Commit rules and thresholds that are wrong, each in one point.

Owns them as what is passed in where the right ones go.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from peer.consensus.block import Block
from peer.consensus.committee import Committee
from peer.consensus.committer import Commit, Committer
from peer.consensus.decide import Decider, Rule, Slot


def skip_at_quorum(committee: Committee) -> Rule:
    """Crash: a leader that is skipped here has votes enough there."""
    return replace(Rule.of(committee), skip=committee.quorum)


def skip_one_less(committee: Committee) -> Rule:
    """Byzantine: the liar blames and votes."""
    return replace(Rule.of(committee), skip=committee.quorum - 1)


def indirect_one_less(committee: Committee) -> Rule:
    """Crash: an anchor commits a leader that was skipped directly."""
    rule = Rule.of(committee)
    return replace(rule, indirect=rule.indirect - 1)


def indirect_one_more(committee: Committee) -> Rule:
    """Crash: an anchor skips a leader that was committed directly."""
    rule = Rule.of(committee)
    return replace(rule, indirect=rule.indirect + 1)


def direct_one_less(committee: Committee) -> Rule:
    """An anchor's history need not hold what a direct commit stands on."""
    return replace(Rule.of(committee), direct=committee.quorum - 1)


class DisjointQuorums(Committee):
    """Two halves of the members each carry every step alone."""

    @cached_property
    def quorum(self) -> int:
        return self.size // 2


class PassesOver(Decider):
    """The anchor is the first slot known to be committed, though one before it is open."""

    @staticmethod
    def anchor(later: Iterable[Slot]) -> Block | None:
        return next((slot.block for slot in later if slot.block is not None), None)


class StaleDecisions(Committer):
    """What was decided beyond the change of a schedule stays so."""

    def _commit_schedule(self, commits: list[Commit]) -> bool:
        for slot in self.decider.decided(self.next_round):
            self.next_round += 1
            if slot.block is not None:
                commits.append(self._commit(slot.block))
        return False


class CountsWhatIsHere(Committer):
    """Who may lead follows from the blocks that came, not from those that are committed."""

    def _rotate(self, round_: int) -> None:
        committed, self.heads = self.heads, [block.ref for block in self.dag.newest]
        super()._rotate(round_)
        self.heads = committed
