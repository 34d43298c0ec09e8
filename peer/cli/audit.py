"""Reads and checks the journal of a peer.

Owns the reading of the file and the report on it. Must never write to a journal: the peer may be
running.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from peer.consensus.block import Attestation, Block, InvalidBlockError, decode
from peer.consensus.committer import Commit
from peer.consensus.core import Consensus
from peer.membership.block_reader import BlockReader
from peer.membership.epochs import Epoch, Origin
from peer.membership.mesh_file import MeshConfig
from peer.node.stored_blocks import evidence_of
from peer.replica.difference import describe_differences, pairs_of
from peer.replica.feature_level import LEVELS
from peer.replica.snapshot import InvalidSnapshotError, is_certified, read
from peer.replica.state_machine import Replica
from peer.replica.trade import MarketTrade
from peer.storage import block_log, schema
from peer.storage.block_log import Slots
from peer.storage.block_store import entries_of
from peer.storage.epoch_table import epochs_of
from peer.storage.history_segment import decode_trades
from peer.storage.journal import EVIDENCE, JournalError, StoredEvidence, pieces_of

PROBLEMS_MAX = 100
READS_MAX = 3  # of a log: a running peer may write over what has become old


class Finding(NamedTuple):
    """The result of `verify`."""

    blocks: int
    commits: int  # number of the newest derived commit
    digests: int  # number of compared state digests
    problems: list[str]


class Placed(NamedTuple):
    """A stored block, and its epoch."""

    epoch: Epoch
    block: Block

    @property
    def seat(self) -> int:
        return self.epoch.numbers[self.block.author]


class _Snapshot(NamedTuple):
    epoch: int
    number: int
    digest: bytes
    certificate: bytes | None
    pieces: dict[int, bytes]


class Inspection:
    """The content of a journal at one moment."""

    def __init__(self, path: Path, config: MeshConfig) -> None:
        """Read the file at `path`. JournalError if it is not a journal of this mesh."""
        self.config = config
        self._epochs = [Epoch.first(config)]
        if not path.exists():
            raise JournalError(f"no journal at {path}")
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
                db.execute("BEGIN")
                self._read(path, db)
        except sqlite3.Error as error:
            raise JournalError(f"{path} can't be read: {error}") from None

    def _read(self, path: Path, db: sqlite3.Connection) -> None:
        version = schema.version_of(db)
        if version != schema.VERSION:
            raise JournalError(
                f"{path} has version {version}, expected {schema.VERSION}: start its peer, and see"
            )
        meta = dict(db.execute("SELECT name, value FROM meta"))
        if meta.get("mesh", self.config.id) != self.config.id:
            raise JournalError(f"{path} belongs to mesh {meta['mesh'].hex()}")
        self._stored_epochs = epochs_of(db)
        for stored in self._stored_epochs:
            self._add_epoch(stored.origin)
        self.pages = [text for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
        frames = _frames(path, meta["log"])
        self.frames = [(self._epoch(each), digest, frame) for each, digest, frame in frames]
        self.pending = db.execute("SELECT seq, command FROM pending ORDER BY seq").fetchall()
        self.evidence = [
            (epoch, evidence_of(StoredEvidence(*row), epoch.committee))
            for epoch in self._epochs
            for row in db.execute(f"{EVIDENCE} WHERE epoch = ? ORDER BY author", (epoch.number,))
        ]
        query = "SELECT epoch, number, digest, certificate FROM snapshots ORDER BY number"
        self.snapshots = [
            _Snapshot(
                self._epoch(epoch).number, number, digest, certificate, dict(pieces_of(db, number))
            )
            for epoch, number, digest, certificate in db.execute(query).fetchall()
        ]
        rows = db.execute("SELECT market, data FROM trades ORDER BY market, number").fetchall()
        self.trades = [(market, trade) for market, text in rows for trade in decode_trades(text)]

    def _add_epoch(self, origin: Origin) -> None:
        before = self._epochs[-1]
        if (origin.number, origin.before) != (before.number + 1, before.seal):
            raise JournalError(f"the journal is damaged: epoch {origin.number} follows none")
        self._epochs.append(Epoch(origin, self.config.mode, before))

    def _epoch(self, number: int) -> Epoch:
        if not 0 <= number < len(self._epochs):
            raise JournalError(f"the journal is damaged: it does not say what epoch {number} is")
        return self._epochs[number]

    def name_of(self, seat: int) -> str:
        """The name of the member that has, or had, this seat."""
        seats = (each for epoch in self._epochs for each in epoch.seats)
        return next(each.name for each in seats if each.number == seat)

    def blocks(self) -> list[Placed]:
        """The stored blocks, parents before children; InvalidBlockError if one is invalid."""
        return [Placed(epoch, decode(frame, epoch.committee)) for epoch, _, frame in self.frames]

    def commits(self) -> Iterator[tuple[Commit, Replica]]:
        """The commits derived from the snapshot and the blocks, each with the state after it.
        InvalidSnapshotError, InvalidBlockError or JournalError if the journal is damaged."""
        replica = Replica(self.config.markets, self._epochs[0])
        if self.snapshots:
            replica = self._replica_of(self.snapshots[0])
        blocks = self.blocks()
        while True:
            following: Epoch | None = None
            for commit in _decided(replica, blocks):
                ended = replica.apply(commit).epoch_end
                yield commit, replica
                if ended is not None:
                    following = replica.next_epoch(ended)
                    break
            if following is None or following.number >= len(self._epochs):
                return
            if following.seal != self._epochs[following.number].seal:
                raise JournalError(f"the blocks lead to another seal of epoch {following.number}")
            replica.begin_epoch(self._epochs[following.number])

    def _replica_of(self, snapshot: "_Snapshot") -> Replica:
        return Replica.restore(self._epochs[snapshot.epoch], snapshot.pieces)

    def verify(self) -> Finding:
        """Check pages, signatures, the chains of blocks, and all digests that can be derived."""
        problems = _Problems(self.pages)
        self._check_epochs(problems)
        blocks = self._sound_blocks(problems)
        commits = self.snapshots[0].number if self.snapshots else 0
        if problems:
            return Finding(len(blocks), commits, 0, list(problems))
        compared = 0
        stated = {each.block.attestation for each in blocks if each.block.attestation.commit}
        try:
            self._check_snapshots(problems)
            stored = [Attestation(one.number, one.digest) for one in self.snapshots]
            stated.update(stored)
            derived = dict(stored[:1])
            for commit, replica in self.commits():
                commits = commit.number
                if replica.attestation().commit == commits:
                    derived[commits] = replica.attestation().digest
                    self._compare_stored(replica, problems)
            compared = sum(one.commit in derived for one in stated)
            for number, digest in stated:
                if derived.get(number, digest) != digest:
                    problems.add(f"a block or snapshot has another digest of commit {number}")
        except (InvalidSnapshotError, InvalidBlockError, JournalError) as error:
            problems.add(str(error))
        return Finding(len(blocks), commits, compared, list(problems))

    def _check_epochs(self, problems: "_Problems") -> None:
        for before, stored in zip(self._epochs, self._stored_epochs, strict=False):
            seal = self._epochs[stored.origin.number].seal
            good = len(list(before.signers_of(seal, stored.signatures)))
            if good < len(stored.signatures):  # too few may be there, with `--trust`
                problems.add(f"a signature for epoch {stored.origin.number} is no member's")

    def _compare_stored(self, replica: Replica, problems: "_Problems") -> None:
        """A later snapshot is what the blocks make of the first one."""
        for one in self.snapshots:
            if one.number == replica.commit and one.digest != replica.tree.digest:
                where = f"the snapshot after commit {one.number}, against its blocks: "
                for text in describe_differences(pairs_of(one.pieces, pieces_in(replica))):
                    problems.add(where + text)

    def digests(self) -> dict[int, bytes]:
        """Of the states that can be had, by commit: snapshots, and checkpoints derived from the
        first one."""
        said = ((commit.number, replica.attestation()) for commit, replica in self.commits())
        derived = (attestation for number, attestation in said if attestation.commit == number)
        return dict(derived) | {one.number: one.digest for one in self.snapshots}

    def pieces(self, number: int) -> Mapping[int, bytes]:
        """Of a state that has a digest."""
        stored = {one.number: one.pieces for one in self.snapshots}
        if number in stored:
            return stored[number]
        return next(pieces_in(r) for commit, r in self.commits() if commit.number == number)

    def _sound_blocks(self, problems: "_Problems") -> list[Placed]:
        blocks: list[Placed] = []
        last: dict[tuple[int, int], Block] = {}
        readers = [BlockReader(epoch) for epoch in self._epochs]
        for epoch, digest, frame in self.frames:
            try:
                block = readers[epoch.number].read(frame)
            except InvalidBlockError as error:
                problems.add(f"block {digest.hex()}: {error}")
                continue
            place = epoch.number, block.author
            before = last.get(place)
            if block.ref.digest != digest:
                problems.add(f"{block!r} is stored as {digest.hex()}")
            elif before and block.parents[0] != before.ref and self._is_chain(epoch, block):
                problems.add(f"{block!r} does not follow {before!r}")
            last[place] = block
            blocks.append(Placed(epoch, block))
        return blocks

    def _is_chain(self, epoch: Epoch, block: Block) -> bool:
        """Whether a block must follow its author's stored block before it. Not if pruning has kept
        only the author's newest block, and it is older than the rest."""
        snapshot = self.snapshots[0] if self.snapshots else None
        if snapshot is None or epoch.number > snapshot.epoch:
            return True
        checkpoint = read(snapshot.pieces).head.checkpoint
        if epoch.number < snapshot.epoch or checkpoint.is_between:
            return False
        return block.parents[0].round > checkpoint.gc_rounds(self.config.mode)[block.author]

    def _check_snapshots(self, problems: "_Problems") -> None:
        for snapshot in self.snapshots:
            number, digest, certificate = snapshot.number, snapshot.digest, snapshot.certificate
            epoch = self._epochs[snapshot.epoch]
            if self._replica_of(snapshot).tree.digest != digest:
                problems.add(f"the snapshot after commit {number} has another digest than stored")
            if certificate is not None:
                frames = msgspec.msgpack.decode(certificate, type=list[bytes])
                signed = [BlockReader(epoch).read(frame) for frame in frames]
                if not is_certified(number, digest, signed, epoch.committee):
                    problems.add(f"the certificate of snapshot {number} is no quorum's")

    def lines(self) -> Iterator[dict[str, Any]]:
        """All records for export, one JSON object each, with its kind in `record`."""
        for snapshot in self.snapshots:
            yield {
                "record": "snapshot",
                "epoch": snapshot.epoch,
                "commit": snapshot.number,
                "digest": snapshot.digest.hex(),
                "certified": snapshot.certificate is not None,
                "bytes": sum(map(len, snapshot.pieces.values())),
            }
        yield from map(block_line, self.blocks())
        for epoch, pair in self.evidence:
            placed = [Placed(epoch, block) for block in pair]
            both = [block_line(each) | {"frame": each.block.frame.hex()} for each in placed]
            yield {"record": "evidence", "author": placed[0].seat, "blocks": both}
        for commit, replica in self.commits():
            yield commit_line(commit, replica)
        for seq, command in self.pending:
            yield {"record": "pending", "seq": seq, "command": msgspec.msgpack.decode(command)}
        for market, trade in self.trades:
            names = MarketTrade.__struct_fields__
            yield {
                "record": "trade",
                "market": market,
                **dict(zip(names, msgspec.structs.astuple(trade), strict=True)),
            }


