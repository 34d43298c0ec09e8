"""Who leads which round, and who may lead at all.

Owns the draw of leaders, what counts as presence, and how one schedule follows another. Pure: a
schedule follows from what is committed, and from nothing else that happens to be here.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from peer.consensus.block import Ref


class Schedule(NamedTuple):
    """Who may lead, until `Rotation.commits` commits were made under it."""

    number: int
    eligible: tuple[int, ...]

    def leader(self, round_: int) -> int:
        """ORDER-18. By a hash: with a plain rotation a dead member and an unlucky beat could block
        the mesh for ever."""
        seed = round_.to_bytes(8, "big") + self.number.to_bytes(8, "big")
        draw = int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")
        return self.eligible[draw % len(self.eligible)]


class Rotation(NamedTuple):
    """When schedules change, and who is in the next one."""

    commits: int = 10  # under one schedule
    punctual_rounds: int = 3  # an author this close behind a commit's leader is present in it

    def present(self, round_: int, heads: Sequence[Ref]) -> list[int]:
        """The authors that are present in a commit whose leader is of this round; `heads` are the
        newest committed blocks."""
        return [head.author for head in heads if round_ - head.round <= self.punctual_rounds]

    def after(self, schedule: Schedule, presence: Sequence[int], least: int) -> Schedule:
        """ORDER-19. The next schedule: those who were present in half of the last one's commits, by
        `presence`, and never fewer than `least`: f + 1, so that one of them is not faulty."""
        ranked = sorted(range(len(presence)), key=lambda author: (-presence[author], author))
        enough = sum(2 * count >= self.commits for count in presence)
        return Schedule(schedule.number + 1, tuple(sorted(ranked[: max(enough, least)])))
