"""Members that break the rules on the wire, with their real keys on real sockets."""

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
from click.testing import CliRunner

from discovery.grape import Address
from engine import Cancel, Reason, Rejected, Side
from peer.cli.main import main
from peer.cli.tap import Listener
from peer.client.connection import NodeRefusedError
from peer.client.protocol import Mesh as MeshView
from peer.consensus.block import (
    FRAME_BYTES_MAX,
    NO_ATTESTATION,
    SIGNATURE_BYTES,
    Block,
    Ref,
    make,
)
from peer.membership.identity import Identity, curve_public
from peer.network.links import FLOOD_MESSAGES
from peer.network.messages import Heartbeat
from peer.replica.batch import command_id, encode_batch
from tests.support.real_mesh import LOCAL, RealMesh, order, placed_mesh, wait_for
from tests.support.rogue import Rogue, rogue_of


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    with placed_mesh(tmp_path, starts=False) as mesh:
        yield mesh


@pytest.fixture
def rogue(mesh: RealMesh) -> Iterator[Rogue]:
    with rogue_of(mesh) as rogue:
        yield rogue


def altered(block: Block, frame: bytes) -> Block:
    return Block(block.ref, block.parents, frame=frame)


def bad_blocks(rogue: Rogue) -> dict[str, Block]:
    good = rogue.block()
    other = Identity.ephemeral().sign(good.frame[:-SIGNATURE_BYTES])
    return {
        "is not signed by its author": altered(good, good.frame[:-SIGNATURE_BYTES] + other),
        "not a block": altered(good, b"garbage" * 100),
        "a frame has at most": altered(good, bytes(FRAME_BYTES_MAX + 1)),
        "expected mesh": rogue.block(mesh=b"another mesh's  "),
        "of author 0": rogue.block(author=0),
        "at least 2 parents stand at round 4": rogue.block(round_=5),
    }


@pytest.mark.parametrize(
    "reason",
    [
        "is not signed by its author",
        "not a block",
        "at least 2",
        "a frame has at most",
        "expected mesh",
        "of author 0",
    ],
)
def test_the_sender_of_an_invalid_block_is_cut_off_and_the_others_continue_to_trade(
    mesh: RealMesh, rogue: Rogue, reason: str
) -> None:
    [block] = [block for why, block in bad_blocks(rogue).items() if why.startswith(reason)]
    others = mesh.peers[:2]
    rogue.say(block, until=lambda: all("ALARM peer3 is cut off" in p.log() for p in others))
    said = "Block(1, 0, " if reason == "of author 0" else reason
    assert all(said in peer.log() for peer in others)
    for peer in others:
        peer.mesh_view(lambda view: view.members[2].barred == "cut off")
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    [result] = mesh.peers[1].client.execute([order("b", Side.BUY, 100, 1)])
    assert len(result.events) == 2
    mesh.agreed(mesh.peers[:2])


def test_the_order_of_another_account_cannot_be_cancelled_at_any_peer(
    mesh: RealMesh, rogue: Rogue
) -> None:
    """Through an honest peer, and by a member that puts the cancel into a block of its own."""
    others = mesh.peers[:2]
    [placed] = mesh.peers[0].client.execute([order("ann", Side.SELL, 100, 1)])
    [refused] = mesh.peers[1].client.execute([Cancel(0, "bob", placed.id)])
    assert [type(event) for event in refused.events] == [Rejected]
    assert refused.events[0].reason is Reason.NOT_OWNER
    batch = encode_batch(1, [msgspec.msgpack.encode(Cancel(command_id(1, 2), "bob", placed.id))])
    before = mesh.agreed(others).commit
    block = rogue.block(payload=batch)
    rogue.say(block, until=lambda: all(peer.state().commit > before for peer in others))
    assert mesh.agreed(others, since=before + 1).asks == [(100, 1, 1)]


def test_an_invalid_payload_is_ordered_and_does_nothing(mesh: RealMesh, rogue: Rogue) -> None:
    others = mesh.peers[:2]
    block = rogue.block(payload=b"\xc1 no commands")
    rogue.say(block, until=lambda: all(peer.state().commit > 0 for peer in others))
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    assert mesh.agreed(others).asks == [(100, 1, 1)]


def test_two_blocks_for_one_round_halt_a_mesh_in_crash_mode(mesh: RealMesh, rogue: Rogue) -> None:
    """ORDER-5."""
    both = rogue.block(time_ms=1), rogue.block(time_ms=2)
    halt = "signed two different blocks"
    rogue.say(*both, until=lambda: all(halt in peer.log() for peer in mesh.peers[:2]))
    with pytest.raises(NodeRefusedError, match=halt):
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


def floods(rogue: Rogue) -> dict[str, Callable[[int], list[tuple[bytes, ...]]]]:
    """What to send, a thousand at a time."""
    committee, sign = rogue.config.committee, rogue.identity.sign
    claims = (2**47,) * 3, 2**47, NO_ATTESTATION, NO_ATTESTATION, 1, (True,) * 3
    beat = Heartbeat(committee.mesh, 0, 2, 1, *claims)

    def ahead(start: int) -> list[tuple[bytes, ...]]:
        """Valid blocks of ever higher rounds, on blocks that nobody has."""
        made = []
        for round_ in range(start, start + 1_000):
            parents = tuple(Ref(round_ - 1, author, bytes(32)) for author in (2, 0, 1))
            block = make(committee, round_, 2, parents, bytes(1_000), 1, NO_ATTESTATION, sign)
            made.append((b"B", block.frame))
        return made

    return {
        "valid blocks": lambda n: ahead(2 + 1_000 * n),
        "blocks of far too high a round": lambda n: ahead(2**40 + 1_000 * n),
        "heartbeats": lambda _: [(b"H", msgspec.msgpack.encode(beat))] * 1_000,
        "rubbish": lambda _: [(b"R", bytes(1_000))] * 1_000,
    }


