"""Which blocks to request from which member: single missing blocks, or all above those here.

Owns the members' claims, the open requests, and the choice of the next member to ask. Must never
trust a member: one that claims much and answers little only wastes its own turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from peer.consensus.block import Ref
from peer.consensus.dag import Dag
from peer.consensus.delays import Delays

REFS_PER_REQUEST_MAX = 256
CLAIM_AGE_MS = 3_000
FAR_ROUNDS = 20  # that a member is ahead: single questions would go back round by round
SCAN_MS = 5  # between two scans of the missing blocks: a faulty member can cause many
BACKOFF_MAX = 5  # doublings of the wait, one per round of all members without success


class Wanted(NamedTuple):
    """Ask `member` for these blocks."""

    member: int
    refs: tuple[Ref, ...]


class Pull(NamedTuple):
    """Ask `member` for all blocks of an epoch above these rounds, by author, parents before
    children."""

    member: int
    above: tuple[int, ...]
    epoch: int = 0


@dataclass
class _Question:
    """The requests for one missing block."""

    ref: Ref
    since_ms: int
    next_ms: int
    tries: int = 0
    asked_ms: dict[int, int] = field(default_factory=dict)  # by member: when it was asked first


class _Claim(NamedTuple):
    """The rounds that a member claimed to have."""

    rounds: tuple[int, ...]
    heard_ms: int


class Synchronizer:
    """`delays` say how long to wait for a missing block to come by itself, and for an answer before
    asking another member. `pull_timeout_ms`: how long an answer to a `Pull` may take."""

    def __init__(self, dag: Dag, me: int | None, delays: Delays, pull_timeout_ms: int) -> None:
        self._dag = dag
        self._others = [m for m in range(dag.committee.size) if m != me]
        self._delays = delays
        self._pull_timeout_ms = pull_timeout_ms
        self._questions: dict[bytes, _Question] = {}
        self._noticed = 0  # value of `dag.missed` at the last scan
        self._scan_ms = 0
        self._due_ms: int | None = None
        self._claims: dict[int, _Claim] = {}  # the newest of each member
        self._earlier: dict[int, _Claim] = {}  # one whose blocks may still come by themselves
        self._pull: Pull | None = None  # the open one; there is at most one
        self._pull_until_ms = 0
        self._excluded_ms: dict[int, int] = {}  # until when not to ask a member again

    # Pulls

    def hear(self, member: int, rounds: tuple[int, ...], now_ms: int) -> Pull | None:
        """Take a member's claim. The blocks of an earlier claim should be here by now, and so
        should its own newest block, which it sent before: if not, they were lost, and it is asked
        for them. A newest block that waits for a few others is here, and these are on their way;
        one that waits for many tells that this peer was away."""
        if len(rounds) != self._dag.committee.size:
            return None
        self._claims[member] = claim = _Claim(rounds, now_ms)
        earlier = self._earlier.setdefault(member, claim)
        overdue = [0] * len(rounds)
        if earlier is not claim and now_ms - earlier.heard_ms >= self._settled_ms(member):
            self._earlier[member] = claim
            overdue = list(earlier.rounds)
        is_far = rounds[member] > self._dag.highest[member] + FAR_ROUNDS
        if is_far or not any(block.author == member for block in self._dag.waiting.values()):
            overdue[member] = rounds[member]
        return self._ask_above(member, now_ms) if self._lacks(overdue) else None

    def claims(self, now_ms: int) -> list[tuple[int, tuple[int, ...]]]:
        """The members' recent claims."""
        claims = self._claims.items()
        return [(m, c.rounds) for m, c in claims if now_ms - c.heard_ms < CLAIM_AGE_MS]

    def _settled_ms(self, member: int) -> int:
        """How long after a member's claim its blocks are here, each one that is lost included: it
        is noticed, and asked for by itself."""
        late_ms = max(map(self._delays.late_ms, self._others), default=0)
        return late_ms + self._delays.answer_ms(member)

    def _lacks(self, rounds: Sequence[int]) -> bool:
        return any(theirs > ours for theirs, ours in zip(rounds, self._dag.highest, strict=True))

    def _ask_above(self, member: int, now_ms: int) -> Pull | None:
        if self._pull is not None:
            if now_ms < self._pull_until_ms:
                return None
            self._exclude(self._pull.member, now_ms)
        if now_ms < self._excluded_ms.get(member, now_ms):
            return None
        self._pull = Pull(member, self._dag.highest, self._dag.committee.epoch)
        self._pull_until_ms = now_ms + self._pull_timeout_ms
        return self._pull

    def _exclude(self, member: int, now_ms: int) -> None:
        """Ask other members for a while: this one did not answer, or without the claimed blocks."""
        self._pull = None
        self._excluded_ms[member] = now_ms + self._pull_timeout_ms

    def answered(self, member: int, now_ms: int) -> Pull | None:
        """All blocks of an answer to a `Pull` have come; pull again if there are more."""
        pull, claim = self._pull, self._claims.get(member)
        if pull is None or pull.member != member:
            return None
        self._pull = None
        if claim is None or not self._lacks(claim.rounds):
            return None
        if self._dag.highest == pull.above:
            self._exclude(member, now_ms)
        return self._ask_above(member, now_ms)

    def reached(self, now_ms: int) -> int | None:
        """The highest round in which more than f members have recently claimed to have made a
        block; None if fewer have claimed anything."""
        claims, faults = self._claims.items(), self._dag.committee.faults
        fresh = sorted(c.rounds[m] for m, c in claims if now_ms - c.heard_ms < CLAIM_AGE_MS)
        return fresh[-1 - faults] if len(fresh) > faults else None

    # Single blocks

    def tick(self, now_ms: int) -> list[Wanted]:
        """Requests for the missing blocks that are due, each to another member than before."""
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
                helper = self._helper(question)
                refs = wanted.setdefault(helper, [])
                if len(refs) < REFS_PER_REQUEST_MAX:
                    refs.append(question.ref)
                    doublings = min(question.tries // len(self._others), BACKOFF_MAX)
                    question.tries += 1
                    question.asked_ms.setdefault(helper, now_ms)
                    question.next_ms = now_ms + (self._delays.answer_ms(helper) << doublings)
        self._due_ms = min((q.next_ms for q in self._questions.values()), default=None)
        return [Wanted(member, tuple(refs)) for member, refs in wanted.items()]

    def _notice(self, now_ms: int) -> None:
        """Keep one question per missing block."""
        missing = self._dag.missing
        self._noticed = self._dag.missed
        for digest in [d for d in self._questions if d not in missing]:
            del self._questions[digest]
        for digest, ref in missing.items():
            if digest not in self._questions:
                self._questions[digest] = _Question(ref, now_ms, now_ms + self._wait_ms(ref))

    def _wait_ms(self, ref: Ref) -> int:
        """How long a missing block may still come by itself. Its author sent it before the later
        ones that are here, and messages of one member keep their order: it hardly comes then."""
        is_lost = ref.author in self._dag.waiting_for(ref)
        return self._delays.late.least if is_lost else self._delays.late_ms(ref.author)

    def came(self, ref: Ref, helper: int | None, now_ms: int) -> None:
        """A block is here: by itself, or from a member that was asked for it."""
        question = self._questions.pop(ref.digest, None)
        if question is None:
            return
        if helper is None:
            self._delays.came(ref.author, now_ms - question.since_ms)
        elif (asked_ms := question.asked_ms.get(helper)) is not None:
            self._delays.answered(helper, now_ms - asked_ms)

    def _helper(self, question: _Question) -> int:
        """The member to ask: first the author, or a nearer one that refers to the block, as these
        have it; then the others in turn."""
        others, ref = self._others, question.ref
        have = [m for m in (ref.author, *self._dag.waiting_for(ref)) if m in others]
        start = others.index(min(have, key=self._delays.answer_ms)) if have else 0
        return others[(start + question.tries) % len(others)]

    def next_ms(self) -> int | None:
        """When `tick` could next give a new result; None: never."""
        if self._noticed != self._dag.missed:
            return self._scan_ms
        if self._due_ms is None or not self._dag.missing:
            return None
        return max(self._due_ms, self._scan_ms)
