"""States as pieces under a hash tree, as peers fetch them from each other."""

import random

from engine import HashTree, Leaf, leaf_digest, leaf_part
from peer.storage.tree_walk import Place, TreeWalk

Pieces = dict[int, bytes]


def tree_of(pieces: Pieces) -> HashTree:
    return HashTree().updated(Leaf(key, leaf_digest(key, data)) for key, data in pieces.items())


def part_at(tree: HashTree, pieces: Pieces, place: Place) -> bytes | None:
    root = tree.at(*place).root
    if isinstance(root, Leaf):
        return leaf_part(root.key, pieces[root.key])
    return None if root is None else root.part


def changed(pieces: Pieces, changes: Pieces) -> Pieces:
    return {key: data for key, data in (pieces | changes).items() if data}


def some_state(rng: random.Random, size: int) -> Pieces:
    """Like that of a book: many pieces under keys close together, and a few of other kinds."""
    pieces = {rng.randrange(2 * size): rng.randbytes(40) for _ in range(size)}
    return pieces | {kind << 60: rng.randbytes(20) for kind in (1, 2, 3)}


def fetch(walk: TreeWalk, pieces: Pieces) -> set[bytes]:
    """Begin with the tree of these pieces, and give all its parts that are missing."""
    tree, seen = tree_of(pieces), set()
    walk.begin(tree.digest, walk.own)
    while walk.missing:
        part = part_at(tree, pieces, walk.place(next(iter(walk.missing))))
        assert part is not None
        walk.take(part)
        seen.add(part)
    return seen


def all_parts(pieces: Pieces) -> set[bytes]:
    walk = TreeWalk(tree_of(pieces).digest, HashTree())
    return fetch(walk, pieces)
