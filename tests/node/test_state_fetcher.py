"""A node that fetches a state from others, and one that hands its own out. No other is real."""

import queue
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import zmq

from engine import HashTree, Leaf, leaf_part, part_digest
from peer.client.endpoint import Local, endpoint
from peer.client.protocol import Mesh as MeshView
from peer.client.protocol import Update
from peer.consensus.block import NO_ATTESTATION, Attestation
from peer.consensus.core import Pull, Wanted
from peer.membership.identity import Identity
from peer.network.messages import Heard, Heartbeat, Offered, PartsAsked, PartsIn, Pulled
from peer.node.ledger import Ledger
from peer.node.loop import Node, Wires
from peer.node.responder import MEMBER_GETS
from peer.node.timers import MESH_VIEW_MS
from peer.process.poller import Poller
from peer.replica.snapshot import HEAD
from peer.replica.state_machine import Replica
from peer.storage.part_requests import ANSWER_BYTES, PLACES_MAX, PartsWanted
from peer.storage.state_sync import Fetched, Manifest
from peer.storage.tree_walk import ROOT, Place
from tests.node.test_snapshot import CONFIG, certificate, certified, ledger
from tests.support.alone import RecordedMesh
from tests.support.pieces import Life, pieces_of

__all__ = ["ledger"]

WHO = b"who"


