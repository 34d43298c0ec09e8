"""One side of a book, kept up to date from the node's updates.

Owns the levels, best first. Must never invent one: if the node has more levels than it sent, those
beyond the last are unknown here. Pure.
"""

from itertools import islice, repeat

from sortedcontainers import SortedDict

from peer.client.protocol import DEPTH_MAX, Level, Share

LEVELS_MAX = 2 * DEPTH_MAX  # levels kept per side

_NO_SHARES: list[Share] = []


class SideMirror:
    """One side, best first. Skips changes beyond `_bound`, the last known level of a deeper
    book."""

    def __init__(self, sign: int) -> None:
        self._sign = sign  # 1: lowest price first (asks), -1: highest first (bids)
        self._levels: SortedDict = SortedDict()
        self._bound: int | None = None
        self._shares: dict[int, list[Share]] = {}  # by price
        self.changed: dict[int, Level] = {}

    def __len__(self) -> int:
        return len(self._levels)

    @property
    def is_complete(self) -> bool:
        return self._bound is None

    @property
    def is_short(self) -> bool:
        """Whether too few levels are left although the book is deeper."""
        return self._bound is not None and len(self._levels) < DEPTH_MAX // 2

    def reset(self, levels: list[Level], shares: list[list[Share]]) -> None:
        self._levels = SortedDict((self._sign * level[0], level) for level in levels)
        self._shares = {level[0]: each for level, each in zip(levels, shares, strict=False)}
        self._bound = self._sign * levels[-1][0] if len(levels) >= DEPTH_MAX else None
        self.changed.clear()

    def apply(self, levels: list[Level], shares: list[list[Share]]) -> None:
        for level, each in zip(levels, shares or repeat(_NO_SHARES), strict=False):
            key = self._sign * level[0]
            if self._bound is not None and key > self._bound:
                continue
            if level[1]:
                self._levels[key] = level
                self._shares[level[0]] = each
            else:
                self._levels.pop(key, None)
                self._shares.pop(level[0], None)
            self.changed[level[0]] = level
        while len(self._levels) > LEVELS_MAX:
            _, (price, _, _) = self._levels.popitem()
            self._shares.pop(price, None)
            self._bound = self._levels.keys()[-1]
            self.changed[price] = (price, 0, 0)

    def levels(self, depth: int) -> list[Level]:
        return list(islice(self._levels.values(), depth))

    def shares(self, price: int) -> list[Share]:
        """The peers' shares of the level at `price`; empty if unknown."""
        return self._shares.get(price, _NO_SHARES)

    def take_changes(self) -> list[Level]:
        changes = list(self.changed.values())
        self.changed.clear()
        return changes

    def check(self) -> None:
        assert all(level[1] > 0 and level[2] > 0 for level in self._levels.values())
        assert all(key == self._sign * level[0] for key, level in self._levels.items())
        assert len(self._levels) <= LEVELS_MAX
        for price, quantity, orders in self._levels.values():
            _, quantities, counts = zip(
                *self._shares.get(price) or [(0, quantity, orders)], strict=True
            )
            assert (sum(quantities), sum(counts)) == (quantity, orders)
        assert self._shares.keys() <= {level[0] for level in self._levels.values()}
