"""A member that helps badly, on real sockets with its real key: who comes late gets what it lacks
from the others, while they trade on."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import UnionType

import msgspec
import pytest
import zmq

from discovery.grapes import running_grapes
from engine import HashTree, Leaf, Side, leaf_digest, leaf_part
from peer.client.connection import NoAnswerError, NodeClient
from peer.consensus.block import NO_ATTESTATION
from peer.consensus.committee import Mode
from peer.membership.identity import Identity
from peer.network.mesh import Mesh
from peer.network.messages import Asked, Heartbeat, PartsAsked, Pulled, Request
from peer.process.poller import Poller
from peer.storage import data_folder
from peer.storage.journal import pieces_of
from peer.storage.part_requests import PLACES_MAX
from peer.storage.state_sync import Manifest
from tests.support.real_mesh import RealMesh, RealPeer, order, random_orders, wait_for

LIAR = 3
FAR = 1_000_000  # a round nobody has reached
BEAT_S = 0.02
DRIP_S = 1.5  # before each part of one that is very slow


class Helper:
    """The fourth member, in our hands: says it has everything, and answers as `lie` does."""

    def __init__(self, mesh: RealMesh, lie: "Lie") -> None:
        self.mesh = mesh
        self.asked: list[Request] = []
        self._lie = lie
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        identity = Identity.load(mesh.peers[LIAR].folder / "key")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.wire = Mesh(self._context, mesh.config, identity, Poller())
        self.place = f"--at=peer4=127.0.0.1:{self.wire.port}"

    def __enter__(self) -> "Helper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.wire.close()
        self._context.term()

    def _run(self) -> None:
        while not self._stop.is_set():
            time_ms = time.time_ns() // 1_000_000
            rounds = (FAR,) * len(self.mesh.peers)
            port, name = self.wire.fetch_port, self.mesh.config.id
            claims = FAR, NO_ATTESTATION, NO_ATTESTATION, time_ms, (True,) * len(rounds)
            self.wire.beat(Heartbeat(name, 0, LIAR, port, rounds, *claims))
            for _ in self.wire.receive(0):
                pass
            for _, request in self.wire.requests(0):
                self.asked.append(request)
                self._lie(self, request)
            time.sleep(BEAT_S)

    def certified(self) -> tuple[Manifest, list[bytes]]:
        """What an honest member would offer."""
        with self._journal() as db:
            number, digest, certificate = db.execute(
                "SELECT number, digest, certificate FROM snapshots WHERE certificate NOTNULL"
            ).fetchone()
        return Manifest(number, digest), msgspec.msgpack.decode(certificate)

    def parts(self, asked: PartsAsked) -> list[bytes]:
        """What an honest member would answer; none if it has another state by now."""
        with self._journal() as db:
            pieces = dict(pieces_of(db, asked.commit))
        leaves = (Leaf(key, leaf_digest(key, piece)) for key, piece in pieces.items())
        tree, found = HashTree().updated(leaves), []
        for place in asked.places:
            root = tree.at(*place).root
            if root is not None:
                is_leaf = isinstance(root, Leaf)
                found.append(leaf_part(root.key, pieces[root.key]) if is_leaf else root.part)
        return found

    @contextmanager
    def _journal(self) -> Iterator[sqlite3.Connection]:
        file = self.mesh.peers[0].folder / "journal.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            db.execute("BEGIN")
            yield db


Lie = Callable[[Helper, Request], None]


def silent(_: Helper, __: Request) -> None:
    """Answers nothing."""


def empty(helper: Helper, message: Request) -> None:
    """Answers with nothing in it."""
    if isinstance(message, Asked | Pulled):
        helper.wire.answer(message, [])


def garbage(helper: Helper, message: Request) -> None:
    """Answers with what are no blocks."""
    if isinstance(message, Asked | Pulled):
        helper.wire.answer(message, [b"garbage" * 100])


def uncertified(helper: Helper, message: Request) -> None:
    """Offers a state that nobody else has signed."""
    if isinstance(message, Pulled):
        manifest, frames = helper.certified()
        helper.wire.offer(message, manifest._replace(commit=FAR * 64), frames)


def withheld(helper: Helper, message: Request) -> None:
    """Offers a true state and hands out none of it."""
    if isinstance(message, Pulled):
        helper.wire.offer(message, *helper.certified())


def wrong(helper: Helper, message: Request) -> None:
    """Offers a true state and hands out another."""
    withheld(helper, message)
    if isinstance(message, PartsAsked):
        parts = helper.parts(message)
        helper.wire.send_parts(message, [part[:-1] + b"x" for part in parts])


def shapeless(helper: Helper, message: Request) -> None:
    """Offers a true state and hands out what is no part of any."""
    withheld(helper, message)
    if isinstance(message, PartsAsked):
        helper.wire.send_parts(message, [b"node" * 20, b"leaf", b""][: len(message.places)])


def dripping(helper: Helper, message: Request) -> None:
    """Hands out a true state part by part."""
    withheld(helper, message)
    if isinstance(message, PartsAsked):
        time.sleep(DRIP_S)
        helper.wire.send_parts(message, helper.parts(message)[:1])


def endless(helper: Helper, message: Request) -> None:
    """Answers with noise, as much as it can and more often than it is asked."""
    withheld(helper, message)
    if isinstance(message, PartsAsked):
        for _ in range(20):
            helper.wire.send_parts(message, [bytes(256 * 1024)] * PLACES_MAX)


class Traffic:
    """Orders that go on all the time."""

    def __init__(self, mesh: RealMesh) -> None:
        self._mesh = mesh
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failure: NoAnswerError | None = None

    def _run(self) -> None:
        rng = random.Random(1)
        clients = [NodeClient(peer.where) for peer in self._mesh.peers[:LIAR]]
        try:
            while not self._stop.is_set():
                for client in clients:
                    client.execute(random_orders(rng, "busy", 2))
        except NoAnswerError as error:
            self.failure = error
        finally:
            for client in clients:
                client.close()

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """Three honest members of four, with some history: its first blocks are pruned."""
    folder = tmp_path_factory.mktemp("mesh")
    with (
        running_grapes() as grapes,
        RealMesh(
            folder,
            [grape.spec.url for grape in grapes],
            size=4,
            mode=Mode.BYZANTINE,
            observers="any",
            options=("--snapshot-every=64",),
        ) as mesh,
    ):
        honest = mesh.peers[:LIAR]
        for peer in honest:
            peer.start()
        mesh.wait_quorum(honest)
        rng = random.Random(1)
        while honest[0].state().commit < 400:
            for peer in honest:
                peer.client.execute(random_orders(rng, "busy", 2))
        yield mesh


@pytest.mark.parametrize(
    ("lie", "kind", "said"),
    [
        (silent, Pulled, ""),
        (empty, Pulled, ""),
        # Whatever the first question is, its answer ends the connection.
        (garbage, Asked | Pulled, "ALARM peer4 is cut off: it sent an invalid block"),
        (uncertified, Pulled, ""),
        (withheld, PartsAsked, ""),
        (wrong, PartsAsked, "ALARM peer4 sent a part that does not belong to the requested state"),
        (
            shapeless,
            PartsAsked,
            "ALARM peer4 sent a part that does not belong to the requested state",
        ),
        (dripping, PartsAsked, ""),
        (endless, PartsAsked, ""),  # the others may be done before it
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_peer_with_a_bad_helper_uses_others_and_reaches_the_same_state(
    mesh: RealMesh, tmp_path: Path, lie: Lie, kind: type[Request] | UnionType, said: str
) -> None:
    """ORDER-31, ORDER-38."""
    data_folder.create(tmp_path / "late")
    with Helper(mesh, lie) as helper, Traffic(mesh) as traffic:
        late = RealPeer(tmp_path / "late", mesh.file, mesh.grapes, options=[helper.place])
        late.start()
        try:
            wait_for("a question", lambda: any(isinstance(m, kind) for m in helper.asked))
            goal = mesh.peers[0].state().commit
            wait_for("the state", lambda: late.state().commit >= goal)
            traffic.__exit__()
            assert traffic.failure is None
            mesh.peers[1].client.execute([order(lie.__name__, Side.BUY, 1, 1)])
            mesh.agreed([*mesh.peers[:LIAR], late])
            assert "took over the state after commit" in late.log()
            assert said in late.log()
            assert "Traceback" not in late.log()
        finally:
            late.close()
