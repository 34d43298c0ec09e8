"""Snapshots from others: what is refused, and that who helps badly is left for another."""

import queue
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from peer.client.endpoint import Local, endpoint
from peer.client.protocol import Mesh as MeshView
from peer.client.protocol import Update
from peer.consensus.block import NO_ATTESTATION, Attestation, genesis, make
from peer.consensus.committee import Mode
from peer.consensus.core import Pull, Wanted
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.messages import Heard, Heartbeat, Offered, PartIn
from peer.node.ledger import SNAPSHOT_COMMANDS, Ledger
from peer.node.loop import Node, Wires
from peer.node.timers import MESH_VIEW_MS
from peer.replica import snapshot as snapshots
from peer.replica.state_machine import Replica
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.journal import Journal
from peer.storage.state_sync import PART_BYTES, Fetched, Manifest, PartWanted
from tests.consensus.test_checkpoint import lived
from tests.support.alone import RecordedMesh
from tests.support.real_mesh import MARKETS

IDENTITIES = [Identity.ephemeral() for _ in range(4)]
MEMBERS = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(IDENTITIES)]
CONFIG = MeshConfig("four", Mode.CRASH, 1_700_000_000_000, MEMBERS, MARKETS, "any")


def certificate(attestation: Attestation, signers: Iterable[int]) -> list[bytes]:
    """Blocks of these members that say this digest."""
    start = genesis(CONFIG.committee)
    frames = []
    for n in signers:
        parents = (start[n].ref, *(block.ref for block in start if block.author != n))
        block = make(CONFIG.committee, 1, n, parents, b"", 1, attestation, IDENTITIES[n].sign)
        frames.append(block.frame)
    return frames


@pytest.fixture(scope="module")
def fetched() -> Fetched:
    """A true snapshot, certified by a quorum of 3."""
    replica = Replica(MARKETS, len(MEMBERS), CONFIG.id)
    for commit in lived(CONFIG.committee, 1)[1]:
        replica.apply(commit)
        if commit.checkpoint is not None:
            data = snapshots.encode(replica.snapshot(commit.checkpoint))
            attestation = replica.attestation()
            manifest = Manifest(commit.number, attestation.digest, len(data))
            return Fetched(1, manifest, data, certificate(attestation, (0, 1, 2)))
    raise AssertionError("no checkpoint was reached")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Of a peer that follows, and has nothing yet."""
    identity = data_folder.create(tmp_path / "follower")
    journal = Journal(tmp_path / "follower" / JOURNAL_FILE, identity.public, CONFIG.id)
    yield Ledger(CONFIG, None, identity.sign, journal)
    journal.close()


def damaged(fetched: Fetched) -> Fetched:
    """The snapshot with a time one millisecond later in its checkpoint."""
    snapshot, _ = snapshots.decode(fetched.data)
    checkpoint = snapshot.checkpoint._replace(time_ms=snapshot.checkpoint.time_ms + 1)
    changed = snapshots.Snapshot(
        checkpoint, snapshot.expected, snapshot.trades, snapshot.trade_numbers, snapshot.exchange
    )
    data = snapshots.encode(changed)
    return fetched._replace(data=data, manifest=fetched.manifest._replace(size=len(data)))


def test_a_snapshot_survives_its_encoding(fetched: Fetched) -> None:
    snapshot, exchange = snapshots.decode(fetched.data)
    assert snapshots.encode(snapshot) == fetched.data
    assert snapshots.digest_of(snapshot, exchange) == fetched.manifest.digest


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_part_of_a_snapshot_is_none(fetched: Fetched, share: float) -> None:
    with pytest.raises(snapshots.InvalidSnapshotError, match="not a snapshot: "):
        snapshots.decode(fetched.data[: int(len(fetched.data) * share)])


def test_noise_is_no_snapshot(fetched: Fetched) -> None:
    rng = random.Random(1)
    for _ in range(200):
        data = bytearray(fetched.data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            snapshot, exchange = snapshots.decode(bytes(data))
        except snapshots.InvalidSnapshotError:
            continue
        assert snapshots.digest_of(snapshot, exchange) != fetched.manifest.digest


def test_a_certified_snapshot_is_taken_over(ledger: Ledger, fetched: Fetched) -> None:
    assert ledger.is_certified(fetched.manifest, fetched.certificate)
    ledger.install(fetched, 0)
    assert ledger.replica.attestation() == (fetched.manifest.commit, fetched.manifest.digest)
    assert ledger.journal.certified() is not None


def test_another_snapshot_than_was_certified_is_refused(ledger: Ledger, fetched: Fetched) -> None:
    """ORDER-31."""
    other = fetched.manifest._replace(commit=fetched.manifest.commit + 64)
    for wrong in (damaged(fetched), fetched._replace(manifest=other)):
        with pytest.raises(snapshots.InvalidSnapshotError, match="not the one a quorum has signed"):
            ledger.install(wrong, 0)
    assert ledger.replica.commit == 0
    assert ledger.journal.snapshot() is None


def test_only_a_quorum_certifies(ledger: Ledger, fetched: Fetched) -> None:
    """ORDER-31."""
    manifest, frames = fetched.manifest, fetched.certificate
    other = certificate(Attestation(manifest.commit, b"x" * 32), (2,))
    unsigned = frames[2][:-1] + bytes([frames[2][-1] ^ 1])
    for wrong in ([], frames[:2], [*frames[:2], frames[1]], [*frames[:2], *other]):
        assert not ledger.is_certified(manifest, wrong)
    for wrong in ([*frames[:2], unsigned], [*frames, b"noise"]):
        assert not ledger.is_certified(manifest, wrong)
    assert not ledger.is_certified(manifest._replace(digest=b"x" * 32), frames)


class AskingMesh(RecordedMesh):
    """Keeps what it was told to ask."""

    asked: list[Wanted | Pull | PartWanted]

    def ask(self, requests: Iterable[Wanted | Pull | PartWanted]) -> None:
        self.asked = [*getattr(self, "asked", []), *requests]


class KeptLocal(Local):
    """Keeps how the mesh was last seen."""

    view: MeshView

    def publish(self, update: Update, topic: str) -> None:
        if isinstance(update, MeshView):
            self.view = update


class Follower:
    """A node that follows, its wires, and what it asks for."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        poller = zmq.Poller()
        self.mesh = AskingMesh(self.context, CONFIG, Identity.ephemeral(), poller)
        self.local = KeptLocal(self.context, endpoint(folder), poller)
        self.node = Node(CONFIG, ledger, Wires(poller, self.mesh, self.local), queue.Queue())

    def close(self) -> None:
        self.mesh.close()
        self.local.close()
        self.context.destroy()


