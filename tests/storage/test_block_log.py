"""The log of a journal: what a crash may leave of it, what it forgets, and when it is damaged."""

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.storage.block_log import (
    _HEAD,
    BUFFER_BYTES,
    PAGE_BYTES,
    SLOT_BYTES,
    STEP_BYTES,
    BlockLog,
    Slots,
    read,
)
from peer.storage.database import JournalError
from tests.disk.image import SECTOR_BYTES, Disk, Op

KEY = b"k" * 32
SMALL = 2_000  # bytes of a slot


class Recorded(Slots):
    """Writes down what is done to the files, as `tests/disk/shim.c` does."""

    def __init__(self, path: Path, bytes_max: int = SMALL) -> None:
        super().__init__(path, bytes_max)
        self.ops: list[Op] = []

    def make(self, slot: int) -> None:
        super().make(slot)
        self.ops += [self._op("O", slot), Op("S", str(self._path.parent), 0, b"")]

    def _put(self, slot: int, offset: int, data: memoryview, flags: int) -> None:
        super()._put(slot, offset, data, flags)
        self.ops.append(self._op("W", slot, offset, bytes(data)))

    def sync(self, slot: int) -> None:
        super().sync(slot)
        self.ops.append(self._op("S", slot))

    def _op(self, kind: str, slot: int, offset: int = 0, data: bytes = b"") -> Op:
        return Op(kind, str(self._name(slot)), offset, data)


def payloads(log: BlockLog) -> list[bytes]:
    return [log.read(batch.place) for batch in log.batches if batch.place.size]


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Recorded]:
    (tmp_path / "me").mkdir()
    slots = Recorded(tmp_path / "me" / "journal.db")
    BlockLog.create(slots)
    yield slots
    slots.close()


def test_a_batch_takes_one_write_and_one_sync(slots: Recorded) -> None:
    log = BlockLog(slots, KEY)
    log.write(b"first")  # fills the slot with zeros
    log.sync()
    slots.ops.clear()
    log.write(b"second")
    log.sync()
    log.sync()
    assert [op.kind for op in slots.ops] == ["W", "S"]
    assert payloads(BlockLog(slots, KEY)) == [b"first", b"second"]


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Recorded]:
    (tmp_path / "large").mkdir()
    slots = Recorded(tmp_path / "large" / "journal.db", SLOT_BYTES)
    BlockLog.create(slots)
    yield slots
    slots.close()


def test_a_batch_costs_its_own_sectors_and_no_other(large: Recorded) -> None:
    log = BlockLog(large, KEY)
    log.write(b"first")
    large.ops.clear()
    for _ in range(20):
        log.write(bytes(700))
    assert len(large.ops) == 20
    for op in large.ops:
        assert not (op.offset | len(op.data)) % SECTOR_BYTES
        assert len(op.data) < 700 + _HEAD.size + SECTOR_BYTES


def test_a_log_of_an_earlier_version_goes_on(large: Recorded) -> None:
    """It had no gaps between batches."""
    log = BlockLog(large, KEY)
    first = log.write(b"first")
    large.write(0, first.offset + first.size, log._batch(b"second"))
    BlockLog(large, KEY).write(b"third")
    assert payloads(BlockLog(large, KEY)) == [b"first", b"second", b"third"]


def test_batches_of_all_sizes_are_there(large: Recorded) -> None:
    """Those of some pages too, and those that the buffer just holds, or not."""
    rng, log = random.Random(1), BlockLog(large, KEY)
    near = [BUFFER_BYTES + rng.randint(-2 * PAGE_BYTES, 2 * PAGE_BYTES) for _ in range(20)]
    sizes = [1, SECTOR_BYTES, PAGE_BYTES, *near, *(rng.randrange(9_000) for _ in range(80))]
    rng.shuffle(sizes)
    sent = [rng.randbytes(size) for size in sizes]
    places = [log.write(payload) for payload in sent]
    assert [log.read(place) for place in places] == sent
    assert payloads(BlockLog(large, KEY)) == sent


class Picky(Recorded):
    """On a file system that cannot do everything."""

    refuses: Callable[[int, int], bool]  # by flags of the file, and a place or size

    def _put(self, slot: int, offset: int, data: memoryview, flags: int) -> None:
        if self.refuses(flags, offset | len(data)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        super()._put(slot, offset, data, flags)


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="the system has no direct writes")
@pytest.mark.parametrize(
    ("refuses", "unit"),
    [
        (lambda flags, number: flags & os.O_DIRECT and number % PAGE_BYTES, PAGE_BYTES),
        (lambda flags, number: flags & os.O_DIRECT, SECTOR_BYTES),
    ],
    ids=["larger sectors", "no direct writes"],
)
def test_a_file_system_may_refuse(
    tmp_path: Path, refuses: Callable[[int, int], bool], unit: int
) -> None:
    slots = Picky(tmp_path / "journal.db")
    slots.refuses = refuses
    BlockLog.create(slots)
    log = BlockLog(slots, KEY)
    sent = [bytes([n]) * 450 for n in range(30)]
    for payload in sent:
        log.write(payload)
    assert payloads(BlockLog(slots, KEY)) == sent
    written = [op for op in slots.ops if op.kind == "W"]
    assert not any((op.offset | len(op.data)) % unit for op in written)
    slots.close()


