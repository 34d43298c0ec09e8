"""The log of a journal: batches of bytes, each durable by one write and one sync.

Owns its files, the slots, and what is left of them after a crash. Must never know what a batch
means.

A slot is written from its beginning. When it is full, the next batch goes into a slot of which no
batch is needed any more, or into a new one. Slots are filled with zeros before they are needed, so
that a sync need not store a new length. A batch begins at a sector, so that none is written twice.
Batches have consecutive numbers. Each also has the lowest
number that is still needed, and the highest one that was durable when it was written: all between
must be there, else the log is damaged. What is beyond may be there or not after a power failure: of
this the log keeps all up to the first batch that is not whole.

A batch has a keyed check, since payloads contain what others have made: without the key nobody can
put something into a payload that looks like a batch.
"""

import errno
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from peer.storage.database import LostJournalError

SLOT_BYTES = 4 * 1024 * 1024
STEP_BYTES = 256 * 1024  # by so many a slot grows, filled with zeros
PAGE_BYTES = 4096
BUFFER_BYTES = 256 * 1024  # whole pages
KEY_BYTES = 32
_MAGIC = b"p2pb"
_CHECK_BYTES = 16
# Magic, number, the lowest number needed, the highest one durable, bytes of the payload, check.
_HEAD = struct.Struct(f"<4sQQQI{_CHECK_BYTES}s")


_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the second
_DIRECT = getattr(os, "O_DIRECT", 0)  # past the kernel's cache; macOS has none
# How to open a file for writing, and bytes of a sector: a file system may refuse all but the last.
_WAYS = ((_DIRECT, 512), (_DIRECT, PAGE_BYTES), (0, 512))
_REFUSALS = (errno.EINVAL, errno.EOPNOTSUPP)


class Place(NamedTuple):
    """Where some bytes are."""

    slot: int
    offset: int
    size: int


class Slots:
    """The files of a log, beside `path`. A new slot begins when one has `bytes_max`; a larger batch
    has one for itself. Every method may raise OSError.

    Writes go past the kernel's cache, since that writes whole pages, and a batch is less than one.
    They are whole sectors.
    """

    def __init__(self, path: Path, bytes_max: int = SLOT_BYTES) -> None:
        self.bytes_max = bytes_max
        self._path = path
        self._files: dict[int, int] = {}  # descriptors by slot
        self._ways = list(_WAYS)  # without those that were refused
        self._writer: tuple[int, int] | None = None  # a slot, and its descriptor for writing
        self._buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))  # its memory begins with a page

    def all(self) -> list[int]:
        names = self._path.parent.glob(f"{self._path.name}-log*")
        numbers = (name.name.removeprefix(f"{self._path.name}-log") for name in names)
        return sorted(int(number) for number in numbers if number.isdecimal())

    def content(self, slot: int) -> bytes:
        return self._name(slot).read_bytes()

    def size(self, slot: int) -> int:
        return os.fstat(self._file(slot)).st_size

    def make(self, slot: int) -> None:
        """Make an empty slot whose name is durable."""
        self._files[slot] = os.open(self._name(slot), os.O_RDWR | os.O_CREAT, 0o600)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read(self, place: Place) -> bytes:
        return os.pread(self._file(place.slot), place.size, place.offset)

    @property
    def sector_bytes(self) -> int:
        """A write at a multiple of it writes nothing twice."""
        return self._ways[0][1]

    def write(self, slot: int, offset: int, data: bytes) -> None:
        """What is behind the data in its last sector is gone."""
        while True:
            try:
                return self._write_sectors(slot, offset, data, *self._ways[0])
            except OSError as error:
                if error.errno not in _REFUSALS or len(self._ways) == 1:
                    raise
            self._close_writer()
            del self._ways[0]

    def _write_sectors(self, slot: int, offset: int, data: bytes, flags: int, sector: int) -> None:
        if before := offset % sector:
            offset -= before
            data = os.pread(self._file(slot), before, offset) + data
        rest = memoryview(data + bytes(-len(data) % sector))
        while rest:
            part, rest = rest[:BUFFER_BYTES], rest[BUFFER_BYTES:]
            self._buffer[: len(part)] = part
            self._put(slot, offset, self._buffer[: len(part)], flags)
            offset += len(part)

    def _put(self, slot: int, offset: int, data: memoryview, flags: int) -> None:
        if self._writer is None or self._writer[0] != slot:
            self._close_writer()
            self._writer = slot, os.open(self._name(slot), os.O_WRONLY | flags)
        while data:
            done = os.pwrite(self._writer[1], data, offset)
            data, offset = data[done:], offset + done

    def sync(self, slot: int) -> None:
        _sync(self._file(slot))

    def close(self) -> None:
        self._close_writer()
        while self._files:
            os.close(self._files.popitem()[1])

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer[1])
            self._writer = None

    def _name(self, slot: int) -> Path:
        return self._path.with_name(f"{self._path.name}-log{slot}")

    def _file(self, slot: int) -> int:
        if slot not in self._files:
            self._files[slot] = os.open(self._name(slot), os.O_RDWR)
        return self._files[slot]


class Batch(NamedTuple):
    """A whole batch in a slot, and the place of its payload."""

    number: int
    floor: int
    durable: int
    place: Place

    @property
    def end(self) -> int:
        return self.place.offset + self.place.size


class Found(NamedTuple):
    """What a log has: needed batches by number, and the others that can still be read."""

    batches: list[Batch]
    lost: list[Batch]  # after a batch that a power failure has left incomplete
    old: list[Batch]  # not needed any more


