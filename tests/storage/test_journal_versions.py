"""Journals written under other rules than today's are refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peer.storage import schema
from peer.storage.journal import Journal, JournalError

KEY, MESH = b"k" * 32, b"m" * 16
OLDER = range(1, schema.OLDEST)


def of_version(path: Path, version: int) -> None:
    """A journal as a program of that version left it, as far as this one looks at it."""
    Journal.create(path, KEY)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("INSERT INTO meta VALUES ('mesh', ?)", (MESH,))
    db.execute(f"PRAGMA user_version = {version}")
    db.close()


def test_a_journal_is_created_in_the_current_version_and_kept_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    of_version(path, schema.VERSION)
    for _ in range(2):
        Journal(path, KEY, MESH).close()
        with closing(sqlite3.connect(path)) as db:
            assert schema.version_of(db) == schema.VERSION


@pytest.mark.parametrize(
    ("version", "said"),
    [
        *(
            (version, "earlier rules of the protocol. Create a new mesh")
            for version in range(1, schema.OLDEST)
        ),
        (schema.VERSION + 1, "written by a later version"),
    ],
)
def test_a_journal_of_another_version_is_refused_and_kept_unchanged(
    tmp_path: Path, version: int, said: str
) -> None:
    path = tmp_path / "journal.db"
    of_version(path, version)
    with pytest.raises(JournalError, match=f"has version {version}, .*{said}"):
        Journal(path, KEY, MESH)
    with closing(sqlite3.connect(path)) as db:
        assert schema.version_of(db) == version


def test_the_journal_of_another_key_or_mesh_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    of_version(path, schema.VERSION)
    for key, mesh, said in (
        (b"K" * 32, MESH, f"belongs to key {KEY.hex()}, expected {(b'K' * 32).hex()}"),
        (KEY, b"M" * 16, f"belongs to mesh {MESH.hex()}, expected {(b'M' * 16).hex()}"),
    ):
        with pytest.raises(JournalError, match=said):
            Journal(path, key, mesh)
