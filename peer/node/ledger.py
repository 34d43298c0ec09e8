"""What a peer knows and must keep: its part in consensus, the state that follows, and the journal.

Owns recovery, snapshots and the taking over of a snapshot: whatever needs all three together. Must
never touch a socket or a clock.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from engine import Exchange
from peer.consensus.block import Block, InvalidBlockError, Ref, decode
from peer.consensus.committee import Committee
from peer.consensus.committer import Checkpoint, Commit
from peer.consensus.core import Consensus, Proposal, Ready, Timing
from peer.consensus.dag import Evidence
from peer.membership.block_reader import BlockReader
from peer.membership.identity import Verifier
from peer.membership.mesh_file import MeshConfig
from peer.node.effects import Effects
from peer.replica import snapshot as snapshots
from peer.replica.execution_record import encode
from peer.replica.state_machine import Applied, Batch, Replica, decode_batch
from peer.storage.history_writer import KEEP, Keep
from peer.storage.journal import ClientId, Journal, JournalError, StoredEvidence, Taken
from peer.storage.state_sync import Fetched, Manifest

SNAPSHOT_EVERY = 1_024  # commits, a multiple of CHECKPOINT_EVERY
SNAPSHOT_COMMANDS = 200_000  # or at the next checkpoint after so many: they take a while to replay


class KeyElsewhereError(Exception):
    """This peer's key has spoken more than its journal knows."""


class Recovered(NamedTuple):
    """What a restart found. The commits it decides are applied."""

    ready: Ready
    own: list[Batch]  # commands in own blocks
    pending: list[tuple[int, bytes]]  # commands in no block, by seq
    blocks: int


def evidence_of(stored: StoredEvidence, committee: Committee) -> Evidence:
    """What the journal kept, as blocks; a first one of which only the digest is known has no frame.
    JournalError if it is damaged."""
    author, round_, digest, frame, other = stored
    try:
        first = decode(frame, committee) if frame else Block(Ref(round_, author, digest), ())
        return Evidence(first, decode(other, committee))
    except InvalidBlockError as error:
        raise JournalError(f"the journal is damaged: {error}") from None


