"""The epochs in a journal: what each begins from, and who has signed that.

Owns their table. Must never verify a signature or decide which epoch comes next: the node does.
"""

import sqlite3
from typing import NamedTuple

import msgspec

from peer.membership.epochs import Certificate, Origin
from peer.storage.database import Database, Tables, guarded

_encode = msgspec.msgpack.Encoder().encode
_origins = msgspec.msgpack.Decoder(Origin)
_signatures = msgspec.msgpack.Decoder(dict[int, bytes])
_forks = msgspec.msgpack.Decoder(tuple[int, bytes, bytes, dict[int, bytes]])
_COLUMNS = "SELECT origin, signatures, certified, entered FROM epochs"


class StoredEpoch(NamedTuple):
    origin: Origin
    signatures: dict[int, bytes]  # over its seal, by seats of the epoch before
    is_certified: bool  # whether these are a quorum's, or the operator trusts a later seal
    is_entered: bool  # whether this peer closed the epoch before

    @property
    def certificate(self) -> Certificate:
        return Certificate(self.origin, self.signatures)


class Fork(NamedTuple):
    """Two seals of one epoch: this peer's, and one that a quorum before it has signed."""

    epoch: int
    own: bytes
    other: bytes
    signatures: dict[int, bytes]  # over the other one, by seats of the epoch before


class EpochTable(Tables):
    """`entered` is the number of the epoch in which this peer stands."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.entered = self._last_entered()

    @guarded
    def _last_entered(self) -> int:
        query = "SELECT ifnull(max(number), 0) FROM epochs WHERE entered"
        number: int = self._db.execute(query).fetchone()[0]
        return number

    @guarded
    def all(self) -> list[StoredEpoch]:
        """Those after the first, by number."""
        return epochs_of(self._db)

    @guarded
    def put(self, epoch: StoredEpoch) -> None:
        """Add an epoch, or replace what is known of it."""
        self._database.begin(durably=True)
        origin, signatures, is_certified, is_entered = epoch
        row = (origin.number, _encode(origin), _encode(signatures), is_certified, is_entered)
        self._db.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?)", row)
        if is_entered:
            self.entered = max(self.entered, origin.number)

    @guarded
    def note_fork(self, fork: Fork) -> None:
        """Keep the first one for ever."""
        self._database.begin(durably=True)
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('fork', ?)", (_encode(fork),))

    @guarded
    def fork(self) -> Fork | None:
        """The one that was kept."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'fork'").fetchone()
        return None if row is None else Fork(*_forks.decode(row[0]))

    @guarded
    def certificates(self, above: int, count_max: int, whole: bool) -> list[Certificate]:
        """Those of the epochs after `above`, up to the last one that is certified; with `whole` the
        last one that is entered. An epoch that is not certified may have been followed by another:
        who trusts it by its seal needs it."""
        last = "entered" if whole else "certified"
        rows = self._db.execute(
            f"{_COLUMNS} WHERE number > ? AND number <= (SELECT max(number) FROM epochs WHERE "
            f"certified OR {last}) ORDER BY number LIMIT ?",
            (above, count_max),
        )
        return [_stored(row).certificate for row in rows]

    @guarded
    def last_closed(self) -> int:
        """The last epoch of which the end is certified, as are all ends before; -1 if none is."""
        numbers = self._db.execute("SELECT number FROM epochs WHERE certified ORDER BY number")
        last = -1
        for (number,) in numbers:
            if number != last + 2:
                break
            last = number - 1
        return last


def epochs_of(db: sqlite3.Connection) -> list[StoredEpoch]:
    """The epochs in a journal after the first, by number."""
    return [_stored(row) for row in db.execute(f"{_COLUMNS} ORDER BY number")]


def _stored(row: tuple[bytes, bytes, int, int]) -> StoredEpoch:
    origin, signatures, certified, entered = row
    return StoredEpoch(
        _origins.decode(origin), _signatures.decode(signatures), bool(certified), bool(entered)
    )
