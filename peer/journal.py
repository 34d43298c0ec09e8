"""What a peer must not forget, in one SQLite file.

Owns durability: once `sync` returns, everything added before it survives a crash. Must never decide
what is worth keeping: the node says what and when.

A journal belongs to one key and, from its first use, to one mesh. It is made together with the key
and never again: a peer that lost its journal could sign a second block for a round it already spoke
in, so it must come back under a new key.
"""

import fcntl
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from peer.api import TradeView
from peer.block import Block
from peer.catchup import PART_BYTES, Manifest

_encode = msgspec.msgpack.Encoder().encode

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
_SNAPSHOTS_AND_TRADES = """
-- The state after a commit. `certificate` holds frames of a quorum that say its digest, once there.
CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    certificate BLOB,
    floors BLOB NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE trades (
    market TEXT NOT NULL,
    number INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    price INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    side INTEGER NOT NULL,
    maker INTEGER NOT NULL,
    taker INTEGER NOT NULL,
    PRIMARY KEY (market, number)
) WITHOUT ROWID;
"""
_MIGRATIONS = (_SCHEMA, _SNAPSHOTS_AND_TRADES)  # the n-th makes version n of what was before
SCHEMA_VERSION = len(_MIGRATIONS)


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
        self._lock = _lock(path)
        self._db = _connect(path)
        try:
            self._check(path, key, mesh)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(path: Path, key: bytes) -> None:
        """Make the empty journal of a new key."""
        if path.exists():
            raise JournalError(f"{path} exists: a journal is never overwritten")
        db = _connect(path)
        _migrate(db, 0)
        db.execute("INSERT INTO meta VALUES ('key', ?)", (key,))
        db.close()

    def _check(self, path: Path, key: bytes, mesh: bytes) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if not 1 <= version <= SCHEMA_VERSION:
            raise JournalError(
                f"{path} has version {version}; this program knows 1 to {SCHEMA_VERSION}"
            )
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        if meta["key"] != key:
            raise JournalError(f"{path} belongs to key {meta['key'].hex()}, not {key.hex()}")
        if meta.setdefault("mesh", mesh) != mesh:
            raise JournalError(f"{path} belongs to mesh {meta['mesh'].hex()}, not {mesh.hex()}")
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('mesh', ?)", (mesh,))
        _migrate(self._db, version)

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

    def add_trades(self, market: str, trades: Iterable[TradeView]) -> None:
        """Trades to be looked up later. One that is there already stays: after a crash the last
        ones are derived again."""
        self._begin()
        rows = [(market, *msgspec.structs.astuple(trade)) for trade in trades]
        self._db.executemany("INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def add_snapshot(self, number: int, digest: bytes, floors: list[int], data: bytes) -> None:
        """The state after commit `number`; above `floors`, by author, blocks are still needed."""
        self._begin()
        self._db.execute(
            "INSERT OR IGNORE INTO snapshots VALUES (?, ?, NULL, ?, ?)",
            (number, digest, _encode(floors), data),
        )

    def snapshot(self) -> bytes | None:
        """The newest snapshot."""
        row = self._db.execute("SELECT data FROM snapshots ORDER BY number DESC").fetchone()
        return None if row is None else row[0]

    def certify(self, number: int, certificate: list[bytes]) -> None:
        """A quorum said the digest of a snapshot: what only older ones need is pruned, but for
        each author's newest block, since nobody may forget where it stands itself."""
        self._begin()
        (floors,) = self._db.execute(
            "SELECT floors FROM snapshots WHERE number = ?", (number,)
        ).fetchone()
        self._db.execute(
            "UPDATE snapshots SET certificate = ? WHERE number = ?",
            (_encode(certificate), number),
        )
        self._db.execute("DELETE FROM snapshots WHERE number < ?", (number,))
        for author, floor in enumerate(msgspec.msgpack.decode(floors)):
            self._db.execute(
                "DELETE FROM blocks WHERE author = ? AND round <= ? AND round < "
                "(SELECT max(round) FROM blocks WHERE author = ?)",
                (author, floor, author),
            )

    def certified(self) -> tuple[Manifest, list[int], list[bytes]] | None:
        """The newest snapshot a quorum agrees on, its floors, and the frames that say so."""
        row = self._db.execute(
            "SELECT number, digest, length(data), floors, certificate FROM snapshots "
            "WHERE certificate IS NOT NULL ORDER BY number DESC"
        ).fetchone()
        if row is None:
            return None
        number, digest, size, floors, certificate = row
        manifest = Manifest(number, digest, size)
        return manifest, msgspec.msgpack.decode(floors), msgspec.msgpack.decode(certificate)

    def snapshot_part(self, number: int, offset: int) -> bytes:
        """PART_BYTES of a snapshot's encoding; fewer at its end, none if it is not here."""
        found = self._db.execute("SELECT 1 FROM snapshots WHERE number = ?", (number,)).fetchone()
        if found is None:
            return b""
        with self._db.blobopen("snapshots", "data", number, readonly=True) as blob:
            if not 0 <= offset < len(blob):
                return b""
            blob.seek(offset)
            return blob.read(PART_BYTES)

    def close(self) -> None:
        self.sync()
        self._db.close()
        self._lock.close()

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")


def _lock(path: Path) -> IO[bytes]:
    """Hold this until the end: readers may share the file, but only one process writes it."""
    lock = path.with_suffix(".lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise JournalError(f"{path} is in use: is this peer running already?") from None
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


def _migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a journal to the version of this program."""
    for number, script in enumerate(_MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _fit(frames: list[bytes], bytes_max: int) -> list[bytes]:
    total = 0
    for count, frame in enumerate(frames):
        total += len(frame)
        if total > bytes_max:
            return frames[: max(count, 1)]
    return frames
