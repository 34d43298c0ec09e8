"""Which of the connections that others made to this peer are too many.

Owns the three classes of them and the bound on each. Must never touch a socket: `sentry` does.

A connection is unproven until a message has come over it, and only who has a key that may connect
gets so far. Then it is a member's or an observer's. Each class has its own bound, so strangers take
no place from observers, and none takes one from a member. A member that connects is unproven for
a few milliseconds: of these the oldest go first, and of the address that has most.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from peer.network.authenticator import Asker
from peer.process.descriptors import Room

MEMBER_CONNECTIONS_MAX = 8  # of one member to one socket: twice as many as it tries at a time
ADDRESS_CONNECTIONS_MAX = 128  # of one address, in each of the other classes
SPEECHLESS_LOOKS_MAX = 500  # who has said nothing by then never will


class Visitor(NamedTuple):
    """A connection that others made; over it `asker` has spoken, if it is not empty."""

    number: int  # in the order they came
    port: int  # of ours
    address: str
    looks: int  # that the sentry has had at it
    asker: Asker | None


def too_many(visitors: Sequence[Visitor], room: Room) -> list[Visitor]:
    """Those that have to go, of all there are."""
    oldest_first = sorted(visitors, key=lambda v: v.number)
    members = [v for v in oldest_first if v.asker is not None and v.asker.is_member]
    observers = [v for v in oldest_first if v.asker is not None and not v.asker.is_member]
    unproven = [v for v in oldest_first if v.asker is None]
    fresh = [v for v in unproven if v.looks <= SPEECHLESS_LOOKS_MAX]
    return [
        *unproven[: len(unproven) - len(fresh)],
        *_old_ones(members),
        *_crowd(observers, room.observers),
        *_crowd(fresh[::-1], room.unproven),
    ]


def _old_ones(members: Sequence[Visitor]) -> list[Visitor]:
    """Those of which the same member has newer ones enough: it has lost them, as far as we know."""
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
    """All but `most`: the first of every address stays before the second of any, and so on."""
    counts: Counter[str] = Counter()
    ranked: list[tuple[int, int, Visitor]] = []
    for place, visitor in enumerate(visitors):
        ranked.append((counts[visitor.address], place, visitor))
        counts[visitor.address] += 1
    ranked.sort()
    crowded = bisect_left(ranked, ADDRESS_CONNECTIONS_MAX, key=itemgetter(0))
    return [visitor for _, _, visitor in ranked[min(most, crowded) :]]