class Ledger:
    """`me` is this peer's member number, None for one that only follows."""

    def __init__(
        self,
        config: MeshConfig,
        me: int | None,
        sign: Callable[[bytes], bytes],
        journal: Journal,
        timing: Timing | None = None,
        snapshot_every: int = SNAPSHOT_EVERY,
        keep: Keep = KEEP,
        verifier: type[Verifier] = Verifier,
    ) -> None:
        self.me = me
        self.committee = config.committee
        self.journal = journal
        self.consensus = Consensus(self.committee, me, sign, timing)
        self.replica = Replica(config.markets, len(config.members), config.id)
        self._markets = config.markets
        self._sign = sign
        self._timing = timing
        self._snapshot_every = snapshot_every
        self._keep = keep
        self._reader = BlockReader(config, verifier)
        self._since_snapshot = 0  # commands
        self._uncertified: tuple[int, bytes] | None = None  # our newest snapshot: commit, digest
        self._certificate: dict[int, bytes] = {}  # author -> frame that says that digest

    def read(self, frame: bytes) -> Block | None:
        """The block in a frame that came from outside; None if it is known already.
        InvalidBlockError if it is none or its signature is wrong."""
        block = decode(frame, self.committee)
        if self.consensus.knows(block.ref):
            return None
        self._reader.verify(block)
        return block

    def receive(self, block: Block, now_ms: int) -> None:
        """A block that `read` gave. KeyElsewhereError if it is an own one that was never made
        here."""
        self._check_own(block.ref)
        self._note_signer(block)
        self.replica.verify_ahead(block)
        self.consensus.receive(block, now_ms)

    def _check_own(self, ref: Ref) -> None:
        own = self.consensus.own_newest
        if own is not None and ref.author == self.me and ref.round > own.round:
            raise KeyElsewhereError(
                f"there is a block of round {ref.round} under this peer's key, but its journal "
                f"ends at round {own.round}: it is an old copy, or the key runs somewhere else "
                "too. Rejoin under a new key"
            )

    def recover(self, now_ms: int) -> Recovered:
        """Take back what the journal holds. Call once, before anything else."""
        stored = self.journal.snapshot()
        if stored is not None:
            self._restore_snapshot(*stored)
        blocks = self._stored_blocks()
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
        """The journal's blocks, parents before children; JournalError if one is damaged."""
        blocks = []
        for digest, frame in self.journal.frames():
            try:
                block = decode(frame, self.committee)
            except InvalidBlockError as error:
                raise JournalError(f"the journal is damaged: {error}") from None
            if block.ref.digest != digest:
                raise JournalError(f"the journal is damaged: {block!r} is not {digest.hex()}")
            blocks.append(block)
        return blocks

    def _restore_snapshot(self, digest: bytes, data: bytes) -> None:
        """Go on from the journal's own snapshot; JournalError if it is damaged."""
        try:
            snapshot, exchange = snapshots.decode(data)
        except snapshots.InvalidSnapshotError as error:
            raise JournalError(f"the journal is damaged: {error}") from None
        if snapshots.digest_of(snapshot, exchange) != digest:
            raise JournalError("the journal is damaged: its snapshot has another digest")
        self._go_on_from(snapshot, exchange)

    def _keep_open(self, checkpoint: Checkpoint, exchange: Exchange) -> None:
        """How every open order stands: of what happened to them before, the journal has not all."""
        self.journal.history.add_open(checkpoint.commit, checkpoint.time_ms, exchange.orders_open())

    def _go_on_from(self, snapshot: snapshots.Snapshot, exchange: Exchange) -> None:
        checkpoint = snapshot.checkpoint
        self.replica = Replica.restore(self._markets, self.committee.mesh, snapshot, exchange)
        start = self.consensus.start
        self.consensus = Consensus(
            self.committee, self.me, self._sign, self._timing, checkpoint, start
        )

    # What the loop asks and hands on, without knowing which of the three it concerns

    def hear(self, member: int, rounds: tuple[int, ...], now_ms: int) -> None:
        """A member said in a heartbeat how far it is."""
        self.consensus.hear(member, rounds, now_ms)

    def answered(self, member: int, now_ms: int) -> None:
        """All blocks of a member's answer have been received."""
        self.consensus.answered(member, now_ms)

    def proposal(self, now_ms: int, commands_wait: bool, is_due: bool) -> Proposal | None:
        """The block that this member should make now, if any."""
        return self.consensus.proposal(now_ms, commands_wait, is_due)

    def propose(self, round_: int, payload: bytes, now_ms: int, wall_ms: int) -> None:
        """Make it. It says the time and the state of this member."""
        said = self.replica.attestation()
        self.consensus.propose(round_, payload, now_ms, said, wall_ms)

    def ready(self, now_ms: int) -> Ready:
        """What consensus wants done, once."""
        self.consensus.tick(now_ms)
        return self.consensus.ready()

    def next_tick_ms(self, now_ms: int) -> int | None:
        """When consensus wants something though nothing comes; None: never."""
        return self.consensus.next_tick_ms(now_ms)

    @property
    def round(self) -> int:
        """The highest round at which a quorum of the blocks here stands."""
        return self.consensus.dag.quorum_round

    @property
    def rounds(self) -> tuple[int, ...]:
        """The highest round that is here, by author: what a heartbeat says."""
        return self.consensus.heartbeat()

    def newest_round(self, member: int) -> int:
        """Of a member's newest block here."""
        return self.consensus.dag.newest[member].round

    def far_ahead(self, now_ms: int) -> int | None:
        """The round of members that are so far ahead that this one catches up first."""
        return self.consensus.far_ahead(now_ms)

    @property
    def commit(self) -> int:
        """The last one that is applied."""
        return self.replica.commit

    @property
    def expected(self) -> int:
        """The seq of this member's next command to be applied."""
        assert self.me is not None
        return self.replica.expected[self.me]

    @property
    def next_expiry_ms(self) -> int | None:
        """When the first order expires, by the ordered clock; None: none does."""
        return self.replica.exchange.next_expiry()

    def client_ids(self, names: Iterable[ClientId]) -> dict[ClientId, Taken]:
        """Those of the names under which an order was taken, with that order."""
        return self.journal.client_ids(names)

    def next_to_send(self) -> int:
        """The seq of this member's first command that is in no block which can still be ordered."""
        seq = self.expected
        blocks = self.consensus.committer.uncommitted_payloads.values()
        for block in sorted((b for b in blocks if b.author == self.me), key=lambda b: b.round):
            batch = decode_batch(block)
            if batch.first <= seq:  # else it comes too early, and none of it is applied
                seq = max(seq, batch.first + len(batch.commands))
        return seq

    def persist(self, effects: Effects) -> None:
        """Write what is to be persisted, and make it durable if anything rests on that."""
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
            self._note_signer(block)
        if effects.beat:
            self.tidy()
        if effects.must_sync:
            self.journal.sync()
        effects.is_persisted = True

    def apply(self, commit: Commit) -> Applied:
        """Apply a commit, keep its trades, and take a snapshot when it is time to."""
        applied = self.replica.apply(commit)
        for symbol, trades in applied.trades.items():
            self.journal.history.add_trades(symbol, trades)
        if applied.record is not None:
            self.journal.history.add_record(commit.number, applied.record, encode(applied.record))
        self._since_snapshot += len(applied.ids)
        if commit.checkpoint is not None and self._is_time(commit.number):
            self._since_snapshot = 0
            snapshot = self.replica.snapshot(commit.checkpoint)
            digest = self.replica.attestation().digest
            gc_rounds = commit.checkpoint.gc_rounds(self.committee.mode)
            self.journal.add_snapshot(commit.number, digest, gc_rounds, snapshots.encode(snapshot))
            self._uncertified = (commit.number, digest)
            self._certificate.clear()
        return applied

    def tidy(self) -> None:
        """Write what was collected of the past, and prune some of it that is too old."""
        self.journal.history.flush()
        self.journal.history.prune(self._keep, self.replica.trades)
        self.journal.prune_blocks()

    def _is_time(self, commit: int) -> bool:
        return commit % self._snapshot_every == 0 or self._since_snapshot >= SNAPSHOT_COMMANDS

    def _note_signer(self, block: Block) -> None:
        """Collect blocks that say our newest snapshot's digest, until a quorum has."""
        if self._uncertified is None or block.attestation != self._uncertified:
            return
        self._certificate[block.author] = block.frame
        if len(self._certificate) >= self.committee.quorum:
            self.journal.certify(self._uncertified[0], list(self._certificate.values()))
            self._uncertified = None

    def is_certified(self, manifest: Manifest, certificate: list[bytes]) -> bool:
        """Whether a quorum signed that this is the digest after that commit."""
        try:
            blocks = [self._reader.read(frame) for frame in certificate]
        except InvalidBlockError:
            return False
        return snapshots.is_certified(manifest.commit, manifest.digest, blocks, self.committee)

    def install(self, fetched: Fetched, now_ms: int) -> Ready:
        """Go on from another peer's certified snapshot. InvalidSnapshotError if it is not what was
        certified, KeyElsewhereError if it has more from this peer than the journal."""
        snapshot, exchange = snapshots.decode(fetched.data)
        digest = snapshots.digest_of(snapshot, exchange)
        if (snapshot.checkpoint.commit, digest) != (
            fetched.manifest.commit,
            fetched.manifest.digest,
        ):
            raise snapshots.InvalidSnapshotError("the snapshot is not the one a quorum has signed")
        if self.me is not None:
            self._check_own(snapshot.checkpoint.heads[self.me])
        gc_rounds = snapshot.checkpoint.gc_rounds(self.committee.mode)
        number = fetched.manifest.commit
        for symbol, trades in snapshot.trades.items():
            self.journal.history.add_trades(symbol, trades)
        self.journal.history.note_gap(self.replica.commit + 1, number)
        self._keep_open(snapshot.checkpoint, exchange)
        self.journal.add_snapshot(number, digest, gc_rounds, fetched.data)
        self.journal.certify(number, fetched.certificate)
        self.journal.sync()
        self._uncertified = None
        self._since_snapshot = 0
        self._go_on_from(snapshot, exchange)
        return self.consensus.restore(self._stored_blocks(), now_ms)
