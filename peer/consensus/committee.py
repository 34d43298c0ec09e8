"""The size of a mesh in one epoch, how many members may fail, and how many make a quorum.

Owns the arithmetic of quorums. Must never know blocks, keys or addresses.

Crash mode tolerates f = (n-1)//2 members that stop; it is unsafe if any member signs two blocks for
one round. Byzantine mode tolerates f = (n-1)//3 members with any behaviour.
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
    """`size` members, numbered from 0 in the order of their seats. Epoch 0 has no seal."""

    mesh: bytes  # 16 bytes: the id of the mesh
    size: int
    mode: Mode
    epoch: int = 0
    created_ms: int = 0  # the time of the genesis blocks
    seal: bytes = b""  # what the epoch begins from: its members, and the state of that moment
    level: int = 1  # of the rules that hold in this epoch
    ended: int = 0  # the last commit of the epoch before

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MEMBERS_MAX:
            raise ValueError(f"a mesh has 1 to {MEMBERS_MAX} members, not {self.size}")

    @cached_property
    def faults(self) -> int:
        """f: the largest number of members that may be faulty at once."""
        return (self.size - 1) // (2 if self.mode is Mode.CRASH else 3)

    @cached_property
    def quorum(self) -> int:
        """q: the number of members that every step needs."""
        return self.size - self.faults
