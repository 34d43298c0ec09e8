"""Three or four real nodes with real journals in one process, and all they ever told anybody.

    python -m tests.disk.world MODE FOLDER TOLD SEED TURNS

Owns time and the messages between them; some get lost, and now and then a node is cut off for so
long that the others go on without its blocks. A seed decides all that, and which orders come.
Must never touch what a node does with its journal.
"""

import os
import queue
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import zmq

from engine import Command, Side
from peer.client import protocol
from peer.client.endpoint import Endpoint, Local
from peer.client.programs import Caller
from peer.client.protocol import Reply, Request
from peer.consensus.block import Block
from peer.consensus.committee import Mode
from peer.consensus.core import Pull, Wanted
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.authenticator import Asker
from peer.network.mesh import Mesh
from peer.network.messages import (
    Answered,
    Asked,
    BlockIn,
    Heard,
    Heartbeat,
    Message,
    Offered,
    PartsAsked,
    PartsIn,
    Pulled,
)
from peer.network.messages import Request as Question
from peer.node.ledger import Ledger
from peer.node.loop import Node, Wires
from peer.node.snapshots import Pace
from peer.process.poller import Poller
from peer.replica.batch import seq_and_member
from peer.storage import data_folder
from peer.storage.block_log import Slots
from peer.storage.data_folder import JOURNAL_FILE, KEY_FILE
from peer.storage.journal import Journal
from peer.storage.part_requests import PartsWanted
from peer.storage.state_sync import Manifest
from tests.disk.image import MARKS
from tests.support.real_mesh import MARKET, MARKETS, OTHER_MARKET, order, random_orders

CREATED_MS = 1_700_000_000_000
NAMES = {Mode.CRASH: ("ann", "bob", "cid"), Mode.BYZANTINE: ("ann", "bob", "cid", "dan")}
TURN_MS = 20
LOST = 0.03  # of the messages between nodes
CUT_TURNS = 120
CHECKPOINT_PAGES = 40  # so that a short life has many checkpoints,
SLOT_BYTES = 16 * 1024  # and many slots of the log
PACE = Pace(commits=64, pieces=1)  # as often as can be, and as slowly
RESTS, CROSSES = b"rests", b"crosses"  # orders that stay in the book for ever, and others
_CALLER = b"test"


class Told:
    """What the nodes told each other and their clients, over all their lives. Adds to `faults` when
    something contradicts what was told before."""

    def __init__(self, write: Callable[[str], None] = lambda _: None) -> None:
        self.frames: dict[tuple[int, int], bytes] = {}  # by author and round
        self.taken: set[int] = set()  # ids of acknowledged commands
        self.resting: set[int] = set()  # those of them that stay in the book
        self.states: dict[int, str] = {}  # digest by commit
        self.faults: list[str] = []
        self._write = write

    def add(self, line: str) -> None:
        """Take in a line that was written."""
        kind, *rest = line.split()
        match kind:
            case "block":
                self._block(int(rest[0]), int(rest[1]), bytes.fromhex(rest[2]))
            case "state":
                self._state(int(rest[0]), rest[1])
            case "taken" | "rests":
                ids = {int(id_) for id_ in rest}
                self.taken |= ids
                self.resting |= ids if kind == "rests" else set()

    def say(self, line: str) -> None:
        """Something is told right now."""
        self.add(line)
        self._write(line)

    def _block(self, author: int, round_: int, frame: bytes) -> None:
        if self.frames.setdefault((author, round_), frame) != frame:
            self.faults.append(f"member {author} signed two blocks for round {round_}")

    def _state(self, commit: int, digest: str) -> None:
        if self.states.setdefault(commit, digest) != digest:
            self.faults.append(f"two states after commit {commit}")

    def newest(self, author: int) -> int:
        return max((round_ for member, round_ in self.frames if member == author), default=0)


