"""The graph of accepted blocks.

Owns the accepted blocks, the blocks that wait for a parent, and the evidence against authors that
signed two blocks for one place. Must never decide a slot: `decide` reads the graph and does that.

A block is accepted once all its parents are. At and below an author's gc round its blocks are
collected: they count as accepted and need not be here.

An equivocator can sign any number of blocks for one place. The graph accepts the first that comes,
like any other block. It accepts a *rival* of it only if a waiting block refers to the rival,
directly or through others, and the author of that waiting block is not known to equivocate.
`docs/ordering.md` argues that this bounds the number of rivals, and that it never refuses an honest
block.

Each author has a share of the room for waiting blocks. A block counts for its own author, or for an
author whose waiting blocks lead to it. So a faulty member can use up only its own share, and its
blocks still find room if an honest block refers to them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from peer.consensus.block import Block, Ref, genesis
from peer.consensus.committee import Committee, Mode

WAITING_MAX = 200  # waiting blocks charged to one author; beyond it the lowest rounds are kept


class Evidence(NamedTuple):
    """Two signed blocks that no honest author makes both: of the same round, or with the same
    predecessor."""

    first: Block
    second: Block


class Dag:
    """Starts with the genesis blocks, or after a checkpoint: then blocks at and below `gc_rounds`,
    by author, are collected, and `heads` are the newest committed blocks of the authors."""

    def __init__(
        self, committee: Committee, gc_rounds: Sequence[int] = (), heads: Sequence[Ref] = ()
    ) -> None:
        self.committee = committee
        highest = max(gc_rounds, default=-1)
        blocks = genesis(committee) if highest < 0 else ()
        self.blocks: dict[bytes, Block] = {block.ref.digest: block for block in blocks}
        self.rounds: dict[int, dict[int, list[Block]]] = {0: {b.author: [b] for b in blocks}}
        self.newest: list[Block] = list(blocks)
        self.gc_rounds = [-1] * committee.size
        if highest >= 0:
            known = [h if h.round <= highest else Ref(highest, h.author, b"") for h in heads]
            self.newest = [Block(ref, ()) for ref in known]
            self.gc_rounds = list(gc_rounds)
        self.evidence: dict[int, Evidence] = {}  # by author; one proof is enough
        self.waiting: dict[bytes, Block] = {}
        self.missing: dict[bytes, Ref] = {}  # parents of waiting blocks that are not here
        self.missed = 0  # how often a block became missing
        self.quorum_round = max(highest, 0)  # the highest round with blocks of a quorum
        self._children: dict[bytes, list[Block]] = {}  # waiting blocks, by digest of absent parent
        self._charged: dict[bytes, int] = {}  # the author to whom a waiting block is charged
        self._held = [0] * committee.size  # number of waiting blocks charged to each author

    def has(self, ref: Ref) -> bool:
        block = self.blocks.get(ref.digest)
        if block is not None and block.ref == ref:
            return True
        return ref.round <= self.gc_rounds[ref.author]

    def at(self, round_: int) -> dict[int, list[Block]]:
        """The accepted blocks of a round by author; only an equivocator has more than one."""
        return self.rounds.get(round_, {})

    def waiting_for(self, ref: Ref) -> list[int]:
        """The authors of the blocks that wait for a block."""
        return [child.author for child in self._children.get(ref.digest, ())]

    def slot(self, round_: int, author: int) -> list[Block]:
        return self.at(round_).get(author, [])

    @property
    def highest(self) -> tuple[int, ...]:
        """The newest accepted or collected round of each author, as sent in heartbeats."""
        pairs = zip(self.newest, self.gc_rounds, strict=True)
        return tuple(max(block.round, gc_round) for block, gc_round in pairs)

    @property
    def highest_round(self) -> int:
        return max(block.round for block in self.newest)

    # Adding blocks

    def add(self, block: Block, restored: bool = False) -> list[Block]:
        """Add a block; returns the blocks accepted because of that, parents before children. A
        block without all its parents waits. A rival is accepted only if it is needed, see above, or
        if it is `restored`, so was accepted before."""
        if self.has(block.ref) or block.ref.digest in self.waiting:
            return []
        absent = [ref for ref in block.parents if not self.has(ref)]
        if not absent:
            return self._accept(block, restored)
        if not any(ref.digest in self.blocks for ref in absent):  # else it names a parent wrongly
            self._hold(block, absent)
        return []

    def _hold(self, block: Block, absent: list[Ref]) -> None:
        """Let a block wait. Drops it if there is no room; it is fetched again if needed. Then no
        block here waits for it: otherwise the author charged with that one would have made room."""
        payer = self._payer(block)
        if payer is None:
            return
        self._held[payer] += 1
        self._charged[block.ref.digest] = payer
        self.waiting[block.ref.digest] = block
        self.missing.pop(block.ref.digest, None)
        self._await(block, absent)

    def _payer(self, block: Block) -> int | None:
        """The author to charge for a block: its own, or one charged with a block that waits for it.
        So an honest author's share is used only by its own blocks and their ancestors."""
        children = self._children.get(block.ref.digest, ())
        payers = dict.fromkeys([block.author, *(self._charged[c.ref.digest] for c in children)])
        for payer in payers:
            if self._held[payer] < WAITING_MAX:
                return payer
        return next((payer for payer in payers if self._make_room(block, payer)), None)

    def _await(self, block: Block, absent: list[Ref]) -> None:
        for ref in absent:
            self._children.setdefault(ref.digest, []).append(block)
            if ref.digest not in self.waiting:
                self._miss(ref)

    def _miss(self, ref: Ref) -> None:
        if ref.digest not in self.missing:
            self.missing[ref.digest] = ref
            self.missed += 1

    def _make_room(self, block: Block, payer: int) -> bool:
        """Drop a block of a higher round charged to `payer`; returns whether there was one."""
        charged = self._charged.items()
        last = max(
            (self.waiting[digest] for digest, by in charged if by == payer), key=lambda b: b.round
        )
        if last.round > block.round:
            self._drop(last)
        return last.round > block.round

    def _release(self, block: Block) -> None:
        """End the wait of a block."""
        del self.waiting[block.ref.digest]
        self._held[self._charged.pop(block.ref.digest)] -= 1

    def _drop(self, block: Block) -> None:
        """Drop a waiting block. If others wait for it, they go on waiting, and it is missing."""
        self._release(block)
        for ref in block.parents:
            if block in (siblings := self._children.get(ref.digest, [])):
                siblings[:] = [other for other in siblings if other is not block]
                if not siblings:
                    del self._children[ref.digest]
                    self.missing.pop(ref.digest, None)
        if block.ref.digest in self._children:
            self._miss(block.ref)

    def _accept(self, block: Block, restored: bool) -> list[Block]:
        """Accept a block, and the blocks that waited only for it."""
        accepted = []
        ready = [block]
        while ready:
            block = ready.pop()
            if not self._place(block, restored):
                self._give_up_those_on(block)
                continue
            accepted.append(block)
            self.missing.pop(block.ref.digest, None)
            ready += self._ripe(self._children.pop(block.ref.digest, []))
        return accepted

    def _is_needed(self, block: Block) -> bool:
        """Whether a waiting block leads to it and has an author not known to equivocate."""
        return any(child.author not in self.evidence for child in self._waiting_on(block))

    def _waiting_on(self, block: Block) -> list[Block]:
        """The blocks that wait for it, and those that wait for these, nearest first."""
        found = {child.ref.digest: child for child in self._children.get(block.ref.digest, ())}
        queue = list(found.values())
        for child in queue:
            for other in self._children.get(child.ref.digest, ()):
                if other.ref.digest not in found:
                    found[other.ref.digest] = other
                    queue.append(other)
        return queue

    def _give_up_those_on(self, rival: Block) -> None:
        """Drop the blocks that wait for a rival that is not needed: they are not needed either."""
        for block in reversed(self._waiting_on(rival)):
            self._drop(block)

    def _ripe(self, children: list[Block]) -> list[Block]:
        """The children whose parents are all here. Drops those that can never be accepted."""
        ripe = []
        for child in children:
            if child.ref.digest not in self.waiting:
                continue
            absent = [ref for ref in child.parents if not self.has(ref)]
            if not absent:
                self._release(child)
                ripe.append(child)
            elif any(ref.digest in self.blocks for ref in absent):
                self._drop(child)
        return ripe

    def _place(self, block: Block, restored: bool) -> bool:
        """Put a block into its place; returns whether it was accepted."""
        by_author = self.rounds.setdefault(block.round, {})
        rivals = by_author.setdefault(block.author, [])
        newest = self.newest[block.author]
        if rivals:
            self.evidence.setdefault(block.author, Evidence(rivals[0], block))
            if not (restored or self._is_needed(block)):
                return False
        elif self._forks(block):
            self.evidence.setdefault(block.author, Evidence(newest, block))
        rivals.append(block)
        self.blocks[block.ref.digest] = block
        if block.round > newest.round:
            self.newest[block.author] = block
        if block.round > self.quorum_round and len(by_author) >= self.committee.quorum:
            self.quorum_round = block.round
        return True

    def _forks(self, block: Block) -> bool:
        """Whether, in crash mode, a block does not follow its author's newest known block."""
        newest = self.newest[block.author].ref
        known = self.committee.mode is Mode.CRASH and newest.digest != b""
        return known and block.parents[0] != newest

    # Reading

    def newest_before(self, round_: int, author: int) -> Block | None:
        """The newest accepted block of an author below a round; None if it is collected."""
        block = self.newest[author]
        while block.round >= round_:
            if not block.parents or block.parents[0].round <= self.gc_rounds[author]:
                return None
            block = self.blocks[block.parents[0].digest]
        return block

    def history(self, block: Block, down_to: int) -> list[Block]:
        """`block` and its ancestors, down to round `down_to`."""
        seen = {block.ref.digest}
        found = [block]
        for block in found:
            for ref in block.parents:
                if ref.round >= down_to and ref.digest not in seen:
                    seen.add(ref.digest)
                    if (parent := self.blocks.get(ref.digest)) is not None:
                        found.append(parent)
        return found

    # Dropping blocks

    def collect_garbage(self, gc_rounds: Sequence[int]) -> list[Block]:
        """Drop the blocks at and below `gc_rounds`, by author. Returns the blocks accepted because
        of that: a collected parent is no longer missing."""
        self.gc_rounds = [max(pair) for pair in zip(self.gc_rounds, gc_rounds, strict=True)]
        for round_ in [r for r in self.rounds if r <= max(self.gc_rounds)]:
            by_author = self.rounds[round_]
            for author in [a for a in by_author if round_ <= self.gc_rounds[a]]:
                for block in by_author.pop(author):
                    del self.blocks[block.ref.digest]
            if not by_author:
                del self.rounds[round_]
        return self._collect_waiting()

    def _collect_waiting(self) -> list[Block]:
        for block in [b for b in self.waiting.values() if self.has(b.ref)]:
            self._drop(block)
        ripe = [b for b in self.waiting.values() if all(map(self.has, b.parents))]
        for block in ripe:
            self._release(block)
        self._link()
        return [b for block in ripe for b in self._accept(block, restored=False)]

    def _link(self) -> None:
        """Note again which block waits for which parents. After a collection the digests are not
        enough: of two refs with the same digest, one of them wrong, only one may be collected."""
        self._children, self.missing = {}, {}
        for block in self.waiting.values():
            self._await(block, [ref for ref in block.parents if not self.has(ref)])

    def check(self) -> None:
        """Assert every invariant."""
        blocks, gc_rounds = self.blocks, self.gc_rounds
        for digest, block in blocks.items():
            round_, author, name = block.ref
            assert digest == name
            assert round_ > gc_rounds[author]
            assert block in self.rounds[round_][author]
            for ref in block.parents:
                parent = blocks.get(ref.digest)
                is_here = parent is not None and parent.ref == ref
                assert is_here or ref.round <= gc_rounds[ref.author]
        assert sum(len(b) for r in self.rounds.values() for b in r.values()) == len(self.blocks)
        if self.quorum_round > max(*self.gc_rounds, 0):
            assert len(self.at(self.quorum_round)) >= self.committee.quorum
        self._check_waiting()

    def _check_waiting(self) -> None:
        held = [0] * self.committee.size
        for digest, block in self.waiting.items():
            assert digest == block.ref.digest
            absent = [ref for ref in block.parents if not self.has(ref)]
            assert absent, block
            assert all(block in self._children[ref.digest] for ref in absent), block
            held[self._charged[digest]] += 1
        assert held == self._held
        assert self._charged.keys() == self.waiting.keys()
        assert max(held) <= WAITING_MAX
        for digest, children in self._children.items():
            assert (digest in self.missing) != (digest in self.waiting)
            assert children
        assert self.missing.keys() <= self._children.keys()
        assert not any(self.has(ref) for ref in self.missing.values())
