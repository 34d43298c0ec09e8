"""What to ask others for: single blocks that are missing, and all above what is here.

Owns what members say they have, which questions are open and whom to ask next. Must never believe a
member: one that claims much and helps little only wastes its own turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from peer.consensus.block import Ref
from peer.consensus.dag import Dag

REFS_PER_REQUEST_MAX = 256
CLAIM_AGE_MS = 3_000
SCAN_MS = 5  # so long lie between two looks at what is missing: a faulty member can make it much
BACKOFF_MAX = 5  # doublings, one for each time that all members were asked in vain


class Wanted(NamedTuple):
    """Ask `member` for these blocks."""

    member: int
    refs: tuple[Ref, ...]


class Pull(NamedTuple):
    """Ask `member` for whatever it has above these rounds, by author, parents before children."""

    member: int
    above: tuple[int, ...]


@dataclass
class _Question:
    """About one missing block."""

    ref: Ref
    next_ms: int
    tries: int = 0


class _Claim(NamedTuple):
    """What a member last said it has."""

    rounds: tuple[int, ...]
    heard_ms: int


class Synchronizer:
    """`delay_ms`: how long a missing block may be on its way by itself. `retry_ms`: after that
    another member is asked. `pull_timeout_ms`: how long an answer to a `Pull` may take."""

    def __init__(
        self, dag: Dag, me: int | None, delay_ms: int, retry_ms: int, pull_timeout_ms: int
    ) -> None:
        self._dag = dag
        self._others = [m for m in range(dag.committee.size) if m != me]
        self._delay_ms = delay_ms
        self._retry_ms = retry_ms
        self._pull_timeout_ms = pull_timeout_ms
        self._questions: dict[bytes, _Question] = {}
        self._noticed = 0  # of all the blocks that were ever missing
        self._scan_ms = 0
        self._due_ms: int | None = None
        self._claims: dict[int, _Claim] = {}
        self._pull: Pull | None = None  # the one under way: one at a time
        self._pull_until_ms = 0
        self._shunned_ms: dict[int, int] = {}  # members whose last answer did not help: until when

    # All above what is here

    def hear(self, member: int, rounds: tuple[int, ...], now_ms: int) -> Pull | None:
        """A member said what it has. What it has had since it said so before, and its own newest
        block, should be here by now: what is not was lost on the way."""
        if len(rounds) != self._dag.committee.size:
            return None
        before = self._claims.get(member)
        self._claims[member] = _Claim(rounds, now_ms)
        overdue = list(before.rounds) if before else [0] * len(rounds)
        overdue[member] = rounds[member]
        return self._ask_above(member, now_ms) if self._lacks(overdue) else None

    def _lacks(self, rounds: Sequence[int]) -> bool:
        return any(theirs > ours for theirs, ours in zip(rounds, self._dag.highest, strict=True))

    def _ask_above(self, member: int, now_ms: int) -> Pull | None:
        if self._pull is not None:
            if now_ms < self._pull_until_ms:
                return None
            self._shun(self._pull.member, now_ms)
        if now_ms < self._shunned_ms.get(member, now_ms):
            return None
        self._pull = Pull(member, self._dag.highest)
        self._pull_until_ms = now_ms + self._pull_timeout_ms
        return self._pull

    def _shun(self, member: int, now_ms: int) -> None:
        """Let others have a turn: the member did not answer, or not with what it claims to have."""
        self._pull = None
        self._shunned_ms[member] = now_ms + self._pull_timeout_ms

    def answered(self, member: int, now_ms: int) -> Pull | None:
        """All blocks of an answer to a `Pull` have come; ask on if there is more."""
        pull, claim = self._pull, self._claims.get(member)
        if pull is None or pull.member != member:
            return None
        self._pull = None
        if claim is None or not self._lacks(claim.rounds):
            return None
        if self._dag.highest == pull.above:
            self._shun(member, now_ms)
        return self._ask_above(member, now_ms)

    def reached(self, now_ms: int) -> int:
        """The highest round in which more members than can be faulty lately claimed to have made a
        block; 0 if fewer claim anything."""
        claims, faults = self._claims.items(), self._dag.committee.faults
        fresh = sorted(c.rounds[m] for m, c in claims if now_ms - c.heard_ms < CLAIM_AGE_MS)
        return fresh[-1 - faults] if len(fresh) > faults else 0

    # Single blocks

    def tick(self, now_ms: int) -> list[Wanted]:
        """Time passed: the missing blocks whose time has come, each asked of another member than
        before."""
        if now_ms < self._scan_ms or not self._others:
            return []
        if not (self._dag.missing or self._questions):
            self._noticed = self._dag.missed
            return []
        self._scan_ms = now_ms + SCAN_MS
        self._notice(now_ms)
        wanted: dict[int, list[Ref]] = {}
        for question in self._questions.values():
            if now_ms >= question.next_ms:
                refs = wanted.setdefault(self._helper(question), [])
                if len(refs) < REFS_PER_REQUEST_MAX:
                    refs.append(question.ref)
                    doublings = min(question.tries // len(self._others), BACKOFF_MAX)
                    question.tries += 1
                    question.next_ms = now_ms + (self._retry_ms << doublings)
        self._due_ms = min((q.next_ms for q in self._questions.values()), default=None)
        return [Wanted(member, tuple(refs)) for member, refs in wanted.items()]

    def _notice(self, now_ms: int) -> None:
        """One question for each missing block."""
        missing = self._dag.missing
        self._noticed = self._dag.missed
        for digest in [d for d in self._questions if d not in missing]:
            del self._questions[digest]
        for digest, ref in missing.items():
            if digest not in self._questions:
                self._questions[digest] = _Question(ref, now_ms + self._delay_ms)

    def _helper(self, question: _Question) -> int:
        """The author first, it has its own blocks for sure; then the others in turn."""
        others, author = self._others, question.ref.author
        start = others.index(author) if author in others else 0
        return others[(start + question.tries) % len(others)]

    def next_ms(self) -> int | None:
        """When `tick` would next say something new; None: never."""
        if self._noticed != self._dag.missed:
            return self._scan_ms
        if self._due_ms is None or not self._dag.missing:
            return None
        return max(self._due_ms, self._scan_ms)
