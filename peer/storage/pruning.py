"""What a journal may forget, a little at a time.

Owns which blocks and pieces are no longer needed. Must never delete anything that the newest
snapshot signed by a quorum needs, nor blocks of an epoch of which the end is not certified.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from peer.storage.block_store import BlockStore, Entry
from peer.storage.database import Database, Tables, guarded
from peer.storage.epoch_table import EpochTable
from peer.storage.state_sync import Manifest

PRUNED_PIECES_MAX = 100  # looked at in one step
PRUNED_BYTES = 256 * 1024  # the same in bytes
_FIRST = (-1, 0)  # before all pieces


class Certified(NamedTuple):
    """A snapshot that a quorum signed."""

    manifest: Manifest
    floors: list[int]  # blocks of its epoch above these rounds, by author, are still needed
    certificate: list[bytes]  # frames that state its digest


class Pruner(Tables):
    """`certified` reads the newest snapshot that a quorum has signed."""

    def __init__(
        self,
        database: Database,
        epochs: EpochTable,
        blocks: BlockStore,
        certified: Callable[[], Certified | None],
    ) -> None:
        super().__init__(database)
        self._epochs = epochs
        self._blocks = blocks
        self._certified = certified
        self._snapshot: Certified | None = None  # the newest certified one,
        self._has_looked = False  # if that was looked up
        self._dropped_for = (0, -1)  # its number and the last closed epoch: no more blocks can go
        self._looked_at: tuple[int, int] | None = _FIRST  # for old pieces; None: no look needed
        self._until = _FIRST  # the look goes round to here

    def look_again(self) -> None:
        """A later snapshot is certified. The look at pieces goes on where it is, once round: else
        it would never reach the last ones if snapshots come fast."""
        self._has_looked = False
        self._until = self._looked_at = self._looked_at or _FIRST

    @guarded
    def prune(self, steps: int = 1) -> None:
        """Delete some data that only snapshots before the certified one need. Deleting all at once
        would delay the loop."""
        self._prune_blocks()
        while steps and self._looked_at is not None:
            self._prune_pieces(self._looked_at)
            steps -= 1

    def _prune_pieces(self, after: tuple[int, int]) -> None:
        """Delete each piece's versions before the newest one in the certified snapshot. Delete that
        one too if it says that the piece is gone."""
        rows = self._db.execute(
            "SELECT key, number, length(piece) FROM pieces WHERE (key, number) > (?, ?) AND number "
            "<= (SELECT max(number) FROM snapshots WHERE certificate IS NOT NULL) "
            "ORDER BY key, number LIMIT ?",
            (*after, PRUNED_PIECES_MAX),
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
            self._database.commit()  # at once, as what was added
        reached = _FIRST if is_end else some[-2][:2]
        is_round = after < self._until and (is_end or self._until <= reached)
        self._looked_at = None if is_round or (is_end and self._until == _FIRST) else reached

    def _prune_blocks(self) -> None:
        """ORDER-48. Blocks go that the certified snapshot replaces, and those of epochs before it.
        Nobody needs them who can continue from it; whoever lacks an epoch's certificate cannot.
        Every author's newest block stays: a member must not forget its own position."""
        if not self._has_looked:
            self._snapshot, self._has_looked = self._certified(), True
        if self._snapshot is None:
            return
        (number, _, epoch), floors, _ = self._snapshot
        closed = min(epoch - 1, self._epochs.last_closed()) if epoch else -1
        if (number, closed) == self._dropped_for:
            return

        def is_needed(entry: Entry, newest: int) -> bool:
            if entry.epoch == epoch:
                return entry.round > floors[entry.author] or entry.round == newest
            return entry.epoch > closed

        self._database.commit()  # blocks before the snapshot must not go before it is durable
        if not self._blocks.prune(is_needed):
            self._dropped_for = number, closed
