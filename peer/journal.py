"""What a peer must not forget, in one SQLite file.

Owns durability: once `sync` returns, everything added before it survives a crash. Must never decide
what is worth keeping: the node says what and when.

A journal belongs to one key and, from its first use, to one mesh. It is made together with the key
and never again: a peer that lost its journal could sign a second block for a round it already spoke
in, so it must come back under a new key.
"""

import contextlib
import fcntl
import functools
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Concatenate, NamedTuple, ParamSpec, TypeVar

import msgspec

from peer.api import ClientId, TradeView
from peer.block import FRAME_BYTES_MAX, Block
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
_CLIENT_IDS = """
-- Orders taken here under a name of their submitter's, the last CLIENT_IDS_KEPT.
CREATE TABLE client_ids (
    account TEXT NOT NULL,
    client_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (account, client_id)
) WITHOUT ROWID;
CREATE INDEX client_ids_by_seq ON client_ids (seq);
"""
_EVIDENCE = """
-- Two blocks of one author that exclude each other. The first may be known by its digest alone.
CREATE TABLE evidence (
    author INTEGER PRIMARY KEY,
    first_round INTEGER NOT NULL,
    first_digest BLOB NOT NULL,
    first_frame BLOB,
    second_frame BLOB NOT NULL
);
"""
_MIGRATIONS = (
    _SCHEMA,
    _SNAPSHOTS_AND_TRADES,
    _CLIENT_IDS,
    _EVIDENCE,
)  # the n-th makes version n of what was before
SCHEMA_VERSION = len(_MIGRATIONS)


CLIENT_IDS_KEPT = 1_000_000  # commands of this peer ago
PRUNED_BLOCKS_MAX = 500  # of each author at a time
PRUNED_BYTES = 2 * 1024 * 1024  # the same; at least a frame


class StoredEvidence(NamedTuple):
    """Two blocks of one author; of the first, what is known of it."""

    author: int
    first_round: int
    first_digest: bytes
    first_frame: bytes | None
    second_frame: bytes


