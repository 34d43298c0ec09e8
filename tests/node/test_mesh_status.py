"""What a peer makes of what others say of their state."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from engine import Market
from peer.consensus.block import NO_ATTESTATION, Attestation
from peer.consensus.committee import Mode
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.mesh import Mesh
from peer.network.messages import Heartbeat
from peer.node.clocks import SKEW_MS_MAX, SKEW_SEEN_MS
from peer.node.health import Status
from peer.node.hearing import DEAF_MS
from peer.node.ledger import Ledger
from peer.node.mesh_status import FLOOD_OVER_MS, JUDGE_MS, MeshStatus
from peer.process.poller import Poller
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.journal import Journal

NOW_MS = 1_700_000_000_000


class Seen:
    """The mesh_status of one of four members, after its first own commit."""

    def __init__(self, folder: Path, me: int = 0) -> None:
        identity = data_folder.create(folder)
        others = [Identity(bytes([n]) * 32).public for n in range(3)]
        keys = [*others[:me], identity.public, *others[me:]]
        members = [Member(f"m{n}", key.hex()) for n, key in enumerate(keys)]
        self.config = MeshConfig("t", Mode.CRASH, 1, members, [Market("X", "1", "1")])
        self.journal = Journal(folder / JOURNAL_FILE, identity.public, self.config.id)
        self.ledger = Ledger(self.config, me, identity.sign, self.journal)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.mesh = Mesh(self.context, self.config, identity, Poller())
        self.mesh_status = MeshStatus(self.config, self.mesh, self.ledger)
        self.ledger.replica.commit = 1
        self.own = self.ledger.replica.latest()

    def hear(
        self, member: int, latest: Attestation, time_ms: int = NOW_MS, now_ms: int = 0
    ) -> None:
        rounds = (0,) * 4
        claims = rounds, 1, NO_ATTESTATION, latest, time_ms, (True,) * 4
        beat = Heartbeat(self.config.id, 0, member, 1, *claims)
        self.mesh_status.hear(member, beat, now_ms)

    def look(self, now_ms: int) -> None:
        """The own clock is right, and showed NOW_MS at 0."""
        self.mesh_status.look(now_ms, NOW_MS + now_ms, True)

    def close(self) -> None:
        self.mesh.close()
        self.context.term()
        self.journal.close()


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    seen = Seen(tmp_path / "me")
    yield seen
    seen.close()


WRONG, OTHER = Attestation(1, b"w" * 32), Attestation(1, b"o" * 32)


def test_an_equal_state_raises_no_alarm(seen: Seen) -> None:
    for member in (1, 2, 3):
        seen.hear(member, seen.own)
    assert seen.mesh_status.alarms.texts == []
    view = seen.mesh_status.view(1, 0, Status(), ())
    assert [member.agrees for member in view.members] == [True] * 4


def test_states_after_different_commits_cannot_be_compared(seen: Seen) -> None:
    seen.hear(1, Attestation(2, b"w" * 32))
    assert seen.mesh_status.alarms.texts == []
    assert seen.mesh_status.view(1, 0, Status(), ()).members[1].agrees is None


def test_another_state_raises_an_alarm_once(seen: Seen) -> None:
    """ORDER-30."""
    seen.hear(1, WRONG)
    seen.hear(1, WRONG)
    text = f"m1 has another state after commit 1: {WRONG.digest.hex()}"
    assert seen.mesh_status.alarms.texts == [text]
    assert seen.mesh_status.view(1, 0, Status(), ()).members[1].agrees is False
    assert seen.mesh_status.outvoted == "", "it may be the other one that is wrong"


def test_a_peer_states_its_last_commit_only_while_its_book_rests(seen: Seen) -> None:
    """ORDER-30. A busy one would pay for digests that nobody can compare."""

    def stated() -> Attestation:
        return seen.mesh_status.heartbeat(0, 0, NOW_MS).latest

    assert [stated(), stated()] == [NO_ATTESTATION, seen.own]
    seen.ledger.replica.commit = 2
    assert stated() == NO_ATTESTATION
    assert stated().commit == stated().commit == 2


def test_only_a_quorum_with_one_digest_outvotes_this_peer(seen: Seen) -> None:
    """ORDER-30."""
    seen.hear(1, WRONG)
    seen.hear(2, WRONG)
    seen.hear(3, OTHER)
    assert seen.mesh_status.outvoted == ""
    seen.hear(3, WRONG)
    assert "this peer has another: its book is wrong" in seen.mesh_status.outvoted


def test_a_clock_that_stays_wrong_raises_an_alarm_that_ends_with_its_cause(seen: Seen) -> None:
    """ORDER-24."""
    ahead_ms = 2 * SKEW_MS_MAX
    for later_ms in (0, SKEW_SEEN_MS):
        assert seen.mesh_status.alarms.texts == []
        seen.hear(1, seen.own, NOW_MS + later_ms + ahead_ms, later_ms)
        seen.hear(2, seen.own, NOW_MS + later_ms, later_ms)
        seen.look(later_ms)
    assert seen.mesh_status.alarms.texts == ["the clock of m1 is over 2000 ms ahead of the others"]
    later_ms = SKEW_SEEN_MS + JUDGE_MS
    seen.hear(1, seen.own, NOW_MS + later_ms, later_ms)
    seen.look(later_ms)
    assert seen.mesh_status.alarms.texts == []


def test_a_peer_sees_that_its_own_clock_is_wrong(seen: Seen) -> None:
    for later_ms in (0, SKEW_SEEN_MS):
        for member in (1, 2, 3):
            seen.hear(member, seen.own, NOW_MS + later_ms + 2 * SKEW_MS_MAX, later_ms)
        seen.look(later_ms)
    assert seen.mesh_status.alarms.texts == ["the clock of m0 is over 2000 ms behind the others"]


def test_the_alarm_about_a_flood_is_cleared_after_a_while(seen: Seen) -> None:
    text = "m1 floods: this peer ignores it for 10 s at a time"
    for flooded_ms in (0, FLOOD_OVER_MS - 1):
        seen.mesh_status.flooded(1, flooded_ms)
    seen.look(2 * FLOOD_OVER_MS - 2)
    assert seen.mesh_status.alarms.texts == [text]
    seen.look(2 * FLOOD_OVER_MS - 1)
    assert seen.mesh_status.alarms.texts == []


def test_a_heartbeat_of_the_next_epoch_may_be_of_any_length(tmp_path: Path) -> None:
    """It cannot be judged before this peer enters that epoch, and a liar may have sent it."""
    seen = Seen(tmp_path / "me", me=3)
    said = Heartbeat(seen.config.id, 1, 1, 1, (0, 0), 0, seen.own, seen.own, 0, (True, True))
    link = seen.mesh.links[1]
    link.heartbeat, link.heard_ms = said, 0
    seen.ledger._next = seen.ledger.epoch.following({0}, [], 1, 64, 1_000, b"d" * 32)
    seen.ledger.epochs.expect(seen.ledger._next)
    seen.ledger.enter_next()
    seen.mesh_status.stand_in(seen.ledger.epoch)
    seen.look(JUDGE_MS)
    assert seen.mesh_status.alarms.texts == []
    seen.close()


def test_a_state_that_differed_once_is_not_forgotten(seen: Seen) -> None:
    seen.hear(1, WRONG)
    seen.hear(1, seen.own)
    assert len(seen.mesh_status.alarms.texts) == 1


def test_a_deaf_member_is_shown_and_does_not_count_for_a_quorum(seen: Seen) -> None:
    """Of four, three are needed. m1 hears all, m2 nobody, m3 all but this peer."""
    hears = {1: (True,) * 4, 2: (False, False, True, False), 3: (False, True, True, True)}

    def look(now_ms: int) -> None:
        for member, heard in hears.items():
            link = seen.mesh.links[member]
            link.heard_ms = now_ms
            claims = (0,) * 4, 1, NO_ATTESTATION, seen.own, NOW_MS + now_ms, heard
            link.heartbeat = Heartbeat(seen.config.id, 0, member, 1, *claims)
            seen.mesh_status.hear(member, link.heartbeat, now_ms)
        seen.look(now_ms)

    for now_ms in range(0, DEAF_MS + JUDGE_MS, JUDGE_MS):
        look(now_ms)
    assert not seen.mesh_status.quorum
    assert seen.mesh_status.alarms.texts == [
        "m2 is deaf: it sends, but hears too few members for a quorum",
        "m3 does not hear this peer, though this peer hears it",
    ]
    view = seen.mesh_status.view(1, DEAF_MS, Status(), ())
    assert [member.alive for member in view.members] == [True] * 4
    assert [member.hears for member in view.members] == [
        ["m1", "m2", "m3"],
        ["m0", "m2", "m3"],
        [],
        ["m1", "m2"],
    ]
    hears[2] = hears[3] = (True,) * 4
    look(2 * DEAF_MS)
    assert seen.mesh_status.quorum
    assert seen.mesh_status.alarms.texts == []
    silent = seen.mesh_status.view(2, 3 * DEAF_MS, Status(), ())
    assert [member.hears for member in silent.members] == [[]] * 4


def test_the_view_has_the_epoch_and_every_heard_clock(seen: Seen) -> None:
    seen.hear(1, seen.own, NOW_MS + 40)
    seen.hear(2, seen.own, NOW_MS - 700)
    seen.look(JUDGE_MS)
    epoch = seen.mesh_status.view(1, JUDGE_MS, Status(), ()).epoch
    assert epoch is not None
    assert (epoch.number, epoch.seats) == (0, [0, 1, 2, 3])
    assert epoch.clocks_ms == [0, 40, -700, None]
    assert epoch.candidates == []
