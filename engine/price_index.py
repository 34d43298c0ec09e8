"""The keys of one side in order.

Owns the order, and how it is kept: nearly all levels come and go near the best, so those are in a
plain list whose end is the best; the others, if there are so many, in a SortedList.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from sortedcontainers import SortedList

NEAR_MAX: Final = 1024  # keys in the plain list
NEAR_AGAIN: Final = 512  # left in it when it overflows, brought to it when it runs empty


class PriceIndex:
    """Distinct integers, of which the lowest is the best.

    Both lists hold them negated and ascending, so that the best is at the end. All in `far` are
    worse than all in `near`, and `near` is empty only if both are.
    """

    __slots__ = ("far", "near")

    def __init__(self) -> None:
        self.near: list[int] = []
        self.far: SortedList[int] = SortedList()

    def __len__(self) -> int:
        return len(self.near) + len(self.far)

    def __iter__(self) -> Iterator[int]:
        """The best first."""
        for each in (self.near, self.far):
            for negated in reversed(each):
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
            self.far.update(near[:-NEAR_AGAIN])
            del near[:-NEAR_AGAIN]

    def fill(self, negated: list[int]) -> None:
        """Take in all keys of a side that has none yet, negated and ascending."""
        self.far.update(negated[:-NEAR_AGAIN])
        self.near += negated[-NEAR_AGAIN:]

    def remove(self, key: int) -> None:
        near = self.near
        if -key < near[0]:
            self.far.remove(-key)
            return
        del near[bisect_left(near, -key)]
        if not near and self.far:
            near += self.far[-NEAR_AGAIN:]
            del self.far[-NEAR_AGAIN:]
