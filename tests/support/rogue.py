"""A member of a real mesh that is in a test's hands.

Owns its key and its wires. The mesh's other two members are real processes; they are told where the
others are, since none of these tests is about finding them.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import zmq

from peer.consensus.block import NO_ATTESTATION, Block, genesis, make
from peer.membership.identity import Identity
from peer.network.mesh import Mesh
from peer.network.messages import Heartbeat
from peer.process.poller import Poller
from tests.support.real_mesh import RealMesh, RealPeer, wait_for


class Rogue:
    """The third member of a mesh, in our hands: it has the right key and says what it likes."""

    def __init__(self, mesh: RealMesh) -> None:
        peer = mesh.peers[2]
        peer.stop()
        self.config = mesh.config
        self.identity = Identity.load(peer.folder / "key")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        wiring = self._context, mesh.config, self.identity, Poller()
        port, fetch_port = mesh.places[2]
        self.wire = Mesh(*wiring, port=port, fetch_port=fetch_port)

    def block(
        self,
        round_: int = 1,
        payload: bytes = b"",
        time_ms: int = 1,
        author: int = 2,
        mesh: bytes = b"",
    ) -> Block:
        committee = self.config.committee
        if mesh:
            committee = dataclasses.replace(committee, mesh=mesh)
        parents = [block.ref for block in genesis(committee)]
        refs = (parents.pop(author), *parents)
        return make(
            committee, round_, author, refs, payload, time_ms, NO_ATTESTATION, self.identity.sign
        )

    def introduce(self, peers: Sequence[RealPeer]) -> None:
        """Say once that it knows of no blocks: these peers wait for that after their start, or for
        3 s (ORDER-25)."""
        none = (0,) * 3, 0, NO_ATTESTATION, NO_ATTESTATION

        def heard() -> bool:
            wall_ms = time.time_ns() // 1_000_000
            where = self.config.id, 0, 2, self.wire.fetch_port
            self.wire.beat(Heartbeat(*where, *none, wall_ms, (True,) * 3))
            for _ in self.wire.receive(0):
                pass
            return all(peer.mesh_view().members[2].alive for peer in peers)

        wait_for("the rogue to be heard", heard)

    def say(self, *blocks: Block, until: Callable[[], bool]) -> None:
        """Publish again and again: at first nobody may have subscribed yet."""

        def said() -> bool:
            for _ in self.wire.receive(0):
                pass
            self.wire.publish(blocks)
            return until()

        wait_for("what should come of it", said)

    def close(self) -> None:
        self.wire.close()
        self._context.term()


@contextlib.contextmanager
def rogue_of(mesh: RealMesh) -> Iterator[Rogue]:
    """The third member of a `placed_mesh`; the other two run, and have heard it."""
    rogue = Rogue(mesh)
    try:
        for peer in mesh.peers[:2]:
            peer.start()
        mesh.wait_quorum(mesh.peers[:2])
        rogue.introduce(mesh.peers[:2])
        yield rogue
    finally:
        rogue.close()
