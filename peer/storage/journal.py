"""What a peer must not forget: blocks in a log, all else in a database.

Owns durability: once `sync` returns, everything added before it survives a crash, but for what
follows from blocks and the newest snapshot. Must never decide what to keep: the node says what and
when.

A journal belongs to one key and, from its first use, to one mesh. It is made together with the key
and never again. A peer that lost its journal could sign a second block for a round, so it must come
back under a new key.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from peer.consensus.block import FRAME_BYTES_MAX, Block
from peer.storage.block_log import KEY_BYTES, BlockLog, Slots
from peer.storage.block_store import BlockStore
from peer.storage.database import Database, JournalError, LostJournalError, Tables, guarded
from peer.storage.epoch_table import EpochTable
from peer.storage.history_pruning import HistoryPruner
from peer.storage.history_writer import HistoryWriter
from peer.storage.pruning import Certified as Certified
from peer.storage.pruning import Pruner
from peer.storage.state_sync import Manifest

__all__ = ["Journal", "JournalError", "LostJournalError", "Stored", "StoredEvidence", "pieces_of"]


EVIDENCE = "SELECT author, first_round, first_digest, first_frame, second_frame FROM evidence"
_encode = msgspec.msgpack.Encoder().encode


class Stored(NamedTuple):
    """A snapshot: the state after commit `number`."""

    number: int
    digest: bytes
    is_certified: bool
    epoch: int = 0


class StoredEvidence(NamedTuple):
    """Two blocks of one author; of the first, what is known."""

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
    """The open journal: blocks, pending commands, snapshots, in `epochs` the epochs and, in
    `history`, the history for people. What is added belongs to the epoch that was entered last.
    Every method may raise JournalError. `connect` opens another kind of file, for tests."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        mesh: bytes,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
        slots: Slots | None = None,
    ) -> None:
        super().__init__(Database(path, key, mesh, connect))
        self._slots = slots or Slots(path)
        try:
            self._blocks = self._open_log()
            self.history = HistoryWriter(self._database)
            self.history_pruner = HistoryPruner(self._database, self.history)
            self.epochs = EpochTable(self._database)
            self._pruner = Pruner(self._database, self.epochs, self._blocks, self.certified)
            self._has_pending = bool(self.pending())
            self._in_blocks = 0  # below this seq pending commands can go
        except JournalError:
            self._close()
            raise

    @guarded
    def _open_log(self) -> BlockStore:
        return BlockStore(BlockLog(self._slots, self._database.log_key))

    @staticmethod
    def create(path: Path, key: bytes) -> None:
        """Make the empty journal of a new key."""
        if path.exists():
            raise JournalError(f"{path} exists: a journal is never overwritten")
        slots = Slots(path)
        try:
            BlockLog.create(slots)
            Database.create(path, key, os.urandom(KEY_BYTES))
        except (JournalError, OSError) as error:
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()  # a partial journal is useless, and would block a complete one
            raise JournalError(f"cannot create {path}: {error}") from None
        finally:
            slots.close()

    @property
    def key(self) -> bytes:
        """The Ed25519 public key of its peer."""
        return self._database.key

    @property
    def failed(self) -> str:
        """Why nothing more is written; empty while the journal works."""
        return self._database.failed

    @guarded
    def sync(self) -> None:
        """Everything added before is durable when this returns, but for what can be derived."""
        self._database.check()
        self._blocks.sync()
        if self._database.waits_for_sync:
            self._database.commit()

    @guarded
    def write(self) -> None:
        """All blocks added before survive the end of this process when this returns."""
        self._database.check()
        self._blocks.write()

    def settle(self) -> None:
        """Readers see everything added before when this returns. Call it now and then."""
        self._drop_pending()
        self.history.flush()
        self._database.commit()

    def close(self) -> None:
        """Everything added is durable, unless the journal has failed. Raises nothing."""
        if not self.failed:
            with contextlib.suppress(JournalError):
                self.sync()
                self.settle()
        self._close()

    def _close(self) -> None:
        self._slots.close()
        self._database.close()

    @guarded
    def add_blocks(self, blocks: Iterable[Block]) -> None:
        self._database.check()
        self._blocks.add(self.epochs.entered, blocks)

    @guarded
    def add_pending(self, commands: Iterable[tuple[int, bytes]]) -> None:
        """Add commands, by seq, that are in no own block. A later one of a seq replaces it."""
        self._database.begin(durably=True)
        self._drop_pending()
        self._db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", commands)
        self._has_pending = True

    @guarded
    def add_evidence(self, pairs: Iterable[tuple[Block, Block]]) -> None:
        """Add proofs against authors; only the first proof per author is kept."""
        self._database.begin(durably=True)
        for first, second in pairs:
            frame = first.frame or next(iter(self.find([first.ref.digest], FRAME_BYTES_MAX)), None)
            self._db.execute(
                "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?, ?)",
                (
                    self.epochs.entered,
                    first.author,
                    *(first.round, first.ref.digest, frame, second.frame),
                ),
            )

    @guarded
    def evidence(self) -> list[StoredEvidence]:
        """Of this epoch."""
        query = f"{EVIDENCE} WHERE epoch = ?"
        return [StoredEvidence(*row) for row in self._db.execute(query, (self.epochs.entered,))]

    def drop_pending_below(self, seq: int) -> None:
        """Commands below `seq` are in own blocks now. They go when others come, or at `settle`:
        alone they would take a transaction. After a crash some may still be here."""
        if self._has_pending:
            self._in_blocks = seq

    @guarded
    def _drop_pending(self) -> None:
        if not self._in_blocks:
            return
        self._database.begin()
        self._db.execute("DELETE FROM pending WHERE seq < ?", (self._in_blocks,))
        self._in_blocks = 0
        self._has_pending = self._is_waiting()

    def _is_waiting(self) -> bool:
        """Whether there is a pending command."""
        return self._db.execute("SELECT 1 FROM pending LIMIT 1").fetchone() is not None

    @guarded
    def frames(self, epoch: int) -> list[tuple[int, int, bytes, bytes]]:
        """Every block of an epoch, parents before children: its author, round, stored digest and
        frame."""
        found = self._blocks.of_epoch(epoch)
        return [(entry.author, entry.round, entry.digest, frame) for entry, frame in found]

    @guarded
    def pending(self) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT seq, command FROM pending ORDER BY seq").fetchall()

    @guarded
    def find(self, digests: Iterable[bytes], bytes_max: int) -> list[bytes]:
        """The frames of these blocks that are here and fit."""
        if self.failed:
            self._blocks.give_up()
        return self._blocks.find(digests, bytes_max)

    @guarded
    def above(
        self, rounds: Sequence[int], count_max: int, bytes_max: int, epoch: int = 0
    ) -> list[bytes]:
        """An epoch's frames above a round by author, parents before children, as many as fit."""
        if self.failed:
            self._blocks.give_up()
        return self._blocks.above(rounds, count_max, bytes_max, epoch)

    @guarded
    def add_pieces(self, number: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Add some or all of what commit `number` changed since the newest snapshot. The pieces
        count only after `add_snapshot`. They are committed at once: a commit takes as long as what
        was added since the last one."""
        self._database.begin()
        rows = [(key, number, piece) for key, piece in pieces]
        self._db.executemany("INSERT INTO pieces VALUES (?, ?, ?)", rows)
        self._database.commit()

    @guarded
    def add_snapshot(self, number: int, digest: bytes, floors: list[int], epoch: int = 0) -> None:
        """All pieces after commit `number` of an epoch are stored. Blocks of the epoch above
        `floors`, by author, are still needed."""
        self.history.flush()  # nobody derives it again once the snapshot is there
        self._database.begin()
        self._db.execute(
            "INSERT INTO snapshots VALUES (?, ?, NULL, ?, ?)",
            (number, digest, _encode(floors), epoch),
        )

    @guarded
    def add_certified(
        self, number: int, digest: bytes, floors: list[int], epoch: int, certificate: list[bytes]
    ) -> None:
        """The same for a state that a quorum has signed. It counts from the next `sync` on, with
        all that is added before that: after a crash all of it is here, or nothing."""
        self._database.begin(durably=True)
        self.add_snapshot(number, digest, floors, epoch)
        self.certify(number, certificate)

    @guarded
    def drop_unfinished(self) -> None:
        """Delete the pieces of an unfinished snapshot."""
        self._database.begin()
        self._db.execute(
            "DELETE FROM pieces WHERE number > (SELECT ifnull(max(number), 0) FROM snapshots)"
        )

    @guarded
    def snapshot(self) -> Stored | None:
        """The newest snapshot."""
        query = (
            "SELECT number, digest, certificate IS NOT NULL, epoch FROM snapshots "
            "ORDER BY number DESC"
        )
        row = self._db.execute(query).fetchone()
        return None if row is None else Stored(row[0], row[1], bool(row[2]), row[3])

    @guarded
    def pieces(self, number: int) -> dict[int, bytes]:
        """All pieces of a snapshot, by ascending key."""
        return dict(pieces_of(self._db, number))

    @guarded
    def piece(self, number: int, key: int) -> bytes | None:
        """A piece of a snapshot, empty if the snapshot has none under this key; None if the
        snapshot is not here."""
        found = self._db.execute("SELECT 1 FROM snapshots WHERE number = ?", (number,)).fetchone()
        if found is None:
            return None
        query = "SELECT piece FROM pieces WHERE key = ? AND number <= ? ORDER BY number DESC"
        row: tuple[bytes] | None = self._db.execute(query, (key, number)).fetchone()
        return b"" if row is None else row[0]

    @guarded
    def certify(self, number: int, certificate: list[bytes]) -> None:
        """A quorum signed a snapshot's digest, so data that only older snapshots need can go.
        `prune` deletes their blocks and pieces step by step."""
        self._database.begin(durably=True)
        self._db.execute(
            "UPDATE snapshots SET certificate = ? WHERE number = ?",
            (_encode(certificate), number),
        )
        self._db.execute("DELETE FROM snapshots WHERE number < ?", (number,))
        self._pruner.look_again()

    def prune(self, steps: int = 1) -> None:
        """Delete some data that only snapshots before the certified one need. Deleting all at once
        would delay the loop."""
        self._pruner.prune(steps)

    @guarded
    def certified(self) -> Certified | None:
        """The newest snapshot that a quorum signed."""
        row = self._db.execute(
            "SELECT number, digest, floors, certificate, epoch FROM snapshots "
            "WHERE certificate IS NOT NULL ORDER BY number DESC"
        ).fetchone()
        if row is None:
            return None
        number, digest, floors, certificate, epoch = row
        decode = msgspec.msgpack.decode
        return Certified(Manifest(number, digest, epoch), decode(floors), decode(certificate))
