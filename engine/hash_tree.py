"""One digest over many pieces of state, which costs what changes: a radix tree of digests.

Owns the shape of the tree and how its digests are made. Pure. A tree never changes: `updated` makes
another one, which shares all that stayed the same, so an old one costs only what changed since.

A leaf is a piece's key, of 64 bits, and its digest, which covers the key. The tree branches by four
bits of the key, the highest first, and a leaf stands as high as no other key goes its way. So the
shape, and with it the digest, follows from the leaves alone, whatever the order they came in. The
digest of a node covers its height, the bits that all keys below share, which children there are,
and their digests. A node with a single child has that child's digest: a prefix that all keys share
costs nothing.

The bytes that a digest is made of are what two peers that compare their trees send each other: a
*part*. Who knows the digest needs nothing else to tell a true one from a false one.
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
    """Children by four bits of their keys, those above the lowest `shift`; at least one. `place` is
    the lowest key that can stand below: of all there, the bits above those four are the same."""

    __slots__ = ("children", "digest", "place", "shift")

    digest: bytes

    def __init__(self, shift: int, children: Sequence["Leaf | Node | None"]) -> None:
        self.shift = shift
        self.children = tuple(children)
        first, *others = [child for child in self.children if child is not None]
        self.place = _lowest(first) >> shift + 4 << shift + 4
        self.digest = part_digest(self.part) if others else first.digest

    @property
    def digests(self) -> dict[int, bytes]:
        """Of the children, by their four bits, ascending."""
        return {n: child.digest for n, child in enumerate(self.children) if child is not None}

    @property
    def part(self) -> bytes:
        """Of a node with more children than one."""
        return node_part(self.shift, self.place, self.digests)


Child = Leaf | Node


class Branching(NamedTuple):
    """What the part of a node says."""

    shift: int
    place: int
    digests: dict[int, bytes]


class Piece(NamedTuple):
    """What the part of a leaf says."""

    key: int
    data: bytes


def leaf_part(key: int, piece: bytes) -> bytes:
    return b"leaf" + key.to_bytes(8, "big") + piece


def leaf_digest(key: int, piece: bytes) -> bytes:
    """The digest of a piece under its key."""
    return sha256(leaf_part(key, piece)).digest()


def node_part(shift: int, place: int, digests: dict[int, bytes]) -> bytes:
    mask = sum(1 << n for n in digests)
    head = b"node" + bytes((shift,)) + place.to_bytes(8, "big") + mask.to_bytes(2, "big")
    return head + b"".join(digests.values())


def part_digest(part: bytes) -> bytes:
    """The digest of the node or leaf that a part is of."""
    return sha256(part).digest()


def read_part(part: bytes) -> Branching | Piece:
    """What a part says. ValueError if it is none that a tree could have made."""
    kind, head = part[:4], part[4:12]
    if kind == b"leaf" and len(head) == 8:
        return Piece(int.from_bytes(head, "big"), part[12:])
    if kind != b"node" or len(part) < 15:
        raise ValueError("neither a leaf nor a node")
    shift, place = part[4], int.from_bytes(part[5:13], "big")
    mask = int.from_bytes(part[13:15], "big")
    present = [n for n in range(16) if mask >> n & 1]
    if shift % 4 or shift > TOP or place % (1 << shift + 4):
        raise ValueError("a node that can be nowhere")
    if len(present) < 2 or len(part) != 15 + DIGEST_BYTES * len(present):
        raise ValueError("a node with other children than it says")
    starts = range(15, len(part), DIGEST_BYTES)
    digests = {n: part[at : at + DIGEST_BYTES] for n, at in zip(present, starts, strict=True)}
    return Branching(shift, place, digests)


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

    def at(self, key: int, shift: int) -> "HashTree":
        """The leaves whose keys are `key` above the lowest `shift` bits, under the node at which
        they part."""
        child = self.root
        while isinstance(child, Node) and child.shift >= shift:
            child = child.children[key >> child.shift & 15] if _covers(child, key) else None
        if child is None or _lowest(child) >> shift != key >> shift:
            return HashTree()
        return HashTree(_joint(child))

    def beside(self, key: int, shift: int) -> Iterator[Leaf]:
        """All other leaves, by ascending key."""
        return _beside(self.root, key, shift)

    def changes(self, since: "HashTree") -> Iterator[Leaf]:
        """What makes this tree of an earlier one, by ascending key; costs what differs."""
        return _changes(since.root, self.root, TOP)

    def __iter__(self) -> Iterator[Leaf]:
        """Leaves by ascending key."""
        return _leaves(self.root)


def _joint(child: Child) -> Child:
    """The leaf or node at which what is below `child` parts."""
    while isinstance(child, Node):
        present = [each for each in child.children if each is not None]
        if len(present) > 1:
            break
        (child,) = present
    return child


def _covers(node: Node, key: int) -> bool:
    """Whether a key is one that can stand below."""
    return key >> node.shift + 4 == node.place >> node.shift + 4


def _beside(child: Child | None, key: int, shift: int) -> Iterator[Leaf]:
    if isinstance(child, Node) and child.shift >= shift and _covers(child, key):
        for n, each in enumerate(child.children):
            yield from _beside(each, key, shift) if n == key >> child.shift & 15 else _leaves(each)
    elif child is not None and _lowest(child) >> shift != key >> shift:
        yield from _leaves(child)


def _lowest(child: Child) -> int:
    return child.place if isinstance(child, Node) else child.key


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
