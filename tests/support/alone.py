"""One node in this process, the only member of its mesh: for tests that step through its turns.

Owns its sockets and files. It records what it publishes instead of sending it.
"""

import queue
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import zmq

from engine import Command, OpenOrder
from peer.client.connection import NodeClient
from peer.client.endpoint import Local, endpoint
from peer.client.protocol import Execute, Reply
from peer.consensus.block import Block
from peer.consensus.committee import Mode
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.mesh import Mesh
from peer.network.messages import Heartbeat
from peer.node.ledger import Ledger
from peer.node.loop import Node, Wires
from peer.node.snapshots import PACE, Pace
from peer.process.poller import Poller
from peer.storage import data_folder
from peer.storage.block_log import Slots
from peer.storage.data_folder import JOURNAL_FILE, KEY_FILE
from peer.storage.history_pruning import KEEP, Keep
from peer.storage.journal import Journal
from tests.support.real_mesh import MARKETS

T = TypeVar("T")
CREATED_MS = 1_700_000_000_000


class RecordedMesh(Mesh):
    """Records what it should publish."""

    published: list[Block]
    beats: int

    def publish(self, blocks: Iterable[Block]) -> None:
        self.published = [*getattr(self, "published", []), *blocks]

    def beat(self, heartbeat: Heartbeat) -> None:
        self.beats = getattr(self, "beats", 0) + 1


def alone(folder: Path) -> MeshConfig:
    """A mesh with only the peer in `folder`; the first call makes its key and journal."""
    identity = (
        Identity.load(folder / KEY_FILE)
        if (folder / KEY_FILE).exists()
        else data_folder.create(folder)
    )
    member = Member("me", identity.public.hex())
    return MeshConfig("alone", Mode.CRASH, CREATED_MS, [member], MARKETS, [])


OFTEN = PACE._replace(commits=64)  # as often as can be


class Alone:
    """Use it in a `with` block; the constructor recovers the node."""

    def __init__(
        self,
        folder: Path,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
        pace: Pace = OFTEN,
        keep: Keep = KEEP,
        slots: Slots | None = None,
    ) -> None:
        self.folder = folder
        self.config = alone(folder)
        identity = Identity.load(folder / KEY_FILE)
        path, key = folder / JOURNAL_FILE, identity.public
        self.journal = Journal(path, key, self.config.id, connect, slots)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        poller = Poller()
        self.mesh = RecordedMesh(self.context, self.config, identity, poller)
        wires = Wires(poller, self.mesh, Local(self.context, endpoint(folder), poller))
        sign = identity.sign
        ledger = Ledger(self.config, 0, sign, self.journal, None, pace, keep)
        self.node = Node(self.config, ledger, wires, queue.Queue())
        self.client = NodeClient(endpoint(folder))
        try:
            self.node.recover()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()
        self.journal.close()
        self.context.destroy()

    def execute(self, *commands: Command, answers: int = 2, turns: int = 200) -> list[Reply]:
        """Send commands in one request, and run turns until `answers` answers have come."""
        number = self.client.send(Execute(list(commands)))
        got: list[Reply] = []
        for _ in range(turns):
            self.node._turn()
            while (answer := self.client.receive(0)) is not None:
                assert answer[0] == number
                got.append(answer[1])
            if len(got) >= answers:
                return got
        raise AssertionError(f"{len(got)} answers came: {got}")

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to a blocking call of the client; the node runs turns meanwhile."""
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(question)
            while not answer.done():
                self.node._turn()
            return answer.result()

    def open_orders(self, account: str) -> list[OpenOrder]:
        return self.node.ledger.replica.exchange.open_orders(account)
