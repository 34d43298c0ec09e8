"""The blocks in a peer's journal, read for a restart.

Owns which of them are needed and what makes one damaged. Must never verify a signature: what is in
the journal was verified before.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from peer.consensus.block import ROUND_MAX, Block, InvalidBlockError, Ref, decode
from peer.consensus.committee import Committee
from peer.consensus.core import Ready
from peer.consensus.dag import Evidence
from peer.membership.epochs import Epoch
from peer.replica.batch import Batch
from peer.replica.feature_level import Levels
from peer.storage.journal import Journal, LostJournalError, StoredEvidence


class Recovered(NamedTuple):
    """What a restart found. The commits it decides are applied."""

    ready: Ready
    own: list[Batch]  # commands in own blocks
    pending: list[tuple[int, bytes]]  # commands in no block, by seq
    blocks: int


def evidence_of(stored: StoredEvidence, committee: Committee) -> Evidence:
    """The journal's evidence as blocks. If only the first block's digest is known, that block has
    no frame. LostJournalError if it is damaged."""
    author, round_, digest, frame, other = stored
    try:
        first = decode(frame, committee) if frame else Block(Ref(round_, author, digest), ())
        return Evidence(first, decode(other, committee))
    except InvalidBlockError as error:
        raise LostJournalError(f"the journal is damaged: {error}") from None


def blocks_of(journal: Journal, epoch: Epoch, collected: Sequence[int]) -> list[Block]:
    """The journal's blocks of an epoch above the rounds `collected`, by author, and all own ones,
    parents before children. LostJournalError if one is damaged."""
    blocks = []
    own = epoch.author_of(epoch.seat_of(journal.key))
    for author, round_, digest, frame in journal.frames(epoch.number):
        if author != own and round_ <= collected[author]:
            continue
        try:
            block = decode(frame, epoch.committee)
        except InvalidBlockError as error:
            raise LostJournalError(f"the journal is damaged: {error}") from None
        if block.ref.digest != digest:
            raise LostJournalError(f"the journal is damaged: {block!r} is not {digest.hex()}")
        blocks.append(block)
    return blocks


def own_batches(key: bytes, epoch: Epoch, blocks: Iterable[Block], levels: Levels) -> list[Batch]:
    """The commands in the blocks that are of this key's seat."""
    seat = epoch.seat_of(key)
    author = epoch.author_of(seat)
    level = levels.of(epoch.origin.level)
    return [level.read(b, seat) for b in blocks if b.author == author and b.payload]


def own_before(journal: Journal, epochs: Iterable[Epoch], levels: Levels) -> list[Batch]:
    """The commands in own blocks of these epochs, as far as they are in the journal."""
    found: list[Batch] = []
    for epoch in epochs:
        nobody = [ROUND_MAX] * epoch.committee.size
        found += own_batches(journal.key, epoch, blocks_of(journal, epoch, nobody), levels)
    return found
