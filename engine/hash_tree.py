"""One digest over many pieces of state, which costs what changes: a radix tree of digests.

Owns the shape of the tree and how its digests are made. Pure. A tree never changes: `updated` makes
another one, which shares all that stayed the same, so an old one costs only what changed since.

A leaf is a piece's key, of 64 bits, and its digest, which covers the key. The tree branches by four
bits of the key, the highest first, and a leaf stands as high as no other key goes its way. So the
shape, and with it the digest, follows from the leaves alone, whatever the order they came in. The
digest of a node covers its height, which children there are, and their digests. A node with a
single child has that child's digest: a prefix that all keys share costs nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Final, NamedTuple

DIGEST_BYTES: Final = 32
KEY_MAX: Final = 2**64 - 1
TOP: Final = 60  # bits of a key below those that the root branches by
EMPTY: Final = sha256(b"empty").digest()  # the digest of a tree without leaves


class Leaf(NamedTuple):
    key: int
    digest: bytes  # empty in a change: the piece is gone


class Node:
    """Children by four bits of their keys, those above the lowest `shift`; at least one."""

    __slots__ = ("children", "digest", "shift")

    digest: bytes

    def __init__(self, shift: int, children: Sequence["Leaf | Node | None"]) -> None:
        self.shift = shift
        self.children = tuple(children)
        present = {n: child.digest for n, child in enumerate(children) if child is not None}
        self.digest = node_digest(shift, present)


Child = Leaf | Node


def leaf_digest(key: int, piece: bytes) -> bytes:
    """The digest of a piece under its key."""
    return sha256(b"leaf" + key.to_bytes(8, "big") + piece).digest()


def node_digest(shift: int, children: dict[int, bytes]) -> bytes:
    """The digest of a node, from the digests of its children by their four bits, ascending."""
    if len(children) == 1:
        return next(iter(children.values()))
    mask = sum(1 << n for n in children)
    head = b"node" + bytes((shift,)) + mask.to_bytes(2, "big")
    return sha256(head + b"".join(children.values())).digest()


class HashTree:
    """Leaves by key. Equal leaves, equal digests."""

    __slots__ = ("root",)

    def __init__(self, root: Child | None = None) -> None:
        self.root = root

    @property
    def digest(self) -> bytes:
        return EMPTY if self.root is None else self.root.digest

    def updated(self, changes: Iterable[Leaf]) -> "HashTree":
        """The tree after `changes`, at most one of a key."""
        ordered = sorted(changes)
        return HashTree(_updated(self.root, TOP, ordered)) if ordered else self

    def joined(self, other: "HashTree") -> "HashTree":
        """The leaves of both. The highest four bits of a key say which of them it is in."""
        sides = (_children(self.root, TOP), _children(other.root, TOP))
        children = [mine or theirs for mine, theirs in zip(*sides, strict=True)]
        assert not any(mine and theirs for mine, theirs in zip(*sides, strict=True))
        return HashTree(_node(TOP, children))

    def get(self, key: int) -> bytes | None:
        """The digest of the piece under a key; None if there is none."""
        child = self.root
        while isinstance(child, Node):
            child = child.children[key >> child.shift & 15]
        return child.digest if child is not None and child.key == key else None

    def changes(self, since: "HashTree") -> Iterator[Leaf]:
        """What makes this tree of an earlier one, by ascending key; costs what differs."""
        return _changes(since.root, self.root, TOP)

    def __iter__(self) -> Iterator[Leaf]:
        """Leaves by ascending key."""
        return _leaves(self.root)


def _children(child: Child | None, shift: int) -> list[Child | None]:
    """What a node at this height would have where there may be only a leaf, or nothing."""
    if isinstance(child, Node):
        return list(child.children)
    children: list[Child | None] = [None] * 16
    if child is not None:
        children[child.key >> shift & 15] = child
    return children


def _node(shift: int, children: Sequence[Child | None]) -> Child | None:
    """A node of these; a leaf by itself stands in its place."""
    present = [child for child in children if child is not None]
    if len(present) > 1 or (present and isinstance(present[0], Node)):
        return Node(shift, children)
    return present[0] if present else None


def _updated(child: Child | None, shift: int, changes: list[Leaf]) -> Child | None:
    """`changes` all go this way, in order."""
    if shift < 0 or (child is None and len(changes) == 1):
        (change,) = changes
        return change if change.digest else None
    children = _children(child, shift)
    for n, some in groupby(changes, lambda leaf: leaf.key >> shift & 15):
        children[n] = _updated(children[n], shift - 4, list(some))
    return _node(shift, children)


def _leaves(child: Child | None) -> Iterator[Leaf]:
    if isinstance(child, Node):
        for each in child.children:
            yield from _leaves(each)
    elif child is not None:
        yield child


def _changes(before: Child | None, after: Child | None, shift: int) -> Iterator[Leaf]:
    if before is after:
        return
    if isinstance(before, Node) or isinstance(after, Node):
        for pair in zip(_children(before, shift), _children(after, shift), strict=True):
            yield from _changes(*pair, shift - 4)
        return
    gone = Leaf(before.key, b"") if before and (not after or after.key != before.key) else None
    new = after if after and after != before else None
    yield from sorted(leaf for leaf in (gone, new) if leaf is not None)
