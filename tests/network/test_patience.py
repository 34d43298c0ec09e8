"""When a connection over which nothing is answered is given up."""

from peer.network.patience import DOUBLINGS_MAX, PROBE_MS, SUSPECT_MS, UNANSWERED_MS, Patience


def given_up_ms(patience: Patience, from_ms: int) -> int:
    """When, if nothing is answered from now on."""
    now_ms = from_ms
    while not patience.is_over(now_ms):
        if patience.wants_probe(now_ms):
            patience.ask(now_ms)
        now_ms += 100
    patience.begin_anew()
    return now_ms


def test_who_never_answers_is_connected_to_ever_more_rarely() -> None:
    patience, now_ms, waits_ms = Patience(), 0, []
    for _ in range(DOUBLINGS_MAX + 3):
        next_ms = given_up_ms(patience, now_ms)
        waits_ms.append(next_ms - now_ms)
        now_ms = next_ms
    longest_ms = UNANSWERED_MS << DOUBLINGS_MAX
    assert waits_ms == [5_000, 10_000, 20_000, longest_ms, longest_ms, longest_ms]
    assert patience.unanswered_ms(now_ms) == now_ms


def test_a_slow_member_is_given_time_enough_and_keeps_it() -> None:
    patience, now_ms, slow_ms = Patience(), 0, 12_000
    renewals = 0
    for _ in range(5):
        patience.ask(now_ms)
        due_ms = now_ms + slow_ms
        while now_ms < due_ms:
            now_ms += 100
            if patience.is_over(now_ms):
                renewals += 1
                patience.begin_anew()
                patience.ask(now_ms)
                due_ms = now_ms + slow_ms
        patience.answered(now_ms)
    assert renewals == 2


def test_one_that_became_quick_is_soon_found_out_again() -> None:
    patience = Patience()
    for now_ms in range(0, 100_000, 20_000):
        patience.ask(now_ms)
        patience.answered(now_ms + 15_000)
    patience.ask(200_000)
    assert not patience.is_over(200_000 + 30_000)
    patience.answered(200_010)
    assert given_up_ms(patience, 200_020) <= 200_020 + PROBE_MS + UNANSWERED_MS


def test_nothing_is_awaited_of_a_member_that_is_not_heard() -> None:
    patience = Patience()
    patience.ask(0)
    patience.forget()
    assert not patience.is_over(10**9)
    assert patience.unanswered_ms(10**9) == 0
    assert patience.wants_probe(10**9), "and asked first of all once it is back"
    patience.ask(10**9)
    assert not patience.is_over(10**9 + SUSPECT_MS - 1)
    assert patience.is_over(10**9 + SUSPECT_MS)
    patience.begin_anew()
    patience.ask(2 * 10**9)
    assert not patience.is_over(2 * 10**9 + UNANSWERED_MS - 1)
    assert patience.is_over(2 * 10**9 + UNANSWERED_MS)