class JournalError(Exception):
    """A journal that can't be used: missing, another peer's or mesh's, too new, in use, damaged; or
    the disk failed."""


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _guarded(
    method: "Callable[Concatenate[Journal, _P], _T]",
) -> "Callable[Concatenate[Journal, _P], _T]":
    """Whatever goes wrong with the file ends the journal, and is a JournalError."""

    @functools.wraps(method)
    def guarded(journal: "Journal", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(journal, *args, **kwargs)
        except (sqlite3.Error, OSError) as error:
            raise journal._fail(error) from error

    return guarded


class Journal:
    """The open journal of the peer with Ed25519 public key `key` in the mesh with id `mesh`.

    Once the file can't be read or written, `failed` says why, for good: nothing more is written,
    since after a failed fsync nobody knows what is on the disk. What was durable can still be read.
    Every method may raise JournalError.
    """

    _floors: dict[int, int] | None = None  # rounds up to which blocks can go, by author

    def __init__(
        self,
        path: Path,
        key: bytes,
        mesh: bytes,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        if not path.exists():
            raise JournalError(
                f"no journal at {path}, but the key has been made together with one: a peer that "
                "lost its journal must rejoin under a new key, or it could contradict itself"
            )
        self.failed = ""
        self._path = path
        self._lock = _lock(path)
        try:
            self._db = (connect or _connect)(path)
        except sqlite3.Error as error:
            self._lock.close()
            raise JournalError(f"{path} can't be opened: {error}") from None
        try:
            self._check(path, key, mesh)
        except BaseException:
            self.close()
            raise

    def _fail(self, error: Exception) -> JournalError:
        self.failed = self.failed or f"the journal {self._path} has failed: {error}"
        with contextlib.suppress(sqlite3.Error):
            self._db.rollback()
        return JournalError(self.failed)

    @staticmethod
    def create(path: Path, key: bytes) -> None:
        """Make the empty journal of a new key."""
        if path.exists():
            raise JournalError(f"{path} exists: a journal is never overwritten")
        db = _connect(path)
        _migrate(db, 0)
        db.execute("INSERT INTO meta VALUES ('key', ?)", (key,))
        db.close()

    @_guarded
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

    @_guarded
    def add_blocks(self, blocks: Iterable[Block]) -> None:
        self._begin()
        self._db.executemany(
            "INSERT OR IGNORE INTO blocks (author, round, digest, frame) VALUES (?, ?, ?, ?)",
            [(block.author, block.round, block.ref.digest, block.frame) for block in blocks],
        )

    @_guarded
    def add_pending(self, commands: Iterable[tuple[int, bytes]]) -> None:
        """Commands, by seq, that are in no own block; a later one of a seq takes its place."""
        self._begin()
        self._db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", commands)

    @_guarded
    def add_evidence(self, pairs: Iterable[tuple[Block, Block]]) -> None:
        """Proofs against authors; the first one of each is kept."""
        self._begin()
        for first, second in pairs:
            frame = first.frame or next(iter(self.find([first.ref.digest], FRAME_BYTES_MAX)), None)
            self._db.execute(
                "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)",
                (first.author, first.round, first.ref.digest, frame, second.frame),
            )

    @_guarded
    def evidence(self) -> list[StoredEvidence]:
        return [StoredEvidence(*row) for row in self._db.execute("SELECT * FROM evidence")]

    @_guarded
    def drop_pending_below(self, seq: int) -> None:
        """Commands below `seq` are in own blocks now."""
        self._begin()
        self._db.execute("DELETE FROM pending WHERE seq < ?", (seq,))

    @_guarded
    def add_client_ids(self, names: Iterable[tuple[ClientId, int]]) -> None:
        """Names of orders, with their seqs."""
        self._begin()
        rows = [(*name, seq) for name, seq in names]
        self._db.executemany("INSERT OR REPLACE INTO client_ids VALUES (?, ?, ?)", rows)

    @_guarded
    def drop_client_ids(self, seqs: Iterable[int]) -> None:
        """These orders were withdrawn: their names are free again."""
        self._begin()
        self._db.executemany("DELETE FROM client_ids WHERE seq = ?", [(seq,) for seq in seqs])

    @_guarded
    def client_ids(self, names: Iterable[ClientId]) -> dict[ClientId, int]:
        """Those of the names that are there, with their seqs."""
        found = {}
        query = "SELECT seq FROM client_ids WHERE account = ? AND client_id = ?"
        for name in names:
            row = self._db.execute(query, name).fetchone()
            if row is not None:
                found[name] = row[0]
        return found

    @_guarded
    def sync(self) -> None:
        """Everything added so far is durable when this returns."""
        if self.failed:
            raise JournalError(self.failed)
        if self._db.in_transaction:
            self._db.commit()

    @_guarded
    def frames(self) -> list[tuple[bytes, bytes]]:
        """Every block, parents before children: its digest as it was stored, and its frame."""
        return self._db.execute("SELECT digest, frame FROM blocks ORDER BY number").fetchall()

    @_guarded
    def pending(self) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT seq, command FROM pending ORDER BY seq").fetchall()

    @_guarded
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

    @_guarded
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

    @_guarded
    def add_trades(self, market: str, trades: Iterable[TradeView]) -> None:
        """Trades to be looked up later. One that is there already stays: after a crash the last
        ones are derived again."""
        self._begin()
        rows = [(market, *msgspec.structs.astuple(trade)) for trade in trades]
        self._db.executemany("INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @_guarded
    def add_snapshot(self, number: int, digest: bytes, floors: list[int], data: bytes) -> None:
        """The state after commit `number`; above `floors`, by author, blocks are still needed."""
        self._begin()
        self._db.execute(
            "INSERT OR IGNORE INTO snapshots VALUES (?, ?, NULL, ?, ?)",
            (number, digest, _encode(floors), data),
        )

    @_guarded
    def snapshot(self) -> tuple[bytes, bytes] | None:
        """The newest snapshot: the digest of the state, and its encoding."""
        query = "SELECT digest, data FROM snapshots ORDER BY number DESC"
        row: tuple[bytes, bytes] | None = self._db.execute(query).fetchone()
        return row

    @_guarded
    def certify(self, number: int, certificate: list[bytes]) -> None:
        """A quorum said the digest of a snapshot: what only older ones need can go. Their blocks go
        bit by bit, see `prune_blocks`."""
        self._begin()
        (floors,) = self._db.execute(
            "SELECT floors FROM snapshots WHERE number = ?", (number,)
        ).fetchone()
        self._db.execute(
            "UPDATE snapshots SET certificate = ? WHERE number = ?",
            (_encode(certificate), number),
        )
        self._db.execute("DELETE FROM snapshots WHERE number < ?", (number,))
        self._db.execute(
            "DELETE FROM client_ids WHERE seq <= (SELECT max(seq) FROM client_ids) - ?",
            (CLIENT_IDS_KEPT,),
        )
        self._floors = dict(enumerate(msgspec.msgpack.decode(floors)))

    @_guarded
    def prune_blocks(self) -> None:
        """Forget some of the blocks that only snapshots before the certified one need, but never an
        author's newest block: nobody may forget where it stands itself. All of them at once would
        hold up the loop."""
        if self._floors is None:
            certified = self.certified()
            self._floors = dict(enumerate(certified[1])) if certified else {}
        for author, floor in list(self._floors.items()):
            rows = self._db.execute(
                "SELECT number, length(frame) FROM blocks WHERE author = ? AND round <= ? AND "
                "round < (SELECT max(round) FROM blocks WHERE author = ?) ORDER BY round LIMIT ?",
                (author, floor, author, PRUNED_BLOCKS_MAX),
            ).fetchall()
            sizes = itertools.accumulate(size for _, size in rows)
            some = [row[:1] for row, size in zip(rows, sizes, strict=True) if size <= PRUNED_BYTES]
            if some:
                self._begin()
                self._db.executemany("DELETE FROM blocks WHERE number = ?", some)
            else:
                del self._floors[author]

    @_guarded
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

    @_guarded
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
        """What was added is durable, unless the journal has failed. Raises nothing."""
        if not self.failed:
            with contextlib.suppress(JournalError):
                self.sync()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._lock.close()

    def _begin(self) -> None:
        if self.failed:
            raise JournalError(self.failed)
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
    db.execute("PRAGMA secure_delete = OFF")  # some systems' default: write zeros where blocks were
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
