"""Who decides, and with how many: the thresholds of the commit rule for one mesh and epoch.

Owns the arithmetic of quorums; everything else asks here and never counts for itself.
Must never know blocks, keys or addresses.

Crash mode tolerates f = (n-1)//2 members that stop; it is unsafe with a single one that signs two
blocks for one round. Byzantine mode tolerates f = (n-1)//3 members that do anything at all.
Sources: the two-round crash rule is Nemo-Nemo's (arXiv 2604.08914), the three-round one
Mysticeti-C's (arXiv 2310.14821).
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

MEMBERS_MAX = 25


class Mode(StrEnum):
    CRASH = "crash"
    BYZANTINE = "byzantine"


@dataclass(frozen=True)
class Committee:
    """`size` members, numbered from 0 in the mesh file's order."""

    mesh: bytes  # 16 bytes: what mesh the blocks belong to
    size: int
    mode: Mode
    epoch: int = 0
    created_ms: int = 0  # the time of the genesis blocks

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MEMBERS_MAX:
            raise ValueError(f"a mesh has 1 to {MEMBERS_MAX} members, not {self.size}")

    @cached_property
    def faults(self) -> int:
        """f: how many members may be faulty at once."""
        return (self.size - 1) // (2 if self.mode is Mode.CRASH else 3)

    @cached_property
    def quorum(self) -> int:
        """q: so many members carry every step."""
        return self.size - self.faults

    @cached_property
    def wave(self) -> int:
        """How many rounds from a leader to the first that may anchor it."""
        return 2 if self.mode is Mode.CRASH else 3

    @cached_property
    def shared(self) -> int:
        """t: how many members any two quorums share at least. So many votes in an anchor's history
        commit its leader in crash mode: an anchor's history holds a quorum of each round."""
        return 2 * self.quorum - self.size

    @cached_property
    def skip(self) -> int:
        """So many blames skip a leader directly: then no anchor can find enough votes."""
        return self.size - self.shared + 1 if self.mode is Mode.CRASH else self.quorum
