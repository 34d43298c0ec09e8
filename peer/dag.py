"""The graph of accepted blocks.

Owns which blocks are here, which wait for a parent, and who was seen to sign two blocks for one
place. Must never decide anything: `committer` reads the graph and decides.

A block is accepted once all its parents are. Below `floor` an author's blocks are settled: they
count as accepted and need not be in memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

from peer.block import Block, Ref, genesis
from peer.committee import Committee, Mode

WAITING_MAX = 5_000


class Evidence(NamedTuple):
    """Two signed blocks that one honest author cannot both have made: of the same round, or with
    the same predecessor."""

    first: Block
    second: Block


class Dag:
    """Begins with the genesis blocks. Or, if `line` is a round, above that: there `heads`, the
    newest committed block of each author, are settled as far as they are not above it."""

    def __init__(self, committee: Committee, line: int = -1, heads: Sequence[Ref] = ()) -> None:
        self.committee = committee
        blocks = genesis(committee) if line < 0 else ()
        self.blocks: dict[bytes, Block] = {block.ref.digest: block for block in blocks}
        self.rounds: dict[int, dict[int, list[Block]]] = {0: {b.author: [b] for b in blocks}}
        self.newest: list[Block] = list(blocks)
        self.floor = [-1] * committee.size
        if line >= 0:
            known = [h if h.round <= line else Ref(line, h.author, b"") for h in heads]
            self.newest = [Block(ref, ()) for ref in known]
            self.floor = [line] * committee.size
            if committee.mode is Mode.CRASH:  # what an author made after its head is to come
                self.floor = [ref.round for ref in known]
        self.evidence: list[Evidence] = []
        self.waiting: dict[bytes, Block] = {}
        self.missing: dict[bytes, Ref] = {}
        self._children: dict[bytes, list[bytes]] = {}
        self.quorum_round = max(line, 0)  # the highest at which a quorum of authors stands

    def has(self, ref: Ref) -> bool:
        return ref.digest in self.blocks or ref.round <= self.floor[ref.author]

    def at(self, round_: int) -> dict[int, list[Block]]:
        """The accepted blocks of a round by author; more than one only of an equivocator."""
        return self.rounds.get(round_, {})

    def slot(self, round_: int, author: int) -> list[Block]:
        return self.at(round_).get(author, [])

    @property
    def highest(self) -> tuple[int, ...]:
        """The newest accepted or settled round of every author: what a heartbeat carries."""
        pairs = zip(self.newest, self.floor, strict=True)
        return tuple(max(block.round, floor) for block, floor in pairs)

    @property
    def highest_round(self) -> int:
        return max(block.round for block in self.newest)

    def add(self, block: Block) -> list[Block]:
        """Take a block in; the blocks accepted by that, parents before children. A block whose
        parents are missing waits; what comes when too many wait is dropped, to be fetched later."""
        if self.has(block.ref) or block.ref.digest in self.waiting:
            return []
        if not self._hold(block):
            return []
        accepted = []
        ready = [block]
        while ready:
            block = ready.pop()
            self._accept(block)
            accepted.append(block)
            for digest in self._children.pop(block.ref.digest, ()):
                child = self.waiting.get(digest)
                if child is not None and all(self.has(ref) for ref in child.parents):
                    del self.waiting[digest]
                    ready.append(child)
        return accepted

    def _hold(self, block: Block) -> bool:
        """Whether all parents are here; if not the block waits for them."""
        self.missing.pop(block.ref.digest, None)
        absent = [ref for ref in block.parents if not self.has(ref)]
        if not absent:
            return True
        if len(self.waiting) < WAITING_MAX:
            self.waiting[block.ref.digest] = block
            for ref in absent:
                self._children.setdefault(ref.digest, []).append(block.ref.digest)
                if ref.digest not in self.waiting:
                    self.missing[ref.digest] = ref
        return False

    def _accept(self, block: Block) -> None:
        by_author = self.rounds.setdefault(block.round, {})
        rivals = by_author.setdefault(block.author, [])
        newest = self.newest[block.author]
        if rivals:
            self.evidence.append(Evidence(rivals[0], block))
        elif self._forks(block):
            self.evidence.append(Evidence(newest, block))
        rivals.append(block)
        self.blocks[block.ref.digest] = block
        if block.round > newest.round:
            self.newest[block.author] = block
        if block.round > self.quorum_round and len(by_author) >= self.committee.quorum:
            self.quorum_round = block.round

    def _forks(self, block: Block) -> bool:
        """Crash mode: whether a block does not follow its author's newest one, if that is known."""
        newest = self.newest[block.author].ref
        known = self.committee.mode is Mode.CRASH and newest.digest != b""
        return known and block.parents[0] != newest

    def newest_before(self, round_: int, author: int) -> Block | None:
        """The newest accepted block of an author below a round; None when it is settled."""
        block: Block | None = self.newest[author]
        while block is not None and block.round >= round_:
            block = self.blocks.get(block.parents[0].digest)
        return block

    def history(self, block: Block, down_to: int) -> list[Block]:
        """`block` and its ancestors of round `down_to` and above."""
        seen = {block.ref.digest}
        found = [block]
        for block in found:
            for ref in block.parents:
                if ref.round >= down_to and ref.digest not in seen:
                    seen.add(ref.digest)
                    if (parent := self.blocks.get(ref.digest)) is not None:
                        found.append(parent)
        return found

    def settle(self, floor: list[int]) -> list[Block]:
        """Forget the blocks at or below `floor`, by author; the blocks accepted by that, since a
        missing parent below the floor is no longer waited for."""
        self.floor = [max(old, new) for old, new in zip(self.floor, floor, strict=True)]
        for round_ in [r for r in self.rounds if r <= max(self.floor)]:
            by_author = self.rounds[round_]
            for author in [a for a in by_author if round_ <= self.floor[a]]:
                for block in by_author.pop(author):
                    del self.blocks[block.ref.digest]
            if not by_author:
                del self.rounds[round_]
        return self._release()

    def _release(self) -> list[Block]:
        waiting = list(self.waiting.values())
        settled = [b.ref for b in waiting if self.has(b.ref)]
        settled += [ref for ref in self.missing.values() if self.has(ref)]
        for ref in settled:
            self.waiting.pop(ref.digest, None)
            self.missing.pop(ref.digest, None)
            self._children.pop(ref.digest, None)
        accepted: list[Block] = []
        for block in waiting:
            if block.ref.digest in self.waiting and all(self.has(ref) for ref in block.parents):
                del self.waiting[block.ref.digest]
                accepted += self.add(block)
        return accepted

    def check(self) -> None:
        """Assert every invariant."""
        for digest, block in self.blocks.items():
            assert digest == block.ref.digest
            assert block in self.slot(block.round, block.author)
            assert block.round > self.floor[block.author]
            assert all(self.has(ref) for ref in block.parents), block
        for digest, block in self.waiting.items():
            assert digest == block.ref.digest
            assert not all(self.has(ref) for ref in block.parents), block
        for digest, ref in self.missing.items():
            assert digest not in self.waiting
            assert not self.has(ref)
        if self.quorum_round > max(*self.floor, 0):
            assert len(self.at(self.quorum_round)) >= self.committee.quorum
        assert sum(len(b) for r in self.rounds.values() for b in r.values()) == len(self.blocks)
