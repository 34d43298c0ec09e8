"""Journals of earlier versions are brought up to date; those of later ones are refused."""

import sqlite3
from pathlib import Path

import pytest

from peer.api import ClientId
from peer.journal import SCHEMA_VERSION, Journal, JournalError

KEY, MESH = b"k" * 32, b"m" * 16
# What made each version of what was before, undone.
UNDO = {
    4: "DROP TABLE evidence;",
    3: "DROP TABLE client_ids;",
    2: "DROP TABLE snapshots; DROP TABLE trades;",
}


def of_version(path: Path, version: int) -> None:
    Journal.create(path, KEY)
    db = sqlite3.connect(path)
    for later in range(SCHEMA_VERSION, version, -1):
        db.executescript(UNDO[later])
    db.execute(f"PRAGMA user_version = {version}")
    db.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_an_earlier_journal_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "journal.db"
    of_version(path, version)
    for _ in range(2):
        journal = Journal(path, KEY, MESH)
        name = ClientId("a", "c")
        journal.add_client_ids([(name, 7)])
        journal.add_pending([(7, b"command")])
        assert journal.client_ids([name, ClientId("b", "c")]) == {name: 7}
        assert journal.certified() is None
        journal.close()


def test_a_later_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    of_version(path, SCHEMA_VERSION)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(JournalError, match=f"has version {SCHEMA_VERSION + 1}; this program knows"):
        Journal(path, KEY, MESH)


def test_names_long_ago_are_forgotten_and_withdrawn_ones_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    of_version(path, SCHEMA_VERSION)
    journal = Journal(path, KEY, MESH)
    names = {n: ClientId("a", str(n)) for n in (1, 2, 1_000_001, 1_000_002)}
    journal.add_client_ids((name, n) for n, name in names.items())
    journal.add_snapshot(64, b"d", [1], b"data")
    journal.certify(64, [b"frame"])
    assert sorted(journal.client_ids(names.values()).values()) == [1_000_001, 1_000_002]
    journal.drop_client_ids([1_000_001])
    assert list(journal.client_ids(names.values()).values()) == [1_000_002]
    journal.close()
