"""Who is deaf, and whether there is a quorum, as members say whom they hear."""

import pytest

from peer.consensus.committee import Committee, Mode
from peer.network.addresses import ALIVE_MS
from peer.node.hearing import DEAF_MS, Deaf, Hearing

ALL = (True,) * 5


def five(me: int | None = 0) -> Hearing:
    return Hearing(Committee(bytes(16), 5, Mode.CRASH), me)


def hears(*members: int) -> tuple[bool, ...]:
    return tuple(number in members for number in range(5))


TOO_FEW = "is deaf: it sends, but hears too few members for a quorum"
NOT_US = "does not hear this peer, though this peer hears it"


@pytest.mark.parametrize(
    ("heard", "quorum"),
    [
        ({}, False),
        ({1: ALL}, False),
        ({1: ALL, 2: ALL}, True),
        ({1: ALL, 2: hears(0, 2)}, True),
        ({1: ALL, 2: hears(1, 2)}, False),
        ({1: ALL, 2: hears(1, 2), 3: ALL}, True),
        ({1: hears(1), 2: hears(2), 3: hears(3), 4: hears(4)}, False),
    ],
)
def test_only_members_heard_in_both_directions_count_for_a_quorum(
    heard: dict[int, tuple[bool, ...]], quorum: bool
) -> None:
    assert quorum_of(five(), heard) is quorum


def quorum_of(hearing: Hearing, heard: dict[int, tuple[bool, ...]], running: bool = True) -> bool:
    for member, hears in heard.items():
        hearing.hear(member, hears, 0)
    return hearing.has_quorum(heard, 0, running)


def test_a_single_report_of_not_being_heard_does_not_count() -> None:
    hearing, heard = five(), {1: ALL, 2: ALL}
    assert quorum_of(hearing, heard)
    for member in heard:
        hearing.hear(member, hears(1, 2), 10)
    assert hearing.has_quorum(heard, ALIVE_MS - 1, running=True)
    assert not hearing.has_quorum(heard, ALIVE_MS, running=True)


def test_a_halted_peer_and_an_observer_do_not_count_themselves() -> None:
    assert not quorum_of(five(), {1: ALL, 2: ALL}, running=False)
    assert quorum_of(five(), {1: ALL, 2: ALL, 3: ALL}, running=False)
    assert not quorum_of(five(None), {1: ALL, 2: ALL})
    assert quorum_of(five(None), {1: hears(1), 2: hears(2), 3: hears(3)})


def test_a_member_that_hears_too_few_is_deaf_after_a_while_until_it_hears_again() -> None:
    hearing = five()
    deaf = {1: ALL, 2: ALL, 3: hears(3, 0)}
    assert hearing.deaf(deaf, 0) == []
    assert hearing.deaf(deaf, DEAF_MS - 1) == []
    assert hearing.deaf(deaf, DEAF_MS) == [Deaf(3, TOO_FEW)]
    assert hearing.deaf({1: ALL, 2: ALL, 3: ALL}, DEAF_MS + 1) == []
    assert hearing.deaf(deaf, DEAF_MS + 2) == [], "anew"


def test_a_member_that_does_not_hear_only_this_peer_is_reported_too() -> None:
    hearing = five()
    heard = {1: ALL, 2: hears(1, 2, 3)}
    hearing.deaf(heard, 0)
    assert hearing.deaf(heard, DEAF_MS) == [Deaf(2, NOT_US)]


def test_a_dead_member_or_one_with_too_few_live_members_is_not_deaf() -> None:
    hearing = five()
    few = {1: hears(0, 1)}  # three of five are down
    for now_ms in (0, DEAF_MS, 2 * DEAF_MS):
        assert hearing.deaf(few, now_ms) == []
    deaf = {1: ALL, 2: ALL, 3: hears(3)}
    hearing.deaf(deaf, 0)
    assert hearing.deaf({1: ALL, 2: ALL}, DEAF_MS) == []


def test_an_observer_reports_deaf_members_but_not_for_itself() -> None:
    hearing = five(None)
    heard = {1: hears(1, 2, 3), 2: hears(1, 2, 3), 3: hears(3)}
    hearing.deaf(heard, 0)
    assert hearing.deaf(heard, DEAF_MS) == [Deaf(3, TOO_FEW)]


def test_who_hears_this_peer_is_known_in_the_next_epoch_too() -> None:
    """Else an epoch's first quarter of a second would seem to be without a quorum."""
    before = Hearing(Committee(bytes(16), 3, Mode.CRASH), 0)
    before.hear(2, (True, True, True), 1_000)
    after = before.after(Committee(bytes(16), 3, Mode.CRASH), 0, {0: 0, 2: 1})
    assert after.has_quorum([1], 1_100, running=True)
    assert not after.has_quorum([2], 1_100, running=True), "a new member has not said so yet"
