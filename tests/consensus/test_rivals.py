"""The blocks of an equivocator that others keep: few, and all ancestors of honest blocks."""

from collections.abc import Sequence

import pytest

from peer.consensus.block import Block, Ref, digest_of, genesis
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import WAITING_MAX, Dag

LIAR, HONEST = 3, (0, 1, 2)
COMMITTEE = Committee(bytes(16), 4, Mode.BYZANTINE)
MANY = 3_000


def make(round_: int, author: int, parents: Sequence[Ref], name: str = "") -> Block:
    digest = digest_of(f"{round_} {author} {name}".encode())
    return Block(Ref(round_, author, digest), tuple(parents), b"x" * 100)


class Mesh:
    """The graph of an honest member, and the next blocks for it."""

    def __init__(self, rounds: int = 3) -> None:
        self.dag = Dag(COMMITTEE)
        self.tips = [block.ref for block in genesis(COMMITTEE)]
        for _ in range(rounds):
            self.grow()

    def grow(self) -> None:
        """All members make a block for the next round, the liar too."""
        round_ = self.tips[0].round + 1
        made = [make(round_, author, self.parents(author)) for author in range(4)]
        for block in made:
            assert self.dag.add(block) == [block]
        self.tips = [block.ref for block in made]

    def parents(self, author: int) -> list[Ref]:
        """The refs, with the author's own block first."""
        return sorted(self.tips, key=lambda ref: (ref.author != author, ref.author))

    def on(self, own: Ref, round_: int, name: str) -> Block:
        """A block of the liar for a round, on a block of its own."""
        others = [self.dag.slot(round_ - 1, author)[0].ref for author in HONEST]
        return make(round_, LIAR, [own, *others], name)

    def kept(self) -> int:
        """Blocks of the liar, accepted or waiting."""
        self.dag.check()
        found = [b for b in self.dag.blocks.values() if b.author == LIAR and b.round]
        return len(found) + len([b for b in self.dag.waiting.values() if b.author == LIAR])


def test_rivals_are_not_kept_for_rivals_that_refer_to_them() -> None:
    """ORDER-6. Each rival comes after a block that waits for it."""
    mesh = Mesh()
    own = mesh.dag.slot(2, LIAR)[0].ref
    for n in range(MANY):
        rival = mesh.on(own, 3, f"rival {n}")
        assert mesh.dag.add(mesh.on(rival.ref, 4, f"child {n}")) == []
        assert mesh.dag.add(rival) == []
    assert len(mesh.dag.slot(3, LIAR)) == 1
    assert mesh.kept() == 3


def test_chains_of_rivals_are_not_kept() -> None:
    """ORDER-6. Each chain begins at the first round, and its top comes first."""
    mesh = Mesh(rounds=20)
    for n in range(MANY // 19):
        own, chain = mesh.dag.slot(0, LIAR)[0].ref, []
        for round_ in range(1, 21):
            chain.append(mesh.on(own, round_, f"chain {n}"))
            own = chain[-1].ref
        for block in reversed(chain):
            assert mesh.dag.add(block) == []
    assert mesh.kept() <= 20 + WAITING_MAX
    assert {len(mesh.dag.slot(round_, LIAR)) for round_ in range(1, 21)} == {1}


def test_all_ancestors_of_an_honest_block_are_kept_even_in_a_long_chain() -> None:
    """ORDER-6."""
    mesh = Mesh(rounds=20)
    own, chain = mesh.dag.slot(0, LIAR)[0].ref, []
    for round_ in range(1, 21):
        chain.append(mesh.on(own, round_, "another"))
        own = chain[-1].ref
    for block in reversed(chain):  # no honest block is known to need it
        mesh.dag.add(block)
    assert mesh.kept() <= 20 + WAITING_MAX
    honest = make(21, 0, [mesh.tips[0], mesh.tips[1], mesh.tips[2], own])
    assert mesh.dag.add(honest) == []
    accepted = [block for part in map(mesh.dag.add, reversed(chain)) for block in part]
    assert accepted == [*chain, honest]
    assert {len(mesh.dag.slot(round_, LIAR)) for round_ in range(1, 21)} == {2}
    mesh.dag.check()


def test_blocks_that_wait_for_a_refused_rival_are_dropped_and_can_come_again() -> None:
    """ORDER-7."""
    mesh = Mesh()
    rival = mesh.on(mesh.dag.slot(2, LIAR)[0].ref, 3, "rival")
    child = mesh.on(rival.ref, 4, "child")
    own = make(4, 0, mesh.parents(0))
    top = make(5, LIAR, [child.ref, own.ref, mesh.tips[1], mesh.tips[2]], "top")
    for block in (top, child, rival):
        assert mesh.dag.add(block) == []
    assert (mesh.dag.waiting, mesh.dag.missing) == ({}, {})
    mesh.dag.check()
    needs = make(5, 0, [own.ref, child.ref, mesh.tips[1], mesh.tips[2]])
    for block in (needs, child):
        assert mesh.dag.add(block) == []
    assert mesh.dag.missing.keys() == {own.ref.digest, rival.ref.digest}
    assert mesh.dag.add(rival) == [rival, child]
    assert mesh.dag.add(own) == [own, needs]


@pytest.mark.parametrize("takes", [2, 3])
def test_honest_members_that_saw_different_rivals_first_accept_each_others_blocks(
    takes: int,
) -> None:
    """ORDER-6. At most one rival per place for each honest member."""
    views = [Mesh() for _ in HONEST]
    own = views[0].dag.slot(3, LIAR)[0].ref
    seen = [views[0].on(own, 4, f"for {n % takes}") for n in HONEST]
    made = []
    for n, view in enumerate(views):
        assert view.dag.add(seen[n]) == [seen[n]]
        made.append(make(4, n, view.parents(n)))
    tips = [block.ref for block in made]
    tops = [
        make(5, n, [tips[n], *(ref for ref in tips if ref.author != n), seen[n].ref])
        for n in HONEST
    ]
    for view in views:
        for block in [*tops, *made, *seen]:
            view.dag.add(block)
            view.dag.check()
        assert all(view.dag.has(block.ref) for block in [*tops, *made, *seen])
        assert len(view.dag.slot(4, LIAR)) == takes