def _frames(path: Path, key: bytes) -> list[tuple[int, bytes, bytes]]:
    """Epoch, digest and frame of every block in a journal's log, parents before children."""
    slots = Slots(path)
    with closing(slots):
        for left in reversed(range(READS_MAX)):
            try:
                batches = block_log.read(slots, key).batches
                break
            except JournalError:
                if not left:
                    raise
        found = {  # a block that has moved is there twice
            entry.number: (entry.epoch, entry.digest, slots.read(entry.frame))
            for batch in batches
            for entry in entries_of(slots.read(batch.place), batch.place)
        }
    return [found[number] for number in sorted(found)]


class Comparison(NamedTuple):
    """Two journals, side by side."""

    commit: int  # the first one after which the states differ, or else the last one of both
    differences: list[str]


def compare(one: Inspection, other: Inspection) -> Comparison | None:
    """In what the states of two journals differ; None if they have no commit in common."""
    here, there = one.digests(), other.digests()
    common = sorted(here.keys() & there.keys())
    if not common:
        return None
    for number in common:
        if here[number] != there[number]:
            return Comparison(
                number, describe_differences(pairs_of(one.pieces(number), other.pieces(number)))
            )
    return Comparison(common[-1], [])


def pieces_in(replica: Replica) -> dict[int, bytes]:
    """The whole state at a checkpoint."""
    return {key: replica.piece(key) for key, _ in replica.tree}


