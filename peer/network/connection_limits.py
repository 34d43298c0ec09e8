"""Which incoming connections of this peer are too many.

Owns their three classes and each class's bound. Must never touch a socket: `connection_guard` does.

A connection is unproven until a message has come over it, which takes an allowed key. Then it is a
member's or an observer's. Each class has its own bound, so unproven ones take no place from
observers, and neither takes one from a member. A connecting member is unproven for a few
milliseconds: the oldest unproven connections of the address with most go first.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from peer.network.authenticator import Asker
from peer.process.descriptors import Room

MEMBER_CONNECTIONS_MAX = 8  # per member and socket: twice as many as it tries at a time
ADDRESS_CONNECTIONS_MAX = 128  # per address, in each of the other classes
SILENT_LOOKS_MAX = 500  # a connection silent for this long stays silent


class Visitor(NamedTuple):
    """An incoming connection; `asker` has spoken over it, if not empty."""

    number: int  # in the order of arrival
    port: int  # of this peer
    address: str
    looks: int  # of the guard at this connection
    asker: Asker | None


def too_many(visitors: Sequence[Visitor], room: Room) -> list[Visitor]:
    """The connections that have to go, of all there are."""
    oldest_first = sorted(visitors, key=lambda v: v.number)
    members = [v for v in oldest_first if v.asker is not None and v.asker.is_member]
    observers = [v for v in oldest_first if v.asker is not None and not v.asker.is_member]
    unproven = [v for v in oldest_first if v.asker is None]
    fresh = [v for v in unproven if v.looks <= SILENT_LOOKS_MAX]
    return [
        *unproven[: len(unproven) - len(fresh)],
        *_old_ones(members),
        *_crowd(observers, room.observers),
        *_crowd(fresh[::-1], room.unproven),
    ]


def _old_ones(members: Sequence[Visitor]) -> list[Visitor]:
    """Connections whose member has enough newer ones: it has probably lost them."""
    counts: Counter[tuple[int, str]] = Counter()
    gone = []
    for visitor in reversed(members):
        assert visitor.asker is not None
        key = visitor.port, visitor.asker.name
        counts[key] += 1
        if counts[key] > MEMBER_CONNECTIONS_MAX:
            gone.append(visitor)
    return gone


def _crowd(visitors: Sequence[Visitor], most: int) -> list[Visitor]:
    """All but `most`: every address's first connection stays before any second one, and so on."""
    counts: Counter[str] = Counter()
    ranked: list[tuple[int, int, Visitor]] = []
    for place, visitor in enumerate(visitors):
        ranked.append((counts[visitor.address], place, visitor))
        counts[visitor.address] += 1
    ranked.sort()
    crowded = bisect_left(ranked, ADDRESS_CONNECTIONS_MAX, key=itemgetter(0))
    return [visitor for _, _, visitor in ranked[min(most, crowded) :]]
