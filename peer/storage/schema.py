"""The tables of a journal's database, and the migration of those of earlier versions.

Owns the schema. A released version is never changed: later changes are scripts of their own.
Journals before OLDEST are refused: they have another form, or follow other rules of the protocol,
and today's would derive another state from them.
"""

import sqlite3

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
-- The epochs after the first: what each begins from, the signatures that came, by seat, and whether
-- a quorum of the epoch before has signed. This peer stands in the last one with `entered`.
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY,
    origin BLOB NOT NULL,
    signatures BLOB NOT NULL,
    certified INTEGER NOT NULL,
    entered INTEGER NOT NULL
);
-- Commands accepted here that were in no own block then. Those that are now go later.
CREATE TABLE pending (seq INTEGER PRIMARY KEY, command BLOB NOT NULL);
-- The state after some commits, piece by piece: what each snapshot changed. An empty one is gone.
CREATE TABLE pieces (
    key INTEGER NOT NULL,
    number INTEGER NOT NULL,
    piece BLOB NOT NULL,
    PRIMARY KEY (key, number)
);
-- The commits of which all pieces are there, each in its newest version up to then. `certificate`
-- holds frames of a quorum that say the digest, once there.
CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    certificate BLOB,
    floors BLOB NOT NULL,
    epoch INTEGER NOT NULL
);
-- Trades of a market, some a row: a JSON array of them. `number` and `time_ms` are the first one's.
CREATE TABLE trades (
    market TEXT NOT NULL,
    number INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (market, number)
) WITHOUT ROWID;
-- Two blocks of one author that exclude each other. The first may be known by its digest alone.
CREATE TABLE evidence (
    epoch INTEGER NOT NULL,
    author INTEGER NOT NULL,
    first_round INTEGER NOT NULL,
    first_digest BLOB NOT NULL,
    first_frame BLOB,
    second_frame BLOB NOT NULL,
    PRIMARY KEY (epoch, author)
);
-- What commits did to orders, some commits a row, up to commit `number`. `total` counts events so
-- far, `lasts` has each member's newest order so far: see `history_segment`.
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,
    total INTEGER NOT NULL,
    lasts BLOB NOT NULL,
    data BLOB NOT NULL
);
-- The orders that a segment did something to soon after they had come. A row is for searching.
CREATE TABLE touched_soon (number INTEGER PRIMARY KEY, ids BLOB NOT NULL);
-- Other later commits that did something to an order. `piece` says what, where no segment does: of
-- an order that is older than all of them, or was open when this peer continued from a snapshot.
CREATE TABLE touched (
    id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    piece BLOB,
    PRIMARY KEY (id, number)
) WITHOUT ROWID;
-- Segments that ended orders of an account.
CREATE TABLE ended (
    account TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (account, number)
) WITHOUT ROWID;
-- Commits whose records this peer never had, since it went on from a snapshot after the last.
CREATE TABLE gaps (last INTEGER PRIMARY KEY, first INTEGER NOT NULL);
-- Orders that were open in a state from which this peer continued, after commit `number`: that
-- state's pieces, without the orders that this peer had as they are there.
CREATE TABLE opened (
    key INTEGER NOT NULL,
    number INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    piece BLOB NOT NULL,
    PRIMARY KEY (key, number)
);
"""
OLDEST = 13
# The first turns an empty file into OLDEST, each other adds one version.
_MIGRATIONS = (_TABLES,)
VERSION = OLDEST + len(_MIGRATIONS) - 1


def version_of(db: sqlite3.Connection) -> int:
    """0 for a file without tables."""
    number: int = db.execute("PRAGMA user_version").fetchone()[0]
    return number


def migrate(db: sqlite3.Connection) -> None:
    """Migrate a journal of OLDEST or later, or an empty file. Each step is applied completely or
    not at all."""
    done = max(version_of(db) - OLDEST + 1, 0)
    for number, script in enumerate(_MIGRATIONS[done:], OLDEST + done):
        db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
