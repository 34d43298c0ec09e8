"""Byzantine members.

Owns what a member may do that holds a valid key and no scruples. Must never sign as another, nor
see what was not sent to it: those are the limits of the fault model.

`Twins` are two honest peers with one key that each talk to a part of the mesh. A `Forger` makes its
blocks by hand. Both see the graph through the real modules.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from peer.consensus.block import NO_ATTESTATION, Block, Ref, make
from peer.consensus.core import Consensus, Wanted
from tests.simulator import book
from tests.simulator.frames import signer
from tests.simulator.messages import Answer, Asked, AskedAbove, Heartbeat, Published, Submitted
from tests.simulator.peer import Peer, Surroundings
from tests.simulator.world import EPOCH_MS, MS

FLOOD = 40  # blocks for one round
RECENT = 50  # own blocks that a forger builds on
KINDS = ("twins", "equivocate", "withhold", "garbage", "replay", "flood", "clock", "claims", "all")


class Twins:
    """`around(send)` gives the surroundings of one twin."""

    def __init__(
        self, around: Callable[..., Surroundings], member: int, size: int, random: Random
    ) -> None:
        self.size = size
        self._random = random
        self._reach = [set(range(size)), set(range(size))]
        self._real_send = around(None).send
        self.peers = [
            Peer(around(self._sender(twin)), 100 * (twin + 1) + member, member, signer(member))
            for twin in (0, 1)
        ]
        self.world = self.peers[0].around.world
        self.member = member
        self.quiet = False

    def _sender(self, twin: int) -> Callable[[int, int, Any], None]:
        def send(_address: int, to: int, message: Any) -> None:
            if to != self.member and to in self._reach[twin] and not self.quiet:
                self._real_send(self.member, to, message)

        return send

    def start(self) -> None:
        for peer in self.peers:
            peer.start()
        self._redraw()

    def _redraw(self) -> None:
        """Each other member hears and is heard by one twin, or by both, for a while."""
        self._reach = [set(), set()]
        for member in range(self.size):
            for twin in self._random.choice(((0,), (1,), (0, 1))):
                self._reach[twin].add(member)
        self.world.after(self._random.choice((5, 40, 300)) * MS, self._redraw)

    def deliver(self, sender: int, message: Any) -> None:
        if isinstance(message, Submitted):
            self._random.choice(self.peers).deliver(sender, message)
            return
        for twin, peer in enumerate(self.peers):
            if sender in self._reach[twin]:
                peer.deliver(sender, message)


class Forger:
    def __init__(self, around: Surroundings, member: int, kind: str, random: Random) -> None:
        self.around = around
        self.member = member
        self.quiet = False
        self._random = random
        self._kinds = KINDS[1:-1] if kind == "all" else (kind,)
        self._view = Consensus(around.committee, None, signer(member))
        self._own: list[Block] = [self._view.dag.slot(0, member)[0]]
        self._made: dict[Ref, bytes] = {}
        self._seen: list[bytes] = []
        self._helpful = random.choice((0.8, 0.8, 0.0))  # how often it hands out what it made

    def start(self) -> None:
        self._act()

    def deliver(self, sender: int, message: Any) -> None:
        match message:
            case Published(frame):
                self._see(frame)
            case Answer(frames, _):
                for frame in frames:
                    self._see(frame)
            case Heartbeat(rounds):
                self._view.hear(sender, rounds, self._now_ms)
            case Asked(refs):
                self._answer(sender, refs)
            case AskedAbove():
                self._answer_above(sender)
        for request in self._view.ready().requests:
            question = (
                Asked(request.refs) if isinstance(request, Wanted) else AskedAbove(request.above)
            )
            self.around.send(self.member, request.member, question)

    @property
    def _now_ms(self) -> int:
        return EPOCH_MS + self.around.world.now_us // MS

    def _see(self, frame: bytes) -> None:
        block = self.around.decode(frame)
        if block is not None:
            self._view.receive(block, self._now_ms)
            self._seen.append(frame)

    def _answer(self, sender: int, refs: tuple[Ref, ...]) -> None:
        """Most of the time with what was asked for, or never: as it is with all it is asked."""
        made = (self._made[ref] for ref in refs if ref in self._made)
        found = [frame for frame in made if self._random.random() < self._helpful]
        self._tell(sender, Answer(tuple(found), False))

    def _answer_above(self, sender: int) -> None:
        match self._random.randrange(4) if self._helpful else 0:
            case 0:
                self._tell(sender, Answer((), True))
            case 1:
                self._tell(sender, Answer((self._random.randbytes(200),), True))
            case 2:
                chosen = self._random.sample(self._seen, min(20, len(self._seen)))
                self._tell(sender, Answer(tuple(chosen), True))

    def _tell(self, to: int, message: Any) -> None:
        if not self.quiet:
            self.around.send(self.member, to, message)

    # Mischief

    def _act(self) -> None:
        """Once in a while; then something new for the round that may be made now."""
        self._view.tick(self._now_ms)
        kind = self._random.choice(self._kinds)
        if not self.quiet:
            getattr(self, f"_{kind}")()
        self.around.world.after(int(self._random.expovariate(1 / 3) * MS) + 1, self._act)

    def _equivocate(self) -> None:
        """Two or three blocks for one round; everybody gets one of them, some two."""
        blocks = [b for _ in range(self._random.choice((2, 2, 3))) if (b := self._forge())]
        for member in self._others():
            for block in self._random.sample(blocks, min(len(blocks), self._random.choice((1, 2)))):
                self._tell(member, Published(block.frame))

    def _withhold(self) -> None:
        """A block for one member alone, or for nobody; perhaps for all, much later."""
        if block := self._forge():
            for member in self._random.sample(self._others(), self._random.choice((0, 1, 1))):
                self._tell(member, Published(block.frame))
            if self._random.random() < 0.5:
                delay = self._random.choice((5, 50, 400)) * MS
                self.around.world.after(delay, self._tell_all, Published(block.frame))

    def _garbage(self) -> None:
        """Bytes that are no block, or a block that refers to what never was."""
        if self._random.random() < 0.3:
            self._tell_all(Published(self._random.randbytes(self._random.randrange(300))))
        elif block := self._forge(garbage=True) or self._forge():
            self._tell_all(Published(block.frame))

    def _replay(self) -> None:
        for frame in self._random.sample(self._seen, min(10, len(self._seen))):
            self._tell_all(Published(frame))
        if block := self._forge():
            self._tell_all(Published(block.frame))

    def _flood(self) -> None:
        """Many blocks for one round, some of them long past."""
        if self._random.random() < 0.2:
            down = self._random.choice((0, 0, 1, 5, 30))
            for _ in range(FLOOD):
                if block := self._forge(down=down):
                    self._tell_all(Published(block.frame))

    def _clock(self) -> None:
        """Honest but for the time."""
        time_ms = self._random.choice((0, 1, EPOCH_MS - 10**9, EPOCH_MS + 10**9, 2**47))
        if block := self._forge(time_ms=time_ms):
            self._tell_all(Published(block.frame))

    def _claims(self) -> None:
        """Says it has what nobody has, and perhaps does nothing else."""
        high = self._view.dag.highest_round + self._random.choice((0, 30, 10_000))
        self._tell_all(Heartbeat((high,) * self.around.committee.size))
        if self._helpful and (block := self._forge()):
            self._tell_all(Published(block.frame))

    def _others(self) -> list[int]:
        return [m for m in range(self.around.audience) if m != self.member]

    def _tell_all(self, message: Any) -> None:
        for member in self._others():
            self._tell(member, message)

    # Blocks by hand

    def _forge(
        self, down: int = 0, garbage: bool = False, time_ms: int | None = None
    ) -> Block | None:
        """A block for the round after the newest quorum, or `down` rounds lower; None where the
        graph does not allow one."""
        round_ = self._view.dag.quorum_round + 1 - down
        if round_ < 1:
            return None
        parents = self._parents(round_)
        if parents is None:
            return None
        if garbage:
            parents = self._spoil(parents)
        block = make(
            self.around.committee,
            round_,
            self.member,
            parents,
            self._payload(),
            self._now_ms if time_ms is None else time_ms,
            NO_ATTESTATION,
            signer(self.member),
        )
        self._own.append(block)
        self._made[block.ref] = block.frame
        self._view.receive(block, self._now_ms)
        return block

    def _payload(self) -> bytes:
        """Often commands, numbered as it likes."""
        if self._random.random() < 0.6:
            return b""
        first = self._random.randint(1, 5)
        return book.encode(first, [self._random.randbytes(5) for _ in range(first)])

    def _parents(self, round_: int) -> tuple[Ref, ...] | None:
        """A random choice of what the rules allow: some predecessor of its own, a quorum of the
        round before, some older ones."""
        random, dag = self._random, self._view.dag
        lower = [b for b in (self._own[0], *self._own[-RECENT:]) if b.round < round_]
        own = random.choice(lower[-6:] or self._own[:1])
        if random.random() < 0.7:
            own = max(lower, key=lambda b: b.round)
        need = self.around.committee.quorum - (own.round == round_ - 1)
        previous = dag.at(round_ - 1)
        there = [m for m in sorted(previous) if m != self.member]
        if len(there) < need:
            return None
        chosen = random.sample(there, random.randint(max(need, 0), len(there)))
        refs = {m: random.choice(previous[m]).ref for m in chosen}
        for member in self._others():
            if member < self.around.committee.size and member not in refs and random.random() < 0.3:
                block = dag.newest_before(max(round_ - 1, 1), member)
                if block is not None:
                    refs[member] = block.ref
        return (own.ref, *(refs[m] for m in sorted(refs)))

    def _spoil(self, parents: tuple[Ref, ...]) -> tuple[Ref, ...]:
        """One parent becomes a block that never was, or was elsewhere, at its round or a lower
        one."""
        index = self._random.randrange(len(parents))
        ref = parents[index]
        round_ = ref.round
        if self._random.random() < 0.5 and len(parents) > self.around.committee.quorum:
            round_ = max(0, round_ - self._random.choice((1, 5, 70, 150)))
        digest = self._random.randbytes(32)
        if self._random.random() < 0.3:
            digest = self._random.choice(list(self._view.dag.blocks))
        fake = Ref(round_, ref.author, digest)
        return (*parents[:index], fake, *parents[index + 1 :])


HELPS = ("alters", "repeats", "drips", "keeps")


class BadHelper:
    """What a member that is honest else makes of the parts of its state that it hands out."""

    def __init__(self, kind: str, random: Random) -> None:
        self._kind = kind
        self._random = random
        self._first: list[bytes] = []

    def __call__(self, parts: list[bytes]) -> list[bytes] | None:
        self._first = self._first or parts
        if not parts or self._kind == "keeps":
            return None
        if self._kind == "repeats":
            return self._first
        if self._kind == "drips":
            return parts[:1]
        at = self._random.randrange(len(parts))
        part = bytearray(parts[at])
        part[self._random.randrange(len(part))] ^= 1 << self._random.randrange(8)
        return [*parts[:at], bytes(part), *parts[at + 1 :]]
