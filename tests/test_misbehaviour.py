"""Members that break the rules on the wire, with their real keys on real sockets."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner

from discovery.grapes import running_grapes
from engine.orders import Side
from peer.__main__ import main
from peer.block import NO_AUDIT, SIGNATURE_BYTES, Block, Ref, genesis, make
from peer.client import NodeRefused
from peer.identity import Identity
from peer.mesh import Mesh
from tests.real_mesh import RealMesh, order, wait_for


class Rogue:
    """The third member of a mesh, in our hands: it has the right key and says what it likes."""

    def __init__(self, mesh: RealMesh) -> None:
        peer = mesh.peers[2]
        peer.stop()
        self.config = mesh.config
        self.identity = Identity.load(peer.folder / "key")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.wire = Mesh(self._context, mesh.config, self.identity, zmq.Poller())
        self.place = f"--at=peer3=127.0.0.1:{self.wire.port}"

    def block(self, round_: int = 1, payload: bytes = b"", time_ms: int = 1) -> Block:
        parents = genesis(self.config.committee)
        refs = (parents[2].ref, parents[0].ref, parents[1].ref)
        make_ = self.config.committee, round_, 2, refs, payload, time_ms, NO_AUDIT
        return make(*make_, self.identity.sign)

    def say(self, *blocks: Block, until: Callable[[], bool]) -> None:
        """Publish again and again: at first nobody may have subscribed yet."""

        def said() -> bool:
            for _ in self.wire.receive(0):
                pass
            self.wire.publish(blocks)
            time.sleep(0.05)
            return until()

        wait_for("what should come of it", said)

    def close(self) -> None:
        self.wire.close()
        self._context.term()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    with running_grapes() as grapes, RealMesh(tmp_path, [g.spec.url for g in grapes]) as mesh:
        yield mesh


@pytest.fixture
def rogue(mesh: RealMesh) -> Iterator[Rogue]:
    rogue = Rogue(mesh)
    for peer in mesh.peers[:2]:
        peer.start(rogue.place)
    mesh.wait_quorum(mesh.peers[:2])
    yield rogue
    rogue.close()


def altered(block: Block, frame: bytes) -> Block:
    return Block(block.ref, block.parents, frame=frame)


def bad_blocks(rogue: Rogue) -> dict[str, Block]:
    good = rogue.block()
    other = Identity.ephemeral().sign(good.frame[:-SIGNATURE_BYTES])
    return {
        "is not signed by its author": altered(good, good.frame[:-SIGNATURE_BYTES] + other),
        "not a block": altered(good, b"garbage" * 100),
        "at least 2 parents stand at round 4": rogue.block(round_=5),
    }


@pytest.mark.parametrize("reason", ["is not signed by its author", "not a block", "at least 2"])
def test_who_sends_a_bad_block_is_cut_off_and_the_others_trade_on(
    mesh: RealMesh, rogue: Rogue, reason: str
) -> None:
    [block] = [block for why, block in bad_blocks(rogue).items() if why.startswith(reason)]
    others = mesh.peers[:2]
    rogue.say(block, until=lambda: all("ALARM peer3 is cut off" in p.log() for p in others))
    assert all(reason in peer.log() for peer in others)
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    [result] = mesh.peers[1].client.execute([order("b", Side.BUY, 100, 1)])
    assert len(result.events) == 2
    mesh.agreed(mesh.peers[:2])


def test_garbage_for_commands_is_ordered_and_does_nothing(mesh: RealMesh, rogue: Rogue) -> None:
    others = mesh.peers[:2]
    block = rogue.block(payload=b"\xc1 no commands")
    rogue.say(block, until=lambda: all(peer.state().commit > 0 for peer in others))
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    assert mesh.agreed(others).asks == [(100, 1, 1)]


def test_two_blocks_for_one_round_halt_a_mesh_in_crash_mode(mesh: RealMesh, rogue: Rogue) -> None:
    both = rogue.block(time_ms=1), rogue.block(time_ms=2)
    halt = "signed two different blocks"
    rogue.say(*both, until=lambda: all(halt in peer.log() for peer in mesh.peers[:2]))
    with pytest.raises(NodeRefused, match=halt):
        mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    peer = mesh.peers[0]
    peer.kill()
    looked = CliRunner().invoke(
        main, ["journal", "--mesh", str(mesh.file), str(peer.folder), "evidence"]
    )
    assert looked.exit_code == 1
    said, first, second = looked.output.splitlines()
    assert said == "peer3 signed both"
    assert {line.split()[2] for line in (first, second)} == {
        block.ref.digest.hex()[:8] for block in both
    }
    peer.start()  # and the evidence is not forgotten
    wait_for("the halt", lambda: "halted: member 2 signed" in peer.log())


def test_a_block_that_refers_to_nothing_real_waits_and_harms_nobody(
    mesh: RealMesh, rogue: Rogue
) -> None:
    fake = (Ref(4, 2, b"x" * 32), Ref(4, 0, b"y" * 32), Ref(4, 1, b"z" * 32))
    committee = rogue.config.committee
    real = rogue.block(payload=b"\xc1 no commands")
    dangling = make(committee, 5, 2, fake, b"", 1, NO_AUDIT, rogue.identity.sign)
    others = mesh.peers[:2]
    rogue.say(dangling, real, until=lambda: all(peer.state().commit > 0 for peer in others))
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    assert mesh.agreed(others).asks == [(100, 1, 1)]
