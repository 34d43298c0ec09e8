"""The blocks in a journal: where each is in the log, and which may go.

Owns the index, which is in memory and made anew at each start. Must never look into a frame.
"""

import struct
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from peer.consensus.block import Block
from peer.storage.block_log import BlockLog, Place

KEPT_PART_MAX = 4  # a slot is dropped once at most this part, as 1/n, of it has to move on
# Number, epoch, author, round, digest, bytes of the frame, which follows.
_RECORD = struct.Struct("<QIHQ32sI")


class Entry(NamedTuple):
    """A stored block. Numbers grow in the order in which blocks came: parents before children."""

    number: int
    epoch: int
    author: int
    round: int
    digest: bytes
    frame: Place


class _New(NamedTuple):
    """A block that is not in the log yet."""

    epoch: int
    author: int
    round: int
    digest: bytes
    frame: bytes


class BlockStore:
    """Reads the log. Every method may raise OSError."""

    def __init__(self, log: BlockLog) -> None:
        self._log = log
        self._new: dict[bytes, _New] = {}  # by digest
        self._entries: dict[bytes, Entry] = {}  # by digest
        self._chains: defaultdict[tuple[int, int], list[Entry]] = defaultdict(list)
        self._volatile: list[Entry] = []  # in the log since its last sync
        for batch in log.batches:
            for entry in entries_of(log.read(batch.place), batch.place):
                self._entries[entry.digest] = entry  # of two, the first will be dropped
        self._last = max((entry.number for entry in self._entries.values()), default=0)
        for entry in sorted(self._entries.values(), key=_by_round):
            self._chains[entry.epoch, entry.author].append(entry)

    # Adding

    def add(self, epoch: int, blocks: Iterable[Block]) -> None:
        """Add blocks, parents before children; durable after the next `sync`."""
        for block in blocks:
            digest = block.ref.digest
            if digest not in self._entries:
                self._new[digest] = _New(epoch, block.author, block.round, digest, block.frame)

    def write(self) -> None:
        """All added blocks survive the end of this process when this returns."""
        if not self._new:
            return
        new, self._new = list(self._new.values()), {}
        numbers = range(self._last + 1, self._last + 1 + len(new))
        self._last += len(new)
        records = map(_record, numbers, new)
        for entry in self._append(records):
            insort(self._chains[entry.epoch, entry.author], entry, key=_by_round)

    def sync(self) -> None:
        """All added blocks are durable when this returns."""
        self.write()
        self._log.sync()
        self._volatile.clear()

    def give_up(self) -> None:
        """The disk has failed: keep what was durable."""
        self._new.clear()
        gone = {entry.digest for entry in self._volatile}
        self._volatile.clear()
        if not gone:
            return
        self._entries = {d: entry for d, entry in self._entries.items() if d not in gone}
        for chain in self._chains.values():
            chain[:] = [entry for entry in chain if entry.digest not in gone]

    def _append(self, records: Iterable[bytes]) -> list[Entry]:
        payload = b"".join(records)
        entries = list(entries_of(payload, self._log.write(payload)))
        self._entries.update((entry.digest, entry) for entry in entries)
        self._volatile += entries
        return entries

    # Reading

    def find(self, digests: Iterable[bytes], bytes_max: int) -> list[bytes]:
        """The frames of these blocks that are here and fit."""
        self.write()
        found = (self._entries.get(digest) for digest in digests)
        return self._frames((entry for entry in found if entry is not None), bytes_max)

    def above(
        self, rounds: Sequence[int], count_max: int, bytes_max: int, epoch: int
    ) -> list[bytes]:
        """An epoch's frames above a round by author, parents before children, as many as fit."""
        self.write()
        found: list[Entry] = []
        for author, round_ in enumerate(rounds):
            chain = self._chains.get((epoch, author), [])
            first = bisect_right(chain, round_, key=attrgetter("round"))
            found += chain[first : first + count_max]
        found.sort()
        return self._frames(found[:count_max], bytes_max)

    def _frames(self, entries: Iterable[Entry], bytes_max: int) -> list[bytes]:
        """At least one, if there is one."""
        frames: list[bytes] = []
        for entry in entries:
            bytes_max -= entry.frame.size
            if bytes_max < 0 and frames:
                break
            frames.append(self._log.read(entry.frame))
        return frames

    def of_epoch(self, epoch: int) -> Iterator[tuple[Entry, bytes]]:
        """Every block of an epoch with its frame, parents before children."""
        self.write()
        chains = (chain for (number, _), chain in self._chains.items() if number == epoch)
        for entry in sorted(entry for chain in chains for entry in chain):
            yield entry, self._log.read(entry.frame)

    # Dropping

    def prune(self, is_needed: Callable[[Entry, int], bool]) -> bool:
        """Drop the oldest slot if little in it is needed: that moves on. Returns whether it was
        dropped. `is_needed` gets a block and the round of its author's newest one."""
        oldest = self._log.oldest
        if oldest is None:
            return False
        there = [entry for entry in self._entries.values() if entry.frame.slot == oldest]
        needed = sorted(entry for entry in there if is_needed(entry, self._newest_round(entry)))
        if sum(entry.frame.size for entry in needed) > self._log.slot_bytes // KEPT_PART_MAX:
            return False
        for entry in there:
            del self._entries[entry.digest]
        if needed:
            self._append(self._moved(entry) for entry in needed)
        self._log.drop_oldest()
        self._volatile.clear()
        for key in {(entry.epoch, entry.author) for entry in there}:
            chain = (self._entries.get(entry.digest) for entry in self._chains.pop(key))
            if left := [entry for entry in chain if entry is not None]:
                self._chains[key] = left
        return True

    def _moved(self, entry: Entry) -> bytes:
        number, epoch, author, round_, digest, place = entry
        return _record(number, _New(epoch, author, round_, digest, self._log.read(place)))

    def _newest_round(self, entry: Entry) -> int:
        return self._chains[entry.epoch, entry.author][-1].round


def entries_of(payload: bytes, place: Place) -> Iterator[Entry]:
    """The blocks in a batch of the log."""
    at = 0
    while at < len(payload):
        number, epoch, author, round_, digest, size = _RECORD.unpack_from(payload, at)
        at += _RECORD.size
        frame = Place(place.slot, place.offset + at, size)
        yield Entry(number, epoch, author, round_, digest, frame)
        at += size


def _record(number: int, new: _New) -> bytes:
    *about, frame = new
    return _RECORD.pack(number, *about, len(frame)) + frame


def _by_round(entry: Entry) -> tuple[int, int]:
    return entry.round, entry.number
