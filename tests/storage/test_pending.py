"""Commands in no block yet: what the journal keeps of them, and what that costs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.storage.journal import Journal

KEY, MESH = b"k" * 32, b"m" * 16
FRAME_BYTES = 24 + 4_096  # of SQLite's write-ahead log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    return path


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path, KEY, MESH)
    yield journal
    journal.close()


def take(journal: Journal, seq: int) -> None:
    journal.add_pending([(seq, b"command %d" % seq)])
    journal.sync()


def test_a_command_costs_one_page_while_those_before_go(journal: Journal, path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    for seq in range(1, 20):
        take(journal, seq)
        if seq == 9:
            before = log.stat().st_size
        journal.drop_pending_below(seq + 1)
    assert log.stat().st_size - before == 10 * FRAME_BYTES
    journal.settle()
    assert journal.pending() == []


def test_a_command_that_lost_its_block_stays(journal: Journal) -> None:
    """It comes again with its old number, after all up to it had gone."""
    for seq in (1, 2, 3):
        take(journal, seq)
    journal.drop_pending_below(4)
    take(journal, 2)
    journal.settle()
    assert journal.pending() == [(2, b"command 2")]


def test_a_closed_journal_has_only_those_in_no_block(journal: Journal, path: Path) -> None:
    for seq in (1, 2):
        take(journal, seq)
    journal.drop_pending_below(2)
    journal.close()
    again = Journal(path, KEY, MESH)
    assert again.pending() == [(2, b"command 2")]
    again.close()
