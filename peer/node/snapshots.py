"""The snapshots in a peer's journal, and the one that is being written there.

Owns when one is taken, how it gets into the journal bit by bit, and its certificate. Must never
hold up the loop: while the book moves on, the pieces of the checkpoint are kept as they were.

A snapshot is what has changed since the one before. It counts once all of it is in the journal: a
crash before that leaves the one before.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from engine import HashTree, Leaf
from peer.consensus.block import Attestation, Block
from peer.consensus.committee import Committee
from peer.consensus.committer import Commit
from peer.replica.snapshot import Frozen, leaf_of
from peer.replica.state_machine import Replica
from peer.storage.journal import Journal, Stored


class Pace(NamedTuple):
    """When snapshots are due, and how much of one is written at a time."""

    commits: int = 1_024  # from one to the next, a multiple of CHECKPOINT_EVERY
    commands: int = 200_000  # or at the next checkpoint after so many: they take a while to replay
    pieces: int = 128  # at a time
    size: int = 256 * 1024  # bytes; at least a piece


PACE = Pace()


class _Writing(NamedTuple):
    """A snapshot of which some is still to be written."""

    number: int
    tree: HashTree
    floors: list[int]
    frozen: Frozen
    rest: Iterator[Leaf]


class Snapshots:
    def __init__(self, journal: Journal, committee: Committee, pace: Pace) -> None:
        self._journal = journal
        self._committee = committee
        self._pace = pace
        self._commands = 0  # since one was due
        self._is_due = False
        self._writing: _Writing | None = None
        self._stored = (0, HashTree())  # the newest one in the journal
        self._certified = (0, HashTree())
        self._uncertified: Attestation | None = None  # the newest one that was taken
        self._certificate: dict[int, bytes] = {}  # author -> frame that says its digest

    @property
    def is_writing(self) -> bool:
        """Whether some of the snapshot that was taken last is still to be written."""
        return self._writing is not None

    def tree_at(self, number: int) -> HashTree | None:
        """The tree of the newest snapshot, or of the newest certified one."""
        return dict((self._certified, self._stored)).get(number)

    def go_on_from(self, stored: Stored, tree: HashTree) -> None:
        """The newest one in the journal is where this peer stands."""
        if self._writing is not None:
            self._writing.frozen.close()
        self._writing, self._is_due, self._commands = None, False, 0
        self._stored = (stored.number, tree)
        self._await_certificate(stored.number, stored.digest)
        if stored.is_certified:
            self._certified, self._uncertified = self._stored, None

    def install(self, certificate: list[bytes], replica: Replica) -> None:
        """Store a state that another peer had, all of it at once."""
        assert replica.checkpoint is not None
        number, tree = replica.commit, replica.tree
        changes = tree.changes(self._stored[1])
        pieces = ((key, replica.piece(key) if digest else b"") for key, digest in changes)
        floors = replica.checkpoint.gc_rounds(self._committee.mode)
        self._journal.drop_unfinished()
        self._journal.add_pieces(number, pieces)
        self._journal.add_snapshot(number, tree.digest, floors)
        self._journal.certify(number, certificate)
        self.go_on_from(Stored(number, tree.digest, True), tree)

    def applied(self, commit: Commit, commands: int, replica: Replica) -> None:
        """A commit with so many commands was applied: take a snapshot when it is time to. It is due
        at the same commits on all peers, whether or not one is still being written here."""
        self._commands += commands
        if commit.checkpoint is None:
            return
        if commit.number % self._pace.commits == 0 or self._commands >= self._pace.commands:
            self._is_due, self._commands = True, 0
        if self._is_due and self._writing is None:
            self._is_due = False
            tree, floors = replica.tree, commit.checkpoint.gc_rounds(self._committee.mode)
            rest = tree.changes(self._stored[1])
            self._writing = _Writing(commit.number, tree, floors, replica.freeze(), rest)
            self._await_certificate(commit.number, tree.digest)

    def write(self) -> None:
        """Write some of the snapshot that was taken last."""
        writing = self._writing
        if writing is None:
            return
        pieces: list[tuple[int, bytes]] = []
        room = self._pace.size
        for leaf in islice(writing.rest, self._pace.pieces):
            piece = writing.frozen.piece(leaf.key) if leaf.digest else b""
            assert leaf_of(leaf.key, piece) == leaf, "a piece of another moment"
            pieces.append((leaf.key, piece))
            room -= len(piece)
            if room <= 0:
                break
        self._journal.add_pieces(writing.number, pieces)
        if room > 0 and len(pieces) < self._pace.pieces:
            self._finish(writing)

    def _finish(self, writing: _Writing) -> None:
        writing.frozen.close()
        self._journal.add_snapshot(writing.number, writing.tree.digest, writing.floors)
        self._writing, self._stored = None, (writing.number, writing.tree)
        self._certify()

    def note(self, block: Block) -> None:
        """Collect blocks that say the digest of the snapshot taken last, until a quorum has."""
        if block.attestation == self._uncertified:
            self._certificate[block.author] = block.frame
            self._certify()

    def _await_certificate(self, number: int, digest: bytes) -> None:
        self._uncertified = Attestation(number, digest)
        self._certificate = {}

    def _certify(self) -> None:
        """Once it is in the journal."""
        if self._uncertified is None or self._writing is not None:
            return
        if len(self._certificate) >= self._committee.quorum:
            self._journal.certify(self._uncertified.commit, list(self._certificate.values()))
            self._certified, self._uncertified = self._stored, None
