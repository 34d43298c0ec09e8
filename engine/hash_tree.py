"""One digest over many pieces of state: a radix tree of digests. An update costs what changes.

Owns the shape of the tree and how its digests are made. Pure. A tree never changes: `updated` makes
a new tree that shares every unchanged node. So an old tree costs only what changed since.

A leaf is a piece's 64-bit key and its digest, which covers the key. The tree branches by four bits
of the key, the highest first, but only where keys differ: a node has two children or more. So the
shape and the digest follow from the leaves alone, in whatever order they came. A prefix that all
keys share costs nothing. The digest of a node covers its height, the bits that all keys below it
share, which children it has, and their digests.

A *part* is the bytes that a digest covers. Two peers that compare their trees send each other
parts. A peer that knows the digest needs nothing else to verify a part.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Final, NamedTuple

from engine.light import light, mypyc_attr

DIGEST_BYTES: Final = 32
KEY_MAX: Final = 2**64 - 1
TOP: Final = 60  # bits of a key below the four of the root
_begun: Final = sha256().copy  # OpenSSL looks an algorithm up by name each time, and copies faster
EMPTY: Final = sha256(b"empty").digest()  # the digest of a tree without leaves


class Leaf(NamedTuple):
    key: int
    digest: bytes  # empty in a change: removes the piece


@mypyc_attr(acyclic=True)
class Node:
    """At least two children, by the four bits of their keys above the lowest `shift`. `place` is
    the lowest key that fits below this node. All keys below it share the bits above those four.

    `mask` says which children exist. The node stores a leaf as its key alone, or not at all if
    `shift` is 0, and all digests in one byte string, so a leaf costs little memory. The garbage
    collector ignores nodes: a large state has thousands, each update makes many, and none is in a
    cycle.
    """

    __slots__ = ("below", "digest", "digests", "mask", "place", "shift")

    def __init__(
        self,
        shift: int,
        place: int,
        mask: int,
        below: tuple["int | Node", ...],
        digests: bytes,
        digest: bytes,
    ) -> None:
        self.shift = shift
        self.place = place
        self.mask = mask
        self.below = below  # empty if `shift` is 0: the bits of the leaves say their keys
        self.digests = digests  # of all children
        self.digest = digest

    @property
    def part(self) -> bytes:
        return _part(self.shift, self.place, self.mask, self.digests)

    @property
    def children(self) -> list["Child | None"]:
        """By the four bits."""
        return [_child(spot) for spot in self.spots()]

    def spot(self, key: int) -> "Spot":
        """The spot for the key below this node."""
        return self._spot(key >> self.shift & 15)

    def spots(self) -> list["Spot"]:
        """The spot for each value of the four bits."""
        return [self._spot(n) for n in range(16)]

    def _spot(self, n: int) -> "Spot":
        if not self.mask >> n & 1:
            return NOTHING
        at = (self.mask & (1 << n) - 1).bit_count()
        digest = self.digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]
        return (self.below[at] if self.shift else self.place | n), digest


if __file__.endswith(".py"):  # not compiled
    globals()["Node"] = light(Node)

Child = Leaf | Node
# One place in the tree: the key of a leaf, a node, or nothing; and its digest.
Spot = tuple[int | Node | None, bytes]
NOTHING: Final[Spot] = (None, b"")


class Branching(NamedTuple):
    """The content of a node's part."""

    shift: int
    place: int
    digests: dict[int, bytes]


class Piece(NamedTuple):
    """The content of a leaf's part."""

    key: int
    data: bytes


def leaf_part(key: int, piece: bytes) -> bytes:
    return b"leaf" + key.to_bytes(8, "big") + piece


def leaf_digest(key: int, piece: bytes) -> bytes:
    """The digest of a piece and its key."""
    hashed = _begun()
    hashed.update(b"leaf" + key.to_bytes(8, "big"))
    hashed.update(piece)
    return hashed.digest()


def node_part(shift: int, place: int, digests: dict[int, bytes]) -> bytes:
    """`digests`: the children's digests by their four bits, ascending."""
    return _part(shift, place, sum(1 << n for n in digests), b"".join(digests.values()))


def _part(shift: int, place: int, mask: int, digests: bytes) -> bytes:
    numbers = shift << 80 | place << 16 | mask
    return b"node" + numbers.to_bytes(11, "big") + digests


def part_digest(part: bytes) -> bytes:
    """The digest of the node or leaf that has this part."""
    hashed = _begun()
    hashed.update(part)
    return hashed.digest()


