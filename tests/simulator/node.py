"""One simulated node: the real Node with its real ledger, journal and engine.

Owns what is not real around it: its clock, its wires, its disk, and the points of a turn at which
it can die. Must never be kinder than a machine: what was not written is gone after a crash, what
was not synced after a power failure, and a restart knows nothing but the disk.
"""

import queue
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from engine import Market
from peer.client.programs import Caller
from peer.client.protocol import Reply, Request
from peer.consensus.block import Block
from peer.consensus.committer import Commit
from peer.consensus.core import Consensus, Ready
from peer.membership.epochs import Pin
from peer.membership.mesh_file import Member, MeshConfig
from peer.node.ledger import Ledger, Recovered
from peer.node.loop import Node, Wires
from peer.node.snapshots import Pace
from peer.node.timers import Clock
from peer.replica.applied import Applied
from peer.replica.feature_level import LEVELS
from peer.replica.snapshot import InvalidSnapshotError
from peer.replica.state_machine import Replica
from peer.storage.journal import Journal
from peer.storage.state_sync import Fetched
from tests.simulator.keys import Remembering, address_of, identity_of
from tests.simulator.memory_disk import Disk, MemorySlots
from tests.simulator.peer import DOOM_US, Stage
from tests.simulator.plan import Plan
from tests.simulator.wires import LocalWires, MeshWires, NoPoller
from tests.simulator.world import EPOCH_MS, MS, World

MARKETS = [Market("SIM", "1", "1")]
IDLE_TURNS_MAX = 1_000  # in a row, without a wait: then a processor would do nothing else
PACE = Pace(commits=64, pieces=1)  # as often as can be, and as slowly


class Died(Exception):
    """The process ends here, in the middle of whatever it did."""


def config_of(plan: Plan) -> MeshConfig:
    size, mode = plan.committee.size, plan.committee.mode
    members = [Member(f"m{n}", identity_of(n).public.hex()) for n in range(size)]
    return MeshConfig("simulated", mode, plan.committee.created_ms, members, MARKETS, "any")


class Witness:
    """What a node reports; the referee listens."""

    def published(self, peer: "NodePeer", block: Block) -> None: ...

    def applied(self, peer: "NodePeer", applied: Applied, replica: Replica) -> None: ...

    def ends(self, peer: "NodePeer") -> None: ...

    def entered(self, peer: "NodePeer") -> None: ...

    def showed(self, peer: "NodePeer", commit: int) -> None: ...

    def stands(self, peer: "NodePeer", replica: Replica) -> None: ...

    def took_over(self, peer: "NodePeer") -> None: ...

    def lost_power(self, peer: "NodePeer") -> None: ...

    def fetched_wrong(self, peer: "NodePeer") -> None: ...

    def forgets(self, peer: "NodePeer") -> None: ...

    def turned(self, peer: "NodePeer") -> None: ...


class WatchedLedger(Ledger):
    """Reports every state it comes to."""

    peer: "NodePeer"

    def apply(self, commit: Commit) -> Applied:
        self.peer.fall(Stage.UNAPPLIED)
        applied = super().apply(commit)
        self.peer.witness.applied(self.peer, applied, self.replica)
        return applied

    def enter_next(self) -> None:
        peer = self.peer
        peer.witness.ends(peer)
        peer.fall(Stage.ENDING)
        peer.is_ending = True
        peer.broken = peer.broken or peer.breaks_at_end
        super().enter_next()
        peer.is_ending = False
        peer.witness.entered(peer)
        peer.fall(Stage.ENTERED)

    def recover(self, now_ms: int) -> Recovered:
        recovered = super().recover(now_ms)
        self.peer.witness.stands(self.peer, self.replica)
        return recovered

    def install(self, fetched: Fetched, now_ms: int) -> Ready:
        try:
            ready = super().install(fetched, now_ms)
        except InvalidSnapshotError:
            self.peer.witness.fetched_wrong(self.peer)
            raise
        self.peer.witness.stands(self.peer, self.replica)
        self.peer.witness.took_over(self.peer)
        return ready