class Wire(Mesh):
    """Speaks to the other nodes in this process. Its sockets are there, and silent."""

    me: int
    world: "World"

    def join(self, me: int, world: "World") -> "Wire":
        self.me, self.world = me, world
        self.inbox: list[Message] = []
        self.questions: list[Question] = []
        return self

    def receive(self, now_ms: int, quorum_round: int = 0) -> Iterator[Message]:
        inbox, self.inbox = self.inbox, []
        yield from inbox

    def requests(self, now_ms: int) -> Iterator[tuple[Asker, Question]]:
        questions, self.questions = self.questions, []
        for question in questions:
            yield Asker(True, str(question.who[0])), question

    def _to(self, member: int, *messages: Message) -> None:
        if self._reaches(member):
            self.world.wires[member].inbox += messages

    def _put(self, member: int, question: Question) -> None:
        if self._reaches(member):
            self.world.wires[member].questions.append(question)

    def _reaches(self, member: int) -> bool:
        return self.world.cut not in (member, self.me) and self.world.rng.random() >= LOST

    def publish(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self.world.told.say(f"block {block.author} {block.round} {block.frame.hex()}")
            for member in self.links:
                self._to(member, BlockIn(self.me, block.frame))

    def beat(self, heartbeat: Heartbeat) -> None:
        for member in self.links:
            self._to(member, Heard(self.me, heartbeat))

    def alive(self, member: int, now_ms: int) -> bool:
        return True

    def ask(self, requests: Iterable[Wanted | Pull | PartsWanted]) -> None:
        who = bytes([self.me])
        for request in requests:
            match request:
                case Wanted(member, refs):
                    self._put(member, Asked(who, tuple(ref.digest for ref in refs)))
                case Pull(member, above, epoch):
                    self._put(member, Pulled(who, epoch, above))
                case PartsWanted(member, number, commit, places):
                    self._put(member, PartsAsked(who, number, commit, places))

    def answer(self, asked: Asked | Pulled, frames: list[bytes]) -> None:
        messages: list[Message] = [BlockIn(self.me, frame) for frame in frames]
        if isinstance(asked, Pulled):
            messages.append(Answered(self.me))
        self._to(asked.who[0], *messages)

    def offer(
        self, asked: Pulled | PartsAsked, manifest: Manifest, certificate: list[bytes]
    ) -> None:
        self._to(asked.who[0], Offered(self.me, manifest, certificate))

    def send_parts(self, asked: PartsAsked, parts: list[bytes]) -> None:
        self._to(asked.who[0], PartsIn(self.me, asked.number, asked.commit, parts))


class Desk(Local):
    """Takes requests from this process, and tells what is replied."""

    told: Told
    requests: list[tuple[Caller, Request]]

    def open(self, told: Told) -> "Desk":
        self.told, self.requests = told, []
        return self

    def receive(self) -> Iterator[tuple[Caller, Request]]:
        requests, self.requests = self.requests, []
        yield from requests

    def reply(self, caller: Caller, reply: Reply) -> None:
        if isinstance(reply, protocol.Queued):
            kind = "rests" if caller.request == RESTS else "taken"
            self.told.say(f"{kind} {' '.join(map(str, reply.ids))}")

    def publish(self, update: protocol.Update, topic: str) -> None:
        if isinstance(update, protocol.Committed):
            self.told.say(f"state {update.commit} {update.digest.hex()}")


class World:
    """Use as a context. Constructing recovers all nodes; JournalError if one can't. One that is
    `gone` takes no part."""

    def __init__(
        self, mode: Mode, folder: Path, told: Told, seed: int, gone: int | None = None
    ) -> None:
        self.told = told
        self.names = NAMES[mode]
        self.present = [me for me in range(len(self.names)) if me != gone]
        self.cut: int | None = None  # whom no message reaches or leaves now
        self.rng = random.Random(seed)
        self.now_ms = 0  # of the clock that all turns see
        self.nodes: list[Node] = []
        self.wires: list[Wire] = []
        self.desks: list[Desk] = []
        self._contexts: list[zmq.Context[zmq.Socket[bytes]]] = []
        identities = [Identity.load(folder / name / KEY_FILE) for name in self.names]
        members = [
            Member(n, one.public.hex()) for n, one in zip(self.names, identities, strict=True)
        ]
        self.config = MeshConfig("test", mode, CREATED_MS, members, MARKETS, [])
        try:
            for me, identity in enumerate(identities):
                self._build(me, folder / self.names[me], identity)
            for me in self.present:
                self.nodes[me].recover()
        except BaseException:
            self.close()
            raise
        self.now_ms = time.monotonic_ns() // 1_000_000  # recovery looked at the real one

    def _build(self, me: int, folder: Path, identity: Identity) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._contexts.append(context)
        poller = Poller()
        wire = Wire(context, self.config, identity, poller).join(me, self)
        desk = Desk(context, Endpoint("inproc://node"), poller).open(self.told)
        path = folder / JOURNAL_FILE
        slots = Slots(path, SLOT_BYTES)
        journal = Journal(path, identity.public, self.config.id, slots=slots)
        journal._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        ledger = Ledger(self.config, me, identity.sign, journal, pace=PACE)
        node = Node(self.config, ledger, Wires(poller, wire, desk), queue.Queue())
        self.wires.append(wire)
        self.desks.append(desk)
        self.nodes.append(node)

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for node in self.nodes:
            node.ledger.journal.close()
        for context in self._contexts:
            context.destroy(linger=0)

    def turn(self) -> None:
        """A turn of most of the nodes, in any order. JournalError if a disk fails."""
        self.now_ms += self.rng.randrange(TURN_MS)
        for me in self.rng.sample(self.present, self.rng.randint(1, len(self.present))):
            self.nodes[me]._take_part_in(self.now_ms)

    def submit(self, me: int, count: int) -> None:
        """Orders at a node, that rest in the book or that cross others."""
        commands: list[Command]
        if self.rng.random() < 0.5:
            caller = RESTS
            prices = [self.rng.randint(1, 1_000) for _ in range(count)]
            commands = [order(self.names[me], Side.BUY, price, 1, MARKET) for price in prices]
        else:
            caller = CROSSES
            commands = [
                msgspec.structs.replace(one, market=OTHER_MARKET)
                for one in random_orders(self.rng, self.names[me], count)
            ]
        self.desks[me].requests.append((Caller(_CALLER, caller), protocol.Execute(commands)))

    def trade(self, turns: int) -> None:
        for turn in range(turns):
            if turn % CUT_TURNS == 0:
                self.cut = self.rng.choice((None, *self.present))
            if self.rng.random() < 0.3:
                self.submit(self.rng.randrange(len(self.nodes)), self.rng.choice((1, 1, 3, 30)))
            self.turn()

    def put_about(self) -> None:
        """All blocks that were ever published reach everybody: they may still have been on their
        way."""
        for (author, _), frame in sorted(self.told.frames.items()):
            for wire in self.wires:
                if wire.me != author:
                    wire.inbox.append(BlockIn(author, frame))

    def unsettled(self) -> str:
        """What is still to be done until all is ordered and everybody has the same book."""
        nodes = [self.nodes[me] for me in self.present]
        if halted := [node.halted for node in nodes if node.halted]:
            return halted[0]
        states = {node.ledger.replica.latest() for node in nodes}
        if len(states) > 1:
            return f"the nodes have different states: {states}"
        if any(outstanding := [node.submissions.outstanding for node in nodes]):
            return f"{outstanding} commands wait"
        replica = nodes[0].ledger.replica
        for id_ in self.told.taken:
            seq, member = seq_and_member(id_)
            if member in self.present and seq >= replica.expected[member]:
                return f"{self.names[member]}'s command {seq} was acknowledged and is not ordered"
        return ""

    def check(self) -> list[str]:
        """What is wrong with the state that all have in the end."""
        wrong = list(self.told.faults)
        resting = {id_ for id_ in self.told.resting if seq_and_member(id_)[1] in self.present}
        for me in self.present:
            exchange = self.nodes[me].ledger.replica.exchange
            exchange.check()
            self.nodes[me].ledger.consensus.check()
            open_ = {one.id for name in self.names for one in exchange.open_orders(name)}
            if lost := resting - open_:
                wrong.append(f"acknowledged and not in the book: {sorted(lost)[:10]}")
        return wrong


def main() -> None:
    """A life of so many turns, which ends as by kill -9. TOLD is what was told in those before."""
    mode, folder, before = Mode(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    seed, turns = int(sys.argv[4]), int(sys.argv[5])
    marks = os.open(folder / MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    told = Told(lambda line: _write(marks, f"{line}\n".encode()))
    if before.exists():
        for line in before.read_text().splitlines():
            told.add(line)
    else:
        for name in NAMES[mode]:
            data_folder.create(folder / name)
        told.say("made")
    world = World(mode, folder, told, seed)
    world.trade(turns)
    if wrong := [node.halted for node in world.nodes if node.halted] + told.faults:
        sys.exit("\n".join(wrong))
    os._exit(0)  # closing would tidy up


def _write(file: int, data: bytes) -> None:
    written = os.write(file, data)
    assert written == len(data)


if __name__ == "__main__":
    main()
