"""One digest over many pieces of state, which costs what changes: a radix tree of digests.

Owns the shape of the tree and how its digests are made. Pure. A tree never changes: `updated` makes
another one, which shares all that stayed the same, so an old one costs only what changed since.

A leaf is a piece's key, of 64 bits, and its digest, which covers the key. The tree branches by four
bits of the key, the highest first, but only where keys part: a node has two children or more. So
the shape, and with it the digest, follows from the leaves alone, whatever the order they came in,
and a prefix that all keys share costs nothing. The digest of a node covers its height, the bits
that all keys below share, which children there are, and their digests.

The bytes that a digest is made of are what two peers that compare their trees send each other: a
*part*. Who knows the digest needs nothing else to tell a true one from a false one.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

DIGEST_BYTES: Final = 32
KEY_MAX: Final = 2**64 - 1
TOP: Final = 60  # bits of a key below those that the root branches by
_BITS: Final = tuple(1 << n for n in range(16))
_FULL: Final = (1 << 16) - 1  # all children
EMPTY: Final = sha256(b"empty").digest()  # the digest of a tree without leaves


class Leaf(NamedTuple):
    key: int
    digest: bytes  # empty in a change: the piece is gone


class Node:
    """Children by four bits of their keys, those above the lowest `shift`; at least two. `place` is
    the lowest key that can stand below: of all there, the bits above those four are the same."""

    __slots__ = ("children", "digest", "place", "shift")

    def __init__(self, shift: int, place: int, children: Sequence["Leaf | Node | None"]) -> None:
        self.shift = shift
        self.place = place
        self.children = tuple(children)
        self.digest = part_digest(self.part)

    @property
    def part(self) -> bytes:
        present = [child.digest for child in self.children if child is not None]
        mask = _FULL
        if len(present) < 16:
            mask = sum(
                [bit for bit, child in zip(_BITS, self.children, strict=True) if child is not None]
            )
        return _part(self.shift, self.place, mask, present)


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
    """`digests` are those of the children by their four bits, ascending."""
    return _part(shift, place, sum(1 << n for n in digests), digests.values())


def _part(shift: int, place: int, mask: int, digests: Iterable[bytes]) -> bytes:
    numbers = shift << 80 | place << 16 | mask
    return b"".join((b"node", numbers.to_bytes(11, "big"), *digests))


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
        return HashTree(_updated(self.root, ordered)) if ordered else self

    def joined(self, other: "HashTree") -> "HashTree":
        """The leaves of both. The highest four bits of a key say which of them it is in."""
        sides = (_children(self.root, TOP), _children(other.root, TOP))
        children = [mine or theirs for mine, theirs in zip(*sides, strict=True)]
        assert not any(mine and theirs for mine, theirs in zip(*sides, strict=True))
        return HashTree(_node(TOP, 0, children))

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
        return HashTree(child)

    def beside(self, key: int, shift: int) -> Iterator[Leaf]:
        """All other leaves, by ascending key."""
        return _beside(self.root, key, shift)

    def changes(self, since: "HashTree") -> Iterator[Leaf]:
        """What makes this tree of an earlier one, by ascending key; costs what differs."""
        return _changes(since.root, self.root)

    def __iter__(self) -> Iterator[Leaf]:
        """Leaves by ascending key."""
        return _leaves(self.root)


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


def _parting(difference: int) -> int:
    """How many bits are below the highest four in which keys differ."""
    return difference.bit_length() - 1 & ~3


def _children(child: Child | None, shift: int) -> list[Child | None]:
    """What a node at this height would have where there may be only what stands lower."""
    if isinstance(child, Node) and child.shift == shift:
        return list(child.children)
    children: list[Child | None] = [None] * 16
    if child is not None:
        children[_lowest(child) >> shift & 15] = child
    return children


def _node(shift: int, place: int, children: Sequence[Child | None]) -> Child | None:
    """A node of these; one by itself stands in its place."""
    present = [child for child in children if child is not None]
    if len(present) > 1:
        return Node(shift, place, children)
    return present[0] if present else None


def _updated(child: Child | None, changes: list[Leaf]) -> Child | None:
    """What stands in the place of `child` after `changes`, which ascend."""
    first, last = changes[0].key, changes[-1].key
    lowest = first if child is None else _lowest(child)
    shift = _parting(first ^ lowest | last ^ lowest)
    if isinstance(child, Node):
        shift = max(shift, child.shift)
    elif shift < 0:  # the same key
        (change,) = changes
        return change if change.digest else None
    children = _children(child, shift)
    start = 0
    while start < len(changes):
        n = changes[start].key >> shift & 15
        end = start + 1
        while end < len(changes) and changes[end].key >> shift & 15 == n:
            end += 1
        children[n] = _updated(children[n], changes[start:end])
        start = end
    return _node(shift, first >> shift + 4 << shift + 4, children)


def _leaves(child: Child | None) -> Iterator[Leaf]:
    if isinstance(child, Node):
        for each in child.children:
            yield from _leaves(each)
    elif child is not None:
        yield child


def _changes(before: Child | None, after: Child | None) -> Iterator[Leaf]:
    if before is None or after is None:
        yield from _leaves(after)
        yield from (Leaf(leaf.key, b"") for leaf in _leaves(before))
        return
    if before is after or before.digest == after.digest:
        return
    shift = _parting(_lowest(before) ^ _lowest(after))
    shift = max(shift, *(each.shift for each in (before, after) if isinstance(each, Node)), -1)
    if shift < 0:  # both are leaves of one key
        yield from _leaves(after)
        return
    for pair in zip(_children(before, shift), _children(after, shift), strict=True):
        yield from _changes(*pair)