def test_slots_of_which_nothing_is_needed_are_written_again(slots: Recorded) -> None:
    log = BlockLog(slots, KEY)
    written = []
    for n in range(40):
        written.append(bytes([n]) * 400)
        log.write(written[-1])
        while log.oldest is not None:
            log.drop_oldest()
    assert slots.all() == [0, 1]
    kept = payloads(BlockLog(slots, KEY))
    assert 1 <= len(kept) <= 4
    assert kept == written[-len(kept) :]


def test_a_batch_larger_than_a_slot_has_one_for_itself(slots: Recorded) -> None:
    log = BlockLog(slots, KEY)
    sent = [b"small", bytes(PAGE_BYTES * 5), b"next"]
    for payload in sent:
        log.write(payload)
    assert slots.all() == [0, 1, 2]
    assert payloads(BlockLog(slots, KEY)) == sent


def test_after_a_power_failure_all_that_was_durable_is_there(tmp_path: Path) -> None:
    """And of the rest some of the first: the next batches follow them. Wherever the power fails,
    the log is not taken for damaged."""
    for seed in range(20):
        rng, root = random.Random(seed), tmp_path / str(seed)
        (root / "me").mkdir(parents=True)
        slots = Recorded(root / "me" / "journal.db")
        BlockLog.create(slots)
        for life in range(4):
            slots = _live(slots, rng, root, tmp_path / f"{seed}-{life}")
            root = tmp_path / f"{seed}-{life}"
        slots.close()


def _live(slots: Recorded, rng: random.Random, root: Path, next_root: Path) -> Recorded:
    """Write and drop, and fail at some moment. Returns what is left, in another folder."""
    disk = Disk.of(root, [])
    slots.ops.clear()
    log = BlockLog(slots, KEY)
    sent = {batch.number: log.read(batch.place) for batch in log.batches}
    durable, floors = {0: log.number}, {0: min(sent, default=1)}  # by number of operations
    for _ in range(rng.randrange(60)):
        payload = rng.randbytes(rng.choice((1, 30, 300, 900)))
        log.write(payload)
        sent[log.number] = payload
        if rng.random() < 0.6:
            log.sync()
            durable[len(slots.ops)] = log.number
        if rng.random() < 0.3 and log.oldest is not None:
            floors[len(slots.ops)] = log._last[log.oldest] + 1
            log.drop_oldest()
            sent[log.number] = b""
            durable[len(slots.ops)] = log.number
    moment = rng.randint(0, len(slots.ops))
    for op in slots.ops[:moment]:
        disk.do(op)
    disk.write_to(str(root), next_root, ["me"], rng)
    slots.close()

    again = Recorded(next_root / "me" / "journal.db")
    numbers = [batch.number for batch in read(again, KEY).batches]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else True
    least = max(number for at, number in durable.items() if at <= moment)
    assert not least or numbers[-1] >= least
    needed = max(number for at, number in floors.items() if at <= moment)
    assert not numbers or numbers[0] <= needed
    for batch in read(again, KEY).batches:
        assert again.read(batch.place) == sent[batch.number]
    return again


def test_a_slot_of_any_size_grows(slots: Recorded) -> None:
    """A power failure may leave a part of the zeros."""
    slots.write(0, 0, bytes(1_536))
    log = BlockLog(slots, KEY)
    log.write(bytes(1_600))
    assert slots.size(0) == STEP_BYTES
    assert payloads(BlockLog(slots, KEY)) == [bytes(1_600)]


@pytest.mark.parametrize("at", [60, 340, 700])
def test_damage_before_the_end_is_said(slots: Recorded, at: int) -> None:
    log = BlockLog(slots, KEY)
    for _ in range(4):
        log.write(bytes(300))
        log.sync()
    slots.write(0, at, b"?")
    with pytest.raises(JournalError, match="the journal is damaged: batch"):
        BlockLog(slots, KEY)


def test_a_log_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="the journal is damaged: its log is missing"):
        BlockLog(Slots(tmp_path / "journal.db"), KEY)


def test_what_others_made_is_never_taken_for_a_batch(slots: Recorded, tmp_path: Path) -> None:
    """A payload has what looks like a batch, and is found where an older one is written over."""
    (tmp_path / "forger").mkdir()
    others = Recorded(tmp_path / "forger" / "journal.db")
    BlockLog.create(others)
    forger = BlockLog(others, b"x" * 32)
    place = forger.write(b"forged")
    forged = others.content(0)[: place.offset + place.size]
    others.close()
    log = BlockLog(slots, KEY)
    for _ in range(20):
        log.write(b"." * 700 + forged)
        while log.oldest is not None:
            log.drop_oldest()
    log.write(b"short")
    kept = payloads(BlockLog(slots, KEY))
    assert b"forged" not in kept
    assert kept[-1] == b"short"