@pytest.mark.parametrize(
    "kind", ["valid blocks", "blocks of far too high a round", "heartbeats", "rubbish"]
)
def test_a_member_that_floods_is_ignored_and_shown_and_the_others_continue_to_trade(
    mesh: RealMesh, rogue: Rogue, kind: str
) -> None:
    others, make_ = mesh.peers[:2], floods(rogue)[kind]
    rounds = itertools.count()

    def flooded() -> bool:
        for parts in make_(next(rounds)):
            rogue.wire._pub.send_multipart(parts)
        for _ in rogue.wire.receive(0):
            pass
        return all("ALARM peer3 floods" in peer.log() for peer in others)

    wait_for("the alarm", flooded)
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    flooded()
    [result] = mesh.peers[1].client.execute([order("b", Side.BUY, 100, 1)])
    assert len(result.events) == 2
    mesh.agreed(others)
    shown = mesh.peers[0].mesh_view(lambda view: view.members[2].barred == "floods").members[2]
    assert shown.unread >= FLOOD_MESSAGES


def test_honest_members_are_not_taken_for_flooders(mesh: RealMesh) -> None:
    """Not even by one that was paused while they went on, and then finds all of it at once."""
    mesh.start()
    paused = mesh.peers[2]
    assert paused.process is not None
    paused.process.send_signal(signal.SIGSTOP)
    before = mesh.peers[0].state().commit
    for n in range(300):
        mesh.peers[n % 2].client.execute([order("a", Side.BUY, 1 + n % 50, 1)])
    paused.process.send_signal(signal.SIGCONT)
    mesh.agreed(since=before + 100)

    def all_hear(view: MeshView) -> bool:
        return view.quorum and not any("does not hear" in text for text in view.alarms)

    for peer in mesh.peers:
        view = peer.mesh_view(all_hear)
        assert [member.barred for member in view.members] == [""] * 3
        assert max(member.unread for member in view.members) < FLOOD_MESSAGES
        assert (view.refused, view.unanswered, view.alarms) == (0, 0, [])


def test_unknown_keys_are_refused_counted_and_logged_once(mesh: RealMesh, rogue: Rogue) -> None:
    """One with no mesh's key, one with the key of another mesh, one without encryption."""
    peer = mesh.peers[0]
    view = peer.mesh_view(lambda view: view.members[0].address != "")
    place = f"tcp://{view.members[0].address}"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    server_key = curve_public(rogue.config.members[0].public)
    sockets = []
    for identity in (Identity.ephemeral(), Identity.ephemeral(), None):
        socket = context.socket(zmq.SUB)
        socket.linger, socket.rcvtimeo = 0, 1_000
        socket.subscribe(b"")
        if identity is not None:
            socket.curve_secretkey, socket.curve_publickey = (
                identity.curve_secret,
                identity.curve_public,
            )
            socket.curve_serverkey = server_key
        socket.connect(place)
        sockets.append(socket)
    assert peer.mesh_view(lambda view: view.refused >= 2).refused >= 2
    for socket in sockets:
        with pytest.raises(zmq.Again):
            socket.recv()
        socket.close()
    context.term()
    assert peer.log().count("refused a connection from 127.0.0.1") == 1


def test_the_tap_is_an_observer_like_any_other(mesh: RealMesh, rogue: Rogue) -> None:
    """It has a key of its own, so it hears nothing where observers are not allowed."""
    with Listener(mesh.config, ("http://127.0.0.1:1",)) as tap:  # a Grape that is not needed
        for seat in range(2):
            tap.books[seat].give(Address(LOCAL, mesh.places[seat][0]))
        heard = tap.messages()
        refused = "refused a connection from 127.0.0.1"

        def is_refused() -> bool:
            assert next(heard) is None
            return all(refused in peer.log() for peer in mesh.peers[:2])

        wait_for("refusals", is_refused)
        assert [next(heard) for _ in range(10)] == [None] * 10


def test_a_block_with_an_invented_parent_waits_and_harms_no_peer(
    mesh: RealMesh, rogue: Rogue
) -> None:
    """ORDER-4."""
    fake = (Ref(4, 2, b"x" * 32), Ref(4, 0, b"y" * 32), Ref(4, 1, b"z" * 32))
    committee = rogue.config.committee
    real = rogue.block(payload=b"\xc1 no commands")
    dangling = make(committee, 5, 2, fake, b"", 1, NO_ATTESTATION, rogue.identity.sign)
    others = mesh.peers[:2]
    rogue.say(dangling, real, until=lambda: all(peer.state().commit > 0 for peer in others))
    mesh.peers[0].client.execute([order("a", Side.SELL, 100, 1)])
    assert mesh.agreed(others).asks == [(100, 1, 1)]
