"""Walking another peer's hash tree to find differences from the own state, without I/O.

Owns which parts are missing and what the others say. Must never trust a part because of its sender:
the part above it has its digest, and members signed the first part's digest. So a part from any
sender is accepted, and a false one never is.

The walk goes down only where the tree differs from the own one: the same digest at the same place
means the same content.
"""

from collections.abc import KeysView
from typing import Final, NamedTuple

from engine import Branching, HashTree, Piece, part_digest, read_part


class Place(NamedTuple):
    """The place of all keys that equal `key` above their lowest `shift` bits."""

    key: int
    shift: int


ROOT: Final = Place(0, 64)


class _Spot(NamedTuple):
    """Where a missing part belongs, and what the own tree has there."""

    place: Place
    own: HashTree


class TreeWalk:
    """A walk of the tree with this digest, beside the `own` one. `changes` turn the own state into
    its state, once nothing is missing."""

    def __init__(self, digest: bytes, own: HashTree) -> None:
        self.come = 0  # parts of the tree that are here
        self.kept_bytes = 0  # of all parts
        self._parts: dict[bytes, Branching | Piece] = {}  # by digest, of earlier trees too
        self.begin(digest, own)

    def begin(self, digest: bytes, own: HashTree) -> None:
        """Start again, through another tree or beside another one. Parts that are here stay."""
        self.digest = digest
        self.own = own
        self.come = 0
        self.changes: dict[
            int, bytes
        ] = {}  # pieces by key, only different ones; empty: there is none
        self._missing: dict[bytes, _Spot] = {}  # by digest, places in the order of discovery
        self._go_on(digest, _Spot(ROOT, own))

    @property
    def missing(self) -> KeysView[bytes]:
        """The digests of the known missing parts."""
        return self._missing.keys()

    @property
    def found(self) -> int:
        """How many parts are known to differ, here or missing."""
        return self.come + len(self._missing)

    def has(self, part: bytes) -> bool:
        """Whether this part has come before."""
        return part_digest(part) in self._parts

    def place(self, digest: bytes) -> Place:
        """The place of a missing part."""
        return self._missing[digest].place

    def take(self, part: bytes) -> list[bytes] | None:
        """A part came. Returns the digests missing below it; None if the part was not missing."""
        digest = part_digest(part)
        spot = self._missing.get(digest)
        said = None if spot is None else _read_at(spot.place, part)
        if spot is None or said is None:
            return None
        del self._missing[digest]
        self._parts[digest] = said
        self.kept_bytes += len(part)
        return self._go_on(digest, spot)

    def _go_on(self, digest: bytes, spot: _Spot) -> list[bytes]:
        """Walk down from here, as far as parts are here. Returns what is missing there."""
        missing, waiting = [], [(digest, spot)]
        while waiting:
            digest, spot = waiting.pop()
            if spot.own.digest == digest:
                continue
            said = self._parts.get(digest)
            if said is None or not _belongs(said, spot.place):
                self._missing[digest] = spot
                missing.append(digest)
                continue
            self.come += 1
            if isinstance(said, Piece):
                self._drop(spot.own, Place(said.key, 0))
                self.changes[said.key] = said.data
            else:
                waiting += reversed(self._children(said, spot.own))
        return missing

    def _children(self, said: Branching, own: HashTree) -> list[tuple[bytes, _Spot]]:
        """What the tree has below a node, with what the own tree has there."""
        self._drop(own, Place(said.place, said.shift + 4))
        found = []
        for n in range(16):
            place = Place(said.place | n << said.shift, said.shift)
            there = own.at(*place)
            if n in said.digests:
                found.append((said.digests[n], _Spot(place, there)))
            else:
                self.changes.update((leaf.key, b"") for leaf in there)
        return found

    def _drop(self, own: HashTree, but: Place) -> None:
        """Of all that the own tree has, the other tree has only what is at `but`."""
        self.changes.update((leaf.key, b"") for leaf in own.beside(*but))


def _read_at(place: Place, part: bytes) -> Branching | Piece | None:
    """What a part says, if a tree can have it at this place."""
    try:
        said = read_part(part)
    except ValueError:
        return None
    return said if _belongs(said, place) else None


def _belongs(said: Branching | Piece, place: Place) -> bool:
    """A made-up digest can appear at many places; in a real tree it has one."""
    if isinstance(said, Piece):
        return said.key >> place.shift == place.key >> place.shift
    return said.shift < place.shift and said.place >> place.shift == place.key >> place.shift