def read_part(part: bytes) -> Branching | Piece:
    """Decode a part. ValueError if no tree could have made it."""
    kind, head = part[:4], part[4:12]
    if kind == b"leaf" and len(head) == 8:
        return Piece(int.from_bytes(head, "big"), part[12:])
    if kind != b"node" or len(part) < 15:
        raise ValueError(f"expected a leaf or a node, got {part[:16]!r}")
    shift, place = part[4], int.from_bytes(part[5:13], "big")
    mask = int.from_bytes(part[13:15], "big")
    present = [n for n in range(16) if mask >> n & 1]
    if shift % 4 or shift > TOP or place % (1 << shift + 4):
        raise ValueError(f"expected a possible node, got shift {shift} and place {place}")
    if len(present) < 2 or len(part) != 15 + DIGEST_BYTES * len(present):
        raise ValueError(f"expected a node with its 2 to 16 children, got {len(part)} bytes")
    starts = range(15, len(part), DIGEST_BYTES)
    digests = {n: part[at : at + DIGEST_BYTES] for n, at in zip(present, starts, strict=True)}
    return Branching(shift, place, digests)


class HashTree:
    """Leaves by key. Equal leaves give equal digests."""

    __slots__ = ("_spot",)

    def __init__(self) -> None:
        self._spot = NOTHING

    @classmethod
    def _of(cls, spot: Spot) -> "HashTree":
        tree = cls()
        tree._spot = spot
        return tree

    @property
    def root(self) -> Child | None:
        return _child(self._spot)

    @property
    def digest(self) -> bytes:
        return self._spot[1] or EMPTY

    def updated(self, changes: Iterable[tuple[int, bytes]]) -> "HashTree":
        """The tree after `changes`, at most one per key."""
        ordered = sorted(changes)
        assert all(len(digest) in (0, DIGEST_BYTES) for _, digest in ordered)
        return HashTree._of(_updated(self._spot, ordered, 0, len(ordered))) if ordered else self

    def joined(self, other: "HashTree") -> "HashTree":
        """The leaves of both trees. A key's highest four bits say which tree it is in."""
        sides = (_spread(self._spot, TOP), _spread(other._spot, TOP))
        pairs = list(zip(*sides, strict=True))
        assert all(NOTHING in pair for pair in pairs)
        spots = [max(pair, key=itemgetter(1)) for pair in pairs]
        mask = sum(1 << n for n, (child, _) in enumerate(spots) if child is not None)
        children = [child for child, _ in spots if child is not None]
        digests = b"".join(digest for _, digest in spots)
        return HashTree._of(_standing(TOP, 0, mask, children, digests))

    def get(self, key: int) -> bytes | None:
        """The digest of the piece under a key; None if there is no piece."""
        child, digest = self._spot
        while isinstance(child, Node):
            child, digest = child.spot(key)
        return digest if child == key else None

    def at(self, key: int, shift: int) -> "HashTree":
        """The leaves whose keys equal `key` above the lowest `shift` bits, under the node where
        they branch."""
        spot = self._spot
        while isinstance(spot[0], Node) and spot[0].shift >= shift:
            spot = spot[0].spot(key) if _covers(spot[0], key) else NOTHING
        if spot[0] is None or _lowest(spot[0]) >> shift != key >> shift:
            return HashTree()
        return HashTree._of(spot)

    def beside(self, key: int, shift: int) -> Iterator[Leaf]:
        """All leaves that `at` leaves out, by ascending key."""
        return _beside(self._spot, key, shift)

    def changes(self, since: "HashTree") -> Iterator[Leaf]:
        """The changes from an earlier tree to this one, by ascending key. Costs what differs."""
        return _changes(since._spot, self._spot)

    def __iter__(self) -> Iterator[Leaf]:
        """Leaves by ascending key."""
        return _leaves(self._spot)


def _child(spot: Spot) -> Child | None:
    child, digest = spot
    return Leaf(child, digest) if isinstance(child, int) else child


def _covers(node: Node, key: int) -> bool:
    """Whether a key fits below the node."""
    return key >> node.shift + 4 == node.place >> node.shift + 4


def _lowest(child: int | Node) -> int:
    return child if isinstance(child, int) else child.place


def _parting(difference: int) -> int:
    """The number of bits below the highest four that differ; negative if none differs."""
    return difference.bit_length() - 1 & ~3


