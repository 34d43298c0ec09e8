"""What a peer knows and must keep: its part in consensus, the derived state, and the journal.

Owns recovery, snapshots and taking over a snapshot: all that needs the three together. Must never
touch a socket or a clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from engine import HEAD_KEY, HashTree, rows_of
from peer.consensus.block import Block, InvalidBlockError, Ref, decode
from peer.consensus.committee import Committee
from peer.consensus.committer import Commit
from peer.consensus.core import Consensus, Proposal, Ready, Timing
from peer.consensus.dag import Evidence
from peer.membership.block_reader import BlockReader
from peer.membership.identity import Verifier
from peer.membership.mesh_file import MeshConfig
from peer.node.effects import Effects
from peer.node.snapshots import PACE, Pace, Snapshots
from peer.replica.applied import Applied
from peer.replica.execution_record import encode
from peer.replica.snapshot import InvalidSnapshotError, is_certified, leaf_of
from peer.replica.state_machine import Batch, Replica, decode_batch
from peer.storage.history_writer import KEEP, Keep
from peer.storage.journal import ClientId, Journal, JournalError, Stored, StoredEvidence, Taken
from peer.storage.state_sync import Fetched, Manifest


class KeyElsewhereError(Exception):
    """This peer's key has signed more than its journal knows."""


class Recovered(NamedTuple):
    """What a restart found. The commits it decides are applied."""

    ready: Ready
    own: list[Batch]  # commands in own blocks
    pending: list[tuple[int, bytes]]  # commands in no block, by seq
    blocks: int


def evidence_of(stored: StoredEvidence, committee: Committee) -> Evidence:
    """The journal's evidence as blocks. If only the first block's digest is known, that block has
    no frame. JournalError if it is damaged."""
    author, round_, digest, frame, other = stored
    try:
        first = decode(frame, committee) if frame else Block(Ref(round_, author, digest), ())
        return Evidence(first, decode(other, committee))
    except InvalidBlockError as error:
        raise JournalError(f"the journal is damaged: {error}") from None


