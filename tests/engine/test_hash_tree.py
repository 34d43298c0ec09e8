"""The hash tree: its digest follows from the leaves alone, and it tells what differs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hash_tree import EMPTY, KEY_MAX, HashTree, Leaf, Node, leaf_digest, node_digest

# Keys that share prefixes of all lengths, and others.
KEYS = st.one_of(
    st.integers(0, 40), st.integers(0, KEY_MAX), st.sampled_from([1 << n for n in range(64)])
)
PIECES = st.dictionaries(KEYS, st.binary(max_size=3), max_size=40)


def leaves(pieces: dict[int, bytes]) -> list[Leaf]:
    return [Leaf(key, leaf_digest(key, piece)) for key, piece in pieces.items()]


def tree_of(pieces: dict[int, bytes]) -> HashTree:
    return HashTree().updated(leaves(pieces))


@given(PIECES, st.randoms(use_true_random=False))
def test_the_digest_follows_from_the_leaves_alone(
    pieces: dict[int, bytes], rng: random.Random
) -> None:
    whole, tree = tree_of(pieces), HashTree().updated([Leaf(3, b"x" * 32), Leaf(5, b"y" * 32)])
    shuffled = leaves(pieces)
    rng.shuffle(shuffled)
    for leaf in shuffled:
        tree = tree.updated([leaf])
    tree = tree.updated(Leaf(key, b"") for key in (3, 5) if key not in pieces)
    assert tree.digest == whole.digest
    assert list(tree) == list(whole) == sorted(leaves(pieces))


@given(PIECES, PIECES)
def test_changes_lead_from_one_tree_to_the_other(
    before: dict[int, bytes], after: dict[int, bytes]
) -> None:
    old, new = tree_of(before), tree_of(after)
    changes = list(new.changes(old))
    assert [change.key for change in changes] == sorted(
        key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
    )
    assert old.updated(changes).digest == new.digest
    assert (old.digest == new.digest) == (before == after)


@given(PIECES)
def test_a_piece_is_found_by_its_key(pieces: dict[int, bytes]) -> None:
    tree = tree_of(pieces)
    for key, piece in pieces.items():
        assert tree.get(key) == leaf_digest(key, piece)
    for key in (0, 7, KEY_MAX):
        assert (tree.get(key) is None) == (key not in pieces)


@given(PIECES)
def test_two_parts_joined_are_one_tree(pieces: dict[int, bytes]) -> None:
    low = {key: piece for key, piece in pieces.items() if key < 1 << 60}
    high = {key: piece for key, piece in pieces.items() if key not in low}
    assert tree_of(low).joined(tree_of(high)).digest == tree_of(pieces).digest
    assert tree_of(high).joined(tree_of(low)).digest == tree_of(pieces).digest


def test_what_did_not_change_is_shared() -> None:
    old = tree_of(dict.fromkeys(range(4096), b"a"))
    new = old.updated(leaves({77: b"b"}))
    fresh = nodes(new) - nodes(old)
    assert len(fresh) <= 16  # the way from the root to one leaf
    assert len(nodes(new)) > 256


def nodes(tree: HashTree) -> set[int]:
    found, waiting = set(), [tree.root]
    while waiting:
        child = waiting.pop()
        if isinstance(child, Node):
            found.add(id(child))
            waiting += child.children
    return found


@pytest.mark.parametrize(
    "other",
    [
        {1: b"a", 2: b"c"},  # another piece
        {1: b"a", 3: b"b"},  # under another key
        {1: b"b", 2: b"a"},  # exchanged
        {1: b"a"},
        {},
        {1: b"a", 2: b"b", 1 << 60: b"c"},
    ],
)
def test_other_leaves_have_another_digest(other: dict[int, bytes]) -> None:
    assert tree_of(other).digest != tree_of({1: b"a", 2: b"b"}).digest


def test_a_node_is_no_leaf_and_its_height_counts() -> None:
    children = {0: b"a" * 32, 1: b"b" * 32}
    digests = {node_digest(0, children), node_digest(4, children), EMPTY}
    moved = {0: b"a" * 32, 2: b"b" * 32}
    digests |= {node_digest(0, moved), leaf_digest(0, b"".join(children.values()))}
    assert len(digests) == 5
