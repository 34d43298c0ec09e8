"""A journal of an earlier epoch, put back after its peer has spoken in a later one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Market
from peer.consensus.block import NO_ATTESTATION
from peer.consensus.committee import Mode
from peer.membership.epochs import Epoch
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.messages import Heartbeat
from peer.node.ledger import Ledger
from peer.storage.journal import Journal
from tests.support.epochs import key_of

ME = 1
NEW = 3  # a seat that does not exist in epoch 0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Of the second of three members, which may speak in epoch 0."""
    members = [Member(f"m{seat}", key_of(seat).public.hex()) for seat in range(3)]
    config = MeshConfig("three", Mode.CRASH, 0, members, [Market("X", "1", "1")], [])
    Journal.create(tmp_path / "journal", key_of(ME).public)
    journal = Journal(tmp_path / "journal", key_of(ME).public, config.id)
    ledger = Ledger(config, ME, key_of(ME).sign, journal)
    ledger.consensus.start.over = True
    yield ledger
    journal.close()


def next_epoch(ledger: Ledger) -> Epoch:
    """Without the first member, so that this peer is author 0."""
    return ledger.epoch.following({0}, [], 1, 64, 1_000, b"d" * 32)


def hear(ledger: Ledger, rounds: tuple[int, ...], epoch: int = 1) -> None:
    """The third member says in its epoch what it has."""
    attestations = NO_ATTESTATION, NO_ATTESTATION
    said = Heartbeat(ledger.committee.mesh, epoch, 2, 1, rounds, 64, *attestations, 0, (True, True))
    ledger.hear(2, said, now_ms=1)


def enter(ledger: Ledger) -> None:
    ledger._next = next_epoch(ledger)
    ledger.epochs.expect(ledger._next)
    ledger.enter_next()


@pytest.mark.parametrize("rounds", [None, (0, 7)])
def test_a_peer_that_was_there_all_the_time_speaks_at_once(
    ledger: Ledger, rounds: tuple[int, ...] | None
) -> None:
    """ORDER-25."""
    if rounds is not None:
        hear(ledger, rounds)
        hear(ledger, (9, 9), epoch=2)
    enter(ledger)
    assert ledger.consensus.start.is_over(0)


def test_a_peer_whose_blocks_others_have_already_waits_for_what_they_know(ledger: Ledger) -> None:
    """ORDER-25: its journal is an old copy; else it would sign a round again."""
    hear(ledger, (3, 7))
    enter(ledger)
    assert not ledger.consensus.start.is_over(0)
    assert ledger.proposal(0, commands_wait=True, is_due=False) is None


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Ledger]:
    """Of a peer that has no seat in epoch 0."""
    members = [Member(f"m{seat}", key_of(seat).public.hex()) for seat in range(3)]
    config = MeshConfig("three", Mode.CRASH, 0, members, [Market("X", "1", "1")], [])
    Journal.create(tmp_path / "follower", key_of(NEW).public)
    journal = Journal(tmp_path / "follower", key_of(NEW).public, config.id)
    yield Ledger(config, None, key_of(NEW).sign, journal)
    journal.close()


def hear_all(ledger: Ledger, epoch: int) -> None:
    """All members say that they stand in this epoch."""
    for seat in range(3):
        rounds, attestations = (5, 5, 5), (NO_ATTESTATION, NO_ATTESTATION)
        hears = (True,) * 3
        said = Heartbeat(ledger.committee.mesh, epoch, seat, 1, rounds, 1, *attestations, 0, hears)
        ledger.hear(seat, said, now_ms=1)
    ledger.proposal(1, commands_wait=True, is_due=False)


@pytest.mark.parametrize(("epoch", "may_speak"), [(0, True), (1, False), (2, False)])
def test_a_follower_that_gets_a_seat_speaks_at_once_if_it_was_there_before(
    follower: Ledger, epoch: int, may_speak: bool
) -> None:
    """ORDER-25: to members in an epoch in which it has no seat nobody can have sent its blocks. In
    a later one its key may have spoken: its journal may be an old copy."""
    hear_all(follower, epoch)
    following = follower.epoch.following(
        {0}, [("new", key_of(NEW).public)], 1, 64, 1_000, b"d" * 32
    )
    follower._next = following
    follower.epochs.expect(following)
    follower.enter_next()
    assert follower.me == NEW
    assert follower.consensus.start.is_over(2) is may_speak
    proposal = follower.proposal(2, commands_wait=True, is_due=False)
    assert (proposal is not None) is may_speak
