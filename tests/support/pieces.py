"""The state of a replica in pieces, and another one made of them."""

from collections.abc import Sequence

from engine import Market
from peer.replica.state_machine import Replica


def pieces_of(replica: Replica) -> dict[int, bytes]:
    """All there are as of its tree, by ascending key."""
    return {key: replica.piece(key) for key, _ in replica.tree}


def rebuilt(replica: Replica, markets: Sequence[Market], mesh: bytes) -> Replica:
    """One that goes on from a checkpoint at which `replica` is."""
    return Replica.restore(markets, len(replica.expected), mesh, pieces_of(replica))
