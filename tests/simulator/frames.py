"""Signing and verifying in the simulation.

Owns what stands in for Ed25519: a keyed hash, so that nobody can sign for another.
"""

from collections.abc import Callable
from hashlib import blake2b

from peer.consensus.block import SIGNATURE_BYTES, Block, InvalidBlockError, decode
from peer.consensus.committee import Committee


def signer(member: int) -> Callable[[bytes], bytes]:
    """Signs as a member."""
    key = bytes([member]) * 16

    def sign(data: bytes) -> bytes:
        return blake2b(data, digest_size=SIGNATURE_BYTES, key=key).digest()

    return sign


class Frames:
    """Verifies and decodes each distinct frame once, for all peers."""

    def __init__(self, committee: Committee) -> None:
        self.committee = committee
        self._known: dict[bytes, Block | None] = {}

    def decode(self, frame: bytes) -> Block | None:
        """The block in a frame, None when it is none of this mesh or not signed by its author."""
        if frame not in self._known:
            self._known[frame] = self._verified(frame)
        return self._known[frame]

    def _verified(self, frame: bytes) -> Block | None:
        try:
            block = decode(frame, self.committee)
        except InvalidBlockError:
            return None
        signature = signer(block.author)(frame[:-SIGNATURE_BYTES])
        return block if signature == frame[-SIGNATURE_BYTES:] else None
