"""What a peer knows and must keep: its part in consensus, the derived state, and the journal.

Owns recovery, snapshots and taking over a snapshot: all that needs the three together. Must never
touch a socket or a clock.
"""

import itertools
from collections.abc import Callable

from engine import HashTree
from peer.consensus.block import Block, OtherEpochError, Ref, decode
from peer.consensus.committer import Commit
from peer.consensus.core import Consensus, Proposal, Pull, Ready, Timing
from peer.membership.block_reader import BlockReader
from peer.membership.epochs import Epoch, Pin
from peer.membership.identity import Verifier
from peer.membership.mesh_file import MeshConfig
from peer.network.messages import Heartbeat
from peer.node.effects import Effects
from peer.node.epoch_book import EpochBook
from peer.node.snapshots import PACE, Pace, Snapshots
from peer.node.stored_blocks import Recovered, blocks_of, evidence_of, own_batches, own_before
from peer.node.stragglers import EarlyFrames, Lag
from peer.node.takeover import KeyElsewhereError as KeyElsewhereError
from peer.node.takeover import changed_by, check_round, checkpoint_of, keep_gap
from peer.replica.applied import Applied
from peer.replica.batch import Batch
from peer.replica.feature_level import LEVELS, FeatureLevel, Levels
from peer.replica.snapshot import InvalidSnapshotError
from peer.replica.state_machine import Replica
from peer.storage.history_pruning import KEEP, Keep
from peer.storage.journal import Journal, JournalError, LostJournalError, Stored
from peer.storage.state_sync import Fetched


