"""Discovery's rules as scripts: answers of the grapes with their times, and the events."""

import random

import pytest

from discovery.grape import Address, BadInputError
from discovery.service_tracker import (
    CROWD_MIN,
    NAMES_MAX,
    RETRY_S_MAX,
    Announced,
    AnnounceRefused,
    Event,
    Found,
    GrapeFound,
    GrapeLost,
    ServiceTracker,
    Timing,
)

GRAPE = "http://grape"
A, B = (Address("10.0.0.1", port) for port in (1, 2))
CROWD = [Address("10.9.9.9", port) for port in range(1, 1 + CROWD_MIN)]
STEADY = Timing(jitter=0.0)


def tracker(
    *watch: str, own: tuple[str, int] | None = ("me", 3001), at_s: float = 0.0
) -> ServiceTracker:
    return ServiceTracker(GRAPE, own, watch, STEADY, random.Random(1), at_s)


def answering(*watch: str, own: tuple[str, int] | None = ("me", 3001)) -> ServiceTracker:
    """A tracker that has announced at 0 s."""
    new = tracker(*watch, own=own)
    if own:
        assert new.announced(2, 0.0) == [GrapeFound(GRAPE), Announced(GRAPE, "me", 2)]
    return new


def waits(quiet: ServiceTracker, name: str, addresses: list[Address], count: int) -> list[float]:
    """The waits between lookups with equal answers."""
    result = []
    now_s = 0.0
    for _ in range(count):
        quiet.found(name, addresses, now_s)
        quiet.check()
        result.append(round(quiet.next_due_s() - now_s, 3))
        now_s = quiet.next_due_s()
    return result


def test_everything_is_due_at_the_start() -> None:
    new = tracker("a", at_s=100.0)
    assert new.announce_due(100.0)
    assert new.lookup_due(100.0) == "a"
    assert not new.announce_due(99.9)
    assert new.lookup_due(99.9) is None
    assert new.next_due_s() == 100.0


def test_nothing_to_do() -> None:
    idle = tracker(own=None)
    assert idle.next_due_s() == float("inf")
    assert not idle.announce_due(1e9)
    assert idle.lookup_due(1e9) is None


def test_announcing_is_repeated_but_reported_once() -> None:
    r = tracker()
    assert r.announced(2, 0.0) == [GrapeFound(GRAPE), Announced(GRAPE, "me", 2)]
    assert r.next_due_s() == 30.0
    assert r.announced(1, 30.0) == []
    assert r.next_due_s() == 60.0


def test_the_addresses_of_every_lookup_are_handed_on() -> None:
    r = answering("a")
    assert r.found("a", [A, B], 1.0) == [Found("a", (A, B))]
    assert r.found("a", [A, B], 2.0) == [Found("a", (A, B))]


def test_a_missing_address_means_nothing() -> None:
    r = answering("a")
    r.found("a", [A, B], 0.0)
    assert r.found("a", [A], 1.0) == [Found("a", (A,))]
    assert r.found("a", [], 1_000.0) == []


def test_a_name_without_address_is_looked_up_often() -> None:
    assert waits(answering("a", own=None), "a", [], 8) == [
        *(0.3, 0.45, 0.675, 1.013, 1.519),
        *(2.0, 2.0, 2.0),
    ]


def test_a_name_with_an_address_is_looked_up_less_and_less_often() -> None:
    quiet = answering("a", own=None)
    first, *_, last = waits(quiet, "a", [A], 12)
    assert (first, last) == (0.3, 10.0)


def test_a_crowded_name_is_looked_up_often_since_a_lookup_shows_a_part() -> None:
    *_, last = waits(answering("a", own=None), "a", CROWD, 12)
    assert last == 2.0
    *_, last = waits(answering("a", own=None), "a", CROWD[1:], 12)
    assert last == 10.0


def test_losing_the_last_address_makes_lookups_frequent_and_announces_at_once() -> None:
    r = answering("a")
    waits(r, "a", [A], 12)
    r.announced(2, 100.0)
    assert r.found("a", [], 101.0) == []
    assert r.announce_due(101.0), "a grape that restarted may have forgotten us as well"
    r.announced(2, 101.0)
    assert r.next_due_s() - 101.0 <= STEADY.search_s_max
    r.found("a", [], 102.0)
    assert not r.announce_due(102.0), "once is enough"


def test_the_most_overdue_name_is_looked_up_first() -> None:
    r = answering("a", "b", own=None)
    r.found("a", [], 0.0)
    r.found("b", [], 0.1)
    assert r.lookup_due(0.2) is None
    assert r.lookup_due(5.0) == "a"
    r.found("a", [], 5.0)
    assert r.lookup_due(5.0) == "b"


