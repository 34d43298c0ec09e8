"""What survives a crash.

Owns the blocks and commands of one peer and how much of them is durable. There is one open
transaction, SQLite's: after a crash it is there as a whole or not at all.
"""

from collections.abc import Sequence

from peer.consensus.block import Block


class Disk:
    def __init__(self) -> None:
        self.blocks: list[Block] = []  # parents before children; those of the open batch included
        self.commands: list[bytes] = []  # the command with sequence number i + 1 at i
        self._index: dict[bytes, Block] = {}
        self._durable = (0, 0)  # how many blocks and commands of them survive a crash

    def add(self, blocks: Sequence[Block], commands: Sequence[bytes]) -> None:
        """Into the open transaction."""
        self.blocks += blocks
        self.commands += commands
        self._index.update((b.ref.digest, b) for b in blocks)

    def sync(self) -> int:
        """Everything added is durable now; how many commands were so before."""
        before = self._durable[1]
        self._durable = (len(self.blocks), len(self.commands))
        return before

    def crash(self, survives: bool) -> None:
        """The peer died; `survives` says on which side of the commit point it hit."""
        if survives:
            self.sync()
        blocks, commands = self._durable
        for block in self.blocks[blocks:]:
            del self._index[block.ref.digest]
        del self.blocks[blocks:], self.commands[commands:]

    def copy(self) -> "Disk":
        """A disk with what is durable here."""
        copied = Disk()
        blocks, commands = self._durable
        copied.add(self.blocks[:blocks], self.commands[:commands])
        copied.sync()
        return copied

    def get(self, digest: bytes) -> Block | None:
        return self._index.get(digest)

    def above(self, rounds: Sequence[int], limit: int) -> list[Block]:
        """Up to `limit` blocks above these rounds by author, lowest rounds first."""
        found = [b for b in self.blocks if b.round > rounds[b.author]]
        found.sort(key=lambda b: b.round)
        return found[:limit]
