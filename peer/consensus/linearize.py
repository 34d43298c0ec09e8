"""The order of the blocks inside a commit.

Pure: it depends only on the leader's block, the graph and the earlier commits. Must never depend on
when or in which order blocks came.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b

from peer.consensus.block import Block, Ref


def linearize(
    leader: Block, blocks: Mapping[bytes, Block], is_committed: Callable[[Ref], bool]
) -> tuple[Block, ...]:
    """ORDER-17. The leader's block and its ancestors that no earlier commit has: by round, and
    within a round by a hash that an author can only influence by choosing the leader's digest."""
    found = [leader]
    seen = {leader.ref.digest}
    for block in found:
        for ref in block.parents:
            if ref.digest not in seen and not is_committed(ref):
                seen.add(ref.digest)
                found.append(blocks[ref.digest])
    salt = leader.ref.digest

    def place(block: Block) -> tuple[int, bytes, bytes]:
        draw = blake2b(salt + bytes([block.author]), digest_size=16).digest()
        return block.round, draw, block.ref.digest

    return tuple(sorted(found, key=place))
