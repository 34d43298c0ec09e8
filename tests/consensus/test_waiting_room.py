"""The room for blocks that wait for a parent: blocks of liars there harm no honest member. The
simulator found both kinds of harm (byzantine, n=5, seed 777, and n=4, seed 9245)."""

import pytest

from peer.consensus.block import NO_ATTESTATION, Block, Ref, genesis, make
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import WAITING_MAX, Dag

COMMITTEE = Committee(b"m" * 16, 4, Mode.BYZANTINE)
LIAR = 3


def block(round_: int, author: int, parents: list[Ref], time_ms: int = 0) -> Block:
    """A block of the author, with its own parent first."""
    refs = sorted(parents, key=lambda ref: (ref.author != author, ref.author))
    return make(
        COMMITTEE, round_, author, tuple(refs), b"", time_ms, NO_ATTESTATION, lambda _: bytes(64)
    )


def test_a_block_needed_by_an_honest_block_finds_room() -> None:
    """ORDER-3, ORDER-4."""
    dag = Dag(COMMITTEE)
    zero = [b.ref for b in genesis(COMMITTEE)]
    first = [block(1, author, zero) for author in range(4)]
    hidden = block(1, LIAR, zero, time_ms=1)  # the liar's other block, which never came
    for made in first:
        dag.add(made)
    for number in range(WAITING_MAX):
        nowhere = Ref(1, LIAR, number.to_bytes(32, "big"))
        dag.add(block(2, LIAR, [*(b.ref for b in first[:3]), nowhere], time_ms=number))
    second = [block(2, a, [b.ref for b in first]) for a in range(3)]
    for made in second:
        dag.add(made)
    twin = block(2, LIAR, [*(b.ref for b in first[:3]), hidden.ref])
    third = [block(3, author, [b.ref for b in second]) for author in (1, 2)]
    below = block(3, LIAR, [*(b.ref for b in second), twin.ref])
    honest = block(4, 0, [second[0].ref, *(b.ref for b in third), below.ref])
    for made in (*third, honest, below, twin):
        dag.add(made)
        dag.check()
    assert {below.ref.digest, twin.ref.digest} <= dag.waiting.keys()
    assert hidden.ref.digest in dag.missing
    accepted = dag.add(hidden)
    dag.check()
    assert [b.ref for b in accepted] == [hidden.ref, twin.ref, below.ref, honest.ref]


def test_useless_blocks_take_only_their_authors_room() -> None:
    """ORDER-4."""
    dag = Dag(COMMITTEE)
    for number in range(3 * WAITING_MAX):
        refs = [Ref(8, a, (number * 4 + a).to_bytes(32, "big")) for a in range(4)]
        dag.add(block(9, LIAR, refs))
    dag.check()
    assert len(dag.waiting) == WAITING_MAX


@pytest.mark.parametrize("wrong_first", [True, False])
def test_a_wrong_name_is_collected_apart_from_the_right_one(wrong_first: bool) -> None:
    """ORDER-33. A liar names a block with a lower round. Once that round is collected, the liar's
    block no longer waits, but an honest block with the right name still does."""
    dag = Dag(COMMITTEE)
    zero = [b.ref for b in genesis(COMMITTEE)]
    first = [block(1, author, zero) for author in range(4)]
    for made in first[:3]:
        dag.add(made)
    late = first[LIAR]
    wrong = block(2, LIAR, [*(b.ref for b in first[:3]), Ref(0, LIAR, late.ref.digest)])
    right = block(2, 0, [b.ref for b in first])
    for made in (wrong, right) if wrong_first else (right, wrong):
        assert dag.add(made) == []
        dag.check()
    assert [b.ref for b in dag.collect_garbage([0] * 4)] == [wrong.ref]
    dag.check()
    assert dag.missing == {late.ref.digest: late.ref}
    assert [b.ref for b in dag.add(late)] == [late.ref, right.ref]
    dag.check()
