"""One run: a plan carried out, and a verdict.

Owns the assembly of world, network, peers and referee, and the phases of a run: faults, healing,
waiting until all that was promised is done, silence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from random import Random
from typing import Any

from peer.consensus.core import Timing
from peer.consensus.garbage import EXPIRY_ROUNDS
from tests.simulator import book
from tests.simulator.disk import Disk
from tests.simulator.frames import Frames, signer
from tests.simulator.liars import KINDS, Forger, Twins
from tests.simulator.network import CALM, Network
from tests.simulator.peer import Habits, Peer, Stage, Surroundings
from tests.simulator.plan import RIGHT_RATE, Crash, Cut, Jump, Plan, Restore
from tests.simulator.referee import Referee
from tests.simulator.world import MS, World

PATIENCE_US = 60_000 * MS  # so long after healing all that was promised must be done,
PATIENCE_ROUNDS = 200  # and within so many rounds
QUIET_US = 2_500 * MS  # no block for so long is silence; longer than any leader is waited for
LAST_ROUNDS = 20  # at most are made once all is done
CHECK_EVERY = 40


class Ending(Enum):
    PASS = "Pass"
    NO_PROGRESS = "NoProgress"
    DIVERGED = "Diverged"


@dataclass(frozen=True)
class Verdict:
    plan: Plan
    ending: Ending
    reason: str
    digest: bytes  # of everything that was committed, and when
    rounds: int
    commits: int
    blocks: int  # published by honest members
    promised: int  # commands
    heal_rounds: int  # from healing until all was done
    heal_us: int
    checks: int
    delays_us: tuple[int, ...]  # submit to applied at the submitter
    takeovers: int = 0  # of another peer's snapshot


@dataclass(frozen=True)
class Options:
    """What is passed into a run beside its plan."""

    habits: Habits = field(default_factory=Habits)
    timing: Timing = field(default_factory=Timing)
    machine: Callable[[], book.Machine] = book.Tally
    command: Callable[[Random, int, int], bytes] = book.count
    nodes: bool = False
    epochs: bool = False  # nodes whose members change
    lies: tuple[str, ...] = KINDS  # that byzantine members may tell
    check_every: int = CHECK_EVERY
    trace: Callable[[str], None] | None = None


class Run:
    patience_rounds = PATIENCE_ROUNDS
    _quiet_us = QUIET_US

    def __init__(self, plan: Plan, options: Options) -> None:
        self.plan = plan
        self.options = options
        self.world = World(options.trace)
        self.network = Network(
            self.world, Random(f"network {plan.name}"), plan.weather, self._deliver
        )
        self._chance = Random(f"peers {plan.name}").random
        self._commands = Random(f"commands {plan.name}")
        size = plan.committee.size
        honest = frozenset(range(size)) - {member for member, _ in plan.liars}
        self.referee = self._referee(honest)
        self.frames = Frames(plan.committee)
        self.peers = [self._peer(m, m) for m in sorted(honest)]
        if plan.follower:
            self.peers.append(self._peer(size, None))
        self._at: dict[int, Peer] = {peer.address: peer for peer in self.peers}
        self.liars = {member: self._liar(member, kind) for member, kind in plan.liars}
        self._submitted = [0] * size

    def _referee(self, honest: frozenset[int]) -> Referee:
        options = self.options
        return Referee(self.world, self.plan, options.machine, honest, options.check_every)

    def _liar(self, member: int, kind: str) -> Twins | Forger:
        random = Random(f"liar {member} {self.plan.name}")
        if kind == "twins":
            return Twins(self._around, member, self.plan.committee.size, random)
        return Forger(self._around(), member, kind, random)

    def _peer(self, address: int, member: int | None) -> Peer:
        plan = self.plan
        fsync_us = plan.fsync_us[member] if member is not None and plan.fsync_us else 0
        skew_ms = plan.skew_ms[member] if member is not None and plan.skew_ms else 0
        rate = plan.rates[member] if member is not None and plan.rates else RIGHT_RATE
        return Peer(self._around(), address, member, signer(address), fsync_us, skew_ms, rate)

    def _around(self, send: Callable[[int, int, Any], None] | None = None) -> Surroundings:
        plan, options = self.plan, self.options
        return Surroundings(
            world=self.world,
            committee=plan.committee,
            send=send or self.network.send,
            decode=self.frames.decode,
            observer=self.referee,
            machine=options.machine,
            chance=self._chance,
            timing=options.timing,
            habits=options.habits,
            heartbeat_us=plan.heartbeat_us,
            audience=plan.committee.size + plan.follower,
        )

    def _deliver(self, to: int, sender: int, message: Any) -> None:
        hears = self._at.get(to) or self.liars.get(to)
        if hears is not None:
            hears.deliver(sender, message)

    # The plan

    def _schedule(self) -> None:
        plan, after = self.plan, self.world.after
        for at, member in plan.commands:
            after(at, self._submit, member)
        for crash in plan.crashes:
            after(crash.at_us, self._crash, crash)
        for cut in plan.cuts:
            after(cut.at_us, self._cut, cut)
        for jump in plan.jumps:
            after(jump.at_us, self._jump, jump)
        for at, member in plan.dead:
            after(at, self._lose, member)
        for restore in plan.restored:
            after(restore.copy_us, self._copy, restore)
        self.network.slowness.update(plan.slow)

    def _submit(self, member: int) -> None:
        peer = self._at.get(member)
        if peer is not None and peer.up:
            self._submitted[member] += 1
            command = self.options.command(self._commands, member, self._submitted[member])
            self.referee.born_us[command] = self.world.now_us
            peer.submit(command)

    def _crash(self, crash: Crash) -> None:
        peer = self._at.get(crash.member)
        if peer is not None and peer.up:
            peer.on_death = lambda: self.world.after(crash.down_us, self._restart, peer)
            peer.crash(crash.stage)

    def _restart(self, peer: Peer) -> None:
        if not peer.up and not peer.lost:
            peer.start()

    def _lose(self, member: int) -> None:
        if (peer := self._at.get(member)) is not None:
            peer.lost = True
            peer.crash(Stage.NOW)

    def _copy(self, restore: Restore) -> None:
        peer = self._at[restore.member]
        left_us = restore.at_us - self.world.now_us
        self.world.after(left_us, self._put_back, peer, peer.disk.copy())

    def _put_back(self, peer: Peer, copy: Disk) -> None:
        """A copy of a moment ago; where nothing was said since, there is nothing to contradict."""
        said = max((b.round for b in peer.disk.blocks if b.author == peer.member), default=0)
        knows = max((b.round for b in copy.blocks if b.author == peer.member), default=0)
        peer.crash(Stage.NOW)
        if knows < said:
            self.world.note(peer.address, f"its disk is put back to round {knows} of {said}")
            peer.disk, peer.restored = copy, True
        peer.start()

    def _cut(self, cut: Cut) -> None:
        if cut.one_way is not None:
            self.network.cut.add(cut.one_way)
            self.world.after(cut.for_us, self.network.cut.discard, cut.one_way)
        else:
            self.network.sides = (*cut.sides, 0)
            self.world.after(cut.for_us, self._join)
        self.world.note("network", f"is cut: {cut.one_way or cut.sides}")

    def _join(self) -> None:
        self.network.sides = None
        self.world.note("network", "is whole again")

    def _jump(self, jump: Jump) -> None:
        if (peer := self._at.get(jump.member)) is not None:
            peer.skew_ms += jump.by_ms
            self.world.note(jump.member, f"clock jumps by {jump.by_ms} ms")

    # The phases

    def verdict(self) -> Verdict:
        """Carry the plan out."""
        try:
            ending, reason = self._phases()
        except Exception as error:  # whatever it is, the core must not raise it
            ending, reason = Ending.DIVERGED, f"{type(error).__name__}: {error}"
        referee = self.referee
        return Verdict(
            plan=self.plan,
            ending=ending,
            reason=reason,
            digest=self._digest(),
            rounds=referee.highest_round,
            commits=len(referee.order),
            blocks=referee.blocks,
            promised=len(referee.promised),
            heal_rounds=self._done_round - self._heal_round,
            heal_us=self._done_us - self.plan.heal_us,
            checks=referee.checks,
            delays_us=tuple(referee.delays_us),
            takeovers=referee.takeovers,
        )

    _heal_round = _done_round = _done_us = 0

    def _phases(self) -> tuple[Ending, str]:
        for starts in (*self.peers, *self.liars.values()):
            starts.start()
        self._schedule()
        self.world.run(self.plan.heal_us)
        self._heal()
        self._heal_round = self.referee.highest_round
        done = self._finish(promised=0)
        self._done_round, self._done_us = self.referee.highest_round, self.world.now_us
        if not done:
            return Ending.NO_PROGRESS, self._stuck()
        for liar in self.liars.values():
            liar.quiet = True
        return self._silence() or self._wake() or self._silence() or (Ending.PASS, "")

    def _finish(self, promised: int) -> bool:
        """Whether all that was promised, at least so many commands, is applied everywhere before
        patience ends."""
        referee, last = self.referee, self.referee.highest_round + self.patience_rounds

        def done() -> bool:
            return len(referee.promised) >= promised and self._settled()

        def over() -> bool:
            return referee.highest_round > last or done()

        self.world.run(self.world.now_us + PATIENCE_US, over)
        return done()

    def _settled(self) -> bool:
        return self.referee.settled(self._alive)

    def _wake(self) -> tuple[Ending, str] | None:
        """One command at each member, one after the other: nobody used up its round for good."""
        for peer in self._alive:
            if peer.member is not None:
                self.world.note("world", f"a lone command for member {peer.member}")
                promised = len(self.referee.promised) + 1
                self._submit(peer.member)
                if not self._finish(promised):
                    return Ending.NO_PROGRESS, f"of a lone command: {self._stuck()}"
        return None

    def _heal(self) -> None:
        self.world.note("world", "faults stop")
        network = self.network
        network.weather, network.sides = CALM, None
        network.cut.clear()
        network.slowness.clear()
        for peer in self.peers:
            peer.doom = None
            self._restart(peer)

    @property
    def _alive(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.up]

    def _may_be_late(self, peer: Peer) -> bool:
        """Whether it may lack the last commits in an idle mesh."""
        return False

    def _silence(self) -> tuple[Ending, str] | None:
        """An idle mesh makes no blocks, and everybody is as far as everybody else. Commands of
        liars that nobody will ever commit keep it busy until they expire."""
        self.world.note("world", "all is done; silence is expected")
        start, blocks = self.referee.highest_round, -1
        rounds = 0
        while self.referee.blocks > blocks and rounds <= self._rounds_to_silence:
            blocks = self.referee.blocks
            self.world.run(self.world.now_us + self._quiet_us)
            rounds = self.referee.highest_round - start
        for peer in self._alive:
            peer.consensus.check()
        if self.referee.blocks > blocks:
            return Ending.NO_PROGRESS, f"an idle mesh made blocks for {rounds} rounds"
        late = [p for p in self._alive if p.commits < len(self.referee.order)]
        behind = [peer.address for peer in late if not self._may_be_late(peer)]
        if behind:
            return Ending.NO_PROGRESS, f"peers {behind} miss commits that others made"
        return None

    @property
    def _rounds_to_silence(self) -> int:
        return EXPIRY_ROUNDS + LAST_ROUNDS if self.liars else LAST_ROUNDS

    def _stuck(self) -> str:
        lines = [
            f"peer {p.address}: {p.commits} commits, {p.progress}, has {p.consensus.heartbeat()}, "
            f"misses {len(p.consensus.dag.missing)}"
            for p in self._alive
        ]
        return "commands were accepted and never applied\n  " + "\n  ".join(lines)

    def _digest(self) -> bytes:
        digest = blake2b(digest_size=16)
        for commit, state in zip(self.referee.order, self.referee.digests, strict=False):
            digest.update(commit.leader.digest + state)
        figures = (self.world.now_us, self.world.steps, self.referee.blocks, self._done_us)
        digest.update(repr(figures).encode())
        return digest.digest()
