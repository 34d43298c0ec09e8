"""What a peer must not forget, in one SQLite file.

Owns durability: once `sync` returns, everything added before it survives a crash. Must never decide
what is worth keeping: the node says what and when.

A journal belongs to one key and, from its first use, to one mesh. It is made together with the key
and never again: a peer that lost its journal could sign a second block for a round it already spoke
in, so it must come back under a new key.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from peer.consensus.block import FRAME_BYTES_MAX, Block
from peer.storage.database import Database, JournalError, Tables, guarded
from peer.storage.history_writer import HistoryWriter
from peer.storage.state_sync import Manifest

__all__ = ["ClientId", "Journal", "JournalError", "Stored", "StoredEvidence", "Taken", "pieces_of"]

CLIENT_IDS_KEPT = 1_000_000  # commands of this peer ago
PRUNED_BLOCKS_MAX = 200  # of each author at a time
PRUNED_BYTES = 512 * 1024  # the same; at least a frame; and of pieces
PRUNED_PIECES_MAX = 250  # looked at, at a time
PRUNED_NAMES_MAX = 500  # at a time, beside twice those that came

_encode = msgspec.msgpack.Encoder().encode


class ClientId(NamedTuple):
    """A submitter's own name for an order: it is taken only once."""

    account: str
    client_id: str


class Taken(NamedTuple):
    """An order that was taken under a name of its submitter's: its seq, and a digest of it."""

    seq: int
    digest: bytes


class Stored(NamedTuple):
    """A snapshot: the state after commit `number`."""

    number: int
    digest: bytes
    is_certified: bool


class StoredEvidence(NamedTuple):
    """Two blocks of one author; of the first, what is known of it."""

    author: int
    first_round: int
    first_digest: bytes
    first_frame: bytes | None
    second_frame: bytes


def pieces_of(db: sqlite3.Connection, number: int) -> Iterator[tuple[int, bytes]]:
    """The pieces of a snapshot in an open journal, by ascending key."""
    query = "SELECT key, max(number), piece FROM pieces WHERE number <= ? GROUP BY key"
    return ((key, piece) for key, _, piece in db.execute(query, (number,)) if piece)


