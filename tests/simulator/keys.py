"""The keys of simulated nodes, one for each address.

Owns what is remembered of signatures: all peers of a run are one process.
"""

from functools import cache, lru_cache

from peer.membership.identity import Identity, Verifier

ADDRESSES_MAX = 100
SIGNATURES_KEPT = 20_000


@lru_cache(maxsize=SIGNATURES_KEPT)
def _is_signed(public: bytes, data: bytes, signature: bytes) -> bool:
    return Verifier(public).verify(data, signature)


class Remembering(Verifier):
    """All peers of a run are one process: what one has verified, the others need not."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def verify(self, data: bytes, signature: bytes) -> bool:
        return _is_signed(self._public, data, signature)


@cache
def identity_of(address: int) -> Identity:
    return Identity(bytes([address + 1]) * 32)


@cache
def _addresses() -> dict[bytes, int]:
    return {identity_of(address).public: address for address in range(ADDRESSES_MAX)}


def address_of(key: bytes) -> int:
    """Of the node with this key."""
    return _addresses()[key]
