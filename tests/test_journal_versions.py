"""Journals of earlier versions are brought up to date; those of later ones are refused."""

import sqlite3
from pathlib import Path

import pytest

from peer import schema
from peer.api import ClientId, TradeView
from peer.history import History
from peer.journal import Journal, JournalError

KEY, MESH = b"k" * 32, b"m" * 16
# What a peer of each version may have stored in the tables that this version brought.
CONTENT = {
    1: "INSERT INTO blocks VALUES (1, 0, 1, x'01', x'f1'); INSERT INTO pending VALUES (9, x'c9');",
    2: "INSERT INTO snapshots VALUES (64, x'64', NULL, x'91', x'5a'), (128, x'80', NULL, x'91', "
    "x'5b'); INSERT INTO trades VALUES ('M', 1, 5, 100, 2, 0, 256, 512);",
    3: "INSERT INTO client_ids VALUES ('a', 'old', 3);",
    4: "INSERT INTO evidence VALUES (1, 7, x'07', NULL, x'f7');",
    5: "INSERT INTO records VALUES (129, 1, x'00'); INSERT INTO ended VALUES ('a', 129);",
}


def of_version(path: Path, version: int) -> None:
    """A journal as the program of that version left it."""
    db = sqlite3.connect(path, isolation_level=None)
    schema.migrate(db, version)
    db.execute("INSERT INTO meta VALUES ('key', ?), ('mesh', ?)", (KEY, MESH))
    for each in range(1, version + 1):
        db.executescript(CONTENT[each])
    db.close()


@pytest.mark.parametrize("version", range(1, schema.VERSION + 1))
def test_an_earlier_journal_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "journal.db"
    of_version(path, version)
    for _ in range(2):
        journal = Journal(path, KEY, MESH)
        name, old = ClientId("a", "c"), ClientId("a", "old")
        journal.add_client_ids([(name, 7)])
        journal.add_trades("M", [TradeView(2, 6, 100, 2, 0, 256, 512)])
        assert journal.frames() == [(b"\x01", b"\xf1")]
        assert journal.pending() == [(9, b"\xc9")]
        assert journal.snapshot() == ((b"\x80", b"\x5b") if version >= 2 else None)
        assert journal.client_ids([name, old]) == {name: 7} | ({old: 3} if version >= 3 else {})
        assert [each.author for each in journal.evidence()] == ([1] if version >= 4 else [])
        has_no_records = 2 <= version < 5
        assert journal.is_gap(128) == has_no_records, "what was before it never recorded"
        journal.close()
    history = History(path)
    assert [trade.number for trade in history.trades("M", 9, 9)] == [2, 1][: 1 + (version >= 2)]
    history.close()


def test_a_later_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    of_version(path, schema.VERSION)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    with pytest.raises(JournalError, match=f"has version {schema.VERSION + 1}; this program knows"):
        Journal(path, KEY, MESH)


def test_names_long_ago_are_forgotten_and_withdrawn_ones_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    names = {n: ClientId("a", str(n)) for n in (1, 2, 1_000_001, 1_000_002)}
    journal.add_client_ids((name, n) for n, name in names.items())
    journal.add_snapshot(64, b"d", [1], b"data")
    journal.certify(64, [b"frame"])
    assert sorted(journal.client_ids(names.values()).values()) == [1_000_001, 1_000_002]
    journal.drop_client_ids([1_000_001])
    assert list(journal.client_ids(names.values()).values()) == [1_000_002]
    journal.close()


def test_the_journal_of_another_key_or_mesh_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    of_version(path, 1)
    for key, mesh, said in (
        (b"K" * 32, MESH, f"belongs to key {KEY.hex()}, not {(b'K' * 32).hex()}"),
        (KEY, b"M" * 16, f"belongs to mesh {MESH.hex()}, not {(b'M' * 16).hex()}"),
    ):
        with pytest.raises(JournalError, match=said):
            Journal(path, key, mesh)
    db = sqlite3.connect(path)
    assert schema.version_of(db) == 1, "one that is refused is left as it was"
    db.close()
