"""Which blocks the graph may forget, and which ones will never be committed.

Owns two distances behind the commits, which are the same for all peers. Pure. At and below an
author's gc round every block is *collected*: it counts as accepted and need not be here (ORDER-33).
In byzantine mode what is at or below the expiry round and not committed has *expired* (ORDER-28).
"""

from collections.abc import Sequence

from peer.consensus.block import Ref
from peer.consensus.committee import Mode

EXPIRY_ROUNDS = 60  # from a commit's leader down to what has expired, in byzantine mode
KEPT_ROUNDS = 100  # committed rounds that are kept for members a little behind
GC_STEP_ROUNDS = 50  # collected at a time


def gc_round(leader_round: int) -> int:
    """The highest gc round of any author once the leader of `leader_round` is committed. In steps
    that are the same for all: what one peer accepts because it is collected there, any other
    accepts too once it has committed as much."""
    return max((leader_round - KEPT_ROUNDS) // GC_STEP_ROUNDS * GC_STEP_ROUNDS, -1)


def gc_rounds(mode: Mode, highest: int, heads: Sequence[Ref]) -> list[int]:
    """The gc rounds by author, of which `highest` is the highest. In crash mode what an author made
    above its head, its newest committed block, is still to come, however old."""
    return [min(head.round, highest) if mode is Mode.CRASH else highest for head in heads]


def expiry_round(mode: Mode, leader_round: int) -> int:
    """What is at or below this round and not committed once the leader of `leader_round` is never
    will be. In crash mode nothing expires."""
    return max(leader_round - EXPIRY_ROUNDS, -1) if mode is Mode.BYZANTINE else -1