def _spread(spot: Spot, shift: int) -> list[Spot]:
    """The 16 spots of a node at this height. `spot` may be a lower node or a leaf."""
    child = spot[0]
    if isinstance(child, Node) and child.shift == shift:
        return child.spots()
    spots = [NOTHING] * 16
    if child is not None:
        spots[_lowest(child) >> shift & 15] = spot
    return spots


def _standing(
    shift: int, place: int, mask: int, children: Sequence[int | Node], digests: bytes
) -> Spot:
    """A node with these children. A single child replaces the node."""
    if mask & mask - 1:
        digest = part_digest(_part(shift, place, mask, digests))
        return Node(shift, place, mask, tuple(children) if shift else (), digests, digest), digest
    if not mask:
        return NOTHING
    return (children[0] if shift else place | mask.bit_length() - 1), digests


def _updated(spot: Spot, changes: list[tuple[int, bytes]], start: int, end: int) -> Spot:
    """The spot after the changes from `start` to `end`, which are in ascending order."""
    child, digest = spot
    first, last = changes[start][0], changes[end - 1][0]
    if type(child) is Node and not (first ^ child.place | last ^ child.place) >> child.shift + 4:
        shift, mask = child.shift, child.mask
        if not shift:
            return _with_leaves(child.place, mask, bytearray(child.digests), changes[start:end])
        children, digests = list(child.below), bytearray(child.digests)
    else:
        lowest = first if child is None else _lowest(child)
        shift = _parting(first ^ lowest | last ^ lowest)
        if shift < 0:  # a leaf with the same key
            assert end - start == 1
            return changes[start] if changes[start][1] else NOTHING
        mask = 0 if child is None else 1 << (lowest >> shift & 15)
        children, digests = [] if child is None else [child], bytearray(digest)
    while start < end:
        key, digest = changes[start]
        n = key >> shift & 15
        till = start + 1
        while till < end and changes[till][0] >> shift & 15 == n:
            till += 1
        bit = 1 << n
        at = (mask & bit - 1).bit_count()
        place = slice(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES)
        if not mask & bit:
            place = slice(place.start, place.start)
            new, digest = _updated(NOTHING, changes, start, till)
            if new is not None:
                children.insert(at, new)
                mask |= bit
        elif children[at] != key or till > start + 1 or not digest:
            old = children[at]
            kept = old.digest if isinstance(old, Node) else bytes(digests[place])
            new, digest = _updated((old, kept), changes, start, till)
            if new is not None:
                children[at] = new
            else:
                del children[at]
                mask &= ~bit
        digests[place] = digest
        start = till
    return _standing(shift, first >> shift + 4 << shift + 4, mask, children, bytes(digests))


def _with_leaves(
    place: int, mask: int, digests: bytearray, changes: list[tuple[int, bytes]]
) -> Spot:
    """The lowest node at `place` after these changes of its leaves."""
    for key, digest in changes:
        bit = 1 << (key & 15)
        at = (mask & bit - 1).bit_count() * DIGEST_BYTES
        digests[at : at + DIGEST_BYTES if mask & bit else at] = digest
        mask = mask | bit if digest else mask & ~bit
    return _standing(0, place, mask, (), bytes(digests))


def _leaves(spot: Spot) -> Iterator[Leaf]:
    child, digest = spot
    if isinstance(child, Node):
        for each in child.spots():
            yield from _leaves(each)
    elif child is not None:
        yield Leaf(child, digest)


def _beside(spot: Spot, key: int, shift: int) -> Iterator[Leaf]:
    child = spot[0]
    if isinstance(child, Node) and child.shift >= shift and _covers(child, key):
        for n, each in enumerate(child.spots()):
            yield from _beside(each, key, shift) if n == key >> child.shift & 15 else _leaves(each)
    elif child is not None and _lowest(child) >> shift != key >> shift:
        yield from _leaves(spot)


def _changes(before: Spot, after: Spot) -> Iterator[Leaf]:
    if before[1] == after[1]:
        return
    old, new = before[0], after[0]
    if old is None or new is None:
        yield from _leaves(after)
        yield from (Leaf(leaf.key, b"") for leaf in _leaves(before))
        return
    shift = _parting(_lowest(old) ^ _lowest(new))
    shift = max(shift, *(each.shift for each in (old, new) if isinstance(each, Node)), -1)
    if shift < 0:  # both are leaves with one key
        yield from _leaves(after)
        return
    for pair in zip(_spread(before, shift), _spread(after, shift), strict=True):
        yield from _changes(*pair)
