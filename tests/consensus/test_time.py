"""The ordered clock and what moves it: members' clocks, pauses, and due events."""

import pytest

from peer.consensus.clock import ordered_time_ms
from peer.consensus.committee import Committee, Mode
from peer.consensus.core import Consensus, Timing
from peer.consensus.due import PAUSE_MS, PAUSE_MS_MAX, Due
from peer.consensus.start import Start
from peer.node.clocks import CLOCK_AGE_MS_MAX, SKEW_MS_MAX, SKEW_SEEN_MS, Clocks

WALL_MS = 1_700_000_000_000
DAY_MS = 86_400_000
WAIT_MS = 3_000
WAVE = 2  # rounds, in crash mode


def committee(size: int, mode: Mode = Mode.CRASH) -> Committee:
    return Committee(b"m" * 16, size, mode)


@pytest.mark.parametrize("size", range(1, 26))
def test_a_minority_of_clocks_does_not_move_the_ordered_clock(size: int) -> None:
    """ORDER-20."""
    wrong = (size - 1) // 2
    right = [WALL_MS + n for n in range(size - wrong)]
    for by_ms in (-WALL_MS, -DAY_MS, DAY_MS, 365 * DAY_MS):
        assert ordered_time_ms([WALL_MS + by_ms] * wrong + right) in right


# Clocks


def test_a_clock_is_reported_as_wrong_only_if_it_stays_wrong() -> None:
    """ORDER-24."""
    clocks = Clocks(3, 0)

    def off(ahead_ms: int, now_ms: int) -> dict[int, int]:
        clocks.hear(1, WALL_MS + now_ms + ahead_ms, now_ms)
        clocks.hear(2, WALL_MS + now_ms, now_ms)
        return clocks.off(now_ms, WALL_MS + now_ms)

    late_ms = SKEW_MS_MAX + 1
    assert off(late_ms, 0) == {}
    assert off(late_ms, SKEW_SEEN_MS - 1) == {}
    assert off(late_ms, SKEW_SEEN_MS) == {1: late_ms}
    assert off(0, SKEW_SEEN_MS) == {}
    assert off(-late_ms, 2 * SKEW_SEEN_MS) == {}, "it starts again"
    assert off(-late_ms, 3 * SKEW_SEEN_MS) == {1: -late_ms}


def test_a_silent_member_has_no_clock_and_does_not_move_the_ordered_one() -> None:
    clocks = Clocks(3, 0)
    assert clocks.ordered_ms(0, WALL_MS) == 0, "one of three alone moves nothing"
    clocks.hear(1, WALL_MS + 50, 0)
    assert clocks.ordered_ms(0, WALL_MS) == WALL_MS
    later_ms = CLOCK_AGE_MS_MAX - 1
    assert clocks.ordered_ms(later_ms, WALL_MS + DAY_MS) == WALL_MS + 50 + later_ms
    assert clocks.ordered_ms(CLOCK_AGE_MS_MAX, WALL_MS) == 0
    assert clocks.off(CLOCK_AGE_MS_MAX, WALL_MS) == {}
    assert Clocks(3, None).off(0, WALL_MS) == {}, "a follower without members"


# Due events


def test_a_due_event_moves_a_few_rounds_and_then_less_and_less_often() -> None:
    """ORDER-23."""
    due = Due(WAVE)
    assert not due.wants(7, 0, False)
    assert [due.wants(round_, 0, True) for round_ in range(7, 13)] == [True] * 4 + [False] * 2
    attempts, next_round = [], 11
    for now_ms in range(0, 40_000, 100):
        if due.wants(next_round, now_ms, True):
            attempts.append(now_ms)
            while due.wants(next_round, now_ms, True):
                next_round += 1
    gaps = [later - sooner for sooner, later in zip([0, *attempts], attempts, strict=False)]
    assert gaps[:5] == [PAUSE_MS, 2 * PAUSE_MS, 4 * PAUSE_MS, 8 * PAUSE_MS, PAUSE_MS_MAX]


def test_a_past_event_makes_no_rounds_and_the_next_is_not_late() -> None:
    """ORDER-23."""
    due = Due(WAVE)
    for now_ms in (0, PAUSE_MS, 3 * PAUSE_MS):
        assert due.wants(7, now_ms, True)
    assert not due.wants(7, 3 * PAUSE_MS, False)
    assert due.wants(50, 3 * PAUSE_MS + 1, True)


# After a pause


