"""The disk of a simulated node: a journal's database and its log, in memory.

Owns what a power failure leaves. Must never decide when one happens.
"""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from peer.storage.block_log import Place, Slots

SLOT_BYTES = 16 * 1024  # of the journal's log, so that a short life has many slots


class Disk(sqlite3.Connection):
    """A journal's database in memory. `at_commit` is called with the commit itself, and decides
    when it happens, or that it does not."""

    at_commit: Callable[[Callable[[], None]], None]

    def commit(self) -> None:
        self.at_commit(super().commit)

    def close(self) -> None:
        """The process is gone; the disk stays."""
        self.rollback()


class MemorySlots(Slots):
    """The log beside it, in memory too. `at_commit` is called with each sync."""

    def __init__(self) -> None:
        super().__init__(Path(), SLOT_BYTES)
        self.at_commit: Callable[[Callable[[], None]], None] = lambda sync: sync()
        self.is_full: Callable[[], bool] = lambda: False
        self._written = {0: bytearray()}
        self._durable = {0: b""}

    def all(self) -> list[int]:
        return list(self._written)

    def content(self, slot: int) -> bytes:
        return bytes(self._written[slot])

    def size(self, slot: int) -> int:
        return len(self._written[slot])

    def make(self, slot: int) -> None:
        self._written[slot] = bytearray()
        self._durable[slot] = b""

    def read(self, place: Place) -> bytes:
        return bytes(self._written[place.slot][place.offset : place.offset + place.size])

    def write(self, slot: int, offset: int, data: bytes) -> None:
        room = len(data) // 2 if self.is_full() else len(data)
        self._written[slot][offset : offset + room] = data[:room]
        if room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, slot: int) -> None:
        def keep() -> None:
            self._durable[slot] = bytes(self._written[slot])

        self.at_commit(keep)

    def lose_power(self) -> None:
        """What was not synced is gone."""
        self._written = {slot: bytearray(data) for slot, data in self._durable.items()}

    def copy(self) -> "MemorySlots":
        """With what is written here."""
        copied = MemorySlots()
        copied._durable = {slot: bytes(data) for slot, data in self._written.items()}
        copied.lose_power()
        return copied

    def close(self) -> None:
        """The process is gone; the disk stays."""
