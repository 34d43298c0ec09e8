"""The replicated state machine: commits in, the engine's events out.

Owns the engine and everything else that follows from the one order of commands alone and so is the
same on every peer: each author's next command, which signed commands are good and within limits,
trade numbers, the last trades.
Must never know which clients submit here, read a clock, or do I/O.

A peer applies a command if and only if it is its author's next: exactly once, in order.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec

from engine import (
    Command,
    Event,
    Exchange,
    Halt,
    HashTree,
    Market,
    Reason,
    Rejected,
    Resume,
)
from peer.consensus.block import NO_ATTESTATION, Attestation, Block
from peer.consensus.committer import CHECKPOINT_EVERY, Checkpoint, Commit
from peer.membership.epochs import Epoch
from peer.replica import governance
from peer.replica import snapshot as snapshots
from peer.replica.applied import Applied
from peer.replica.batch import seq_and_member
from peer.replica.change_rules import ChangeRules
from peer.replica.changes import VOTES, Vote
from peer.replica.client_ids import ClientIds, has_name
from peer.replica.execution_record import record_of
from peer.replica.feature_level import LEVELS, Levels
from peer.replica.governance import Governance, Proposal
from peer.replica.handover import NOTICES, Notice, Sealed, Stated
from peer.replica.key_orders import KeyOrders, orders_of_keys
from peer.replica.members import Members, keys_of
from peer.replica.nonces import Signers
from peer.replica.recent import RecentStates
from peer.replica.removal import remove
from peer.replica.signed import (
    KEY_PREFIX,
    Entry,
    Item,
    Removal,
    Signed,
    command_of,
    concerns_keys,
)
from peer.replica.snapshot import Frozen, Head, InvalidSnapshotError, Pieces, Rest
from peer.replica.trade import TRADES_KEPT, MarketTrade, record

ATTESTATIONS_KEPT = 64

_STATE_CHANGES = frozenset((Halt, Resume))  # which only the members may ask for
_SPECIAL = VOTES | NOTICES | _STATE_CHANGES  # the engine must not see these
_NO_BATCH = (msgspec.DecodeError, ValueError)  # raised by `FeatureLevel.read`


class Replica:
    def __init__(
        self,
        markets: Sequence[Market],
        epoch: Epoch,
        exchange: Exchange | None = None,
        rest: Rest | None = None,
        levels: Levels = LEVELS,
    ) -> None:
        self._levels = levels
        self.level = levels.of(epoch.origin.level)
        committee, mesh = epoch.committee, epoch.committee.mesh
        self.exchange = exchange or Exchange(markets)
        self.governance = Governance(epoch.numbers, committee.quorum)
        self.members = Members(epoch, rest.members if rest else None)
        self.rules = ChangeRules(
            self.exchange, self.members, self._present, lambda: self.governance.levels
        )
        self.signers = Signers(mesh, committee.size, rest.seats if rest else None)
        self.key_orders = KeyOrders((), committee.size, orders_of_keys(self.exchange))
        self.client_ids = rest.client_ids if rest else ClientIds()
        self.expected = [1] * epoch.origin.seats_ever  # the next command of each seat that ever was
        self.commit = self.time_ms = 0
        self.trades: dict[str, deque[MarketTrade]] = {}
        self.trade_numbers: dict[str, int] = {}
        self._follow_markets()
        self.invalid_payloads = 0
        self.checkpoint: Checkpoint | None = None  # the last one
        self._others = Pieces()  # beside the exchange's, at the last checkpoint
        self._traded: set[str] = set()  # markets, since then
        self.recent = RecentStates()
        self._attestations: dict[int, bytes] = {}
        self._latest = Attestation(0, self.exchange.digest())
        if rest is None:
            self.members.note_boundary(0, self.exchange.digest())

    @classmethod
    def restore(
        cls,
        epoch: Epoch,
        pieces: Mapping[int, bytes],
        levels: Levels = LEVELS,
        exchange: Exchange | None = None,
    ) -> "Replica":
        """The replica that had these pieces in this epoch, with the same future. Those of an
        `exchange` in this state are not needed. InvalidSnapshotError if they are invalid."""
        rest = snapshots.read(pieces)
        head, trades, members = rest.head, rest.trades, epoch.origin.seats_ever
        exchange = exchange or snapshots.exchange_of(pieces)
        markets = [book.market for book in exchange.books.values()]
        if (len(head.expected), len(head.trade_numbers)) != (members, len(markets)):
            raise InvalidSnapshotError(
                f"invalid snapshot: expected {members} seats and {len(markets)} markets, "
                f"got {len(head.expected)} and {len(head.trade_numbers)}"
            )
        replica = cls(markets, epoch, exchange, rest, levels)
        try:
            replica.governance = governance.read(
                epoch.numbers, epoch.committee.quorum, rest.governance, rest.proposals
            )
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidSnapshotError(f"invalid snapshot: {error}") from None
        replica.expected = list(head.expected)
        replica.commit = head.checkpoint.commit
        replica.time_ms = head.checkpoint.time_ms
        replica.governance.commit, replica.governance.time_ms = replica.commit, replica.time_ms
        for place, symbol in enumerate(replica.trades):
            replica._restore_trades(symbol, head.trade_numbers[place], trades.get(place, []))
        replica._latest = Attestation(0, b"")
        replica._note_checkpoint(head.checkpoint)
        others = {key: piece for key, piece in pieces.items() if key >= snapshots.HEAD}
        if replica._others.by_key != others:
            raise InvalidSnapshotError("invalid snapshot: expected canonical encoding, got another")
        return replica

    def _restore_trades(self, symbol: str, last: int, trades: list[MarketTrade]) -> None:
        kept = range(max(last - TRADES_KEPT, 0) + 1, last + 1)
        if [trade.number for trade in trades] != list(kept):
            raise InvalidSnapshotError(
                f"invalid snapshot: expected the trades {kept.start} to {last} of {symbol}, "
                "got others"
            )
        self.trades[symbol].extend(trades)
        self.trade_numbers[symbol] = last
        self._traded.add(symbol)

    @property
    def markets(self) -> list[Market]:
        """All markets, closed ones included, in the order in which they came."""
        return [self.exchange.market(symbol) for symbol in self.exchange.markets()]

    def _follow_markets(self) -> None:
        """Markets may be new, or have other limits."""
        self.key_orders.limit(self.markets)
        for symbol in self.exchange.markets():
            self.trades.setdefault(symbol, deque(maxlen=TRADES_KEPT))
            self.trade_numbers.setdefault(symbol, 0)

    # The state, in pieces

    @property
    def tree(self) -> HashTree:
        """The exchange now, and the rest at the last checkpoint: at a checkpoint, the whole
        state."""
        return self.exchange.tree.joined(self._others.tree)

    def piece(self, key: int) -> bytes:
        """A piece of the last `tree`; empty if there is none."""
        if key < snapshots.HEAD:
            return self.exchange.piece(key)
        return self._others.by_key.get(key, b"")

    def freeze(self) -> Frozen:
        """The pieces as they are now, at a checkpoint."""
        assert self.checkpoint is not None
        assert self.checkpoint.commit == self.commit
        return Frozen(self.exchange.freeze(), dict(self._others.by_key))

    def _changed_pieces(self, checkpoint: Checkpoint) -> Iterator[tuple[int, bytes]]:
        """The pieces beside the exchange's that may have changed since the last checkpoint."""
        numbers = tuple(self.trade_numbers.values())
        yield snapshots.HEAD, snapshots.encode(Head(checkpoint, tuple(self.expected), numbers))
        for place, (symbol, trades) in enumerate(self.trades.items()):
            if symbol in self._traded:
                yield snapshots.TRADES + place, snapshots.encode(list(trades))
        for bucket, rows in self.signers.changed_buckets():
            yield snapshots.SEATS + bucket, snapshots.encode(rows)
        for chunk, names in self.client_ids.changed_chunks():
            yield snapshots.CLIENT_IDS + chunk, snapshots.encode(names)
        yield snapshots.MEMBERS, snapshots.encode(self.members.head)
        yield snapshots.GOVERNANCE, snapshots.encode(self.governance.head)
        for seat, proposals in self.governance.changed_seats():
            yield snapshots.PROPOSALS + seat, snapshots.encode(proposals)

    def apply(self, commit: Commit) -> Applied:
        """Apply the next commit."""
        assert commit.number == self.commit + 1
        self.commit, self.time_ms = commit.number, commit.time_ms
        timed = self.exchange.advance(commit.time_ms)
        self._note_key_orders((timed,))
        seats = self.members.epoch.numbers
        authors = {seats[block.author] for block in commit.blocks}
        self.governance.begin_commit(commit.number, commit.time_ms, authors)
        entries = [entry for block in commit.blocks for entry in self._next_of(block)]
        forgers: list[int] = []
        self.client_ids.begin_commit()
        plain = _SPECIAL.isdisjoint(map(type, entries)) and not concerns_keys(
            block.payload for block in commit.blocks
        )
        if plain:
            results = self._apply_plain(cast("list[Command]", entries))
            self._note_key_orders(results)
        else:
            results, forgers = self._apply_each(entries)
        closing, epoch_end = self.governance.end_commit(self.rules)
        self._note_key_orders((closing,))
        if self.governance.done:
            self._follow_markets()
        trades, numbers = record(results, self.time_ms, self.trade_numbers, self.trades)
        self._traded.update(trades)
        if epoch_end is not None:
            self._note_checkpoint(Checkpoint.between(commit.number, commit.time_ms))
        elif commit.checkpoint is not None:
            self._note_checkpoint(commit.checkpoint)
        else:
            self.exchange.keep_up(-commit.number % CHECKPOINT_EVERY)
        commands = entries if plain else [command_of(entry) for entry in entries]
        stored = record_of(commit.time_ms, timed, commands, results, closing)
        ids = [entry.id for entry in entries]
        results_of = commit, ids, entries, results, numbers, timed, closing
        done, firsts = list(self.governance.done), self.client_ids.firsts
        return Applied(*results_of, done, epoch_end, trades, stored, forgers, firsts)

    # Epochs

    @property
    def candidates(self) -> list[bytes]:
        """The keys that open proposals would make members'."""
        return [key for one in self.governance.open() for key in keys_of(one.changes)]

    def is_ordered(self, id_: int) -> bool:
        """Whether the command with this id was ordered, or never will be."""
        seq, seat = seq_and_member(id_)
        return seat < len(self.expected) and seq < self.expected[seat]

    def _present(self) -> list[int]:
        return self.governance.present(self.members.epoch.numbers)

    def next_epoch(self, proposal: Proposal) -> Epoch:
        """The epoch that follows the last commit, which this proposal has made the last one."""
        return self.members.following(proposal, *self.attestation(), self.time_ms)

    def begin_epoch(self, epoch: Epoch) -> None:
        """Other members from now on. The seats that were keep their next commands."""
        committee = epoch.committee
        self._follow_level(epoch.origin.level)
        self.members.begin_epoch(epoch)
        self.governance.begin_epoch(epoch.number, epoch.numbers, committee.quorum)
        self.governance.drop_impossible(self.rules)
        self.expected += [1] * (epoch.origin.seats_ever - len(self.expected))
        self.signers.share_among(committee.size)
        self.key_orders.share_among(committee.size)

    def _follow_level(self, number: int) -> None:
        """The attestations of the last commit are of the state before the change."""
        if number != self.level.number:
            self.latest()
            self.level = self._levels.of(number)
            self.level.migrate(self.exchange)
            self._follow_markets()

    def verify_ahead(self, block: Block) -> None:
        """Start to verify the signed commands of a block before `apply` needs them."""
        if concerns_keys((block.payload,)):
            with contextlib.suppress(*_NO_BATCH):
                batch = self.level.read(block, self.members.epoch.numbers[block.author])
                self.signers.signature_cache.verify_ahead(
                    e for e in batch.commands if isinstance(e, Signed)
                )

    def _apply_plain(self, commands: list[Command]) -> list[list[Event]]:
        """Apply plain commands, but not the orders that were sent before."""
        refused = self.client_ids.admit_all(commands)
        if not refused:
            return self.level.apply(self.exchange, commands)
        fresh = [command for command in commands if command.id not in refused]
        rest = iter(self.level.apply(self.exchange, fresh))
        return [refused.get(command.id) or next(rest) for command in commands]

    def _apply_each(self, entries: Sequence[Item]) -> tuple[list[list[Event]], list[int]]:
        """As `_apply_plain`, but also counts votes, and refuses commands without their account
        key's signature and those above the limits of key accounts. Also returns the members that
        put in unsigned ones."""
        results: list[list[Event]] = []
        forgers = set()
        for entry in entries:
            member = seq_and_member(entry.id)[1]
            if isinstance(entry, Vote | Notice):
                results.append(self._vote(entry, member))
                continue
            reason = self._refusal(entry, member)
            if reason is not None:
                events: list[Event] = [Rejected(entry.id, entry.account, reason)]
            elif type(entry) is Removal:
                events = remove(self.exchange, entry.command, member)
            else:
                [events] = self.level.apply(self.exchange, [command_of(entry)])
            if reason in (Reason.NOT_SIGNED, Reason.BAD_SIGNATURE):
                forgers.add(member)
            self.key_orders.note(events)
            results.append(events)
        return results, sorted(forgers)

    def _vote(self, vote: Vote | Notice, member: int) -> list[Event]:
        match vote:
            case Sealed():
                reason = self.members.seal(vote)
            case Stated():
                reason = self.members.take_statement(vote, self.candidates)
            case _:
                reason = self.governance.take(vote, member, self.rules)
        return [] if reason is None else [Rejected(vote.id, vote.account, reason)]

    def _refusal(self, entry: Entry, member: int) -> Reason | None:
        """Why to refuse a next command. A good signature uses up its nonce, and takes the order's
        name. An order that its key has signed and that was sent before needs no nonce."""
        command, is_of_key = command_of(entry), entry.account.startswith(KEY_PREFIX)
        if type(command) in _STATE_CHANGES:
            return Reason.NEEDS_APPROVAL
        time_ms = self.exchange.time_ms
        reason = self.signers.admit(entry, time_ms, member) if is_of_key else None
        if has_name(command) and (
            reason is None or (self.client_ids.find(command) and self.signers.is_signed(entry))
        ):
            reason = self.client_ids.admit(command)
        return reason or (self.key_orders.refusal(command, member) if is_of_key else None)

    def _note_key_orders(self, results: Iterable[list[Event]]) -> None:
        if self.key_orders:
            for events in results:
                self.key_orders.note(events)

    def _next_of(self, block: Block) -> list[Item]:
        """The commands of a block that this replica has not applied yet."""
        if not block.payload:
            return []
        seat = self.members.epoch.numbers[block.author]
        try:
            batch = self.level.read(block, seat)
        except _NO_BATCH:
            self.invalid_payloads += 1
            return []
        done = self.expected[seat] - batch.first
        if not 0 <= done < len(batch.commands):
            return []
        self.expected[seat] = batch.first + len(batch.commands)
        return batch.commands[done:]

    def _note_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.signers.forget(self.exchange.time_ms)
        self.members.forget(checkpoint.commit)
        self._others.update(dict(self._changed_pieces(checkpoint)))
        self._traded.clear()
        tree = self.tree
        self.recent.add(checkpoint.commit, tree, self.freeze())
        self._attestations[checkpoint.commit] = tree.digest
        if len(self._attestations) > ATTESTATIONS_KEPT:
            del self._attestations[next(iter(self._attestations))]
        self.members.note_boundary(checkpoint.commit, tree.digest)

    def attestation(self) -> Attestation:
        """The digest at the newest boundary. Every peer takes one there."""
        if self.checkpoint is None:
            return NO_ATTESTATION
        return Attestation(number := self.checkpoint.commit, self._attestations[number])

    def latest(self) -> Attestation:
        """The digest after the last commit."""
        if self._latest.commit != self.commit:
            self._latest = Attestation(self.commit, self.exchange.digest())
        return self._latest

    def agrees(self, attestation: Attestation) -> bool | None:
        """Whether our digest at a checkpoint is the same; None if we have none."""
        ours = self._attestations.get(attestation.commit)
        return None if ours is None else ours == attestation.digest

    def agrees_latest(self, attestation: Attestation) -> bool | None:
        """Whether our last commit has the same digest; None if ours is a different commit."""
        ours = self._latest
        return ours.digest == attestation.digest if 0 < attestation.commit == ours.commit else None
