"""What a journal keeps of epochs: their rows, whose blocks and evidence are whose, what may go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.consensus.block import Block, Ref, digest_of
from peer.consensus.committee import Committee, Mode
from peer.membership.epochs import DOMAIN, Epoch
from peer.storage.block_log import Slots
from peer.storage.epoch_table import StoredEpoch
from peer.storage.journal import Journal
from tests.support.epochs import first_epoch, key_of

KEY, MESH = b"k" * 32, b"m" * 16
SLOT_BYTES = 400
FIRST = first_epoch(Committee(MESH, 1, Mode.CRASH))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Journal.create(tmp_path / "journal", KEY)
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path, KEY, MESH, slots=Slots(path, SLOT_BYTES))
    yield journal
    journal.close()


def epoch(number: int) -> Epoch:
    """Each follows the one before with the same member."""
    if number == 0:
        return FIRST
    return epoch(number - 1).following((), (), 1, 64 * number, 1_000, b"d" * 32)


def stored(number: int, certified: bool = True) -> StoredEpoch:
    signature = key_of(0).sign(DOMAIN + epoch(number).seal)
    return StoredEpoch(epoch(number).origin, {0: signature} if certified else {}, certified, True)


def block(number: int, round_: int, payload: bytes = b"") -> Block:
    frame = f"{number} {round_} ".encode().ljust(50) + payload
    return Block(Ref(round_, 0, digest_of(frame)), (), payload, frame=frame)


def rounds(journal: Journal, number: int) -> list[int]:
    return [round_ for _, round_, _, _ in journal.frames(number)]


def fill(journal: Journal, certified: bool = True) -> None:
    """Blocks of epochs 0 to 2, in which this peer stands. Each epoch has a slot of the log."""
    journal.add_blocks(block(0, round_) for round_ in range(1, 4))
    journal.sync()
    for number in (1, 2):
        journal.epochs.put(stored(number, certified or number == 2))
        journal.add_blocks(block(number, round_) for round_ in range(1, 4))
        journal.sync()


def prune(journal: Journal) -> None:
    for _ in range(4):
        journal.prune()


def test_frames_belong_to_the_epoch_that_was_entered_last(path: Path) -> None:
    """ORDER-45."""
    journal = Journal(path, KEY, MESH)
    fill(journal)
    journal.sync()
    journal.close()
    again = Journal(path, KEY, MESH)
    assert again.epochs.entered == 2
    assert [each.origin.number for each in again.epochs.all()] == [1, 2]
    assert [rounds(again, number) for number in range(4)] == [[1, 2, 3]] * 3 + [[]]
    assert again.above([1], 10, 10_000, 1) == [block(1, 2).frame, block(1, 3).frame]
    again.close()


def test_blocks_of_an_epoch_go_once_its_end_is_certified_and_a_snapshot_follows(
    journal: Journal,
) -> None:
    """ORDER-48."""
    fill(journal)
    prune(journal)
    assert rounds(journal, 0) == [1, 2, 3], "no snapshot"
    journal.add_snapshot(192, b"d" * 32, [0], 2)
    prune(journal)
    assert rounds(journal, 0) == [1, 2, 3], "no quorum has signed it"
    journal.certify(192, [b"frame"])
    prune(journal)
    assert [rounds(journal, number) for number in range(3)] == [[], [], [1, 2, 3]]


def test_blocks_of_an_epoch_stay_until_its_end_is_certified(journal: Journal) -> None:
    """ORDER-48: of epoch 0 it is not, so nobody could follow the chain without its blocks."""
    fill(journal, certified=False)
    journal.add_snapshot(192, b"d" * 32, [0], 2)
    journal.certify(192, [b"frame"])
    prune(journal)
    assert [rounds(journal, number) for number in range(3)] == [[1, 2, 3]] * 3
    journal.epochs.put(stored(1))
    prune(journal)
    assert [rounds(journal, number) for number in range(3)] == [[], [], [1, 2, 3]]


def test_a_snapshot_of_an_earlier_epoch_lets_none_of_its_blocks_go(journal: Journal) -> None:
    """ORDER-48."""
    fill(journal)
    journal.add_snapshot(100, b"d" * 32, [0], 1)
    journal.certify(100, [b"frame"])
    prune(journal)
    assert [rounds(journal, number) for number in range(3)] == [[], [1, 2, 3], [1, 2, 3]]


def test_evidence_counts_in_its_own_epoch(path: Path) -> None:
    """ORDER-50."""
    journal = Journal(path, KEY, MESH)
    journal.add_evidence([(block(0, 1), block(0, 1, b"other"))])
    assert [row.first_round for row in journal.evidence()] == [1]
    journal.epochs.put(stored(1))
    assert journal.evidence() == []
    journal.add_evidence([(block(1, 7), block(1, 7, b"other"))])
    journal.sync()
    journal.close()
    again = Journal(path, KEY, MESH)
    assert [row.first_round for row in again.evidence()] == [7]
    again.close()


def test_a_chain_is_handed_out_up_to_the_last_certified_epoch(journal: Journal) -> None:
    """ORDER-47."""
    for number, certified in ((1, True), (2, False), (3, True), (4, False)):
        journal.epochs.put(stored(number, certified))
    chain = journal.epochs.certificates(0, 10, whole=False)
    assert [each.origin.number for each in chain] == [1, 2, 3]
    assert [len(each.signatures) for each in chain] == [1, 0, 1]
    one = journal.epochs.certificates(1, 1, whole=False)
    assert [each.origin.number for each in one] == [2]
    rest = journal.epochs.certificates(2, 10, whole=True)
    assert [(each.origin.number, len(each.signatures)) for each in rest] == [(3, 1), (4, 0)]
    assert journal.epochs.last_closed() == 0
