"""The journal's database: one process opens it, for one key and one mesh, and gives it up on
failure.

Owns the file, its lock and its transactions. Must never know what the tables mean.

Most of what is written can be derived again after a power failure, and costs no wait for the disk.
SQLite loses only the last transactions then, and never one without those after it.
"""

import contextlib
import fcntl
import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import IO, Concatenate, ParamSpec, TypeVar

from peer.storage import schema

LOG_BYTES_MAX = 8 * 1024 * 1024  # of SQLite's write-ahead log, when it restarts
# A commit that finds more pages in that log than this copies them into the file, at 10 us a page.
LOG_PAGES_MAX = 256


_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class JournalError(Exception):
    """The journal can't be used: missing, another peer's or mesh's, too new, in use or damaged; or
    the disk failed."""


class LostJournalError(JournalError):
    """The journal is missing or damaged. What its key has signed may not be in it any more, so that
    key must never sign anything again."""


class Tables:
    """Some tables of a database. A subclass owns what they mean."""

    def __init__(self, database: "Database") -> None:
        self._database = database
        self._db = database.connection


_S = TypeVar("_S", bound="Tables | Database")
_P = ParamSpec("_P")
_T = TypeVar("_T")


def guarded(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """An error of the file ends the journal and becomes a JournalError."""

    @functools.wraps(method)
    def wrapper(tables: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(tables, *args, **kwargs)
        except (sqlite3.Error, OSError) as error:
            database = tables._database if isinstance(tables, Tables) else tables
            raise database.fail(error) from error

    return wrapper


class Database:
    """The open file at `path` of the peer with Ed25519 public key `key` in the mesh with id `mesh`.

    Once the file can't be read or written, `failed` says why. Nothing more is ever written: a
    failed fsync leaves the disk in an unknown state. Durable data can still be read. Every method
    may raise JournalError.

    `log_key` is that of the log beside the file.
    """

    def __init__(
        self,
        path: Path,
        key: bytes,
        mesh: bytes,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        if not path.exists():
            raise LostJournalError(
                f"expected a journal at {path}, got none: it is created together with the key. A "
                "peer that lost its journal must rejoin under a new key, or it could equivocate"
            )
        self.failed = ""
        self.key = key
        self.log_key = b""
        self._path = path
        self._lock = lock(path)
        self._is_durable = False  # the transactions from now on
        try:
            self.connection = (connect or _connect)(path)
        except sqlite3.Error as error:
            self._lock.close()
            raise _error_of(error)(f"cannot open {path}: {error}") from None
        try:
            self._check(path, key, mesh)
        except BaseException:
            self.close()
            raise

    def fail(self, error: Exception) -> JournalError:
        """Mark the file as failed. Returns the error to raise."""
        self.failed = self.failed or f"the journal {self._path} has failed: {error}"
        with contextlib.suppress(sqlite3.Error):
            self.connection.rollback()
        return _error_of(error)(self.failed)

    @staticmethod
    def create(path: Path, key: bytes, log_key: bytes) -> None:
        """Make the empty file of a new key."""
        try:
            db = _connect(path)
            try:
                schema.migrate(db)
                meta = [("key", key), ("log", log_key)]
                db.executemany("INSERT INTO meta VALUES (?, ?)", meta)
            finally:
                db.close()
        except sqlite3.Error as error:
            raise JournalError(f"cannot create {path}: {error}") from None

    @guarded
    def _check(self, path: Path, key: bytes, mesh: bytes) -> None:
        version = schema.version_of(self.connection)
        if version < schema.OLDEST:
            raise JournalError(
                f"{path} has version {version}, expected {schema.OLDEST} or later: it has "
                "an earlier form, or was written under earlier rules of the protocol. Create a new "
                "mesh, with new keys and a new mesh file (in the demo: make clean)"
            )
        if version > schema.VERSION:
            raise JournalError(
                f"{path} has version {version}, expected {schema.VERSION} or earlier: it was "
                "written by a later version of this program"
            )
        meta = dict(self.connection.execute("SELECT name, value FROM meta"))
        if meta["key"] != key:
            raise JournalError(f"{path} belongs to key {meta['key'].hex()}, expected {key.hex()}")
        if meta.setdefault("mesh", mesh) != mesh:
            raise JournalError(
                f"{path} belongs to mesh {meta['mesh'].hex()}, expected {mesh.hex()}"
            )
        self.log_key = meta["log"]
        self.connection.execute("INSERT OR IGNORE INTO meta VALUES ('mesh', ?)", (mesh,))
        schema.migrate(self.connection)

    @property
    def waits_for_sync(self) -> bool:
        """Whether the open transaction has something that must be durable."""
        return self._is_durable and self.connection.in_transaction

    @guarded
    def commit(self) -> None:
        """End the open transaction, if any: it survives the end of this process, and if it must be
        durable, a power failure too, with all before it."""
        self.check()
        if self.connection.in_transaction:
            self.connection.commit()

    def check(self) -> None:
        """JournalError if nothing may be written any more."""
        if self.failed:
            raise JournalError(self.failed)

    def close(self) -> None:
        """Raises nothing. Data that was not synced is lost."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
        self._lock.close()

    def begin(self, durably: bool = False) -> None:
        """Call before any write. `durably`: it must survive a power failure. What follows is in the
        same transaction until `commit`."""
        self.check()
        if self.connection.in_transaction:
            if self._is_durable or not durably:
                return
            self.connection.commit()
        if durably is not self._is_durable:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
            self._is_durable = durably
        self.connection.execute("BEGIN IMMEDIATE")


def _error_of(error: Exception) -> type[JournalError]:
    """The kind of error that an error of the file is."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to a kind
    return LostJournalError if code in _DAMAGED else JournalError


def lock(path: Path) -> IO[bytes]:
    """Hold this until the end: many processes may read the file, but only one writes it."""
    held = path.with_suffix(".lock").open("wb")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise JournalError(f"{path} is in use: is this peer running already?") from None
    return held


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_MAX}")
    db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES_MAX}")
    db.execute("PRAGMA temp_store = MEMORY")  # a temporary file may get no descriptor
    db.execute("PRAGMA secure_delete = OFF")  # default on some systems: zero deleted blocks
    return db
