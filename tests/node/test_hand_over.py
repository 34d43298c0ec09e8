"""The signatures over an epoch's seal: made, and kept by every peer that applies them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import Market
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Mode
from peer.consensus.committer import Checkpoint, Commit
from peer.membership.epochs import DOMAIN, Epoch, Pin
from peer.membership.mesh_file import Member, MeshConfig
from peer.node.ledger import Ledger
from peer.node.snapshots import Pace
from peer.replica.batch import command_id, encode_batch
from peer.replica.handover import Sealed
from peer.storage.epoch_table import Fork
from peer.storage.journal import Journal, JournalError
from tests.support.epochs import key_of

MEMBERS = [Member(f"m{seat}", key_of(seat).public.hex()) for seat in range(3)]
CONFIG = MeshConfig("three", Mode.CRASH, 0, MEMBERS, [Market("X", "1", "1")], [])
END = 64  # the last commit of epoch 0

Open = Callable[..., Ledger]  # seat, pin


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the ledger of a seat, again and again."""
    journals: dict[int, Journal] = {}

    def open_(seat: int, pin: Pin | None = None) -> Ledger:
        path = tmp_path / f"journal{seat}"
        if seat in journals:
            journals.pop(seat).close()
        else:
            Journal.create(path, key_of(seat).public)
        journals[seat] = Journal(path, key_of(seat).public, CONFIG.id)
        me = seat if seat < len(MEMBERS) else None
        pace = Pace(commits=64)
        return Ledger(CONFIG, me, key_of(seat).sign, journals[seat], pace=pace, pin=pin)

    yield open_
    for journal in journals.values():
        journal.close()


def enter(ledger: Ledger) -> Epoch:
    """Epoch 1, in which the third member is replaced by the holder of another key."""
    added = [("m3", key_of(3).public)]
    ledger.replica.commit = END
    ledger._next = ledger.epoch.following({2}, added, 1, END, 1_000, b"d" * 32)
    ledger.epochs.expect(ledger._next)
    ledger.enter_next()
    return ledger.epoch


def take_snapshot(ledger: Ledger) -> None:
    """Of the first commit in epoch 1, in the journal."""
    first = Checkpoint.first(ledger.committee)
    checkpoint = first._replace(commit=END + 1, time_ms=2_000)
    ledger.apply(Commit(END + 1, Ref(1, 0, b"b" * 32), 2_000, (), checkpoint))
    ledger.snapshots.install([], ledger.replica)
    ledger.journal.sync()


def signatures(epoch: Epoch, *seats: int) -> dict[int, bytes]:
    return {seat: key_of(seat).sign(DOMAIN + epoch.seal) for seat in seats}


def seal(ledger: Ledger, *signers: int) -> None:
    """The first member has put the signatures into a block, which is ordered."""
    epoch = ledger.epoch
    sealed = Sealed(command_id(1, 0), epoch.number, signatures(epoch, *signers))
    payload = encode_batch(1, [msgspec.msgpack.encode(sealed)])
    block = Block(Ref(1, 0, b"b" * 32), (), payload)
    ledger.apply(Commit(END + 1, block.ref, 2_000, (block,), None))


@pytest.mark.parametrize("seat", [0, 1, 2, 3, 4])
def test_whoever_applies_the_certificate_keeps_it(opened: Open, seat: int) -> None:
    """ORDER-47: members that stay, one that is gone, one that came, and one that only follows. A
    quorum's signatures need not have come here before, and later nobody sends them."""
    ledger = opened(seat)
    epoch = enter(ledger)
    assert not ledger.epochs.is_certified(1)
    seal(ledger, 0, 1)
    assert ledger.epochs.is_certified(1)
    [certificate] = ledger.epochs.certificates(0)
    assert signatures(epoch, 0, 1).items() <= certificate.signatures.items()
    ledger.journal.sync()
    again = opened(seat)
    again.epochs.restore()
    assert again.epochs.certificates(0) == [certificate]


def test_signatures_that_do_not_count_are_not_kept(opened: Open) -> None:
    ledger = opened(3)
    enter(ledger)
    seal(ledger, 0)
    assert not ledger.replica.members.sealed
    assert ledger.epochs.certificates(0) == []


def test_a_member_that_restarts_from_a_snapshot_of_the_next_epoch_signs_its_seal_again(
    opened: Open,
) -> None:
    """ORDER-46: its own signature is on no disk before those of a quorum are, and without it nobody
    might ever be able to prove the epoch."""
    for seat, is_member in ((0, True), (2, True), (3, False)):
        ledger = opened(seat)
        epoch = enter(ledger)
        take_snapshot(ledger)
        again = opened(seat)
        again.recover(0)
        assert again.epoch.number == 1
        assert again.commit == END + 1
        assert again.epochs.signatures == (signatures(epoch, seat) if is_member else {})


def test_two_seals_stop_a_peer_after_each_restart_until_an_operator_decides(opened: Open) -> None:
    """ORDER-57. The evidence stays in the journal."""
    ledger = opened(0)
    epoch = enter(ledger)
    take_snapshot(ledger)
    other = b"o" * 32
    signed = {seat: key_of(seat).sign(DOMAIN + other) for seat in (1, 2)}
    ledger.epochs.compare(1, other, signed)
    assert other.hex() in ledger.epochs.forked
    ledger.journal.write()  # as at the end of the turn
    own, theirs = Pin(1, epoch.seal), Pin(1, other)
    for pin in (None, theirs, None):
        again = opened(0, pin)
        with pytest.raises(JournalError, match=f"stopped for good.*--trust 1:{epoch.seal.hex()}"):
            again.recover(0)
        assert again.journal.epochs.fork() == Fork(1, epoch.seal, other, signed)
    decided = opened(0, own)
    decided.recover(0)
    decided.epochs.compare(1, other, signed)
    assert decided.epochs.forked == ""
    assert decided.epoch.number == 1
