"""Reads blocks from frames and verifies the authors' signatures. There is no other way to read one.

Owns the members' verifying keys. Must never keep state: peers, the tap and the audit of a journal
read by the same rules.
"""

from peer.consensus.block import SIGNATURE_BYTES, Block, InvalidBlockError, decode
from peer.membership.epochs import Epoch
from peer.membership.identity import Verifier


class BlockReader:
    """Reads the blocks of one epoch. Only a benchmark passes another `verifier`."""

    def __init__(self, epoch: Epoch, verifier: type[Verifier] = Verifier) -> None:
        self.committee = epoch.committee
        self._verifiers = [verifier(seat.key) for seat in epoch.seats]

    def read(self, frame: bytes) -> Block:
        """The block in `frame`. InvalidBlockError if it is not of this epoch, or not signed by its
        author."""
        block = decode(frame, self.committee)
        self.verify(block)
        return block

    def verify(self, block: Block) -> None:
        """InvalidBlockError unless the block's author has signed it. Takes about 60 µs."""
        signed, signature = block.frame[:-SIGNATURE_BYTES], block.frame[-SIGNATURE_BYTES:]
        if not self._verifiers[block.author].verify(signed, signature):
            raise InvalidBlockError(f"{block!r} is not signed by its author")
