"""Blocks that a certified snapshot replaces go in steps, so that nothing is held up."""

from pathlib import Path

from peer.consensus.block import Block, Ref
from peer.storage.journal import PRUNED_BLOCKS_MAX, PRUNED_BYTES, Journal

KEY, MESH = b"k" * 32, b"m" * 16


def block(author: int, round_: int, frame: bytes = b"") -> Block:
    return Block(Ref(round_, author, bytes([author]) + round_.to_bytes(8, "big")), (), frame=frame)


def left(journal: Journal) -> list[tuple[int, ...]]:
    """Of each author: its number, the lowest round, how many blocks."""
    query = "SELECT author, min(round), count(*) FROM blocks GROUP BY author"
    return journal._db.execute(query).fetchall()


def certify(journal: Journal, floors: list[int]) -> None:
    journal.add_snapshot(64, b"d", floors, b"data")
    journal.certify(64, [b"frame"])


def test_so_many_go_at_a_time_also_after_a_restart_but_no_author_is_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    count = PRUNED_BLOCKS_MAX + 100
    journal.add_blocks(block(author, n) for n in range(1, count + 1) for author in (0, 1))
    journal.prune_blocks()
    assert left(journal) == [(0, 1, count), (1, 1, count)], "there is no snapshot yet"
    certify(journal, [count, 50])
    assert left(journal) == [(0, 1, count), (1, 1, count)]
    journal.prune_blocks()
    assert left(journal) == [(0, PRUNED_BLOCKS_MAX + 1, 100), (1, 51, count - 50)]
    journal.close()

    journal = Journal(path, KEY, MESH)
    for _ in range(3):
        journal.prune_blocks()
    assert left(journal) == [(0, count, 1), (1, 51, count - 50)]
    journal.close()


def test_fewer_of_large_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    journal.add_blocks(block(0, n, bytes(PRUNED_BYTES // 4)) for n in range(1, 11))
    certify(journal, [9])
    for gone in (4, 8, 9, 9):
        journal.prune_blocks()
        assert left(journal) == [(0, gone + 1, 10 - gone)]
    journal.close()
