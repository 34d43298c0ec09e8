"""Integers in ascending order, packed.

Owns where they are stored: in arrays of a few hundred, with the last one of each in an array of its
own. So a search reads few cache lines, and the garbage collector does not visit a million numbers.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

PART_MAX: Final = 1024  # in one array


class SortedKeys:
    """Distinct integers of 64 bits."""

    __slots__ = ("_count", "_lasts", "_parts")

    def __init__(self) -> None:
        self._parts: list[array[int]] = []  # none is empty
        self._lasts: array[int] = array("q")  # the last key of each
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __reversed__(self) -> Iterator[int]:
        for part in reversed(self._parts):
            yield from reversed(part)

    def add(self, key: int) -> None:
        """Add a key that is not there."""
        at = bisect_left(self._lasts, key)
        if at == len(self._parts):
            self.extend((key,))
            return
        part = self._parts[at]
        part.insert(bisect_left(part, key), key)
        self._count += 1
        if len(part) > PART_MAX:
            self._put(at, part)

    def extend(self, keys: Sequence[int]) -> None:
        """Add ascending keys that are above all others."""
        if not keys:
            return
        last = self._parts.pop() if self._parts else array("q")
        self._lasts = self._lasts[: len(self._parts)]
        self._count += len(keys)
        last.extend(keys)
        self._parts.append(last)
        self._lasts.append(last[-1])
        self._put(len(self._parts) - 1, last)

    def remove(self, key: int) -> None:
        """Remove a key that is there."""
        at = bisect_left(self._lasts, key)
        part = self._parts[at]
        del part[bisect_left(part, key)]
        self._count -= 1
        if len(part) < PART_MAX // 4:
            self._join(at)
        elif self._lasts[at] == key:
            self._lasts[at] = part[-1]

    def take_last(self, most: int) -> list[int]:
        """Remove and return up to `most` of the highest keys, ascending."""
        taken: list[int] = []
        while self._parts and len(taken) < most:
            part = self._parts[-1]
            start = max(0, len(part) - (most - len(taken)))
            taken[:0] = part[start:]
            del part[start:]
            if part:
                self._lasts[-1] = part[-1]
            else:
                self._parts.pop()
                self._lasts.pop()
        self._count -= len(taken)
        return taken

    def _join(self, at: int) -> None:
        """Put a small part together with its neighbour."""
        first = max(0, at - 1)
        joined = array("q")
        for part in self._parts[first : first + 2]:
            joined += part
        self._put(first, joined, first + 2)

    def _put(self, at: int, keys: "array[int]", end: int | None = None) -> None:
        """Store `keys` in place of the parts from `at` to `end`, by default of one. They become as
        many parts as they need."""
        end = at + 1 if end is None else end
        size = len(keys) if len(keys) <= PART_MAX else PART_MAX // 2
        parts = [keys[n : n + size] for n in range(0, len(keys), size)] if keys else []
        self._parts[at:end] = parts
        self._lasts[at:end] = array("q", [part[-1] for part in parts])