@pytest.fixture
def follower(ledger: Ledger, tmp_path: Path) -> Iterator[Follower]:
    follower = Follower(ledger, tmp_path)
    yield follower
    follower.close()


def test_a_lying_helper_is_left_for_another(follower: Follower, fetched: Fetched) -> None:
    node, manifest, lie = follower.node, fetched.manifest, damaged(fetched).data
    assert len(lie) == manifest.size < PART_BYTES
    for now_ms, helper, data in ((0, 1, lie), (10, 2, fetched.data)):
        for offering in (1, 2):
            node._take(Offered(offering, manifest, fetched.certificate), now_ms)
        node._carry_out(now_ms)
        assert follower.mesh.asked[-1] == PartWanted(helper, manifest.commit, 0)
        node._take(PartIn(helper, manifest.commit, 0, data), now_ms)
        node._carry_out(now_ms)
        if helper == 1:
            assert node.ledger.replica.commit == 0
    assert node.ledger.replica.commit == manifest.commit
    assert node.overview.alarms.texts == [
        "m1 sent a bad snapshot: the snapshot is not the one a quorum has signed"
    ]


def heartbeat(member: int, rounds: tuple[int, ...]) -> Heard:
    hears = (True,) * len(rounds)
    beat = Heartbeat(CONFIG.id, 0, member, 1, rounds, 0, NO_ATTESTATION, NO_ATTESTATION, 0, hears)
    return Heard(member, beat)


def test_how_far_behind_it_is_is_shown_once_more_say_so_than_can_be_faulty(
    follower: Follower, fetched: Fetched
) -> None:
    node, local = follower.node, follower.local
    node._take(heartbeat(0, (500, 0, 0, 0)), 0)
    node._carry_out(0)
    assert local.view.catching_up == ""
    node._take(heartbeat(1, (0, 400, 0, 0)), 1)
    node._carry_out(MESH_VIEW_MS)
    assert local.view.catching_up == "fetching blocks: at round 0 of 400"
    node._take(Offered(1, fetched.manifest, fetched.certificate), MESH_VIEW_MS)
    node._carry_out(2 * MESH_VIEW_MS)
    commit = fetched.manifest.commit
    assert local.view.catching_up == f"fetching the state after commit {commit}: 0 %"
    node._take(PartIn(1, commit, 0, fetched.data), 2 * MESH_VIEW_MS)
    node._carry_out(3 * MESH_VIEW_MS)
    node._take(heartbeat(1, (0, 0, 0, 0)), 3 * MESH_VIEW_MS)
    node._carry_out(4 * MESH_VIEW_MS)
    assert local.view.catching_up == ""


def test_a_snapshot_that_comes_too_late_is_not_gone_back_to(
    follower: Follower, fetched: Fetched
) -> None:
    """By then its blocks have come, and commands after it are applied and answered."""
    node, manifest = follower.node, fetched.manifest
    node._take(Offered(1, manifest, fetched.certificate), 0)
    node._carry_out(0)
    node.ledger.install(fetched, 0)
    replica = node.ledger.replica
    node._take(PartIn(1, manifest.commit, 0, fetched.data), 10)
    node._carry_out(10)
    assert node.ledger.replica is replica


def test_many_commands_bring_a_snapshot_before_many_commits(
    ledger: Ledger, fetched: Fetched
) -> None:
    """Replaying commands is what takes time at a restart."""
    commits = lived(CONFIG.committee, 1)[1]
    ledger._since_snapshot = SNAPSHOT_COMMANDS - 1
    for commit in commits[:64]:
        ledger.apply(commit)
    assert ledger.journal.snapshot() is None
    ledger._since_snapshot = SNAPSHOT_COMMANDS
    for commit in commits[64:129]:
        ledger.apply(commit)
    stored = ledger.journal.snapshot()
    assert stored is not None
    assert snapshots.decode(stored[1])[0].checkpoint.commit == 128


def test_values_inside_values_without_end_are_no_snapshot() -> None:
    deep = msgspec.Raw(b"\x91" * 5_000 + b"\xc0")
    with pytest.raises(snapshots.InvalidSnapshotError):
        snapshots.decode(msgspec.msgpack.encode([deep, [], {}, {}, b""]))
