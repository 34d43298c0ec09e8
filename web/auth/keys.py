"""API keys, one-time links and sessions: who may act for which account through a gateway.

Owns `keys.db` in the peer's folder. Must never store a secret: it stores the argon2id hash of an
API key, and the SHA-256 of a link or session, which are random and short-lived.
"""

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from peer.replica.signed import KEY_PREFIX
from web.auth.remembered import Remembered
from web.config import TOKEN_CHARACTERS_MAX

KEYS_FILE = "keys.db"
KEYS_MAX = 10_000
SESSIONS_MAX = 1_000  # opened by links; as many again by accounts' own keys
ACCOUNT_SESSIONS_MAX = 100  # by links, per account
ADDRESS_SESSIONS_MAX = 20  # by own keys, per address
LINKS_MAX = 100
ACCOUNT_LINKS_MAX = 20
BARRED_MAX = 10_000
LINK_SECONDS = 24 * 3600
SESSION_SECONDS = 30 * 24 * 3600
READER_SECONDS = 24 * 3600
ACCOUNT_CHARACTERS_MAX = 64

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, scopes TEXT NOT NULL, hash BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links (
    digest BLOB PRIMARY KEY, account TEXT NOT NULL, scopes TEXT NOT NULL, until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    digest BLOB PRIMARY KEY, account TEXT NOT NULL, scopes TEXT NOT NULL, until_ms INTEGER NOT NULL,
    address TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readers (
    digest BLOB PRIMARY KEY, account TEXT NOT NULL, until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS barred (account TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class TokenLimit(NamedTuple):
    """The limit for tokens in `table` that match `which`: `each` per value of the column `holder`,
    `most` in all."""

    table: str
    which: str
    holder: str
    each: int
    most: int


_LINKS = TokenLimit("links", "true", "account", ACCOUNT_LINKS_MAX, LINKS_MAX)
_SESSIONS = TokenLimit("sessions", "address = ''", "account", ACCOUNT_SESSIONS_MAX, SESSIONS_MAX)
_OWN_KEYS = TokenLimit("sessions", "address <> ''", "address", ADDRESS_SESSIONS_MAX, SESSIONS_MAX)


class KeysError(ValueError):
    """An invalid account, scope or key, or a full table. The text says what was expected."""


class NoRoomError(KeysError):
    """The table is full, and no other holder has more tokens than the one that wants another."""


class Scope(StrEnum):
    READ = "read"  # see the account's orders
    TRADE = "trade"  # and place, change and cancel them
    ADMIN = "admin"  # all of that for every account


class Principal(NamedTuple):
    """The holder of a credential, and its rights."""

    account: str
    scopes: frozenset[Scope]
    reads: str = ""  # also this key account, for reading: the caller has proven its key

    @property
    def is_known(self) -> bool:
        """Whether the operator has let it in. Others have only proven a key of their own."""
        return not self.account.startswith(KEY_PREFIX) or bool(self.scopes - {Scope.READ})

    def may(self, scope: Scope, account: str) -> bool:
        """Whether it has `scope` for `account`. TRADE includes READ."""
        if Scope.ADMIN in self.scopes:
            return True
        if scope is Scope.READ and account and account == self.reads:
            return True
        granted = scope in self.scopes or (scope is Scope.READ and Scope.TRADE in self.scopes)
        return granted and account == self.account


class Credential(NamedTuple):
    """A verified credential: the row that grants rights as long as it exists."""

    table: str
    name: str | bytes
    hashed: bytes = b""  # of an API key: a key with the same id and another secret is another key


class Claim(NamedTuple):
    """A token with the id of an API key. `credential` counts only if `is_true`, which is slow by
    design: `proofs` asks once for each token."""

    credential: Credential
    secret: str

    def is_true(self) -> bool:
        """Whether the token has the key's secret."""
        try:
            return pwhash.argon2id.verify(self.credential.hashed, self.secret.encode())
        except InvalidkeyError:
            return False


class KeyInfo(NamedTuple):
    id: str
    account: str
    scopes: str
    created_ms: int


class Keys:
    """The file at `path`, created if missing, readable by its owner only. Safe for several threads
    and for other processes that write to the same file."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT, 0o600))
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise KeysError(f"{path} can be read by others (mode {mode:o}): chmod 600 {path}")
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_SCHEMA)
        columns = [row[1] for row in self._db.execute("PRAGMA table_info(sessions)")]
        if "address" not in columns:  # a file from before sessions by own keys had an address
            column = "address TEXT NOT NULL DEFAULT ''"
            self._db.execute(f"ALTER TABLE sessions ADD COLUMN {column}")
        # Peers on one host share a browser's cookies, so each peer's cookie has its own name.
        self._db.execute("CREATE TABLE IF NOT EXISTS meta (cookie TEXT NOT NULL)")
        self._db.execute(
            "INSERT INTO meta SELECT ? WHERE NOT EXISTS (SELECT 1 FROM meta)",
            (f"p2p_session_{secrets.token_hex(4)}",),
        )
        (self.cookie,) = self._db.execute("SELECT cookie FROM meta").fetchone()
        self._holders = Remembered[Principal | None](path)
        self._bars = Remembered[bool](path)

    def close(self) -> None:
        self._holders.close()
        self._bars.close()
        self._db.close()

    # API keys

    def create(self, account: str, scopes: Iterable[str], token: str | None = None) -> str:
        """A new key for an account, or `token`, a key made at another peer of the same owner. The
        key is not stored, so it cannot be shown again."""
        granted = _checked(account, scopes)
        token = token or f"p2p_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
        id_, secret = _parts(token)
        with self._lock:
            if self._count("keys") >= KEYS_MAX:
                raise KeysError(f"a peer has at most {KEYS_MAX} API keys: revoke some")
            hashed = pwhash.argon2id.str(
                secret.encode(),
                opslimit=pwhash.argon2id.OPSLIMIT_INTERACTIVE,
                memlimit=pwhash.argon2id.MEMLIMIT_INTERACTIVE,
            )
            row = (id_, account, granted, hashed, _now_ms())
            self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)", row)
        return token

    def revoke(self, id_: str) -> bool:
        """Delete a key; returns whether there was one with this id."""
        with self._lock:
            return self._db.execute("DELETE FROM keys WHERE id = ?", (id_,)).rowcount > 0

    def list(self) -> list[KeyInfo]:
        query = "SELECT id, account, scopes, created_ms FROM keys ORDER BY created_ms"
        with self._lock:
            return [KeyInfo(*row) for row in self._db.execute(query)]

    def claim(self, token: str) -> Claim | None:
        """The key that a token names; None if this peer has no key of that id."""
        try:
            id_, secret = _parts(token)
        except KeysError:
            return None
        with self._lock:
            row = self._db.execute("SELECT hash FROM keys WHERE id = ?", (id_,)).fetchone()
        return None if row is None else Claim(Credential("keys", id_, row[0]), secret)

    # Browsers

    def link(self, account: str, scopes: Iterable[str]) -> str:
        """A new token that opens one session within a day. Raises NoRoomError."""
        with self._lock:
            return self._issue(_LINKS, account, account, _checked(account, scopes), LINK_SECONDS)

    def redeem(self, token: str) -> str | None:
        """Open a session with the token of a link; None if the token was used, is too old or never
        existed. If it raises NoRoomError, the link stays valid."""
        with self._lock:
            row = self._db.execute(
                "SELECT account, scopes, until_ms FROM links WHERE digest = ?", (_digest(token),)
            ).fetchone()
            if row is None or row[2] < _now_ms():
                return None
            session = self._issue(_SESSIONS, row[0], row[0], row[1], SESSION_SECONDS)
            query = "DELETE FROM links WHERE digest = ?"
            if not self._db.execute(query, (_digest(token),)).rowcount:  # another process was first
                self._db.execute("DELETE FROM sessions WHERE digest = ?", (_digest(session),))
                return None
            return session

    def open_reader(self, account: str, credential: Credential | None, address: str) -> str | None:
        """Let a browser read the orders of an account whose key it has proven. Returns None if its
        session may do so now, or else a new session, which counts for its address. Raises
        NoRoomError."""
        if self.who(credential) is None or credential is None or credential.table != "sessions":
            with self._lock:
                return self._issue(_OWN_KEYS, address, account, Scope.READ, READER_SECONDS)
        now_ms = _now_ms()
        row = (credential.name, account, now_ms + 1_000 * READER_SECONDS)
        with self._lock:
            self._db.execute(
                "DELETE FROM readers WHERE until_ms < ? "
                "OR digest NOT IN (SELECT digest FROM sessions)",
                (now_ms,),
            )
            self._db.execute("INSERT OR REPLACE INTO readers VALUES (?, ?, ?)", row)
        return None

    def of_session(self, token: str) -> Credential:
        return Credential("sessions", _digest(token))

    def version(self) -> tuple[int, int]:
        """A value that changes whenever any process may have changed the file."""
        with self._lock:
            (others,) = self._db.execute("PRAGMA data_version").fetchone()
            return others, self._db.total_changes

    def end(self, credential: Credential) -> None:
        """End a session. Does nothing for an API key."""
        if credential.table == "sessions":
            with self._lock:
                self._db.execute("DELETE FROM sessions WHERE digest = ?", (credential.name,))

    def who(self, credential: Credential | None) -> Principal | None:
        """The holder of a credential; None if it no longer grants anything."""
        if credential is None:
            return None
        with self._lock:
            if credential.table == "keys":
                return self._holders.get(credential, lambda: self._holder_of_key(credential))
            return self._holder_of_session(credential, _now_ms())

    def _holder_of_key(self, key: Credential) -> Principal | None:
        query = "SELECT account, scopes FROM keys WHERE id = ? AND hash = ?"
        return _principal(self._db.execute(query, (key.name, key.hashed)).fetchone())

    def _holder_of_session(self, session: Credential, now_ms: int) -> Principal | None:
        query = (
            "SELECT s.account, s.scopes, r.account FROM sessions s LEFT JOIN readers r "
            "ON r.digest = s.digest AND r.until_ms > ? "
            "WHERE s.digest = ? AND s.until_ms > ?"
        )
        return _principal(self._db.execute(query, (now_ms, session.name, now_ms)).fetchone())

    # Accounts that may not trade here

    def bar(self, account: str) -> None:
        """From now on the account may only read and cancel its orders at this peer."""
        _checked(account, [Scope.READ])
        with self._lock:
            if self._count("barred") >= BARRED_MAX:
                raise KeysError(f"a peer bars at most {BARRED_MAX} accounts: unbar some")
            self._db.execute("INSERT OR IGNORE INTO barred VALUES (?)", (account,))

    def unbar(self, account: str) -> bool:
        """Let an account trade again; returns whether it was barred."""
        with self._lock:
            query = "DELETE FROM barred WHERE account = ?"
            return self._db.execute(query, (account,)).rowcount > 0

    def barred(self) -> Sequence[str]:
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT account FROM barred ORDER BY 1")]

    def is_barred(self, account: str) -> bool:
        query = "SELECT 1 FROM barred WHERE account = ?"
        with self._lock:
            return self._bars.get(
                account, lambda: self._db.execute(query, (account,)).fetchone() is not None
            )

    def _issue(
        self, limit: TokenLimit, holder: str, account: str, scopes: str, seconds: int
    ) -> str:
        """Store and return a random token, which counts for its holder."""
        token, now_ms = secrets.token_urlsafe(32), _now_ms()
        self._db.execute(f"DELETE FROM {limit.table} WHERE until_ms < ?", (now_ms,))
        self._make_room(limit, holder)
        row = {
            "digest": _digest(token),
            "account": account,
            "scopes": scopes,
            "until_ms": now_ms + 1_000 * seconds,
            limit.holder: holder,
        }
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        query = f"INSERT INTO {limit.table} ({columns}) VALUES ({marks})"
        self._db.execute(query, tuple(row.values()))
        return token

    def _make_room(self, limit: TokenLimit, holder: str) -> None:
        """Delete a token if the new one exceeds a limit. A holder at its own limit loses its
        oldest. If the table is full, the holder with most tokens loses its oldest, but no holder
        loses its only one to a newcomer."""
        counts = dict(
            self._db.execute(
                f"SELECT {limit.holder}, count(*) FROM {limit.table} WHERE {limit.which} GROUP BY 1"
            ).fetchall()
        )
        own, loser = counts.get(holder, 0), holder
        if own < limit.each:
            if sum(counts.values()) < limit.most:
                return
            loser = max(counts, key=lambda name: (counts[name], name))
            if counts[loser] <= own + 1:
                loser = holder
        if not counts.get(loser):
            raise NoRoomError(f"there are {limit.most} {limit.table} of others already")
        self._db.execute(
            f"DELETE FROM {limit.table} WHERE digest = (SELECT digest FROM {limit.table} "
            f"WHERE {limit.which} AND {limit.holder} = ? ORDER BY until_ms LIMIT 1)",
            (loser,),
        )

    def _count(self, table: str) -> int:
        count: int = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count


def _principal(row: tuple[str, ...] | None) -> Principal | None:
    """From an account, scopes, and the account it also reads, if any."""
    if row is None:
        return None
    account, scopes, *reads = row
    return Principal(account, frozenset(map(Scope, scopes.split())), (reads or [""])[0] or "")


def _checked(account: str, scopes: Iterable[str]) -> str:
    allowed = all(c.isascii() and (c.isalnum() or c in "._-+:@") for c in account)
    if not 1 <= len(account) <= ACCOUNT_CHARACTERS_MAX or not allowed:
        raise KeysError(
            f"an account has 1 to {ACCOUNT_CHARACTERS_MAX} letters, digits and . _ - + : @, "
            f"not {account!r:.80}"
        )
    granted = sorted(set(scopes))
    if not granted or not set(granted) <= set(Scope):
        raise KeysError(f"scopes are {', '.join(Scope)}, not {' '.join(granted) or 'none':.80}")
    return " ".join(granted)


def _parts(token: str) -> tuple[str, str]:
    """The id and the secret of an API key."""
    prefix, _, rest = token.partition("_")
    id_, _, secret = rest.partition("_")
    if prefix != "p2p" or not id_ or not secret or len(token) > TOKEN_CHARACTERS_MAX:
        raise KeysError("an API key looks like p2p_ID_SECRET")
    return id_, secret


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