def alone() -> Consensus:
    return Consensus(committee(1), 0, lambda _: bytes(64), Timing(fresh_ms=1_000))


def propose(consensus: Consensus, now_ms: int) -> bool:
    """Make a block for waiting commands; returns whether it may carry them."""
    place = consensus.proposal(now_ms, True)
    assert place is not None
    consensus.propose(place.round, b"c" if place.carries else b"", now_ms)
    return place.carries


def test_a_silent_member_announces_the_time_before_it_sends_commands() -> None:
    """ORDER-22."""
    consensus = alone()
    at_ms = (0, 1, 1_001, 2_002, 2_003, 9 * DAY_MS, 9 * DAY_MS + 1)
    assert [propose(consensus, now_ms) for now_ms in at_ms] == [
        *(False, True, True),
        *(False, True),
        *(False, True),
    ]


def test_slow_rounds_do_not_stop_commands() -> None:
    """ORDER-22."""
    consensus = alone()
    sent = [propose(consensus, now_ms) for now_ms in range(0, 60_000, 5_000)]
    assert sent == [False, False, False, True] * 3


def test_a_corrected_clock_shows_in_the_next_block() -> None:
    """ORDER-21."""
    consensus = alone()
    consensus.proposal(0, True)
    assert consensus.propose(1, b"", 0, time_ms=WALL_MS + DAY_MS).time_ms == WALL_MS + DAY_MS
    assert consensus.propose(2, b"", 1, time_ms=WALL_MS).time_ms == WALL_MS


# After a start


def test_a_member_is_silent_until_a_quorum_knows_nothing_newer_of_it() -> None:
    """ORDER-25."""
    start = Start(committee(5), WAIT_MS)
    start.hear(1, 7, own=7)
    assert not start.is_over(0)
    start.hear(2, 6, own=7)
    assert not start.is_over(10)
    assert start.due_ms == 10 + WAIT_MS
    assert not start.is_over(9 + WAIT_MS)
    assert start.is_over(10 + WAIT_MS), "the others may be dead"
    start.hear(1, 9, own=7)
    assert start.is_over(10 + WAIT_MS), "it has begun to speak"


def test_a_start_waits_no_longer_once_all_members_are_heard() -> None:
    """ORDER-25."""
    start = Start(committee(3), WAIT_MS)
    start.hear(1, 0, own=0)
    assert not start.is_over(0)
    start.hear(2, 0, own=0)
    assert start.is_over(0)
    assert Start(committee(1), WAIT_MS).is_over(0)


def test_in_crash_mode_a_member_that_claims_to_know_more_gets_time_to_prove_it() -> None:
    """ORDER-25, ORDER-26."""
    start = Start(committee(3), WAIT_MS)
    start.hear(1, 7, own=7)
    start.hear(2, 8, own=7)
    assert not start.is_over(0)
    assert not start.is_over(WAIT_MS - 1)
    assert start.is_over(WAIT_MS), "without its block it may be wrong"


def test_a_member_stays_silent_if_too_many_claim_to_know_more() -> None:
    """ORDER-25."""
    start = Start(committee(3), WAIT_MS)
    for now_ms in (0, 10 * WAIT_MS):
        start.hear(1, 8, own=7)
        start.hear(2, 8, own=7)
        assert not start.is_over(now_ms)
    assert start.due_ms is None


def test_in_byzantine_mode_a_claim_alone_keeps_no_member_silent() -> None:
    """ORDER-26."""
    start = Start(committee(4, Mode.BYZANTINE), WAIT_MS)
    start.hear(1, 99, own=7)
    start.hear(2, 7, own=7)
    assert not start.is_over(WAIT_MS), "the claim does not count towards the quorum"
    start.hear(3, 7, own=7)
    assert start.is_over(WAIT_MS)


def test_a_follower_is_told_by_all_members_and_then_may_speak_once_it_has_a_seat() -> None:
    """ORDER-25: it does not count itself."""
    start = Start(committee(3), WAIT_MS, is_member=False)
    start.hear(0, 0, 0)
    assert not start.is_over(0)
    start.hear(1, 0, 0)
    assert not start.is_over(0), "the third may be the only one in a later epoch"
    assert not start.is_over(WAIT_MS - 1)
    assert start.is_over(WAIT_MS)
    prompt = Start(committee(3), WAIT_MS, is_member=False)
    for member in range(3):
        prompt.hear(member, 0, 0)
    assert prompt.is_over(0)