class Ledger:
    """Members are named by their seats here; the consensus numbers the members of an epoch. `me` is
    this peer's seat, None for a peer that only follows in this epoch."""

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
        pin: Pin | None = None,
        levels: Levels = LEVELS,
    ) -> None:
        self.me = me
        self.levels = levels
        self.journal = journal
        self.epochs = EpochBook(config, journal, pin, verifier)
        self.committee = self.epoch.committee
        self.consensus = Consensus(self.committee, me, sign, timing)
        self.replica = Replica(config.markets, self.epoch, levels=levels)
        self.sign = sign
        self._timing = timing
        self._keep = keep
        self._verifier = verifier
        self._reader = BlockReader(self.epoch, verifier)
        self.snapshots = Snapshots(journal, self.committee, pace)
        self._early = EarlyFrames()
        self._lag = Lag()
        self._next: Epoch | None = None  # the current one has ended, and this one follows
        self._has_spoken = False  # in this epoch, before its blocks were here: an old journal

    @property
    def epoch(self) -> Epoch:
        return self.epochs.current

    @property
    def seat(self) -> int | None:
        """This peer's last seat, also if it is no member any more."""
        return self.epochs.seat_of(self.journal.key)

    @property
    def author(self) -> int | None:
        """What the consensus calls this peer in this epoch."""
        return self.epoch.author_of(self.me)

    def read(self, member: int, frame: bytes) -> Block | None:
        """The block in a frame that a member sent; None if it is known already, or of another
        epoch. InvalidBlockError if the frame is no block or its signature is wrong."""
        try:
            block = decode(frame, self.committee)
        except OtherEpochError as error:
            if error.epoch == self.committee.epoch + 1:
                self._early.keep(member, frame, error.epoch)
            return None
        if self.consensus.knows(block.ref):
            return None
        self._reader.verify(block)
        return block

    def receive(self, block: Block, now_ms: int, helper: int | None = None) -> None:
        """Take in a block from `read`, which `helper` gave if it was asked for. KeyElsewhereError
        if it is an own block that this peer never made."""
        self._check_own(block.ref)
        self.snapshots.note(block)
        self.replica.verify_ahead(block)
        self.consensus.receive(block, now_ms, self.epoch.author_of(helper))

    def _check_own(self, ref: Ref) -> None:
        own = self.consensus.own_newest
        if own is not None and ref.author == self.author:
            check_round(own.round, ref.round)

    def recover(self, now_ms: int) -> Recovered:
        """Restore what the journal holds. Call once, before anything else. The blocks of an epoch
        lead to its end again, so what was derived from them need not be stored."""
        self.journal.drop_unfinished()
        self.epochs.restore()
        entered = self.journal.epochs.entered
        self.levels.of(self.epochs.level_of(entered))  # else a later version wrote this journal
        stored = self.journal.snapshot()
        before = self.epochs.before(stored.epoch if stored else 0)
        own = own_before(self.journal, before, self.levels)
        if stored is not None:
            self._restore_snapshot(stored)
        ready, count = self._replay(now_ms, own)
        while self.next_level is not None:
            self.enter_next()
            ready, more = self._replay(now_ms, own)
            count += more
        if self.epoch.number < entered:
            if self.epochs.forked:
                raise JournalError(self.epochs.forked)
            raise LostJournalError(
                f"the journal is damaged: it has entered epoch {entered}, but its blocks lead only "
                f"to commit {self.commit} of epoch {self.epoch.number}"
            )
        self.epochs.sign(self.journal.key, self.sign)  # unless it is stored with those of a quorum
        for row in self.journal.evidence():
            self.consensus.accuse(evidence_of(row, self.committee))
        accused = self.consensus.ready()
        ready.evidence += accused.evidence
        ready.halted = ready.halted or accused.halted
        expected = 0 if self.me is None else self.expected
        pending = [(seq, data) for seq, data in self.journal.pending() if seq >= expected]
        return Recovered(ready, own, pending, count)

    def _replay(self, now_ms: int, own: list[Batch]) -> tuple[Ready, int]:
        """Restore the blocks of the current epoch and apply what they decide, up to the end of the
        epoch. Adds the commands of own blocks to `own`."""
        blocks = self._stored_blocks()
        own += own_batches(self.journal.key, self.epoch, blocks, self.levels)
        for block in blocks:
            self.snapshots.note(block)
        ready = self._addressed(self.consensus.restore(blocks, now_ms))
        with self.replica.exchange.in_haste():
            for commit in itertools.takewhile(lambda _: not self.ends, ready.commits):
                self.apply(commit)
        ready.commits = []
        return ready, len(blocks)

    def _stored_blocks(self) -> list[Block]:
        return blocks_of(self.journal, self.epoch, self.consensus.dag.gc_rounds)

    def _restore_snapshot(self, stored: Stored) -> None:
        """Continue from the journal's own snapshot; LostJournalError if it is damaged."""
        epoch = self.epochs.find(stored.epoch)
        if epoch is None:
            raise LostJournalError(
                f"the journal is damaged: its snapshot is of epoch {stored.epoch}"
            )
        try:
            replica = Replica.restore(epoch, self.journal.pieces(stored.number), self.levels)
        except InvalidSnapshotError as error:
            raise LostJournalError(f"the journal is damaged: {error}") from None
        if (replica.commit, replica.tree.digest) != (stored.number, stored.digest):
            raise LostJournalError("the journal is damaged: its snapshot has another digest")
        self._stand_in(epoch)
        self.snapshots.go_on_from(stored, replica)
        self._go_on_from(replica)

    def _stand_in(self, epoch: Epoch) -> None:
        """Continue in a known epoch, from its beginning or a later state."""
        if epoch is self.epoch:
            return
        self.epochs.stand_in(epoch.number)
        self.me, self.committee = epoch.seat_of(self.journal.key), epoch.committee
        self._reader = BlockReader(epoch, self._verifier)
        self.snapshots.begin_epoch(self.committee)
        self._next = None
        self._has_spoken = self._lag.knows_of(self.author, epoch.number)
        self._lag.end()

    def _go_on_from(self, replica: Replica) -> None:
        """Continue after the replica's checkpoint, or from the beginning of the epoch. A peer that
        may speak goes on, unless others have later blocks of it; else they have to say anew."""
        self.replica, before = replica, self.consensus.start
        may_go_on = before.over and not self._has_spoken
        start = before if may_go_on or before.committee is self.committee else None
        found = replica.checkpoint
        checkpoint = None if found is None or found.is_between else found
        parts = self.committee, self.author, self.sign, self._timing
        self.consensus = Consensus(*parts, checkpoint, start)

    # Epochs

    @property
    def ends(self) -> bool:
        """Whether the last applied commit was the last of its epoch: `enter_next` must follow."""
        return self._next is not None

    @property
    def next_level(self) -> FeatureLevel | None:
        """The rules of the epoch to enter. None if the present one has not ended, if this program
        does not know them, or if there are two seals of one epoch."""
        number = self._next.origin.level if self._next and not self.epochs.forked else 0
        return None if self.levels.unknown(number) else self.levels.of(number)

    def enter_next(self) -> None:
        """ORDER-45. Begin the epoch that follows. That this peer has closed the one before is
        durable before anything of the next one is said."""
        epoch = self._next
        assert epoch is not None
        if epoch.number > self.journal.epochs.entered:
            self.epochs.enter(epoch.number)
            self.journal.sync()
        self._stand_in(epoch)
        self.replica.begin_epoch(epoch)
        self._go_on_from(self.replica)
        self.epochs.sign(self.journal.key, self.sign)

    def take_early(self) -> list[tuple[int, bytes]]:
        """Frames of this epoch that came before this peer had entered it, with their senders."""
        return self._early.take(self.committee.epoch)

    def _addressed(self, ready: Ready) -> Ready:
        """With the seats of the members to ask. What follows the end of an epoch is void."""
        numbers = self.epoch.numbers
        ready.commits = [] if self.ends else ready.commits
        ready.requests = [one._replace(member=numbers[one.member]) for one in ready.requests]
        return ready

    # Calls the loop makes without knowing which of the three parts they concern

    def hear(self, member: int, heartbeat: Heartbeat, now_ms: int) -> None:
        """A member reported its rounds in a heartbeat."""
        author = self.epoch.author_of(member)
        if heartbeat.epoch > self.committee.epoch:
            self._lag.hear(member, heartbeat.epoch, heartbeat.rounds, now_ms)
        elif heartbeat.epoch == self.committee.epoch and author is not None:
            self.consensus.hear(author, heartbeat.rounds, now_ms)

    def answered(self, member: int, now_ms: int) -> None:
        """All blocks of a member's answer have arrived."""
        self._lag.answered(member, self.rounds)
        author = self.epoch.author_of(member)
        if author is not None:
            self.consensus.answered(author, now_ms)

    def requests(self, now_ms: int) -> list[Pull]:
        """What to ask members that are in a later epoch."""
        return self._lag.requests(self.committee.epoch, self.rounds, now_ms)

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
        return self._addressed(self.consensus.ready())

    def next_tick_ms(self, now_ms: int, proposes: bool) -> int | None:
        """When consensus next needs a turn without input; None: never."""
        return self.consensus.next_tick_ms(now_ms, proposes)

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
        author = self.epoch.author_of(member)
        return 0 if author is None else self.consensus.dag.newest[author].round

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

    def next_to_send(self) -> int:
        """The seq of this member's first command in no block that can still be ordered."""
        seq = self.expected
        blocks = self.consensus.committer.uncommitted_payloads.values()
        own = (block for block in blocks if block.author == self.author)
        for block in sorted(own, key=lambda block: block.round):
            batch = self.replica.level.read(block, self.me)
            if batch.first <= seq:  # else the batch is too early, and none of it is applied
                seq = max(seq, batch.first + len(batch.commands))
        return seq

    def persist(self, effects: Effects) -> None:
        """Write what is to be persisted. Make it durable if a later effect depends on that."""
        if effects.blocks:
            self.journal.add_blocks(effects.blocks)
        if effects.evidence:
            self.journal.add_evidence(effects.evidence)
        if effects.commands:
            self.journal.add_pending(effects.commands.items())
        if effects.publish:
            self.journal.drop_pending_below(effects.first_waiting)
        for block in effects.publish:
            self.snapshots.note(block)
        if effects.beat:
            self.tidy()
        if effects.must_sync:
            self.journal.sync()
        elif effects.commits:
            self.journal.write()
        effects.is_persisted = True

    def apply(self, commit: Commit) -> Applied:
        """Apply a commit, keep its trades, and take a snapshot when one is due."""
        assert self._next is None, "the epoch has ended: later commits of it are void"
        applied = self.replica.apply(commit)
        for symbol, trades in applied.trades.items():
            self.journal.history.add_trades(symbol, trades)
        if applied.record is not None:
            self.journal.history.add_record(commit.number, applied.record)
        certificate = self.replica.members.certificate
        if certificate and not self.epochs.is_certified(self.epoch.number):
            self.epochs.add(certificate)
        if applied.epoch_end is None:
            self.snapshots.applied(commit, len(applied.ids), self.replica)
        else:
            self._next = self.replica.next_epoch(applied.epoch_end)
            self.epochs.expect(self._next)
        return applied

    def tidy(self) -> None:
        """Write part of a snapshot, and prune some old data."""
        steps = self.snapshots.write_due()
        self.journal.history_pruner.prune(self._keep, self.replica.trades)
        self.journal.prune(steps)

    def tree_at(self, number: int) -> HashTree | None:
        """The tree of one of the newest snapshots or last checkpoints; None for other commits."""
        return self.snapshots.tree_at(number) or self.replica.recent.tree(number)

    def piece_at(self, number: int, key: int) -> bytes | None:
        """A piece of a commit that has a tree; None if it is gone."""
        piece = self.journal.piece(number, key)
        return self.replica.recent.piece(number, key) if piece is None else piece

    def install(self, fetched: Fetched, now_ms: int) -> Ready:
        """Continue from another peer's certified snapshot. InvalidSnapshotError if it is not the
        certified one, KeyElsewhereError if it has more from this peer than the journal."""
        epoch = self.epochs.find(fetched.manifest.epoch)
        assert epoch is not None
        checkpoint = checkpoint_of(self.replica, fetched)
        if (author := epoch.author_of(epoch.seat_of(self.journal.key))) is not None:
            own = self.consensus.own_newest if epoch is self.epoch else None
            check_round(own.round if own else 0, checkpoint.heads[author].round)
        before, missed = self.consensus, self.commit + 1
        self.replica, came = changed_by(self.replica, fetched, epoch, self.levels)
        self._stand_in(epoch)
        self.epochs.enter(epoch.number)
        self.snapshots.install(fetched.certificate, self.replica)
        keep_gap(self.journal.history, missed, self.replica, came)
        self.journal.sync()
        self._go_on_from(self.replica)
        ready = self._addressed(self.consensus.restore(self._stored_blocks(), now_ms))
        if before.committee is self.committee:
            self.consensus.recall(before, now_ms)
        return ready
