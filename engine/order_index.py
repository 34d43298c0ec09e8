"""Open orders by id.

Owns where they are found. Must never know what an order is.

One dictionary of a million orders would stop a command for a tenth of a second when it grows, and
again when enough orders have come and gone. So there are many small ones, each for some of the
chunks of ids: neighbours are together, and chunks go round.
"""

from collections.abc import Iterator
from typing import Final

from engine.book_side import Order

PARTS: Final = 256
SPAN: Final = 4096  # consecutive ids in one part


class OrderIndex:
    """The fast path reads `parts` itself: an id is in `parts[id // SPAN % PARTS]`."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[dict[int, Order]] = [{} for _ in range(PARTS)]

    def part(self, id: int) -> dict[int, Order]:
        """The dictionary where an id is found, or would be."""
        return self.parts[id // SPAN % PARTS]

    def get(self, id: int) -> Order | None:
        return self.part(id).get(id)

    def __getitem__(self, id: int) -> Order:
        return self.part(id)[id]

    def __contains__(self, id: int) -> bool:
        return id in self.part(id)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[int]:
        """Ids, in unspecified order."""
        for part in self.parts:
            yield from part

    def values(self) -> Iterator[Order]:
        """Orders, in unspecified order."""
        for part in self.parts:
            yield from part.values()