class AskingMesh(RecordedMesh):
    """Keeps what it was told to ask and to answer. All members are heard."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], poller: Poller) -> None:
        super().__init__(context, CONFIG, Identity.ephemeral(), poller)
        self.asked: list[Wanted | Pull | PartsWanted] = []
        self.sent: list[list[bytes]] = []
        self.offered: list[Manifest] = []

    def ask(self, requests: Iterable[Wanted | Pull | PartsWanted]) -> None:
        self.asked += requests

    def alive(self, member: int, now_ms: int) -> bool:
        return True

    def offer(
        self, asked: Pulled | PartsAsked, manifest: Manifest, certificate: list[bytes]
    ) -> None:
        self.offered.append(manifest)

    def send_parts(self, asked: PartsAsked, parts: list[bytes]) -> None:
        self.sent.append(parts)


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
        poller = Poller()
        self.mesh = AskingMesh(self.context, poller)
        self.local = KeptLocal(self.context, endpoint(folder), poller)
        self.node = Node(CONFIG, ledger, Wires(poller, self.mesh, self.local), queue.Queue())

    def turn(self, now_ms: int) -> list[PartsWanted]:
        """What it asks for in this turn."""
        self.mesh.asked.clear()
        self.node._carry_out(now_ms)
        return [wanted for wanted in self.mesh.asked if isinstance(wanted, PartsWanted)]

    def close(self) -> None:
        self.mesh.close()
        self.local.close()
        self.context.destroy()


@pytest.fixture
def follower(ledger: Ledger, tmp_path: Path) -> Iterator[Follower]:
    follower = Follower(ledger, tmp_path)
    yield follower
    follower.close()


@pytest.fixture(scope="module")
def replica() -> Replica:
    """At a checkpoint, with orders in many pieces."""
    life = Life(1, CONFIG.committee)
    for _ in range(64):
        life.commit()
    return life.replica


@pytest.fixture(scope="module")
def fetched(replica: Replica) -> Fetched:
    return certified(replica)


def parts_of(replica: Replica, places: Iterable[Place]) -> list[bytes]:
    """What an honest member answers."""
    found = []
    for place in places:
        root = replica.tree.at(*place).root
        assert root is not None
        is_leaf = isinstance(root, Leaf)
        found.append(leaf_part(root.key, replica.piece(root.key)) if is_leaf else root.part)
    return found


def lie(parts: list[bytes]) -> list[bytes]:
    """One bit is another."""
    return [*parts[:-1], parts[-1][:-1] + bytes([parts[-1][-1] ^ 1])]


def test_a_state_is_assembled_from_the_parts_of_all_helpers(
    follower: Follower, replica: Replica, fetched: Fetched
) -> None:
    """ORDER-31."""
    node, manifest, now_ms = follower.node, fetched.manifest, 0
    node._take(Offered(1, manifest, fetched.certificate), 0)
    asked = set()
    while node.ledger.commit == 0:
        now_ms += 1
        assert now_ms < 100
        for member, number, commit, places in follower.turn(now_ms):
            asked.add(member)
            assert commit == manifest.commit
            assert len(places) <= PLACES_MAX
            node._take(PartsIn(member, number, commit, parts_of(replica, places)), now_ms)
    assert asked == {0, 1, 2, 3}
    assert node.ledger.replica.attestation() == manifest[:2]
    assert pieces_of(node.ledger.replica) == fetched.pieces
    assert node.mesh_status.alarms.texts == []


def test_a_lying_helper_is_replaced_by_another(
    follower: Follower, replica: Replica, fetched: Fetched
) -> None:
    node, manifest, now_ms = follower.node, fetched.manifest, 0
    for member in (1, 2):
        node._take(Offered(member, manifest, fetched.certificate), 0)
    asked = []
    while node.ledger.commit == 0:
        now_ms += 1
        assert now_ms < 100
        for member, number, commit, places in follower.turn(now_ms):
            asked.append(member)
            parts = parts_of(replica, places)
            answer = lie(parts) if member == 1 else parts
            node._take(PartsIn(member, number, commit, answer), now_ms)
    assert asked.count(1) <= 2
    assert pieces_of(node.ledger.replica) == fetched.pieces
    assert node.mesh_status.alarms.texts == [
        "m1 sent a part that does not belong to the requested state"
    ]


def test_a_state_is_fetched_only_once_a_quorum_has_signed_it(
    follower: Follower, fetched: Fetched
) -> None:
    """ORDER-31."""
    manifest = fetched.manifest
    for offered, frames in (
        (manifest, fetched.certificate[:2]),
        (manifest._replace(digest=b"x" * 32), fetched.certificate),
        (manifest._replace(commit=manifest.commit + 64), fetched.certificate),
    ):
        follower.node._take(Offered(1, offered, frames), 0)
        assert follower.turn(0) == []
    follower.node._take(Offered(1, manifest, fetched.certificate), 0)
    assert follower.turn(0) != []


def test_an_invalid_signed_state_is_not_taken_over(follower: Follower) -> None:
    """Only a quorum of liars, or a bug in all of them, makes one."""
    piece = leaf_part(HEAD, b"no head")
    manifest = Manifest(64, part_digest(piece))
    frames = certificate(Attestation(*manifest[:2]), (0, 1, 2))
    node = follower.node
    node._take(Offered(1, manifest, frames), 0)
    [(member, number, commit, places)] = follower.turn(0)
    assert places == (ROOT,)
    node._take(PartsIn(member, number, commit, [piece]), 1)
    follower.turn(1)
    assert node.ledger.commit == 0
    [alarm] = node.mesh_status.alarms.texts
    assert alarm.startswith("m1 sent an unusable state: ")
    assert follower.turn(2) == []


def heartbeat(member: int, rounds: tuple[int, ...]) -> Heard:
    hears = (True,) * len(rounds)
    beat = Heartbeat(CONFIG.id, 0, member, 1, rounds, 0, NO_ATTESTATION, NO_ATTESTATION, 0, hears)
    return Heard(member, beat)


def test_the_lag_is_shown_once_more_than_f_members_report_it(
    follower: Follower, replica: Replica, fetched: Fetched
) -> None:
    node, local = follower.node, follower.local
    node._take(heartbeat(0, (500, 0, 0, 0)), 0)
    node._carry_out(0)
    assert local.view.catching_up == ""
    node._take(heartbeat(1, (0, 400, 0, 0)), 1)
    node._carry_out(MESH_VIEW_MS)
    assert local.view.catching_up == "fetching blocks: at round 0 of 400"
    node._take(Offered(1, fetched.manifest, fetched.certificate), MESH_VIEW_MS)
    [(member, number, commit, places)] = follower.turn(2 * MESH_VIEW_MS)
    text = f"fetching the state after commit {commit}: {{}} of the {{}} parts known to differ"
    assert local.view.catching_up == text.format(0, 1)
    parts = parts_of(replica, places)
    node._take(PartsIn(member, number, commit, parts), 2 * MESH_VIEW_MS)
    follower.turn(3 * MESH_VIEW_MS)
    kinds = len({key >> 60 for key in fetched.pieces})
    assert local.view.catching_up == text.format(1, 1 + kinds)
    node.ledger.install(fetched, 0)
    node._take(heartbeat(1, (0, 0, 0, 0)), 3 * MESH_VIEW_MS)
    follower.turn(4 * MESH_VIEW_MS)
    assert local.view.catching_up == ""


def test_a_late_snapshot_does_not_replace_a_newer_state(
    follower: Follower, replica: Replica, fetched: Fetched
) -> None:
    """By then its blocks have come, and commands after it are applied and answered."""
    node, manifest = follower.node, fetched.manifest
    node._take(Offered(1, manifest, fetched.certificate), 0)
    waiting = follower.turn(0)
    node.ledger.install(fetched, 0)
    own = node.ledger.replica
    for member, number, commit, places in waiting:
        node._take(PartsIn(member, number, commit, parts_of(replica, places)), 10)
    assert follower.turn(10) == []
    assert node.ledger.replica is own


# Handing it out


def asked(*places: Place, commit: int = 64) -> PartsAsked:
    return PartsAsked(WHO, 5, commit, places)


def answer(follower: Follower, asked: PartsAsked) -> list[bytes]:
    follower.mesh.sent.clear()
    follower.node._responder._answer(asked, MEMBER_GETS)
    [parts] = follower.mesh.sent
    return parts


@pytest.fixture
def helper(follower: Follower, fetched: Fetched) -> Follower:
    """Has the state."""
    follower.node.ledger.install(fetched, 0)
    return follower


def test_parts_are_answered_in_the_order_of_the_request(helper: Follower, replica: Replica) -> None:
    keys = [key for key, _ in replica.tree]
    places = [ROOT, *(Place(key, 0) for key in reversed(keys[:50])), Place(0, 60)]
    assert answer(helper, asked(*places)) == parts_of(replica, places)


def test_an_answer_omits_missing_parts(helper: Follower, replica: Replica) -> None:
    nowhere = Place(15 << 60, 60)
    assert answer(helper, asked(ROOT, nowhere, ROOT)) == parts_of(replica, [ROOT, ROOT])
    assert answer(helper, asked(nowhere)) == []


def test_the_size_of_an_answer_is_bounded(
    helper: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But has a part."""
    ledger = helper.node.ledger
    large = bytes(ANSWER_BYTES // 3)
    monkeypatch.setattr(ledger, "piece_at", lambda commit, key: large)
    keys = [key for key, _ in ledger.replica.tree]
    places = [Place(key, 0) for key in keys[:PLACES_MAX]]
    assert len(answer(helper, asked(*places))) == 2
    large = bytes(2 * ANSWER_BYTES)
    assert len(answer(helper, asked(*places))) == 1


def test_a_request_for_a_pruned_state_is_answered_with_the_newer_one(
    helper: Follower, fetched: Fetched
) -> None:
    helper.node._responder._answer(asked(ROOT, commit=1), MEMBER_GETS)
    assert helper.mesh.offered == [fetched.manifest]
    assert helper.mesh.sent == []
    assert answer(helper, asked(ROOT, commit=128)) == [], "nor is an older one"
    assert helper.mesh.offered == [fetched.manifest]


def test_a_peer_without_a_state_has_no_parts(follower: Follower) -> None:
    assert answer(follower, asked(ROOT)) == []
    assert follower.node.ledger.tree_at(64) is None
    assert follower.node.ledger.replica.tree.digest != HashTree().digest