class NodePeer:
    """`folder` takes the lock files of its lives, one each. `send(from, to, message)` speaks of
    addresses: a member's number, and for followers the numbers after those; `audience()` is who
    hears what is published. `replied` gets what the node answers to its clients."""

    def __init__(
        self,
        world: World,
        config: MeshConfig,
        address: int,
        member: int | None,
        folder: Path,
        send: Callable[[int, int, Any], None],
        audience: Callable[[], Iterable[int]],
        witness: Witness,
        chance: Callable[[], float],
        replied: Callable[["NodePeer", Caller, Reply], None],
        fsync_us: int = 0,
        skew_ms: int = 0,
        rate: int = 1_000,
        spoil: Callable[[list[bytes]], list[bytes] | None] = lambda parts: parts,
    ) -> None:
        self.spoil = spoil  # what it hands out of its state; None: nothing
        self.world = world
        self.config = config
        self.address = address
        self.member = member
        self.witness = witness
        self.fsync_us = fsync_us
        self.skew_ms = skew_ms
        self.rate = rate
        self.up = False
        self.lost = False  # its disk is gone: it must never speak again
        self.broken = False  # its disk refuses to write
        self.heals = False  # though only once: then it works again, without what it lost
        self.has_failed = False  # in this life
        self.full = False  # and what is written to it stays behind in part
        self.breaks_at_end = False  # that begins at the end of an epoch
        self.leaves = False  # its operator has said so
        self.wanted_name = ""  # under which it asks to be a member
        self.says: Callable[[Block, int], Sequence[Block]] = lambda block, to: (block,)
        self.turn_us = 0  # that a turn takes
        self.pin: Pin | None = None  # what its operator trusts
        self.levels = LEVELS  # that its program knows, from its next start on
        self.lives = 0
        self.doom: Stage | None = None
        self.on_death: Callable[[], None] = lambda: None
        self._folder = folder
        self._send = send
        self._audience = audience
        self._chance = chance
        self._replied = replied
        self._identity = identity_of(address)
        self._disk = self._new_disk()
        self._lag_us = 0  # how long this turn's flushes took
        self._free_us = 0  # when the loop comes to its next turn at the earliest
        self._turn_us: int | None = None
        self._idle_turns = 0  # in a row, without a wait between them

    def _new_disk(self) -> Disk:
        """With the empty journal of a new key."""
        path = self._folder / f"{self.address}.new"
        Journal.create(path, self._identity.public)
        disk = sqlite3.connect(":memory:", isolation_level=None, factory=Disk)
        sqlite3.connect(path).backup(disk)
        disk.at_commit = self._commit
        self._slots = MemorySlots()
        self._slots.at_commit = self._commit
        self._slots.is_full = self._is_full
        return disk

    def wipe(self) -> None:
        """Its disk is empty, while it is down."""
        assert not self.up
        self.witness.forgets(self)
        (self._folder / f"{self.address}.new").unlink()
        self._disk = self._new_disk()

    def copy_disk(self) -> tuple[Disk, "MemorySlots"]:
        """What its disk holds, while it is down."""
        assert not self.up
        disk = sqlite3.connect(":memory:", isolation_level=None, factory=Disk)
        self._disk.backup(disk)
        return disk, self._slots.copy()

    def put_back(self, disk: Disk, slots: "MemorySlots") -> None:
        """Its disk is as it was once, while it is down."""
        assert not self.up
        self.witness.forgets(self)
        self._disk, self._slots = disk, slots
        disk.at_commit = slots.at_commit = self._commit
        slots.is_full = self._is_full

    @property
    def progress(self) -> str:
        node = self.node
        waiting = node.submissions.outstanding
        return f"{waiting} commands under way, expects {node.ledger.replica.expected}"

    @property
    def commits(self) -> int:
        return self.node.ledger.replica.commit

    @property
    def consensus(self) -> Consensus:
        return self.node.ledger.consensus

    # Life and death

    def start(self) -> None:
        """Come up with what the disk holds."""
        assert not self.up
        assert not self.lost
        self.up, self.doom = True, None
        self.broken = self.full = self.heals = self.has_failed = self.breaks_at_end = False
        self.lives += 1
        self._turn_us, self._free_us, self._lag_us = None, self.world.now_us, 0
        self.is_ending = False  # enters the next epoch just now
        path = self._folder / f"{self.address}-{self.lives}"
        path.touch()
        key, disk, slots = self._identity.public, self._disk, self._slots
        journal = Journal(path, key, self.config.id, lambda _: disk, slots)
        sign = self._identity.sign
        ledger = WatchedLedger(
            *(self.config, self.member, sign, journal),
            pace=PACE,
            pin=self.pin,
            levels=self.levels,
            verifier=Remembering,
        )
        ledger.peer = self
        self.mesh = MeshWires(self)
        self.local = LocalWires(
            lambda caller, reply: self._replied(self, caller, reply),
            lambda commit: self.witness.showed(self, commit),
        )
        wires: Any = (NoPoller(), self.mesh, self.local)
        self.node = Node(self.config, ledger, Wires(*wires), queue.Queue(), self._clock())
        self.node.epochs.admission.wanted_name = self.wanted_name
        self.node.epochs.own_votes.is_leaving = self.leaves
        self._note("starts")
        self._guarded(self.node.recover)
        self._plan_turn()

    def _clock(self) -> Clock:
        """The one that never jumps starts anywhere."""
        return Clock(
            lambda: self.world.now_us + 1_000_000 * self.address,
            lambda: EPOCH_MS + self.world.now_us * self.rate // 1_000 // MS + self.skew_ms,
        )

    def crash(self, stage: Stage, doom_us: int = DOOM_US) -> None:
        """Die at once, or when a turn comes to `stage`, or after `doom_us`."""
        if not self.up:
            return
        if stage is Stage.NOW:
            self._die()
        else:
            self.doom = stage
            self.world.after(doom_us, self._overdue, self.lives)

    def _overdue(self, life: int) -> None:
        if self.up and self.lives == life:
            self._die()

    def _die(self) -> None:
        self._note(f"dies: {self.doom.value if self.doom else Stage.NOW.value}")
        self._disk.rollback()
        if self._chance() < 0.5:
            self._note("its power has failed")
            self._slots.lose_power()
            self.witness.lost_power(self)
        self.up = False
        self.on_death()

    def fall(self, stage: Stage) -> None:
        """Die here, if this is the stage."""
        if self.doom is stage:
            raise Died

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Died:
            self._die()

    # One turn of the loop

    def _plan_turn(self) -> None:
        if self.up:
            wait_ms = self.node._wait_ms()
            self._idle_turns = 0 if wait_ms else self._idle_turns + 1
            assert self._idle_turns < IDLE_TURNS_MAX, f"peer {self.address} never waits"
            self._turn_at(self._free_us + wait_ms * MS)

    def _turn_at(self, at_us: int) -> None:
        at_us = max(at_us, self._free_us, self.world.now_us)
        if self._turn_us is None or at_us < self._turn_us:
            self._turn_us = at_us
            self.world.after(at_us - self.world.now_us, self._turn, self.lives, at_us)

    def _turn(self, life: int, at_us: int) -> None:
        if not self.up or life != self.lives or at_us != self._turn_us:
            return
        self._turn_us, self._lag_us = None, 0
        self._guarded(self.node._turn)
        self._free_us = self.world.now_us + self._lag_us + self.turn_us
        if self.up:
            self.witness.turned(self)
        self._plan_turn()

    def _commit(self, commit: Callable[[], None]) -> None:
        """The disk is asked to make all that was written durable."""
        self.fall(Stage.UNWRITTEN)
        if self.doom is Stage.TORN or (self.doom is Stage.END_TORN and self.is_ending):
            if self._chance() < 0.5:
                commit()
            raise Died
        if self._fails():
            what = "database or disk is full" if self.full else "disk I/O error"
            raise sqlite3.OperationalError(what)
        commit()
        self._lag_us += int(self.fsync_us * 2 * self._chance())

    def _fails(self) -> bool:
        """Whether the disk does so now."""
        if not self.broken:
            return False
        self.has_failed, self.broken = True, not self.heals
        return True

    def _is_full(self) -> bool:
        return self.full and self._fails()

    # Wires

    def deliver(self, sender: int, message: Any) -> None:
        if self.up:
            self.mesh.deliver(sender, message)
            self._turn_at(self.world.now_us)

    def ask(self, caller: Caller, request: Request) -> None:
        """A client of this node asks for something."""
        if self.up:
            self.local.deliver(caller, request)
            self._turn_at(self.world.now_us)

    def address_of(self, key: bytes) -> int:
        return address_of(key)

    def publish(self, block: Block) -> None:
        self.fall(Stage.UNSENT)
        self.witness.published(self, block)
        for to in self._others():
            if self.doom is not Stage.HALF_SENT or self._chance() < 0.5:
                for said in self.says(block, to):
                    self.send(to, said)
        self.fall(Stage.HALF_SENT)

    def send_all(self, message: Any) -> None:
        for to in self._others():
            self.send(to, message)

    def send(self, to: int, message: Any) -> None:
        """Now, or after the flush this turn waits for."""
        if self._lag_us:
            self.world.after(self._lag_us, self._send, self.address, to, message)
        else:
            self._send(self.address, to, message)

    def _others(self) -> list[int]:
        return [address for address in self._audience() if address != self.address]

    def _note(self, text: str) -> None:
        if self.world.tracing:
            self.world.note(self.address, text)