class Journal(Tables):
    """The open journal: blocks, pending commands, snapshots and, in `history`, what is kept for
    people. Every method may raise JournalError. `connect` opens another kind of file, for tests."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        mesh: bytes,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        super().__init__(Database(path, key, mesh, connect))
        self._floors: dict[int, int] | None = None  # rounds up to which blocks can go, by author
        self._names = 0  # of orders, that came since some were pruned
        self._looked_at: tuple[int, int] | None = (-1, 0)  # for pieces that can go; None: at all
        try:
            self.history = HistoryWriter(self._database)
        except JournalError:
            self._database.close()
            raise

    create = staticmethod(Database.create)

    @property
    def failed(self) -> str:
        """Why nothing more is written; empty while all is well."""
        return self._database.failed

    def sync(self) -> None:
        """Everything added so far is durable when this returns."""
        self.history.flush()
        self._database.sync()

    def close(self) -> None:
        """What was added is durable, unless the journal has failed. Raises nothing."""
        if not self.failed:
            with contextlib.suppress(JournalError):
                self.sync()
        self._database.close()

    @guarded
    def add_blocks(self, blocks: Iterable[Block]) -> None:
        self._database.begin()
        self._db.executemany(
            "INSERT OR IGNORE INTO blocks (author, round, digest, frame) VALUES (?, ?, ?, ?)",
            [(block.author, block.round, block.ref.digest, block.frame) for block in blocks],
        )

    @guarded
    def add_pending(self, commands: Iterable[tuple[int, bytes]]) -> None:
        """Commands, by seq, that are in no own block; a later one of a seq takes its place."""
        self._database.begin()
        self._db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", commands)

    @guarded
    def add_evidence(self, pairs: Iterable[tuple[Block, Block]]) -> None:
        """Proofs against authors; the first one of each is kept."""
        self._database.begin()
        for first, second in pairs:
            frame = first.frame or next(iter(self.find([first.ref.digest], FRAME_BYTES_MAX)), None)
            self._db.execute(
                "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)",
                (first.author, first.round, first.ref.digest, frame, second.frame),
            )

    @guarded
    def evidence(self) -> list[StoredEvidence]:
        return [StoredEvidence(*row) for row in self._db.execute("SELECT * FROM evidence")]

    @guarded
    def drop_pending_below(self, seq: int) -> None:
        """Commands below `seq` are in own blocks now."""
        self._database.begin()
        self._db.execute("DELETE FROM pending WHERE seq < ?", (seq,))

    @guarded
    def add_client_ids(self, names: Iterable[tuple[ClientId, Taken]]) -> None:
        """Names of orders, with what was taken under them."""
        self._database.begin()
        rows = [(*name, *taken) for name, taken in names]
        self._names += len(rows)
        self._db.executemany("INSERT OR REPLACE INTO client_ids VALUES (?, ?, ?, ?)", rows)

    @guarded
    def drop_client_ids(self, seqs: Iterable[int]) -> None:
        """These orders were withdrawn: their names are free again."""
        self._database.begin()
        self._db.executemany("DELETE FROM client_ids WHERE seq = ?", [(seq,) for seq in seqs])

    @guarded
    def client_ids(self, names: Iterable[ClientId]) -> dict[ClientId, Taken]:
        """Those of the names that are there, with what was taken under them."""
        found = {}
        query = "SELECT seq, digest FROM client_ids WHERE account = ? AND client_id = ?"
        for name in names:
            row = self._db.execute(query, name).fetchone()
            if row is not None:
                found[name] = Taken(*row)
        return found

    @guarded
    def frames(self) -> list[tuple[bytes, bytes]]:
        """Every block, parents before children: its digest as it was stored, and its frame."""
        return self._db.execute("SELECT digest, frame FROM blocks ORDER BY number").fetchall()

    @guarded
    def pending(self) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT seq, command FROM pending ORDER BY seq").fetchall()

    @guarded
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

    @guarded
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

    @guarded
    def add_pieces(self, number: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        """What commit `number` has changed since the newest snapshot, or some of it. It counts for
        nothing until `add_snapshot`."""
        self._database.begin()
        rows = [(key, number, piece) for key, piece in pieces]
        self._db.executemany("INSERT INTO pieces VALUES (?, ?, ?)", rows)

    @guarded
    def add_snapshot(self, number: int, digest: bytes, floors: list[int]) -> None:
        """All pieces after commit `number` are there; above `floors`, by author, blocks are still
        needed."""
        self._database.begin()
        self._db.execute(
            "INSERT INTO snapshots VALUES (?, ?, NULL, ?)", (number, digest, _encode(floors))
        )

    @guarded
    def drop_unfinished(self) -> None:
        """Forget pieces of a snapshot that was not brought to its end."""
        self._database.begin()
        self._db.execute(
            "DELETE FROM pieces WHERE number > (SELECT ifnull(max(number), 0) FROM snapshots)"
        )

    @guarded
    def snapshot(self) -> Stored | None:
        """The newest snapshot."""
        query = "SELECT number, digest, certificate IS NOT NULL FROM snapshots ORDER BY number DESC"
        row = self._db.execute(query).fetchone()
        return None if row is None else Stored(row[0], row[1], bool(row[2]))

    @guarded
    def pieces(self, number: int) -> dict[int, bytes]:
        """All pieces of a snapshot, by ascending key."""
        return dict(pieces_of(self._db, number))

    @guarded
    def piece(self, number: int, key: int) -> bytes | None:
        """A piece of a snapshot, empty if that has none under this key; None if the snapshot is not
        here."""
        found = self._db.execute("SELECT 1 FROM snapshots WHERE number = ?", (number,)).fetchone()
        if found is None:
            return None
        query = "SELECT piece FROM pieces WHERE key = ? AND number <= ? ORDER BY number DESC"
        row: tuple[bytes] | None = self._db.execute(query, (key, number)).fetchone()
        return b"" if row is None else row[0]

    @guarded
    def certify(self, number: int, certificate: list[bytes]) -> None:
        """A quorum said the digest of a snapshot: what only older ones need can go. Their blocks
        and pieces go bit by bit, see `prune`."""
        self._database.begin()
        (floors,) = self._db.execute(
            "SELECT floors FROM snapshots WHERE number = ?", (number,)
        ).fetchone()
        self._db.execute(
            "UPDATE snapshots SET certificate = ? WHERE number = ?",
            (_encode(certificate), number),
        )
        self._db.execute("DELETE FROM snapshots WHERE number < ?", (number,))
        self._floors = dict(enumerate(msgspec.msgpack.decode(floors)))
        self._looked_at = (-1, 0)

    @guarded
    def prune(self) -> None:
        """Forget some of what only snapshots before the certified one need, and of names long ago.
        All of it at once would hold up the loop."""
        self._prune_blocks()
        self._prune_pieces()
        self._prune_client_ids()

    def _prune_pieces(self) -> None:
        """Of each piece, versions before the newest one that the certified snapshot has; and that
        too if it says that the piece is gone."""
        if self._looked_at is None:
            return
        rows = self._db.execute(
            "SELECT key, number, length(piece) FROM pieces WHERE (key, number) > (?, ?) AND number "
            "<= (SELECT max(number) FROM snapshots WHERE certificate IS NOT NULL) "
            "ORDER BY key, number LIMIT ?",
            (*self._looked_at, PRUNED_PIECES_MAX),
        ).fetchall()
        sizes = itertools.accumulate(size for _, _, size in rows)
        some = rows[: max(sum(size <= PRUNED_BYTES for size in sizes), 2)]
        is_end = len(some) == len(rows) < PRUNED_PIECES_MAX
        following = [key for key, _, _ in some[1:]] + [None] * is_end
        gone = [
            (key, number)
            for (key, number, size), newer in zip(some, following, strict=False)
            if size == 0 or key == newer
        ]
        if gone:
            self._database.begin()
            self._db.executemany("DELETE FROM pieces WHERE key = ? AND number = ?", gone)
        self._looked_at = None if is_end else some[-2][:2]

    def _prune_client_ids(self) -> None:
        """Over time more go than come."""
        room, self._names = PRUNED_NAMES_MAX + 2 * self._names, 0
        rows = self._db.execute(
            "SELECT seq FROM client_ids WHERE seq <= (SELECT max(seq) FROM client_ids) - ? "
            "ORDER BY seq LIMIT ?",
            (CLIENT_IDS_KEPT, room),
        ).fetchall()
        if rows:
            self._database.begin()
            self._db.execute("DELETE FROM client_ids WHERE seq <= ?", rows[-1])

    def _prune_blocks(self) -> None:
        """Never an author's newest block: a member must not forget where it stands."""
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
                self._database.begin()
                self._db.executemany("DELETE FROM blocks WHERE number = ?", some)
            else:
                del self._floors[author]

    @guarded
    def certified(self) -> tuple[Manifest, list[int], list[bytes]] | None:
        """The newest snapshot a quorum agrees on, its floors, and the frames that say so."""
        row = self._db.execute(
            "SELECT number, digest, floors, certificate FROM snapshots "
            "WHERE certificate IS NOT NULL ORDER BY number DESC"
        ).fetchone()
        if row is None:
            return None
        number, digest, floors, certificate = row
        manifest = Manifest(number, digest)
        return manifest, msgspec.msgpack.decode(floors), msgspec.msgpack.decode(certificate)


def _fit(frames: list[bytes], bytes_max: int) -> list[bytes]:
    total = 0
    for count, frame in enumerate(frames):
        total += len(frame)
        if total > bytes_max:
            return frames[: max(count, 1)]
    return frames
