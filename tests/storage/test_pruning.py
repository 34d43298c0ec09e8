"""What a certified snapshot replaces goes in steps: nothing is held up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.storage.journal import Journal
from peer.storage.pruning import PRUNED_BYTES, PRUNED_PIECES_MAX

KEY, MESH = b"k" * 32, b"m" * 16


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    yield journal
    journal.close()


def snapshot(journal: Journal, number: int, pieces: dict[int, bytes]) -> None:
    """What has changed at that commit."""
    journal.add_pieces(number, pieces.items())
    journal.add_snapshot(number, b"d", [0])


def versions(journal: Journal) -> list[tuple[int, int]]:
    return journal._db.execute("SELECT key, number FROM pieces ORDER BY key, number").fetchall()


def test_replaced_pieces_are_pruned_once_the_newer_snapshot_is_certified(journal: Journal) -> None:
    snapshot(journal, 64, {1: b"a", 2: b"b", 3: b"c"})
    snapshot(journal, 128, {1: b"A", 3: b""})
    before = {1: b"a", 2: b"b", 3: b"c"}
    after = {1: b"A", 2: b"b"}
    journal.prune()
    assert journal.pieces(64) == before
    assert journal.pieces(128) == after
    journal.certify(128, [b"frame"])
    journal.add_pieces(192, [(1, b"?"), (2, b"?"), (4, b"?")])  # of one that is being written
    for _ in range(2):
        journal.prune()
    assert versions(journal) == [(1, 128), (1, 192), (2, 64), (2, 192), (4, 192)]
    assert journal.pieces(128) == after
    assert [journal.piece(128, key) for key in range(5)] == [b"", b"A", b"b", b"", b""]
    assert journal.piece(64, 2) is None, "that snapshot is gone"
    assert journal.piece(192, 2) is None, "that one is not finished"


def test_pruning_removes_a_bounded_number_of_pieces(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    old, new = dict.fromkeys(range(1_200), b"old"), dict.fromkeys(range(0, 1_200, 2), b"")
    snapshot(journal, 64, old)
    snapshot(journal, 128, new)
    journal.certify(128, [b"frame"])
    left = [len(versions(journal))]
    for step in range(25):
        journal.prune()
        left.append(len(versions(journal)))
        assert left[-2] - left[-1] <= PRUNED_PIECES_MAX
        if step == 1:
            journal.close()
            journal = Journal(path, KEY, MESH)
    assert left[0] == 1_800
    assert left[1] < left[0]
    assert left[-1] == 600
    assert journal.pieces(128) == dict.fromkeys(range(1, 1200, 2), b"old")
    journal.close()


def test_all_old_pieces_go_though_snapshots_come_faster_than_a_look_at_all(
    journal: Journal,
) -> None:
    keys = range(3 * PRUNED_PIECES_MAX)
    snapshot(journal, 64, dict.fromkeys(keys, b"old"))
    for number in range(128, 128 + 64 * 20, 64):
        snapshot(journal, number, dict.fromkeys(keys, b"%d" % number))
        journal.certify(number, [b"frame"])
        journal.prune(3)
    numbers = [number for key, number in versions(journal) if key == keys[-1]]
    assert len(numbers) < 10
    journal.prune(100)
    assert versions(journal) == [(key, number) for key in keys]


def test_pruning_removes_fewer_large_pieces_at_a_time(journal: Journal) -> None:
    large = bytes(PRUNED_BYTES // 4)
    snapshot(journal, 64, dict.fromkeys(range(8), large))
    snapshot(journal, 128, dict.fromkeys(range(8), b"small"))
    journal.certify(128, [b"frame"])
    gone = []
    for _ in range(4):
        before = len(versions(journal))
        journal.prune()
        gone.append(before - len(versions(journal)))
    assert sum(gone) == 8
    assert max(gone) <= 4


def test_an_unfinished_snapshot_is_dropped(journal: Journal) -> None:
    snapshot(journal, 64, {1: b"a"})
    journal.add_pieces(128, [(1, b"b"), (2, b"c")])
    journal.drop_unfinished()
    assert versions(journal) == [(1, 64)]
    newest = journal.snapshot()
    assert newest == (64, b"d", False, 0)
