"""When a connection over which nothing is answered is given up."""

from peer.network.answer_timeout import (
    DOUBLINGS_MAX,
    PROBE_MS,
    SUSPECT_MS,
    UNANSWERED_MS,
    AnswerTimeout,
)


def given_up_ms(timeout: AnswerTimeout, from_ms: int) -> int:
    """When, if nothing is answered from now on."""
    now_ms = from_ms
    while not timeout.is_over(now_ms):
        if timeout.wants_probe(now_ms):
            timeout.ask(now_ms)
        now_ms += 100
    timeout.begin_anew()
    return now_ms


def test_reconnects_to_a_member_that_never_answers_back_off() -> None:
    timeout, now_ms, waits_ms = AnswerTimeout(), 0, []
    for _ in range(DOUBLINGS_MAX + 3):
        next_ms = given_up_ms(timeout, now_ms)
        waits_ms.append(next_ms - now_ms)
        now_ms = next_ms
    longest_ms = UNANSWERED_MS << DOUBLINGS_MAX
    assert waits_ms == [5_000, 10_000, 20_000, longest_ms, longest_ms, longest_ms]
    assert timeout.unanswered_ms(now_ms) == now_ms


def test_a_slow_member_gets_a_longer_timeout_and_keeps_it() -> None:
    timeout, now_ms, slow_ms = AnswerTimeout(), 0, 12_000
    renewals = 0
    for _ in range(5):
        timeout.ask(now_ms)
        due_ms = now_ms + slow_ms
        while now_ms < due_ms:
            now_ms += 100
            if timeout.is_over(now_ms):
                renewals += 1
                timeout.begin_anew()
                timeout.ask(now_ms)
                due_ms = now_ms + slow_ms
        timeout.answered(now_ms)
    assert renewals == 2


def test_a_member_that_became_fast_gets_a_short_timeout_again() -> None:
    timeout = AnswerTimeout()
    for now_ms in range(0, 100_000, 20_000):
        timeout.ask(now_ms)
        timeout.answered(now_ms + 15_000)
    timeout.ask(200_000)
    assert not timeout.is_over(200_000 + 30_000)
    timeout.answered(200_010)
    assert given_up_ms(timeout, 200_020) <= 200_020 + PROBE_MS + UNANSWERED_MS


def test_no_answer_is_expected_of_a_member_that_is_not_heard() -> None:
    timeout = AnswerTimeout()
    timeout.ask(0)
    timeout.forget()
    assert not timeout.is_over(10**9)
    assert timeout.unanswered_ms(10**9) == 0
    assert timeout.wants_probe(10**9), "and asked first of all once it is back"
    timeout.ask(10**9)
    assert not timeout.is_over(10**9 + SUSPECT_MS - 1)
    assert timeout.is_over(10**9 + SUSPECT_MS)
    timeout.begin_anew()
    timeout.ask(2 * 10**9)
    assert not timeout.is_over(2 * 10**9 + UNANSWERED_MS - 1)
    assert timeout.is_over(2 * 10**9 + UNANSWERED_MS)
