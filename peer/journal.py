"""What a peer must not forget, in one SQLite file.

Owns durability: once `sync` returns, everything added before it survives a crash. Must never decide
what is worth keeping: the node says what and when.

A journal belongs to one key and, from its first use, to one mesh. It is made together with the key
and never again: a peer that lost its journal could sign a second block for a round it already spoke
in, so it must come back under a new key.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from peer.block import Block

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
-- In the order they were accepted: parents before children.
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    author INTEGER NOT NULL,
    round INTEGER NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    frame BLOB NOT NULL
);
CREATE INDEX blocks_by_author ON blocks (author, round);
-- Commands accepted here that are in no own block yet.
CREATE TABLE pending (seq INTEGER PRIMARY KEY, command BLOB NOT NULL);
"""


class JournalError(Exception):
    """A journal that can't be used: missing, another peer's or mesh's, too new, in use."""


class Journal:
    """The open journal of the peer with Ed25519 public key `key` in the mesh with id `mesh`."""

    def __init__(self, path: Path, key: bytes, mesh: bytes) -> None:
        if not path.exists():
            raise JournalError(
                f"no journal at {path}, but the key has been made together with one: a peer that "
                "lost its journal must rejoin under a new key, or it could contradict itself"
            )
        self._db = _connect(path)
        try:
            self._check(path, key, mesh)
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def create(path: Path, key: bytes) -> None:
        """Make the empty journal of a new key."""
        if path.exists():
            raise JournalError(f"{path} exists: a journal is never overwritten")
        db = _connect(path)
        with db:
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO meta VALUES ('key', ?)", (key,))
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.close()

    def _check(self, path: Path, key: bytes, mesh: bytes) -> None:
        try:
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            self._db.execute("BEGIN IMMEDIATE")  # takes the exclusive lock, until `close`
        except sqlite3.OperationalError:
            raise JournalError(f"{path} is in use: is this peer running already?") from None
        if version != SCHEMA_VERSION:
            self._db.rollback()
            raise JournalError(f"{path} has version {version}, this program {SCHEMA_VERSION}")
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        if meta["key"] != key:
            raise JournalError(f"{path} belongs to key {meta['key'].hex()}, not {key.hex()}")
        if meta.setdefault("mesh", mesh) != mesh:
            raise JournalError(f"{path} belongs to mesh {meta['mesh'].hex()}, not {mesh.hex()}")
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('mesh', ?)", (mesh,))
        self._db.commit()

    def add_blocks(self, blocks: Iterable[Block]) -> None:
        self._begin()
        self._db.executemany(
            "INSERT OR IGNORE INTO blocks (author, round, digest, frame) VALUES (?, ?, ?, ?)",
            [(block.author, block.round, block.ref.digest, block.frame) for block in blocks],
        )

    def add_pending(self, commands: Iterable[tuple[int, bytes]]) -> None:
        """Commands, by seq, that are in no own block; a later one of a seq takes its place."""
        self._begin()
        self._db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", commands)

    def drop_pending_below(self, seq: int) -> None:
        """Commands below `seq` are in own blocks now."""
        self._begin()
        self._db.execute("DELETE FROM pending WHERE seq < ?", (seq,))

    def sync(self) -> None:
        """Everything added so far is durable when this returns."""
        if self._db.in_transaction:
            self._db.commit()

    def frames(self) -> Iterator[bytes]:
        """Every block, parents before children."""
        for (frame,) in self._db.execute("SELECT frame FROM blocks ORDER BY number"):
            yield frame

    def pending(self) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT seq, command FROM pending ORDER BY seq").fetchall()

    def find(self, digests: Iterable[bytes], bytes_max: int) -> list[bytes]:
        """The frames of these blocks, as far as they are here and fit."""
        found = []
        for digest in digests:
            row = self._db.execute(
                "SELECT frame FROM blocks WHERE digest = ?", (digest,)
            ).fetchone()
            if row is not None:
                found.append(row[0])
        return _fit(found, bytes_max)

    def above(self, rounds: Sequence[int], count_max: int, bytes_max: int) -> list[bytes]:
        """Frames above a round by author, parents before children, as many as fit."""
        rows: list[tuple[int, bytes]] = []
        for author, round_ in enumerate(rounds):
            rows += self._db.execute(
                "SELECT number, frame FROM blocks WHERE author = ? AND round > ? "
                "ORDER BY round LIMIT ?",
                (author, round_, count_max),
            )
        rows.sort()
        return _fit([frame for _, frame in rows[:count_max]], bytes_max)

    def close(self) -> None:
        self.sync()
        self._db.close()

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        db.close()
        raise JournalError(f"{path} is in use: is this peer running already?") from None
    db.execute("PRAGMA synchronous = FULL")
    return db


def _fit(frames: list[bytes], bytes_max: int) -> list[bytes]:
    total = 0
    for count, frame in enumerate(frames):
        total += len(frame)
        if total > bytes_max:
            return frames[: max(count, 1)]
    return frames
