"""One simulated peer: a real Consensus, and its Ready executed in the node's order.

Owns the peer's clock, its inbox, its commands and what a crash at each point of a step leaves
behind. Must never be kinder to the consensus than the node is: only what is durable is sent or
served, and a restart knows nothing but the disk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from peer.consensus.block import Attestation, Block
from peer.consensus.committee import Committee
from peer.consensus.core import Consensus, Proposal, Pull, Ready, Timing, Wanted
from tests.simulator import book
from tests.simulator.disk import Disk
from tests.simulator.messages import (
    Answer,
    Asked,
    AskedAbove,
    Heartbeat,
    Published,
    Submitted,
)
from tests.simulator.world import EPOCH_MS, MS, World

COMMANDS_PER_BLOCK = 40
PULL_BLOCKS = 150  # in one answer: few, so that the asking on is exercised
LAZY_BLOCKS = 30  # of others, that a mutant leaves unsynced
DOOM_US = 300 * MS  # a crash that waits for its point in a step comes then at the latest


class Stage(Enum):
    """Where in a step a crash hits."""

    NOW = "at once"
    UNWRITTEN = "before the journal"
    TORN = "in the journal's commit"
    UNSENT = "journaled, not sent"
    HALF_SENT = "sent to some"
    UNAPPLIED = "sent, not applied"
    ENDING = "at the end of an epoch, before the journal"
    END_TORN = "in the journal's commit of an epoch's end"
    ENTERED = "in the next epoch, nothing said"


STAGES = (
    *(Stage.NOW, Stage.UNWRITTEN, Stage.TORN),
    *(Stage.UNSENT, Stage.HALF_SENT, Stage.UNAPPLIED),
)
END_STAGES = (Stage.ENDING, Stage.END_TORN, Stage.ENTERED)


@dataclass(frozen=True)
class Habits:
    """How a node treats its Ready. Anything but the default is a mutation."""

    send_before_sync: bool = False
    sync_own_only: bool = False


class Observer:
    """What a peer reports; the referee listens."""

    def accepted(self, peer: "Peer", sequence: int, command: bytes) -> None: ...

    def started(self, peer: "Peer") -> None: ...

    def published(self, peer: "Peer", block: Block) -> None: ...

    def committed(self, peer: "Peer", ready: Ready) -> None: ...

    def applied(self, peer: "Peer", commit: int, author: int, sequences: list[int]) -> None: ...

    def stepped(self, peer: "Peer") -> None: ...


@dataclass(frozen=True)
class Surroundings:
    """Everything a peer is given. `send(from, to, message)` speaks of addresses: a member's number,
    and for followers the numbers after those. `decode` verifies, and gives None for what is no
    block of this mesh."""

    world: World
    committee: Committee
    send: Callable[[int, int, Any], None]
    decode: Callable[[bytes], Block | None]
    observer: Observer
    machine: Callable[[], book.Machine]
    chance: Callable[[], float]
    timing: Timing
    habits: Habits
    heartbeat_us: int = 100 * MS
    audience: int = 0  # addresses 0 to this hear what is published: members, then followers


class Peer:
    def __init__(
        self,
        around: Surroundings,
        address: int,
        member: int | None,
        sign: Callable[[bytes], bytes],
        fsync_us: int = 0,
        skew_ms: int = 0,
        rate: int = 1_000,
    ) -> None:
        self.around = around
        self.address = address
        self.member = member
        self.disk = Disk()
        self.fsync_us = fsync_us
        self.skew_ms = skew_ms
        self.rate = rate
        self.up = False
        self.lost = False  # its disk is gone: it must never speak again
        self.restored = False  # its disk was put back from an old copy
        self.lives = 0
        self.doom: Stage | None = None
        self.on_death: Callable[[], None] = lambda: None
        self._sign = sign
        self._lazy: list[Block] = []

    @property
    def now_ms(self) -> int:
        """The monotonic clock: it never jumps, and where it starts means nothing."""
        return self.around.world.now_us // MS + 1_000 * self.address

    @property
    def wall_ms(self) -> int:
        """What the peer takes for the time of day."""
        return EPOCH_MS + self.around.world.now_us * self.rate // 1_000 // MS + self.skew_ms

    @property
    def progress(self) -> str:
        return f"expects {self.book.expected}, sent {self.sent} of {len(self.commands)}"

    # Life and death

    def start(self) -> None:
        """Come up with what the disk holds."""
        assert not self.up
        assert not self.lost
        self.up = True
        self.lives += 1
        self.busy = False
        self.doom = None
        self.inbox: list[tuple[int, Any]] = []
        self.commits = 0
        self._wake_us: int | None = None
        self.book = book.Book(self.around.committee.size, self.around.machine())
        self.commands = list(self.disk.commands)
        self.consensus = Consensus(
            self.around.committee, self.member, self._sign, self.around.timing
        )
        self.around.observer.started(self)
        ready = self.consensus.restore(self.disk.blocks, self.now_ms)
        own = [book.decode(b.payload) for b in self.disk.blocks if b.author == self.member]
        self.sent = max((first + len(items) - 1 for first, items in own if items), default=0)
        self._note(f"starts with {len(self.disk.blocks)} blocks, {len(self.commands)} commands")
        self._send(ready)
        self._apply(ready)
        self._beat(self.lives)
        self._step()

    def crash(self, stage: Stage) -> None:
        """Die at once, or when the next step comes to `stage`."""
        if not self.up:
            return
        if stage is Stage.NOW:
            self._die(self.around.chance() < 0.5)
        else:
            self.doom = stage
            self.around.world.after(DOOM_US, self._overdue, self.lives)

    def _overdue(self, life: int) -> None:
        if self.up and self.lives == life:
            self._die(False)

    def _die(self, survives: bool) -> None:
        self._note(f"dies: {self.doom.value if self.doom else Stage.NOW.value}")
        self.disk.crash(survives)
        self.up = False
        self._lazy.clear()
        self.on_death()

    def _doomed(self, stage: Stage, survives: bool = False) -> bool:
        if self.doom is not stage:
            return False
        self._die(survives)
        return True

    # What comes in

    def deliver(self, sender: int, message: Any) -> None:
        """A message of member `sender` arrives; those that come during a flush wait for its end."""
        if self.up:
            self.inbox.append((sender, message))
            if not self.busy:
                self._step()

    def submit(self, command: bytes) -> None:
        self.deliver(-1, Submitted(command))

    def _beat(self, life: int) -> None:
        """Say what is here, now and then."""
        if not self.up or life != self.lives:
            return
        if not self.busy and self.member is not None:
            self.disk.sync()
            self._send_all(Heartbeat(self.consensus.heartbeat()))
        jitter = 0.9 + 0.2 * self.around.chance()
        self.around.world.after(int(self.around.heartbeat_us * jitter), self._beat, life)

    def _take(self, sender: int, message: Any, fresh: list[bytes]) -> None:
        match message:
            case Published(frame):
                self._receive(frame)
            case Answer(frames, pull):
                for frame in frames:
                    self._receive(frame, sender)
                if pull:
                    self.consensus.answered(sender, self.now_ms)
            case Heartbeat(rounds):
                self.consensus.hear(sender, rounds, self.now_ms)
            case Asked(refs):
                found = [b.frame for ref in refs if (b := self.disk.get(ref.digest))]
                if found:
                    self.around.send(self.address, sender, Answer(tuple(found), False))
            case AskedAbove(rounds):
                above = self.disk.above(rounds, PULL_BLOCKS)
                answer = Answer(tuple(b.frame for b in above), True)
                self.around.send(self.address, sender, answer)
            case Submitted(command):
                fresh.append(command)

    def _receive(self, frame: bytes, helper: int | None = None) -> None:
        block = self.around.decode(frame)
        if block is None:
            return
        own = self.consensus.own_newest
        if self.restored and block.author == self.member and own and block.round > own.round:
            self._note("halts: its journal is an old copy")
            self.lost = True
            return
        self.consensus.receive(block, self.now_ms, helper)

    # One turn of the loop

    def _step(self) -> None:
        fresh: list[bytes] = []
        inbox, self.inbox = self.inbox, []
        for sender, message in inbox:
            self._take(sender, message, fresh)
        if self.lost:
            self._die(False)
            return
        self.commands += fresh
        self.consensus.tick(self.now_ms)
        while place := self.consensus.proposal(self.now_ms, self._waiting):
            self._propose(place)
        self._persist(self.consensus.ready(), fresh)

    def _persist(self, ready: Ready, fresh: list[bytes]) -> None:
        """As the node: own blocks with all they refer to, and commands, are durable before anybody
        hears of them; blocks of others alone wait for the next of those."""
        early = self.around.habits.send_before_sync
        if early:
            self._send(ready)
        if self._doomed(Stage.UNWRITTEN):
            return
        self.disk.add(self._kept(ready), fresh)
        if not (ready.publish or fresh):
            self._act(ready, early)
            return
        if self._doomed(Stage.TORN, survives=self.around.chance() < 0.5):
            return
        self.busy = True
        delay = int(self.fsync_us * 2 * self.around.chance()) if self.fsync_us else 0
        if delay:
            self.around.world.after(delay, self._synced, self.lives, ready, early)
        else:
            self._synced(self.lives, ready, early)

    def _kept(self, ready: Ready) -> list[Block]:
        if not self.around.habits.sync_own_only:
            return ready.persist
        self._lazy += [b for b in ready.persist if b.author != self.member]
        kept = [b for b in ready.persist if b.author == self.member]
        if len(self._lazy) > LAZY_BLOCKS:
            kept, self._lazy = self._lazy + kept, []
        return kept

    @property
    def _waiting(self) -> bool:
        return self.sent < len(self.commands)

    def _propose(self, place: Proposal) -> None:
        items = self.commands[self.sent : self.sent + COMMANDS_PER_BLOCK] if place.carries else []
        payload = book.encode(self.sent + 1, items) if items else b""
        self.sent += len(items)
        state = self.book.machine.digest() if self.commits else b""
        said = Attestation(self.commits, state)
        self.consensus.propose(place.round, payload, self.now_ms, said, self.wall_ms)

    def _synced(self, life: int, ready: Ready, sent: bool) -> None:
        if not self.up or life != self.lives:
            return
        before = self.disk.sync()
        self.busy = False
        for sequence in range(before + 1, len(self.disk.commands) + 1):
            self.around.observer.accepted(self, sequence, self.disk.commands[sequence - 1])
        if self._doomed(Stage.UNSENT):
            return
        self._act(ready, sent)

    def _act(self, ready: Ready, sent: bool = False) -> None:
        """Send, then apply."""
        if not sent:
            self._send(ready)
        if ready.publish and (self._doomed(Stage.HALF_SENT) or self._doomed(Stage.UNAPPLIED)):
            return
        self._apply(ready)
        self.around.observer.stepped(self)
        if self.inbox:
            self._step()
        else:
            self._plan_wake()

    def _send(self, ready: Ready) -> None:
        for block in ready.publish:
            self._note_block("publishes", block)
            self.around.observer.published(self, block)
            self._send_all(Published(block.frame))
        for request in ready.requests:
            match request:
                case Wanted(member, refs):
                    self.around.send(self.address, member, Asked(refs))
                case Pull(member, above):
                    self.around.send(self.address, member, AskedAbove(above))

    def _send_all(self, message: Any) -> None:
        others = [a for a in range(self.around.audience) if a != self.address]
        if self.doom is Stage.HALF_SENT and isinstance(message, Published):
            others = [a for a in others if self.around.chance() < 0.5]
        for address in others:
            self.around.send(self.address, address, message)

    def _apply(self, ready: Ready) -> None:
        for commit in ready.commits:
            self.commits = commit.number
            self.book.machine.advance(commit.time_ms)
            for block in commit.blocks:
                if block.payload:
                    sequences = self.book.apply(block.author, block.payload)
                    self.around.observer.applied(self, commit.number, block.author, sequences)
            self._note(
                f"commits {commit.number}: leader {commit.leader.round}/{commit.leader.author}"
                f", {len(commit.blocks)} blocks"
            )
        if ready.expired_blocks and self.member is not None:
            self.sent = self.book.expected[self.member] - 1  # what is not ordered goes again
        self.around.observer.committed(self, ready)

    def _plan_wake(self) -> None:
        """Come back when the consensus would next say something new by itself."""
        due_ms = self.consensus.next_tick_ms(self.now_ms)
        if due_ms is None:
            return
        delay = max(due_ms - self.now_ms, 1) * MS
        due_us = self.around.world.now_us + delay
        if self._wake_us is None or due_us < self._wake_us:
            self._wake_us = due_us
            self.around.world.after(delay, self._wake, self.lives, due_us)

    def _wake(self, life: int, due_us: int) -> None:
        if self.up and life == self.lives and due_us == self._wake_us:
            self._wake_us = None
            if not self.busy:
                self._step()

    def _note(self, text: str) -> None:
        if self.around.world.tracing:
            self.around.world.note(self.address, text)

    def _note_block(self, verb: str, block: Block) -> None:
        if self.around.world.tracing:
            parents = " ".join(f"{r.round}/{r.author}" for r in block.parents)
            first, items = book.decode(block.payload) if block.payload else (0, [])
            what = f" commands {first}-{first + len(items) - 1}" if items else ""
            self._note(
                f"{verb} {block.round}/{block.author} {block.ref.digest[:3].hex()}"
                f" on [{parents}]{what}"
            )
