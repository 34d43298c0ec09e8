"""The leader of each round, and the members that may lead.

Owns the draw of leaders, the definition of presence, and the change from one schedule to the next.
Pure: a schedule depends only on the commits, not on other blocks that a peer has.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from peer.consensus.block import Ref


class Schedule(NamedTuple):
    """The members that may lead, during `Rotation.commits` commits."""

    number: int
    eligible: tuple[int, ...]

    def leader(self, round_: int) -> int:
        """ORDER-18. Drawn by a hash: with a plain rotation, a dead member and unlucky timing could
        block the mesh for ever."""
        seed = round_.to_bytes(8, "big") + self.number.to_bytes(8, "big")
        draw = int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")
        return self.eligible[draw % len(self.eligible)]


class Rotation(NamedTuple):
    """When the schedule changes, and which members are in the next one."""

    commits: int = 10  # per schedule
    punctual_rounds: int = 3  # an author this close behind a commit's leader is present in it

    def present(self, round_: int, heads: Sequence[Ref]) -> list[int]:
        """The authors present in a commit with a leader of this round. `heads` are the newest
        committed blocks."""
        return [head.author for head in heads if round_ - head.round <= self.punctual_rounds]

    def after(self, schedule: Schedule, presence: Sequence[int], least: int) -> Schedule:
        """ORDER-19. The next schedule: the members present in at least half of the last schedule's
        commits, by `presence`, and at least `least` members: f + 1, so that one is not faulty."""
        ranked = sorted(range(len(presence)), key=lambda author: (-presence[author], author))
        enough = sum(2 * count >= self.commits for count in presence)
        return Schedule(schedule.number + 1, tuple(sorted(ranked[: max(enough, least)])))
