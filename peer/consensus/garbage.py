"""Which blocks the graph may drop, and which blocks will never be committed.

Owns two distances behind the commits, which are the same for all peers. Pure. At and below an
author's gc round every block is *collected*: it counts as accepted and need not be here (ORDER-33).
In byzantine mode an uncommitted block at or below the expiry round has *expired* (ORDER-28).
"""

from collections.abc import Sequence

from peer.consensus.block import Ref
from peer.consensus.committee import Mode

EXPIRY_ROUNDS = 60  # from a commit's leader down to the expiry round, in byzantine mode
KEPT_ROUNDS = 100  # committed rounds that are kept for members a little behind
GC_STEP_ROUNDS = 50  # rounds collected at a time


def gc_round(leader_round: int) -> int:
    """The highest gc round of any author once the leader of `leader_round` is committed. The steps
    are the same for all peers: a block that one peer accepts because a parent is collected, every
    other peer accepts too once it has committed as much."""
    return max((leader_round - KEPT_ROUNDS) // GC_STEP_ROUNDS * GC_STEP_ROUNDS, -1)


def gc_rounds(mode: Mode, highest: int, heads: Sequence[Ref]) -> list[int]:
    """The gc rounds by author, at most `highest`. In crash mode the blocks of an author above its
    head, its newest committed block, will still be committed, however old they are."""
    return [min(head.round, highest) if mode is Mode.CRASH else highest for head in heads]


def expiry_round(mode: Mode, leader_round: int) -> int:
    """The round at and below which an uncommitted block has expired once the leader of
    `leader_round` is committed. In crash mode no block expires."""
    return max(leader_round - EXPIRY_ROUNDS, -1) if mode is Mode.BYZANTINE else -1
