"""The walk through another peer's tree asks only for what differs, and believes no forged part."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import HashTree, leaf_part, part_digest
from engine.hash_tree import node_part
from peer.storage.tree_walk import TreeWalk
from tests.support.states import Pieces, all_parts, changed, fetch, part_at, some_state, tree_of

STATES = st.dictionaries(
    st.one_of(st.integers(0, 300), st.integers(0, 7).map(lambda kind: (kind << 60) + kind)),
    st.binary(min_size=1, max_size=3),
    max_size=60,
)


@settings(deadline=None)
@given(STATES, STATES, st.randoms(use_true_random=False))
def test_a_walk_finds_the_differences_between_two_states(
    own: Pieces, other: Pieces, rng: random.Random
) -> None:
    """ORDER-31."""
    tree = tree_of(other)
    walk = TreeWalk(tree.digest, tree_of(own))
    asked = set()
    while walk.missing:
        digest = rng.choice(sorted(walk.missing))
        place = walk.place(digest)
        assert place not in asked
        asked.add(place)
        if not other:  # a tree of nothing has no parts
            return
        part = part_at(tree, other, place)
        assert part is not None
        assert walk.take(b"node" + part) is None
        assert walk.take(part) is not None
        assert walk.take(part) is None
    changes = walk.changes
    assert changed(own, changes) == other
    assert {key for key, data in changes.items() if data} == {
        key for key, data in other.items() if own.get(key) != data
    }
    assert {key for key, data in changes.items() if not data} == own.keys() - other.keys()


def test_a_walk_requests_only_the_differences_and_the_path_to_them() -> None:
    own = some_state(random.Random(1), 4_000)
    other = own | {100: b"other"}
    tree = tree_of(other)
    walk = TreeWalk(tree.digest, tree_of(own))
    count = 0
    while walk.missing:
        part = part_at(tree, other, walk.place(next(iter(walk.missing))))
        assert part is not None
        walk.take(part)
        count += 1
    assert walk.changes == {100: b"other"}
    assert count < 8
    assert (walk.come, walk.found) == (count, count)


@settings(deadline=None)
@given(STATES, STATES, STATES)
def test_a_received_part_is_not_missing_in_another_tree(
    own: Pieces, first: Pieces, second: Pieces
) -> None:
    first, second = first | {1: b"x"}, second | {1: b"y"}
    walk = TreeWalk(tree_of(first).digest, tree_of(own))
    fetch(walk, first)
    seen = fetch(walk, second)
    assert seen.isdisjoint(all_parts(first))
    assert changed(own, walk.changes) == second


@pytest.mark.parametrize(
    ("forged", "lie"),
    [
        # The digests are as they should be, and the parts say what is impossible.
        (leaf_part(2**60, b"a"), "a leaf elsewhere"),
        (b"node" + bytes(40), "no node"),
        (b"", "nothing"),
    ],
)
def test_a_forged_part_is_never_accepted(forged: bytes, lie: str) -> None:
    """Whoever made up a digest can have a part for it."""
    root = node_part(60, 0, {0: part_digest(forged), 1: b"b" * 32})
    walk = TreeWalk(part_digest(root), HashTree())
    assert walk.take(root) is not None
    assert part_digest(forged) in walk.missing
    assert walk.take(forged) is None, lie
    assert part_digest(forged) in walk.missing


def test_a_node_below_itself_is_refused() -> None:
    high = node_part(60, 0, {0: b"a" * 32, 1: b"b" * 32})
    root = node_part(60, 0, {0: part_digest(high), 1: b"b" * 32})
    walk = TreeWalk(part_digest(root), HashTree())
    assert walk.take(root) is not None
    assert walk.take(high) is None
