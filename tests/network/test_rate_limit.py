"""Allowances and turns, on counts and times of the test's own."""

from peer.network.rate_limit import (
    ASKERS_MAX,
    SAVED_US,
    WAITING_PER_ASKER_MAX,
    FairQueue,
    TokenBucket,
)


def test_one_token_for_each_step_is_always_granted() -> None:
    allowance = TokenBucket(2)
    assert all(allowance.take(step) for step in range(1_000))


def test_a_burst_is_followed_by_one_token_for_each_step() -> None:
    allowance = TokenBucket(3)
    assert [allowance.take(7) for _ in range(5)] == [True, True, True, False, False]
    assert [allowance.take(8) for _ in range(2)] == [True, False]
    assert [allowance.take(100) for _ in range(5)] == [True, True, True, False, False]


def test_a_count_that_begins_anew_leaves_nobody_without_tokens() -> None:
    """As the rounds of each epoch do."""
    allowance = TokenBucket(2)
    assert [allowance.take(1_000) for _ in range(3)] == [True, True, False]
    assert all(allowance.take(step) for step in range(100))
    assert [allowance.take(99) for _ in range(2)] == [True, False]


def answered(turns: FairQueue[str], now_us: int, took_us: int) -> tuple[str | None, int]:
    """The next request, and the time once it is answered."""
    request = turns.next(now_us)
    assert turns.next(now_us + took_us) is None, "not right after an answer"
    return request, now_us + took_us


def test_the_asker_with_most_requests_waits_longest_and_delays_no_other() -> None:
    turns: FairQueue[str] = FairQueue(2)
    for n in range(5):
        turns.put("greedy", f"g{n}")
    turns.put("modest", "m0")
    seen, _now_us = [], 0
    while turns.due_us is not None:
        request, _now_us = answered(turns, turns.due_us, 10)
        seen.append(request)
    assert seen == ["g0", "m0", "g1", "g2", "g3", "g4"]


def test_answering_uses_a_bounded_part_of_the_time() -> None:
    turns: FairQueue[int] = FairQueue(10)
    now_us = busy_us = 0
    for n in range(100):
        turns.put("a", n)
        assert turns.due_us is not None
        now_us = max(now_us, turns.due_us)
        assert turns.next(now_us) == n
        now_us, busy_us = now_us + 7, busy_us + 7
        turns.next(now_us)
    assert turns.due_us is None
    assert busy_us * 10 <= now_us + 9 * 7


def test_after_a_long_turn_several_requests_are_answered_but_not_for_long() -> None:
    """Those that came during it. A time without requests counts for little."""
    turns: FairQueue[int] = FairQueue(2)
    began_us = now_us = 1_000 * SAVED_US
    for n in range(WAITING_PER_ASKER_MAX):
        turns.put("late", n)
    count = 0
    while turns.next(now_us) is not None:
        now_us, count = now_us + 1_000, count + 1
    assert 1 < count < WAITING_PER_ASKER_MAX
    assert now_us - began_us <= SAVED_US + 1_000
    assert turns.due_us is not None
    assert now_us < turns.due_us <= now_us + 1_000, "then half of the time, as before"


def test_waiting_requests_are_bounded_and_dropped_ones_counted() -> None:
    turns: FairQueue[int] = FairQueue(2)
    for n in range(WAITING_PER_ASKER_MAX + 5):
        turns.put("greedy", n)
    assert turns.dropped == 5
    for n in range(ASKERS_MAX + 5):
        turns.put(f"asker {n}", n)
    assert turns.dropped == 5 + 6
