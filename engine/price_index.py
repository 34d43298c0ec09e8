"""The keys of one side in order.

Owns their order. Nearly all levels come and go near the best, so a plain list holds those keys, the
best at its end. `SortedKeys` hold the others, if any.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from engine.sorted_keys import SortedKeys

NEAR_MAX: Final = 1024  # keys in the plain list
NEAR_AGAIN: Final = 512  # kept in it on overflow, moved to it when it is empty


class PriceIndex:
    """Distinct integers; the lowest is the best.

    Both lists hold them negated and ascending, so the best is at the end. All keys in `far` are
    worse than all keys in `near`. `near` is empty only if both are.
    """

    __slots__ = ("far", "near")

    def __init__(self) -> None:
        self.near: list[int] = []
        self.far = SortedKeys()

    def __len__(self) -> int:
        return len(self.near) + len(self.far)

    def __iter__(self) -> Iterator[int]:
        """The best first."""
        for negated in reversed(self.near):
            yield -negated
        for negated in reversed(self.far):
            yield -negated

    def best(self) -> int:
        return -self.near[-1]

    def add(self, key: int) -> None:
        near = self.near
        if near and -key < near[0] and self.far:
            self.far.add(-key)
            return
        insort(near, -key)
        if len(near) > NEAR_MAX:
            self.far.extend(near[:-NEAR_AGAIN])
            del near[:-NEAR_AGAIN]

    def fill(self, negated: list[int]) -> None:
        """Add all keys to an empty index. The caller passes them negated and ascending."""
        self.far.extend(negated[:-NEAR_AGAIN])
        self.near += negated[-NEAR_AGAIN:]

    def remove(self, key: int) -> None:
        near = self.near
        if -key < near[0]:
            self.far.remove(-key)
            return
        del near[bisect_left(near, -key)]
        if not near and self.far:
            near += self.far.take_last(NEAR_AGAIN)
