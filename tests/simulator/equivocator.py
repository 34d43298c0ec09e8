"""A member of a changing mesh that signs two blocks for some of its rounds, and tells each to some.

Owns what it says to whom. Its node is a real one, which knows only the first block of each pair.
Must never lie in an epoch that cannot bear it: the bound is for each epoch.
"""

from collections.abc import Callable, Sequence
from random import Random

from peer.consensus.block import Block, make
from tests.simulator.keys import identity_of
from tests.simulator.node import NodePeer


class Equivocator:
    """`may_lie` says whether the member's present epoch can bear it."""

    def __init__(self, peer: NodePeer, random: Random, may_lie: Callable[[], bool]) -> None:
        self._peer = peer
        self._random = random
        self._may_lie = may_lie
        self._share = random.choice((0.1, 0.5, 1.0))  # of its rounds
        self._rivals: dict[bytes, Block | None] = {}  # by digest

    def __call__(self, block: Block, to: int) -> Sequence[Block]:
        """What it sends to an address in place of its block."""
        del to
        digest = block.ref.digest
        if digest not in self._rivals:
            lies = self._random.random() < self._share and self._may_lie()
            self._rivals[digest] = self._rival(block) if lies else None
        rival = self._rivals[digest]
        if rival is None:
            return (block,)
        return self._random.choice(((block,), (rival,), (block, rival), (rival, block), ()))

    def _rival(self, block: Block) -> Block:
        """Without the commands, or the same a little later, or with a parent less."""
        epoch = self._peer.node.ledger.epoch
        payload, parents = block.payload, block.parents
        kind = self._random.randrange(3)
        if kind == 0:
            payload = b""
        own = [ref for ref in parents if ref.author == block.author]
        if kind == 1 and len(parents) > epoch.committee.quorum:
            spare = self._random.choice([ref for ref in parents if ref not in own])
            parents = tuple(ref for ref in parents if ref != spare)
        sign = identity_of(self._peer.address).sign
        about = payload, block.time_ms + 1, block.attestation
        return make(epoch.committee, block.round, block.author, parents, *about, sign)
