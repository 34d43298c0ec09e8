"""Which connections have to go, and which never do for the sake of others."""

import random
from collections import Counter

from peer.network.authenticator import Asker
from peer.network.connection_limits import (
    ADDRESS_CONNECTIONS_MAX,
    MEMBER_CONNECTIONS_MAX,
    SILENT_LOOKS_MAX,
    Visitor,
    too_many,
)
from peer.process.descriptors import Room

ROOM = Room(unproven=20, observers=10)
MEMBER, OBSERVER = Asker(True, "a member's key"), Asker(False, "10.9.9.9")


def unproven(numbers: range, address: str = "10.0.0.1") -> list[Visitor]:
    return [Visitor(number, 3_001, address, 0, None) for number in numbers]


def gone(visitors: list[Visitor], room: Room = ROOM) -> list[int]:
    """Their numbers, whatever order they are named in."""
    mixed = random.Random(1).sample(visitors, len(visitors))
    return sorted(visitor.number for visitor in too_many(mixed, room))


def test_the_oldest_unproven_connections_are_closed() -> None:
    assert gone(unproven(range(20))) == []
    assert gone(unproven(range(50))) == list(range(30))


def test_a_connecting_member_gets_in_although_unproven_connections_fill_the_limit() -> None:
    """It is one of those who said nothing yet, at an address of its own or at the strangers'."""
    strangers = [v for k in range(8) for v in unproven(range(100 * k, 100 * k + 50), f"10.0.0.{k}")]
    for address in ("10.0.1.1", "10.0.0.3"):
        member = Visitor(1_000, 3_001, address, 0, None)
        assert 1_000 not in gone([*strangers, member])
        left = len(strangers) + 1 - len(gone([*strangers, member]))
        assert left == ROOM.unproven


def test_the_address_with_most_connections_loses_them_first() -> None:
    few, many = unproven(range(3), "10.0.0.1"), unproven(range(10, 60), "10.0.0.2")
    assert gone([*few, *many]) == list(range(10, 43))
    each = [Visitor(n, 3_001, f"10.1.0.{n}", 0, None) for n in range(60)]
    assert gone(each) == list(range(40)), "if all have one, the oldest"


def test_a_members_connections_are_replaced_only_by_its_own() -> None:
    theirs = [Visitor(n, 3_001, "10.0.0.1", 9, MEMBER) for n in range(MEMBER_CONNECTIONS_MAX)]
    others = [Visitor(n, 3_001, "10.0.0.1", 9, OBSERVER) for n in range(100, 400)]
    assert not set(gone([*theirs, *others, *unproven(range(500, 900))])) & set(range(100))
    newer = Visitor(50, 3_001, "10.0.0.1", 0, MEMBER)
    elsewhere = Visitor(51, 3_101, "10.0.0.1", 0, MEMBER)
    assert gone([*theirs, newer, elsewhere]) == [0]


def test_connected_observers_stay_and_unproven_connections_take_no_place_of_theirs() -> None:
    observers = [Visitor(n, 3_101, f"10.0.0.{n % 5}", 9, OBSERVER) for n in range(10)]
    assert gone([*observers, *unproven(range(100, 120))]) == []
    late = [Visitor(n, 3_101, "10.0.0.7", 0, OBSERVER) for n in range(20, 40)]
    left = {*range(10), *range(20, 40)} - set(gone([*observers, *late]))
    assert Counter(number < 20 for number in left) == {True: 9, False: 1}, "fair by address"


def test_no_address_has_more_than_its_share() -> None:
    room = Room(10_000, 10_000)
    assert len(gone(unproven(range(ADDRESS_CONNECTIONS_MAX + 3)), room)) == 3
    observers = [Visitor(n, 3_101, "10.0.0.1", 9, OBSERVER) for n in range(130)]
    assert gone(observers, room) == [128, 129]


def test_a_connection_without_a_message_is_closed_in_the_end() -> None:
    silent = Visitor(1, 3_001, "10.0.0.1", SILENT_LOOKS_MAX + 1, None)
    assert gone([silent, silent._replace(number=2, looks=SILENT_LOOKS_MAX)]) == [1]
    assert gone([silent._replace(asker=MEMBER), silent._replace(asker=OBSERVER)]) == []
