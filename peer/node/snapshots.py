"""The snapshots in a peer's journal, and the one being written there.

Owns when one is taken, how it is written step by step, and its certificate. Must never delay the
loop: while the book changes, the checkpoint's pieces are kept as they were.

A snapshot holds the changes since the one before. It counts once all of it is in the journal: after
an earlier crash, the one before is used.
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
    """When snapshots are due, and how much is written at a time.

    A restart and a member that was away replay the commands since a snapshot, so it is due after
    not too many. It is at most the whole state, so many orders allow more commands: then what is
    written stays in proportion to what was traded.
    """

    commits: int = 1_024  # from one to the next, a multiple of CHECKPOINT_EVERY
    commands: int = 40_000  # or at the next checkpoint after this many
    commands_max: int = 100_000  # or as many as a quarter of the open orders, up to this
    pieces: int = 32  # in a step
    size: int = 64 * 1024  # bytes; at least one piece
    step_commands: int = 64  # after so many there is one step more,
    steps: int = 8  # up to so many at once


PACE = Pace()


class _Writing(NamedTuple):
    """A snapshot that is not completely written."""

    number: int
    epoch: int
    tree: HashTree
    floors: list[int]
    frozen: Frozen
    rest: Iterator[Leaf]


class Snapshots:
    def __init__(self, journal: Journal, committee: Committee, pace: Pace) -> None:
        self._journal = journal
        self._committee = committee
        self._pace = pace
        self._commands = 0  # since the last one was due
        self._unpaid = 0  # commands since the last `write_due`
        self._is_due = False
        self._writing: _Writing | None = None
        self._stored = (0, HashTree())  # the newest one in the journal
        self._floors = [0] * committee.size  # what it needs: the blocks above these rounds
        self._certified = (0, HashTree())
        self._uncertified: Attestation | None = None  # the newest one taken
        self._certificate: dict[int, bytes] = {}  # author -> frame that states its digest

    def begin_epoch(self, committee: Committee) -> None:
        """An epoch has begun. Its blocks say nothing about a snapshot of the one before, so if one
        is being written, it is given up. The first checkpoint is due as a snapshot: then nobody
        needs older blocks."""
        if self._writing is not None:
            self._writing.frozen.close()
            self._journal.drop_unfinished()
        self._committee = committee
        self._floors = [0] * committee.size
        self._writing, self._is_due, self._commands = None, True, 0
        self._uncertified, self._certificate = None, {}

    @property
    def is_writing(self) -> bool:
        """Whether the last snapshot is not completely written."""
        return self._writing is not None

    def tree_at(self, number: int) -> HashTree | None:
        """The tree of the newest snapshot, or of the newest certified one."""
        return dict((self._certified, self._stored)).get(number)

    def go_on_from(self, stored: Stored, replica: Replica) -> None:
        """This peer stands at the newest snapshot in the journal."""
        assert replica.checkpoint is not None
        if self._writing is not None:
            self._writing.frozen.close()
        self._writing, self._is_due, self._commands = None, False, 0
        self._stored = (stored.number, replica.tree)
        self._floors = replica.checkpoint.gc_rounds(self._committee.mode)
        self._await_certificate(stored.number, stored.digest)
        if stored.is_certified:
            self._certified, self._uncertified = self._stored, None

    def install(self, certificate: list[bytes], replica: Replica) -> None:
        """Store another peer's state, all of it at once. It counts once the journal is synced, with
        all that is stored before that."""
        assert replica.checkpoint is not None
        number, tree = replica.commit, replica.tree
        changes = tree.changes(self._stored[1])
        pieces = ((key, replica.piece(key) if digest else b"") for key, digest in changes)
        floors = replica.checkpoint.gc_rounds(self._committee.mode)
        self._journal.drop_unfinished()
        self._journal.add_pieces(number, pieces)
        epoch = self._committee.epoch
        self._journal.add_certified(number, tree.digest, floors, epoch, certificate)
        self.go_on_from(Stored(number, tree.digest, True, epoch), replica)

    def applied(self, commit: Commit, commands: int, replica: Replica) -> None:
        """A commit with this number of commands was applied: take a snapshot when one is due. It is
        due at the same commits on all peers, even while another is being written here."""
        self._commands += commands
        self._unpaid += commands
        if commit.checkpoint is None:
            return
        if commit.number % self._pace.commits == 0 or self._commands >= self._most(replica):
            self._is_due, self._commands = True, 0
        if self._is_due and self._writing is None:
            self._is_due = False
            tree, floors = replica.tree, commit.checkpoint.gc_rounds(self._committee.mode)
            rest = tree.changes(self._stored[1])
            epoch, frozen = self._committee.epoch, replica.freeze()
            self._writing = _Writing(commit.number, epoch, tree, floors, frozen, rest)
            self._await_certificate(commit.number, tree.digest)

    def _most(self, replica: Replica) -> int:
        """After this many commands a snapshot is due."""
        _, commands, commands_max, *_ = self._pace
        return max(commands, min(replica.exchange.open_count // 4, commands_max))

    def write_due(self) -> int:
        """Write as much of the last snapshot as is due: one step beside a lone command, more after
        many, so that it ends in time. Returns how many steps were due."""
        steps = min(1 + self._unpaid // self._pace.step_commands, self._pace.steps)
        self._unpaid = 0
        self.write(steps)
        return steps

    def write(self, steps: int = 1) -> None:
        """Write steps of the last snapshot, about a millisecond each."""
        writing = self._writing
        if writing is None:
            return
        pieces: list[tuple[int, bytes]] = []
        most, room = steps * self._pace.pieces, steps * self._pace.size
        for leaf in islice(writing.rest, most):
            piece = writing.frozen.piece(leaf.key) if leaf.digest else b""
            assert leaf_of(leaf.key, piece) == leaf, "expected the piece of the frozen state"
            pieces.append((leaf.key, piece))
            room -= len(piece)
            if room <= 0:
                break
        self._journal.add_pieces(writing.number, pieces)
        if room > 0 and len(pieces) < most:
            self._finish(writing)

    def _finish(self, writing: _Writing) -> None:
        writing.frozen.close()
        # The journal keeps the blocks since the snapshot before. So a peer that has just taken over
        # that one continues with blocks, and needs no second takeover.
        digest, epoch = writing.tree.digest, writing.epoch
        self._journal.add_snapshot(writing.number, digest, self._floors, epoch)
        self._writing, self._stored = None, (writing.number, writing.tree)
        self._floors = writing.floors
        self._certify()

    def note(self, block: Block) -> None:
        """Collect blocks that state the last snapshot's digest, until a quorum has."""
        if block.attestation == self._uncertified:
            self._certificate[block.author] = block.frame
            self._certify()

    def _await_certificate(self, number: int, digest: bytes) -> None:
        self._uncertified = Attestation(number, digest)
        self._certificate = {}

    def _certify(self) -> None:
        """Certify the snapshot, once it is in the journal."""
        if self._uncertified is None or self._writing is not None:
            return
        if len(self._certificate) >= self._committee.quorum:
            self._journal.certify(self._uncertified.commit, list(self._certificate.values()))
            self._certified, self._uncertified = self._stored, None