def test_lost_and_found_are_reported_once() -> None:
    r = answering("a")
    assert r.failed("why", 1.0) == [GrapeLost(GRAPE, "why")]
    assert r.failed("why else", 2.0) == []
    assert r.found("a", [A], 3.0) == [GrapeFound(GRAPE), Found("a", (A,))]
    assert r.announce_due(3.0), "the grape may be a new one"
    assert r.announced(1, 3.0) == [Announced(GRAPE, "me", 1)]


def test_never_found_is_lost_too() -> None:
    r = tracker("a")
    assert r.failed("why", 0.0) == [GrapeLost(GRAPE, "why")]
    assert r.announced(2, 1.0) == [GrapeFound(GRAPE), Announced(GRAPE, "me", 2)]
    assert r.lookup_due(1.0) == "a"


def test_failures_are_retried_less_and_less_often() -> None:
    r = tracker("a", "b")
    now_s, pauses = 0.0, []
    for _ in range(12):
        r.failed("why", now_s)
        r.check()
        pauses.append(round(r.next_due_s() - now_s, 3))
        now_s = r.next_due_s()
    assert pauses[:3] == [0.3, 0.45, 0.675]
    assert pauses[-1] == RETRY_S_MAX
    r.announced(2, now_s)
    r.failed("why", now_s + 1)
    assert r.next_due_s() - now_s > RETRY_S_MAX, "an answer in between does not make it hasty"
    r.failed("why", now_s + 100)
    assert round(r.next_due_s() - now_s, 3) == 100.3


def test_a_refused_announcement_is_repeated_and_lookups_go_on() -> None:
    r = tracker("a")
    assert r.refused("No nodes to query", 0.0) == [
        GrapeFound(GRAPE),
        AnnounceRefused(GRAPE, "me", "No nodes to query"),
    ]
    assert r.found("a", [A], 0.1) == [Found("a", (A,))]
    now_s = 0.3
    for _ in range(12):
        assert r.announce_due(now_s)
        assert r.refused("All queries failed", now_s) == []
        r.check()
        now_s += RETRY_S_MAX
    assert r.announced(1, now_s) == [Announced(GRAPE, "me", 1)]
    assert r.refused("again", now_s + 30) == [AnnounceRefused(GRAPE, "me", "again")]


def test_waits_are_jittered_both_ways() -> None:
    r = ServiceTracker(GRAPE, ("me", 1), (), Timing(jitter=0.2), random.Random(1), 0.0)
    seen = []
    for _ in range(200):
        r.announced(1, 0.0)
        seen.append(r.next_due_s())
    assert 24.0 <= min(seen) < 25.0
    assert 35.0 < max(seen) <= 36.0


@pytest.mark.parametrize("seed", range(20))
def test_a_random_history_keeps_the_rules(seed: int) -> None:
    rng = random.Random(seed)
    r = ServiceTracker(GRAPE, ("me", 1), ["a", "b"], Timing(), rng, 0.0)
    now_s = 0.0
    told: bool | None = None
    for _ in range(2_000):
        now_s += rng.choice([0.0, 0.1, 3.0])
        for event in random_step(r, rng, now_s):
            match event:
                case GrapeFound() | GrapeLost():
                    assert isinstance(event, GrapeFound) is not told, "each once"
                    told = isinstance(event, GrapeFound)
                case Found(_, addresses):
                    assert addresses
        r.check()
        assert r.next_due_s() <= now_s + 1.2 * 30.0


def random_step(r: ServiceTracker, rng: random.Random, now_s: float) -> list[Event]:
    match rng.randrange(8):
        case 0:
            return r.failed("why", now_s)
        case 1:
            return r.announced(1, now_s)
        case 2:
            return r.refused("why", now_s)
        case _:
            return r.found(rng.choice("ab"), CROWD[: rng.choice([0, 1, 50, 100])], now_s)


@pytest.mark.parametrize(
    "wrong",
    [
        {"search_s": 0.0},
        {"search_s": 3.0},
        {"search_s_max": 11.0},
        {"announce_s": 0.0},
        {"jitter": 1.0},
        {"jitter": -0.1},
    ],
)
def test_timings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        Timing(**wrong)


def test_names_are_checked() -> None:
    with pytest.raises(BadInputError):
        tracker("")
    with pytest.raises(BadInputError):
        tracker(own=("", 1))
    with pytest.raises(BadInputError):
        tracker(own=("me", 0))
    with pytest.raises(BadInputError):
        tracker(*(f"n{number}" for number in range(NAMES_MAX + 1)))
    with pytest.raises(BadInputError):
        ServiceTracker(GRAPE, None, "one name", STEADY, random.Random(1), 0.0)