def read(slots: Slots, key: bytes) -> Found:
    """Read a log. LostJournalError if it is damaged."""
    every = {batch.number: batch for slot in slots.all() for batch in _scan(slots, slot, key)}
    if not every:
        return Found([], [], [])
    last = durable = max(batch.durable for batch in every.values())
    while last + 1 in every:
        last += 1
    if not last:  # the first batch is not whole
        return Found([], list(every.values()), [])
    floor = every[last].floor if last in every else 1
    if missing := next((n for n in range(floor, durable + 1) if n not in every), 0):
        raise LostJournalError(f"the journal is damaged: batch {missing} of its log is not there")
    in_order = [every[number] for number in sorted(every)]
    return Found(
        [batch for batch in in_order if floor <= batch.number <= last],
        [batch for batch in in_order if batch.number > last],
        [batch for batch in in_order if batch.number < floor],
    )


def _scan(slots: Slots, slot: int, key: bytes) -> Iterator[Batch]:
    """All whole batches in a slot, of whatever age."""
    data = slots.content(slot)
    at = data.find(_MAGIC)
    while at >= 0:
        batch = _whole(data, slot, at, key)
        if batch is not None:
            yield batch
        at = data.find(_MAGIC, at + 1 if batch is None else batch.end)


def _whole(data: bytes, slot: int, at: int, key: bytes) -> Batch | None:
    begin = at + _HEAD.size
    if begin > len(data):
        return None
    _, number, floor, durable, size, check = _HEAD.unpack_from(data, at)
    if check != _check(data[at : begin - _CHECK_BYTES], data[begin : begin + size], key):
        return None
    return Batch(number, floor, durable, Place(slot, begin, size))


def _check(head: bytes, payload: bytes, key: bytes) -> bytes:
    check = hashlib.blake2b(head, digest_size=_CHECK_BYTES, key=key)
    check.update(payload)
    return check.digest()


class BlockLog:
    """The open log. `batches` has the places of all payloads in it. Constructing raises
    LostJournalError if it is damaged; it and every other method may raise OSError."""

    def __init__(self, slots: Slots, key: bytes) -> None:
        self._slots = slots
        self._key = key
        if not slots.all():
            raise LostJournalError("the journal is damaged: its log is missing")
        found = read(slots, key)
        self.batches = found.batches
        for batch in found.lost:  # its number comes again
            slots.write(batch.place.slot, batch.place.offset - _HEAD.size, bytes(_HEAD.size))
            slots.sync(batch.place.slot)
        self._last: dict[int, int] = dict.fromkeys(slots.all(), 0)  # number, by slot
        for batch in (*found.old, *found.batches):
            self._last[batch.place.slot] = max(self._last[batch.place.slot], batch.number)
        newest = self.batches[-1] if self.batches else Batch(0, 1, 0, Place(min(self._last), 0, 0))
        self.number = newest.number  # of the last batch
        self._floor = newest.floor  # no batch below is needed
        self._slot = newest.place.slot
        self._end = self._whole(newest.end)  # where the next batch begins
        self._size = slots.size(self._slot)
        slots.sync(self._slot)
        self._durable, self._durable_floor = self.number, self._floor

    @staticmethod
    def create(slots: Slots) -> None:
        """Make an empty log."""
        slots.make(0)

    @property
    def slot_bytes(self) -> int:
        return self._slots.bytes_max

    @property
    def is_durable(self) -> bool:
        return self._durable == self.number

    def write(self, payload: bytes) -> Place:
        """Add a batch, which is durable after the next `sync`. Returns the place of its payload."""
        data = self._batch(payload)
        if self._end and self._end + len(data) > self._slots.bytes_max:
            self._begin_slot()
            data = self._batch(payload)  # with what is durable now
        place = Place(self._slot, self._end + _HEAD.size, len(payload))
        end = self._whole(self._end + len(data))
        if end > self._size:  # which a power failure may leave at any number
            self._size = end + -end % STEP_BYTES
            data += bytes(self._size - self._end - len(data))
        self._slots.write(self._slot, self._end, data)
        self._end = end
        self.number += 1
        self._last[self._slot] = self.number
        return place

    def _whole(self, end: int) -> int:
        """The end of the sector."""
        return end + -end % self._slots.sector_bytes

    def _batch(self, payload: bytes) -> bytes:
        unchecked = (_MAGIC, self.number + 1, self._floor, self._durable, len(payload))
        head = _HEAD.pack(*unchecked, b"")[:-_CHECK_BYTES]
        return head + _check(head, payload, self._key) + payload

    def _begin_slot(self) -> None:
        """Only the last slot may have batches that are not durable."""
        self.sync()
        free = (slot for slot, last in self._last.items() if last < self._durable_floor)
        slot = next(free, None)
        if slot is None:
            slot = max(self._last) + 1
            self._slots.make(slot)
        self._slot, self._end, self._size = slot, 0, self._slots.size(slot)

    def sync(self) -> None:
        """All batches are durable when this returns."""
        if not self.is_durable:
            self._slots.sync(self._slot)
            self._durable = self.number

    @property
    def oldest(self) -> int | None:
        """The slot of the first batches, once no more are written into it."""
        others = (
            (last, slot)
            for slot, last in self._last.items()
            if slot != self._slot and last >= self._floor
        )
        return min(others, default=(0, None))[1]

    def drop_oldest(self) -> None:
        """No batch in the oldest slot is needed any more."""
        oldest = self.oldest
        assert oldest is not None
        self._floor = self._last[oldest] + 1
        self.write(b"")
        self.sync()
        self._durable_floor = self._floor  # only now may other batches take the slot

    def read(self, place: Place) -> bytes:
        return self._slots.read(place)

    def close(self) -> None:
        self._slots.close()
