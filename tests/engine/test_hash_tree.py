"""The hash tree: its digest follows from the leaves alone, and it tells what differs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hash_tree import (
    EMPTY,
    KEY_MAX,
    TOP,
    HashTree,
    Leaf,
    Node,
    Piece,
    leaf_digest,
    leaf_part,
    node_part,
    part_digest,
    read_part,
)

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


def test_unchanged_nodes_are_shared() -> None:
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


def test_a_node_is_no_leaf_and_its_height_and_place_count() -> None:
    digests = {0: b"a" * 32, 1: b"b" * 32}
    parts = [node_part(0, 0, digests), node_part(4, 0, digests), node_part(0, 16, digests)]
    parts += [node_part(0, 0, {0: b"a" * 32, 2: b"b" * 32}), leaf_part(0, b"a" * 32 + b"b" * 32)]
    assert len({EMPTY, *map(part_digest, parts)}) == 6


@given(PIECES)
def test_a_tree_is_rebuilt_from_its_parts_each_known_by_its_digest(
    pieces: dict[int, bytes],
) -> None:
    tree, found, waiting = tree_of(pieces), {}, []
    if pieces:
        waiting.append((tree.digest, 0, TOP + 4))
    while waiting:
        digest, key, shift = waiting.pop()
        there = tree.at(key, shift)
        assert there.digest == digest
        part = part_of(there, pieces)
        assert part_digest(part) == digest
        said = read_part(part)
        if isinstance(said, Piece):
            assert said.key >> shift == key >> shift
            found[said.key] = said.data
        else:
            assert said.shift < shift
            assert said.place >> shift == key >> shift
            for n, child in said.digests.items():
                waiting.append((child, said.place | n << said.shift, said.shift))
    assert found == pieces


def part_of(tree: HashTree, pieces: dict[int, bytes]) -> bytes:
    if isinstance(tree.root, Leaf):
        return leaf_part(tree.root.key, pieces[tree.root.key])
    assert tree.root is not None
    return tree.root.part


@given(PIECES, KEYS, st.sampled_from(range(0, 68, 4)))
def test_a_subtree_equals_a_tree_of_its_leaves_alone(
    pieces: dict[int, bytes], key: int, shift: int
) -> None:
    there = {at: piece for at, piece in pieces.items() if at >> shift == key >> shift}
    tree = tree_of(pieces)
    assert tree.at(key, shift).digest == tree_of(there).digest
    assert list(tree.at(key, shift)) == list(tree_of(there))
    assert list(tree.beside(key, shift)) == [leaf for leaf in tree if leaf.key not in there]


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"leaf",
        b"leaf1234567",
        b"empty",
        b"knot12345678",
        node_part(60, 0, {}),
        node_part(60, 0, {3: b"a" * 32}),
        node_part(60, 0, {3: b"a" * 32, 4: b"b" * 31}),
        node_part(60, 0, {3: b"a" * 32, 4: b"b" * 33}),
        node_part(64, 0, {3: b"a" * 32, 4: b"b" * 32}),
        node_part(3, 0, {3: b"a" * 32, 4: b"b" * 32}),
        node_part(4, 16, {3: b"a" * 32, 4: b"b" * 32}),
    ],
)
def test_a_part_that_no_tree_can_produce_is_refused(part: bytes) -> None:
    with pytest.raises(ValueError, match="node"):
        read_part(part)


@given(st.binary(max_size=600))
def test_any_bytes_decode_to_a_part_or_are_refused(data: bytes) -> None:
    try:
        said = read_part(data)
    except ValueError:
        return
    again = leaf_part(*said) if isinstance(said, Piece) else node_part(*said)
    assert again == data
