"""Where a peer walks the hash tree of another: parts whose digests are right, of trees that cannot
be. Whoever says a digest can have made it of anything."""

import random
from hashlib import sha256

import msgspec

from engine import HashTree, Leaf, leaf_digest, leaf_part, part_digest
from engine.hash_tree import DIGEST_BYTES, Child, Node, node_part
from peer.storage.tree_walk import TreeWalk
from tests.fuzz import Target, mutate

PARTS_MAX = 500
DEPTH_MAX = 40
_NO_OUTLINE = (ValueError, TypeError, OverflowError, AttributeError, RecursionError)

OWN = dict.fromkeys((*range(0, 400, 7), 1 << 60, 2 << 60, (3 << 60) + 1), b"own")


def tree_of(pieces: dict[int, bytes]) -> HashTree:
    return HashTree().updated(Leaf(key, leaf_digest(key, data)) for key, data in pieces.items())


def parts_of(tree: HashTree, pieces: dict[int, bytes]) -> list[bytes]:
    """All parts of a tree, from its root down."""
    walk, found = TreeWalk(tree.digest, HashTree()), []
    while walk.missing:
        root = tree.at(*walk.place(next(iter(walk.missing)))).root
        assert root is not None
        is_leaf = isinstance(root, Leaf)
        found.append(leaf_part(root.key, pieces[root.key]) if is_leaf else root.part)
        walk.take(found[-1])
    return found


def walk_tree(data: bytes) -> None:
    """The walk comes to an end, and to the same one again."""
    parts: list[bytes] = []
    try:
        digest = _build(msgspec.msgpack.decode(data), parts, DEPTH_MAX)
    except _NO_OUTLINE:
        return
    own = tree_of(OWN)
    walk = TreeWalk(digest, own)
    for part in (*parts, *reversed(parts), *parts):
        taken = walk.take(part)
        assert taken is None or all(one in walk.missing for one in taken)
    assert walk.found == walk.come + len(walk.missing) <= 16 * len(parts) + 1
    changes = walk.changes
    walk.begin(digest, own)
    assert walk.changes == changes
    own.updated(Leaf(key, piece and sha256(piece).digest()) for key, piece in changes.items())


def _build(tree: object, parts: list[bytes], depth: int) -> bytes:
    """The digest of [key, piece], of [shift, place, [[four bits, tree], ...]] or of any bytes, and
    the parts below it."""
    if isinstance(tree, bytes):
        return tree[:DIGEST_BYTES].ljust(DIGEST_BYTES, b"-")
    if not isinstance(tree, list) or depth == 0 or len(parts) >= PARTS_MAX:
        raise ValueError("no tree")
    if len(tree) == 2:
        key, piece = tree
        parts.append(leaf_part(key, piece))
    else:
        shift, place, children = tree
        digests = {n % 16: _build(child, parts, depth - 1) for n, child in children}
        parts.append(node_part(shift, place, dict(sorted(digests.items()))))
    return part_digest(parts[-1])


def _shape(child: Child | None, pieces: dict[int, bytes]) -> list[object]:
    if isinstance(child, Node):
        present = [(n, each) for n, each in enumerate(child.children) if each is not None]
        return [child.shift, child.place, [[n, _shape(each, pieces)] for n, each in present]]
    assert child is not None
    return [child.key, pieces[child.key]]


def tree_seeds() -> list[bytes]:
    rng = random.Random(1)
    others = [
        OWN | {70: b"other", 71: b"new"},
        {key: data for key, data in OWN.items() if key % 3},
        {rng.randrange(1 << 63): rng.randbytes(3) for _ in range(30)},
        {5: b"alone"},
    ]
    return [msgspec.msgpack.encode(_shape(tree_of(one).root, one)) for one in others]


TARGETS = {"tree": lambda: Target(tree_seeds(), mutate.of_msgpack, walk_tree)}
