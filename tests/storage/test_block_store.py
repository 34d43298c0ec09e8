"""The blocks of a journal: found again after a restart, and gone once a snapshot replaces them."""

from pathlib import Path

import pytest

from peer.consensus.block import Block, Ref, digest_of
from peer.storage.block_log import Slots
from peer.storage.journal import Journal

KEY, MESH = b"k" * 32, b"m" * 16
SLOT_BYTES = 1_000  # a block a slot
FRAME_BYTES = 600
ANN, BOB = 0, 1


def block(author: int, round_: int, size: int = FRAME_BYTES) -> Block:
    frame = f"{author} {round_} ".encode().ljust(size, b".")
    return Block(Ref(round_, author, digest_of(frame)), (), frame=frame)


def opened(path: Path) -> Journal:
    if not path.exists():
        Journal.create(path, KEY)
    return Journal(path, KEY, MESH, slots=Slots(path, SLOT_BYTES))


def rounds(journal: Journal, author: int) -> list[int]:
    return [round_ for who, round_, _, _ in journal.frames(0) if who == author]


def pruned(journal: Journal, *floors: int) -> None:
    """Prune until nothing more goes."""
    journal.add_snapshot(64, b"d", list(floors))
    journal.certify(64, [b"frame"])
    for _ in range(30):
        journal.prune()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def fill(journal: Journal, *blocks: Block) -> None:
    for one in blocks:
        journal.add_blocks([one])
        journal.sync()


def test_blocks_are_found_before_and_after_a_restart(path: Path) -> None:
    journal = opened(path)
    sent = [block(author, round_, 50) for round_ in range(1, 4) for author in (ANN, BOB)]
    frames = [one.frame for one in sent]
    journal.add_blocks(sent[:4])
    journal.add_blocks(sent)  # some for the second time
    for _ in range(2):
        assert [frame for *_, frame in journal.frames(0)] == frames
        assert journal.find([sent[3].ref.digest, bytes(32), sent[1].ref.digest], 10**6) == [
            frames[3],
            frames[1],
        ]
        assert journal.above([0, 2], 10, 10**6) == [frames[n] for n in (0, 2, 4, 5)]
        assert journal.above([0, 2], 3, 10**6) == [frames[n] for n in (0, 2, 4)]
        assert journal.above([0, 2], 10, 120) == [frames[n] for n in (0, 2)]
        assert journal.above([0, 2], 10, 1) == [frames[0]], "at least one"
        assert journal.above([0, 0], 10, 10**6, 1) == []
        journal.close()
        journal = opened(path)
    journal.close()


def test_blocks_go_that_a_certified_snapshot_replaces_but_every_authors_last_stays(
    path: Path,
) -> None:
    journal = opened(path)
    fill(journal, block(BOB, 1, 100), *(block(ANN, n) for n in range(1, 11)))
    for _ in range(30):
        journal.prune()
    assert (rounds(journal, ANN), rounds(journal, BOB)) == (list(range(1, 11)), [1])
    pruned(journal, 7, 7)
    for _ in range(2):
        assert (rounds(journal, ANN), rounds(journal, BOB)) == ([8, 9, 10], [1])
        assert journal.find([block(BOB, 1, 100).ref.digest], 10**6) == [block(BOB, 1, 100).frame]
        [first, *_] = [frame for *_, frame in journal.frames(0)]
        assert first == block(BOB, 1, 100).frame, "it moved, and comes first as before"
        journal.close()
        journal = opened(path)
    journal.close()


def test_a_slot_stays_while_much_of_it_is_needed(path: Path) -> None:
    journal = opened(path)
    fill(journal, block(BOB, 1), *(block(ANN, n) for n in range(1, 11)))
    pruned(journal, 7, 0)
    assert rounds(journal, ANN) == list(range(1, 11))
    journal.close()


def test_the_space_of_blocks_that_went_is_used_again(path: Path) -> None:
    journal = opened(path)
    for snapshot in range(1, 20):
        fill(journal, *(block(ANN, n) for n in range(snapshot * 10, snapshot * 10 + 10)))
        journal.add_snapshot(64 * snapshot, b"d", [snapshot * 10])
        journal.certify(64 * snapshot, [b"frame"])
        for _ in range(20):
            journal.prune()
    assert len(rounds(journal, ANN)) == 9
    assert len(Slots(path).all()) < 35, "without that it would be over 60"
    journal.close()
