"""One member's part in the protocol, without I/O.

Owns when to propose and with which parents, what to request from others, and the order of the
effects. Blocks and time come in as arguments, effects go out as a `Ready`. Must never open a
socket, read a clock, draw a random number or look inside a payload.

`docs/ordering.md` describes the protocol.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from peer.consensus.block import NO_ATTESTATION, Attestation, Block, Ref, make
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit, Committer
from peer.consensus.dag import Dag, Evidence
from peer.consensus.decide import Rule
from peer.consensus.delays import ANSWER, LATE, Bounds, Delays
from peer.consensus.due import Due
from peer.consensus.start import Start
from peer.consensus.synchronizer import REFS_PER_REQUEST_MAX as REFS_PER_REQUEST_MAX
from peer.consensus.synchronizer import Pull as Pull
from peer.consensus.synchronizer import Synchronizer
from peer.consensus.synchronizer import Wanted as Wanted

CATCH_UP_ROUNDS = 20  # a peer proposes at most this many of the rounds that it missed
LAGGING_ROUNDS = 3  # no member waits for a leader this far behind
FRESH_DOUBLINGS_MAX = 20


@dataclass(frozen=True)
class Timing:
    """All in milliseconds."""

    leader_timeout_ms: int = 100  # how long a proposal waits for the previous round's leader
    leader_timeout_max_ms: int = 2_000
    late: Bounds = LATE  # a missing parent usually comes within this time by itself
    answer: Bounds = ANSWER  # then another member is asked
    pull_timeout_ms: int = 1_000
    start_wait_ms: int = 3_000  # see `start`
    fresh_ms: int = 1_000  # after longer silence a member sends an empty block before commands


class Proposal(NamedTuple):
    """The block to make now: its round, and whether it may carry commands."""

    round: int
    carries: bool


@dataclass
class Ready:
    """What the peer must do now, in the order of the fields: persist, send, apply, report."""

    persist: list[Block] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)  # to persist, and to report
    publish: list[Block] = field(default_factory=list)
    requests: list[Wanted | Pull] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    expired_blocks: list[Block] = field(default_factory=list)  # own, never to be committed
    halted: str = ""  # why this peer has stopped taking part


class Consensus:
    """`me` is this peer's number in the committee, or None for a follower. `sign` returns the
    64-byte signature of its argument. `checkpoint` is the point to continue from, or None for the
    beginning. `start` is that of an earlier Consensus in the same run of this peer."""

    def __init__(
        self,
        committee: Committee,
        me: int | None,
        sign: Callable[[bytes], bytes],
        timing: Timing | None = None,
        checkpoint: Checkpoint | None = None,
        start: Start | None = None,
    ) -> None:
        self.committee = committee
        self.me = me
        self.timing = timing or Timing()
        checkpoint = checkpoint or Checkpoint.first(committee)
        self.dag = Dag(committee, checkpoint.gc_rounds(committee.mode), checkpoint.heads)
        self.committer = Committer(committee, self.dag, checkpoint)
        self.halted = ""
        self._sign = sign
        self._ready = Ready()
        self._quorum: tuple[int, int] = (0, 0)  # the newest round with a quorum, and since when
        timing = self.timing
        self._delays = Delays(committee.size, timing.late, timing.answer)
        self._synchronizer = Synchronizer(self.dag, me, self._delays, timing.pull_timeout_ms)
        self.start = start or Start(committee, timing.start_wait_ms, me is not None)
        self._due = Due(Rule.of(committee).wave)
        self._spoke_ms: int | None = None  # when this peer made its last block
        self._openers = 0  # empty blocks since then that only announced the time
        self._evidence_seen = 0
        self._own: Block | None = None  # the newest own block of the journal

    def restore(self, blocks: Sequence[Block], now_ms: int) -> Ready:
        """Add the blocks of the journal, parents before children, and return the commits that they
        decide. Publishes the newest own block again: it may never have been sent."""
        for block in blocks:
            if block.author == self.me and (not self._own or block.round > self._own.round):
                self._own = block
            self._accept(self.dag.add(block, restored=True), now_ms)
        ready = self.ready()
        last = [self._own] if self._own is not None else []  # a collected one has no frame
        ready.persist, ready.publish = [], last
        return ready

    @property
    def own_newest(self) -> Block | None:
        """The newest own block, even if it is collected, as it can be in byzantine mode."""
        if self.me is None:
            return None
        newest = self.dag.newest[self.me]
        return self._own if self._own and self._own.round > newest.round else newest

    def knows(self, ref: Ref) -> bool:
        """Whether a block is here, accepted or waiting, so that it need not be verified again."""
        return self.dag.has(ref) or ref.digest in self.dag.waiting

    def receive(self, block: Block, now_ms: int, helper: int | None = None) -> None:
        """Add a block of valid form and signature, from any sender. `helper`: the member that gave
        it because it was asked; None if it came by itself."""
        self._synchronizer.came(block.ref, helper, now_ms)
        self._accept(self.dag.add(block), now_ms)

    def accuse(self, evidence: Evidence) -> None:
        """Add evidence from before a restart."""
        self.dag.evidence.setdefault(evidence.first.author, evidence)
        self._equivocated()

    def _accept(self, accepted: list[Block], now_ms: int) -> None:
        if self.halted:
            return
        for block in accepted:
            self.committer.note(block)
        if self.dag.quorum_round > self._quorum[0]:
            self._quorum = (self.dag.quorum_round, now_ms)
        self._ready.persist += accepted
        if self._equivocated() or not accepted:  # a rival is evidence even if it is not accepted
            return
        self._ready.commits += self.committer.advance()
        expired = self.committer.take_expired()
        self._ready.expired_blocks += [block for block in expired if block.author == self.me]
        self._accept(self.committer.collect_garbage(), now_ms)

    def _equivocated(self) -> bool:
        """Report new evidence; returns whether this peer has stopped because of it."""
        if len(self.dag.evidence) == self._evidence_seen:
            return bool(self.halted)
        new = list(self.dag.evidence.values())[self._evidence_seen :]
        self._evidence_seen += len(new)
        self._ready.evidence += new
        if new and self.committee.mode is Mode.CRASH:
            first, second = new[0]
            self.halted = self._ready.halted = (
                f"member {first.author} signed two different blocks ({first!r}, {second!r}): "
                "crash mode cannot go on safely"
            )
        return bool(self.halted)

    def heartbeat(self) -> tuple[int, ...]:
        """The highest round here, by author. A heartbeat sends it to all members."""
        return self.dag.highest

    def hear(self, member: int, rounds: tuple[int, ...], now_ms: int) -> None:
        """Take a heartbeat of a member, and request overdue blocks."""
        if len(rounds) == self.committee.size:
            own, me = self.own_newest, self.me
            known = 0 if own is None or me is None else max(own.round, self.dag.highest[me])
            self.start.hear(member, 0 if me is None else rounds[me], known)
        self._ask(self._synchronizer.hear(member, rounds, now_ms))

    def recall(self, before: "Consensus", now_ms: int) -> None:
        """Ask at once for what members have claimed to have. `before` was in the same epoch; this
        one goes on from a later state, from which all others go on meanwhile."""
        for member, rounds in before._synchronizer.claims(now_ms):
            self._ask(self._synchronizer.hear(member, rounds, now_ms))

    def answered(self, member: int, now_ms: int) -> None:
        """All blocks of an answer to a `Pull` have come; request more if there are more."""
        self._ask(self._synchronizer.answered(member, now_ms))

    def _ask(self, pull: Pull | None) -> None:
        if pull is not None:
            self._ready.requests.append(pull)

    def proposal(self, now_ms: int, commands_wait: bool, is_due: bool = False) -> Proposal | None:
        """The block that this peer should make now, if any. `is_due`: by the members' clocks, an
        event is due that waits for the ordered clock, such as the expiry of an order."""
        own, is_over = self.own_newest, self.start.is_over(now_ms)
        if own is None or self.halted or not is_over or self.far_ahead(now_ms):
            return None
        top = self.dag.quorum_round
        round_ = max(own.round + 1, top + 1 - CATCH_UP_ROUNDS)
        if round_ > top + 1 or not self._wanted(round_, now_ms, commands_wait, is_due):
            return None
        if len(self.dag.at(round_ - 1)) < self.committee.quorum or not own.ref.digest:
            return None  # just restored: the parents are still to come
        if round_ > top and self._leader_wait_ms(round_ - 1, now_ms) > 0:
            return None
        return Proposal(round_, self._is_fresh(now_ms))

    def _wanted(self, round_: int, now_ms: int, commands_wait: bool, is_due: bool) -> bool:
        """Whether there is a reason for a round, since an idle mesh is silent: commands, own or
        known ones, a due event, or a round that another member has started. Without the last, a
        peer that has used up its round could wait for ever."""
        return (
            self._due.wants(round_, now_ms, is_due)
            or commands_wait
            or bool(self.committer.uncommitted_payloads)
            or self.dag.highest_round >= round_
        )

    def _is_fresh(self, now_ms: int) -> bool:
        """Whether the members' newest blocks have about the present time, so that a commit on top
        of them has it too. The members answer an empty block with blocks of theirs. In case rounds
        take longer than `fresh_ms`, each empty block so far doubles the allowed age."""
        if self._spoke_ms is None:
            return False
        doublings = min(self._openers, FRESH_DOUBLINGS_MAX)
        return now_ms - self._spoke_ms <= self.timing.fresh_ms << doublings

    def _leader_wait_ms(self, round_: int, now_ms: int) -> int:
        """How much longer to wait for the leader of a round with a quorum."""
        leader = self.committer.leader(round_)
        if self.dag.slot(round_, leader) or leader == self.me:
            return 0
        if self.dag.newest[leader].round < round_ - LAGGING_ROUNDS:
            return 0
        since_ms = self._quorum[1] if self._quorum[0] == round_ else now_ms
        return since_ms + self._leader_timeout_ms() - now_ms

    def _leader_timeout_ms(self) -> int:
        """The timeout grows while no slot is decided: the mesh is slower than expected."""
        tail = self.dag.highest_round - self.committer.next_round
        grown: int = self.timing.leader_timeout_ms << min(max(tail // 8, 0), 10)
        return min(grown, self.timing.leader_timeout_max_ms)

    def far_ahead(self, now_ms: int) -> int | None:
        """The round of an honest member, if it is so far ahead that proposing now would only add
        old rounds: then this peer must catch up first."""
        reached = self._synchronizer.reached(now_ms) or 0
        return reached if reached > self.dag.quorum_round + CATCH_UP_ROUNDS else None

    def could_speak(self, now_ms: int) -> bool:
        """Whether a peer that only follows is where the others are, and could make blocks at once
        if it had a seat."""
        is_told = self._synchronizer.reached(now_ms) is not None
        return self.start.over and is_told and self.far_ahead(now_ms) is None

    def propose(
        self,
        round_: int,
        payload: bytes,
        now_ms: int,
        attestation: Attestation = NO_ATTESTATION,
        time_ms: int | None = None,
    ) -> Block:
        """Make the own block for a round from `proposal`. `now_ms` drives the timers and may be of
        a monotonic clock; `time_ms` is the time in the block, in ms since 1970. It may be less than
        in the previous block: a clock that was ahead may have been corrected.
        """
        own = self.own_newest
        assert own is not None
        assert self.me is not None
        assert round_ > own.round
        self._openers = 0 if self._is_fresh(now_ms) else self._openers + 1
        self._spoke_ms = now_ms
        block = make(
            self.committee,
            round_,
            self.me,
            self._parents(own, round_),
            payload,
            now_ms if time_ms is None else time_ms,
            attestation,
            self._sign,
        )
        self._ready.publish.append(block)
        self.receive(block, now_ms)
        return block

    def _parents(self, own: Block, round_: int) -> tuple[Ref, ...]:
        """The own last block, and of each other author its newest block below `round_`, if that is
        of the previous round, for the votes and the quorum, or if it is not committed yet."""
        parents = [own.ref]
        for author in range(self.committee.size):
            if author == self.me:
                continue
            if at := self.dag.slot(round_ - 1, author):
                parents.append(at[0].ref)
                continue
            block = self.dag.newest_before(round_, author)
            if block is not None and self.committer.wants(block.ref):
                parents.append(block.ref)
        return tuple(parents)

    def tick(self, now_ms: int) -> None:
        """Request the missing blocks that are due."""
        self._ready.requests += self._synchronizer.tick(now_ms)

    def next_tick_ms(self, now_ms: int, proposes: bool = True) -> int | None:
        """When `tick` or `proposal` could next give a new result without new input; None: never.
        `proposes`: whether this peer asks for a `proposal`."""
        due_ms = self._synchronizer.next_ms()
        own = self.own_newest
        if not proposes or own is None or self.halted:
            return due_ms
        times = [] if due_ms is None else [due_ms]
        if (start_ms := self.start.due_ms) is not None:
            times.append(max(start_ms, now_ms))
        if own.round <= self.dag.quorum_round:
            wait = self._leader_wait_ms(self.dag.quorum_round, now_ms)
            if wait > 0:
                times.append(now_ms + wait)
        return min(times, default=None)

    def ready(self) -> Ready:
        """The effects since the last call."""
        ready, self._ready = self._ready, Ready()
        return ready

    def check(self) -> None:
        """Assert every invariant."""
        self.committer.check()
        own = self.own_newest
        if own is not None and self.committee.mode is Mode.CRASH and not self.halted:
            assert self.dag.slot(own.round, own.author) in ([own], [])