class Ledger:
    """`me` is this peer's member number, None for a peer that only follows."""

    def __init__(
        self,
        config: MeshConfig,
        me: int | None,
        sign: Callable[[bytes], bytes],
        journal: Journal,
        timing: Timing | None = None,
        pace: Pace = PACE,
        keep: Keep = KEEP,
        verifier: type[Verifier] = Verifier,
    ) -> None:
        self.me = me
        self.committee = config.committee
        self.journal = journal
        self.consensus = Consensus(self.committee, me, sign, timing)
        self.replica = Replica(config.markets, config.committee)
        self._sign = sign
        self._timing = timing
        self._keep = keep
        self._reader = BlockReader(config, verifier)
        self.snapshots = Snapshots(journal, self.committee, pace)

    def read(self, frame: bytes) -> Block | None:
        """The block in a frame from outside; None if it is known already. InvalidBlockError if the
        frame is no block or its signature is wrong."""
        block = decode(frame, self.committee)
        if self.consensus.knows(block.ref):
            return None
        self._reader.verify(block)
        return block

    def receive(self, block: Block, now_ms: int) -> None:
        """Take in a block from `read`. KeyElsewhereError if it is an own block that this peer never
        made."""
        self._check_own(block.ref)
        self.snapshots.note(block)
        self.replica.verify_ahead(block)
        self.consensus.receive(block, now_ms)

    def _check_own(self, ref: Ref) -> None:
        own = self.consensus.own_newest
        if own is not None and ref.author == self.me and ref.round > own.round:
            raise KeyElsewhereError(
                f"this peer's key has signed a block of round {ref.round}, but its journal ends at "
                f"round {own.round}: the journal is an old copy, or another process uses the same "
                "key. Rejoin under a new key"
            )

    def recover(self, now_ms: int) -> Recovered:
        """Restore what the journal holds. Call once, before anything else."""
        self.journal.drop_unfinished()
        stored = self.journal.snapshot()
        if stored is not None:
            self._restore_snapshot(stored)
        blocks = self._stored_blocks()
        for block in blocks:
            self.snapshots.note(block)
        ready = self.consensus.restore(blocks, now_ms)
        for commit in ready.commits:
            self.apply(commit)
        ready.commits = []
        for row in self.journal.evidence():
            self.consensus.accuse(evidence_of(row, self.committee))
        accused = self.consensus.ready()
        ready.evidence += accused.evidence
        ready.halted = ready.halted or accused.halted
        own = [decode_batch(b) for b in blocks if b.author == self.me and b.payload]
        return Recovered(ready, own, self.journal.pending(), len(blocks))

    def _stored_blocks(self) -> list[Block]:
        """The journal's blocks that this state still needs, and all own ones, parents before
        children; JournalError if one is damaged."""
        blocks = []
        collected = self.consensus.dag.gc_rounds
        for author, round_, digest, frame in self.journal.frames():
            if author != self.me and round_ <= collected[author]:
                continue
            try:
                block = decode(frame, self.committee)
            except InvalidBlockError as error:
                raise JournalError(f"the journal is damaged: {error}") from None
            if block.ref.digest != digest:
                raise JournalError(
                    f"the journal is damaged: expected block {digest.hex()}, got {block!r}"
                )
            blocks.append(block)
        return blocks

    def _restore_snapshot(self, stored: Stored) -> None:
        """Continue from the journal's own snapshot; JournalError if it is damaged."""
        try:
            replica = self._replica_of(self.journal.pieces(stored.number))
        except InvalidSnapshotError as error:
            raise JournalError(f"the journal is damaged: {error}") from None
        if (replica.commit, replica.tree.digest) != (stored.number, stored.digest):
            raise JournalError("the journal is damaged: its snapshot has another digest")
        self.snapshots.go_on_from(stored, replica)
        self._go_on_from(replica)

    def _replica_of(self, pieces: Mapping[int, bytes]) -> Replica:
        """InvalidSnapshotError if the pieces are no state."""
        return Replica.restore(self.committee, pieces)

    def _go_on_from(self, replica: Replica) -> None:
        self.replica = replica
        start = self.consensus.start
        self.consensus = Consensus(
            self.committee, self.me, self._sign, self._timing, replica.checkpoint, start
        )

    # Calls the loop makes without knowing which of the three parts they concern

    def hear(self, member: int, rounds: tuple[int, ...], now_ms: int) -> None:
        """A member reported its rounds in a heartbeat."""
        self.consensus.hear(member, rounds, now_ms)

    def answered(self, member: int, now_ms: int) -> None:
        """All blocks of a member's answer have arrived."""
        self.consensus.answered(member, now_ms)

    def proposal(self, now_ms: int, commands_wait: bool, is_due: bool) -> Proposal | None:
        """The block this member should make now, if any."""
        return self.consensus.proposal(now_ms, commands_wait, is_due)

    def propose(self, round_: int, payload: bytes, now_ms: int, wall_ms: int) -> None:
        """Make the block. It states this member's time and state."""
        said = self.replica.attestation()
        self.consensus.propose(round_, payload, now_ms, said, wall_ms)

    def ready(self, now_ms: int) -> Ready:
        """What consensus wants done, once."""
        self.consensus.tick(now_ms)
        return self.consensus.ready()

    def next_tick_ms(self, now_ms: int) -> int | None:
        """When consensus next needs a turn without input; None: never."""
        return self.consensus.next_tick_ms(now_ms)

    @property
    def round(self) -> int:
        """The highest round at which a quorum of blocks is here."""
        return self.consensus.dag.quorum_round

    @property
    def rounds(self) -> tuple[int, ...]:
        """The highest round here, by author; heartbeats report it."""
        return self.consensus.heartbeat()

    def newest_round(self, member: int) -> int:
        """The round of a member's newest block here."""
        return self.consensus.dag.newest[member].round

    def far_ahead(self, now_ms: int) -> int | None:
        """The round of members so far ahead that this peer must catch up first."""
        return self.consensus.far_ahead(now_ms)

    @property
    def commit(self) -> int:
        """The last applied commit."""
        return self.replica.commit

    @property
    def expected(self) -> int:
        """The seq of this member's next command to apply."""
        assert self.me is not None
        return self.replica.expected[self.me]

    @property
    def next_expiry_ms(self) -> int | None:
        """When the first order expires, by the ordered clock; None: never."""
        return self.replica.exchange.next_expiry()

    def client_ids(self, names: Iterable[ClientId]) -> dict[ClientId, Taken]:
        """The names under which an order was taken, with that order."""
        return self.journal.client_ids(names)

    def next_to_send(self) -> int:
        """The seq of this member's first command in no block that can still be ordered."""
        seq = self.expected
        blocks = self.consensus.committer.uncommitted_payloads.values()
        for block in sorted((b for b in blocks if b.author == self.me), key=lambda b: b.round):
            batch = decode_batch(block)
            if batch.first <= seq:  # else the batch is too early, and none of it is applied
                seq = max(seq, batch.first + len(batch.commands))
        return seq

    def persist(self, effects: Effects) -> None:
        """Write what is to be persisted. Make it durable if a later effect depends on it."""
        if effects.blocks:
            self.journal.add_blocks(effects.blocks)
        if effects.evidence:
            self.journal.add_evidence(effects.evidence)
        if effects.commands:
            self.journal.add_pending(effects.commands.items())
        if effects.withdrawn:
            self.journal.drop_client_ids(effects.withdrawn)
        if effects.names:
            self.journal.add_client_ids(effects.names.items())
        if effects.publish:
            self.journal.drop_pending_below(effects.first_waiting)
        for block in effects.publish:
            self.snapshots.note(block)
        if effects.beat:
            self.tidy()
        if effects.must_sync:
            self.journal.sync()
        effects.is_persisted = True

    def apply(self, commit: Commit) -> Applied:
        """Apply a commit, keep its trades, and take a snapshot when one is due."""
        applied = self.replica.apply(commit)
        for symbol, trades in applied.trades.items():
            self.journal.history.add_trades(symbol, trades)
        if applied.record is not None:
            self.journal.history.add_record(commit.number, applied.record, encode(applied.record))
        self.snapshots.applied(commit, len(applied.ids), self.replica)
        return applied

    def tidy(self) -> None:
        """Write the collected history and part of a snapshot, and prune some old data."""
        self.journal.history.flush()
        self.snapshots.write()
        self.journal.history.prune(self._keep, self.replica.trades)
        self.journal.prune()

    def is_certified(self, manifest: Manifest, certificate: list[bytes]) -> bool:
        """Whether a quorum signed this digest for that commit."""
        try:
            blocks = [self._reader.read(frame) for frame in certificate]
        except InvalidBlockError:
            return False
        return is_certified(manifest.commit, manifest.digest, blocks, self.committee)

    def tree_at(self, number: int) -> HashTree | None:
        """The tree of one of the newest snapshots or last checkpoints; None for other commits."""
        return self.snapshots.tree_at(number) or self.replica.recent.tree(number)

    def piece_at(self, number: int, key: int) -> bytes | None:
        """A piece of a commit that has a tree; None if it is gone."""
        piece = self.journal.piece(number, key)
        return self.replica.recent.piece(number, key) if piece is None else piece

    def own_piece(self, key: int) -> bytes:
        """A piece of the own state, as of the last request for its tree; empty if there is none."""
        return self.replica.piece(key)

    def install(self, fetched: Fetched, now_ms: int) -> Ready:
        """Continue from another peer's certified snapshot. InvalidSnapshotError if it is not the
        certified one, KeyElsewhereError if it has more from this peer than the journal."""
        replica = self._changed_by(fetched)
        assert replica.checkpoint is not None
        if self.me is not None:
            self._check_own(replica.checkpoint.heads[self.me])
        self._keep_gap(fetched.pieces, replica)
        self.snapshots.install(fetched.certificate, replica)
        self.journal.sync()
        self._go_on_from(replica)
        return self.consensus.restore(self._stored_blocks(), now_ms)

    def _changed_by(self, fetched: Fetched) -> Replica:
        """The own state with the differences from another peer's applied."""
        own, pieces, certified = self.replica, fetched.pieces, fetched.manifest
        tree = own.tree.updated(leaf_of(*change) for change in pieces.items())
        if tree.digest == certified.digest:
            replica = self._replica_of({key: pieces.get(key) or own.piece(key) for key, _ in tree})
            if (replica.commit, replica.tree.digest) == certified:
                return replica
        raise InvalidSnapshotError("expected the state that a quorum has signed, got another")

    def _keep_gap(self, changed: Iterable[int], replica: Replica) -> None:
        """Events until then are unknown here. For each order that has changed, the history stores
        its present state."""
        history = self.journal.history
        for symbol, trades in replica.trades.items():
            history.add_trades(symbol, trades)
        history.note_gap(self.replica.commit + 1, replica.commit)
        ids = (id_ for key in changed if key < HEAD_KEY for id_ in self._changed_in(key, replica))
        orders = (order for order in map(replica.exchange.order, ids) if order is not None)
        history.add_open(replica.commit, replica.time_ms, orders)

    def _changed_in(self, key: int, replica: Replica) -> Iterator[int]:
        """The ids of the orders in a piece of another state that are missing or different in it
        here."""
        own = rows_of(key, self.replica.piece(key))
        return (id_ for id_, row in rows_of(key, replica.piece(key)).items() if own.get(id_) != row)
