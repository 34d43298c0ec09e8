"""Token buckets, on a clock of the test's own."""

from web.auth.rate_limits import NAMES_MAX, Limiter


def test_a_burst_and_then_a_rate() -> None:
    now = [0.0]
    limiter = Limiter(10, 3, lambda: now[0])
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == 0.1
    assert limiter.take("b") == 0, "others have a bucket of their own"
    now[0] = 0.1
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    now[0] = 99
    assert [limiter.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_a_cost_above_the_burst_waits_for_a_full_bucket() -> None:
    now = [0.0]
    limiter = Limiter(1, 10, lambda: now[0])
    assert limiter.take("a", 30) == 0
    assert limiter.take("a", 1) == 21, "and is paid for afterwards"


def test_the_table_is_bounded() -> None:
    limiter = Limiter(1, 1, lambda: 0.0)
    for n in range(NAMES_MAX + 10):
        assert limiter.take(str(n)) == 0
    assert len(limiter._buckets) == NAMES_MAX
    assert limiter.take(str(NAMES_MAX + 9)) == 1