def _decided(replica: Replica, blocks: Iterable[Placed]) -> list[Commit]:
    """What the blocks of a state's epoch decide after it."""
    epoch, found = replica.members.epoch, replica.checkpoint
    checkpoint = None if found is None or found.is_between else found
    consensus = Consensus(epoch.committee, None, _sign_nothing, checkpoint=checkpoint)
    of_epoch = [each.block for each in blocks if each.epoch.number == epoch.number]
    return consensus.restore(of_epoch, 0).commits


def block_line(placed: Placed) -> dict[str, Any]:
    """The record of a block. Members are named by their seats."""
    epoch, block = placed
    seats, commands = epoch.numbers, cast("Any", [])
    if block.payload:
        try:
            batch = LEVELS.of(epoch.origin.level).read(block, placed.seat)
            commands = msgspec.to_builtins(batch.commands)
        except (msgspec.DecodeError, ValueError):
            commands = None  # the author's payload is invalid
    return {
        "record": "block",
        "epoch": epoch.number,
        "round": block.round,
        "author": placed.seat,
        "digest": block.ref.digest.hex(),
        "parents": [[ref.round, seats[ref.author], ref.digest.hex()] for ref in block.parents],
        "time_ms": block.time_ms,
        "audit": [block.attestation.commit, block.attestation.digest.hex()],
        "commands": commands,
    }


def commit_line(commit: Commit, replica: Replica) -> dict[str, Any]:
    """The record of a commit; `replica` has the state after it."""
    epoch = replica.members.epoch
    return {
        "record": "commit",
        "epoch": epoch.number,
        "commit": commit.number,
        "time_ms": commit.time_ms,
        "blocks": [[block.round, epoch.numbers[block.author]] for block in commit.blocks],
        "digest": replica.latest().digest.hex(),
    }


def newest(lines: Iterable[dict[str, Any]], count: int) -> Iterable[dict[str, Any]]:
    """The last `count` lines; all if 0."""
    return deque(lines, count) if count else lines


class _Problems(list[str]):
    """The first PROBLEMS_MAX problems."""

    def add(self, text: str) -> None:
        if len(self) < PROBLEMS_MAX:
            self.append(text)


def _sign_nothing(_data: bytes) -> bytes:
    raise AssertionError("a reader signs nothing")
