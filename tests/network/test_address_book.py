"""Where a member is looked for, as pure rules: thousands of lies in, one true address found.

Time is the test's own. Nobody answers anywhere but where `Sought` says so.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from discovery.grape import Address
from peer.network.addresses import (
    ALIVE_MS,
    FORGET_AFTER,
    GIVEN_MAX,
    HEAD_START_MS,
    HEARD_MAX,
    KNOWN_AT_ONCE,
    KNOWN_TRY_MS,
    LOOK_MS,
    OPEN_MAX,
    PROVEN_MAX,
    RETRY_EVERY,
    UNPROVEN_AT_ONCE,
    UNPROVEN_MAX,
    UNPROVEN_TRY_MS,
    AddressBook,
    read_address,
)

STEP_MS = 100
TRUE = Address("10.0.0.1", 3001)
LOOKUP_MAX = 100  # addresses a Grape returns


def fake(number: int, host: str = "10.6.6.6") -> Address:
    return Address(host, 1024 + number)


def elsewhere(number: int) -> Address:
    """A fake on a host of its own."""
    return Address(f"10.7.{number // 250}.{number % 250}", 666)


class Sought:
    """A book, and a world in which its member answers at `at`."""

    def __init__(self, *at: Address, seed: int = 1) -> None:
        self.at = set(at)
        self.book = AddressBook(random.Random(seed))
        self.rng = random.Random(seed)
        self.now_ms = 0
        self.open: dict[Address, bool] = {}
        self.tries: list[tuple[int, Address]] = []
        self.working: set[Address] = set()  # heard in the last step
        self.lately: dict[Address, int] = {}  # and when each was heard last

    def step(self) -> None:
        turn = self.book.turn(self.now_ms)
        for address in turn.close:
            if address in self.working:
                others = [t for one, t in self.lately.items() if one != address]
                alive = [t for t in others if self.now_ms - t < ALIVE_MS]
                assert len(alive) >= HEARD_MAX, "a working link was closed"
            self.lately.pop(address, None)
            del self.open[address]
        for address, lasting in turn.connect:
            assert address not in self.open
            self.open[address] = lasting
            self.tries.append((self.now_ms, address))
        self.working = self.at & self.open.keys()
        for address in sorted(self.working):
            self.book.hear(address, self.now_ms)
            self.lately[address] = self.now_ms
        self.book.check()
        assert len(self.open) <= OPEN_MAX
        self.now_ms += STEP_MS

    @property
    def heard(self) -> bool:
        return bool(self.working)

    def run(self, ms: int, lookup: Callable[[], list[Address]] | None = None) -> None:
        """For so long, with a lookup every two seconds."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            if lookup is not None and self.now_ms % 2_000 == 0:
                self.book.find(lookup())
            self.step()

    def until_heard(self, ms_max: int, lookup: Callable[[], list[Address]] | None = None) -> int:
        began_ms = self.now_ms
        while not self.heard:
            assert self.now_ms - began_ms <= ms_max, f"not found among {len(self.tries)} tries"
            self.run(STEP_MS, lookup)
        return self.now_ms - began_ms


@pytest.mark.parametrize("seed", range(40))
def test_99_false_addresses_do_not_hide_the_true_one(seed: int) -> None:
    """A full pass, while every fourth turn is a second one of those that were in vain."""
    sought = Sought(TRUE, seed=seed)
    addresses = [fake(n, TRUE.host) for n in range(LOOKUP_MAX - 1)] + [TRUE]
    sought.rng.shuffle(addresses)
    turns = -(-LOOKUP_MAX * RETRY_EVERY // (RETRY_EVERY - 1))
    passes = -(-turns // UNPROVEN_AT_ONCE)
    sought.until_heard(passes * (UNPROVEN_TRY_MS + LOOK_MS), lambda: addresses)


@pytest.mark.parametrize("fakes", [1_000, 10_000])
@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_addresses_of_one_host_count_as_one(fakes: int, seed: int) -> None:
    """Who announces can do it for its own host only: the true one has every other turn, once a
    lookup has shown it at all."""
    sought = Sought(TRUE, seed=seed)
    crowd = [fake(n) for n in range(fakes)]

    def lookup() -> list[Address]:
        return sought.rng.sample(crowd, LOOKUP_MAX - 1)

    sought.run(60_000, lookup)
    sought.until_heard(3 * UNPROVEN_TRY_MS, lambda: [*lookup(), TRUE])


@pytest.mark.parametrize("seed", range(3))
def test_ever_new_false_addresses_starve_no_true_one(seed: int) -> None:
    """A lookup shows the true one now and then only. Once it waits, nothing pushes it out."""
    sought = Sought(TRUE, seed=seed)
    count = iter(range(10**9))

    def lookup() -> list[Address]:
        addresses = [elsewhere(next(count)) for _ in range(LOOKUP_MAX - 1)]
        return [*addresses, TRUE if sought.rng.random() < 0.3 else elsewhere(next(count))]

    sought.run(60_000, lookup)
    sought.until_heard(3_600_000, lookup)


def test_a_waiting_address_is_tried_despite_later_ones() -> None:
    count = iter(range(10**9))
    sought = Sought(TRUE)
    sought.book.find([TRUE, *(elsewhere(next(count)) for _ in range(LOOKUP_MAX))])
    turns = LOOKUP_MAX * RETRY_EVERY // (RETRY_EVERY - 1) + 2
    passes = -(-turns // UNPROVEN_AT_ONCE)
    ms_max = passes * (UNPROVEN_TRY_MS + LOOK_MS)
    sought.until_heard(ms_max, lambda: [elsewhere(next(count)) for _ in range(LOOKUP_MAX)])


def test_an_address_that_failed_once_is_tried_again() -> None:
    sought = Sought()
    crowd = [elsewhere(n) for n in range(100)]
    sought.run(60_000, lambda: [TRUE, *crowd])
    tries = [address for _, address in sought.tries].count(TRUE)
    assert tries > 1
    sought.at.add(TRUE)
    sought.until_heard(60_000)


def test_unproven_addresses_expire_unless_no_lookup_works() -> None:
    crowd = [fake(n) for n in range(20)]
    sought = Sought()
    sought.run(10_000, lambda: crowd)
    sought.run(3_600_000)
    sought.tries.clear()
    sought.run(60_000)
    assert {address for _, address in sought.tries} == set(crowd), "the Grapes may be gone"
    sought.run(2_000 * FORGET_AFTER, lambda: [TRUE])
    sought.run(30_000, lambda: [TRUE])
    sought.tries.clear()
    sought.run(60_000, lambda: [TRUE])
    assert {address for _, address in sought.tries} == {TRUE}


def test_each_of_a_few_unproven_addresses_is_retried() -> None:
    sought = Sought()
    crowd = [fake(n) for n in range(40)]
    sought.run(60_000, lambda: crowd)
    tries = Counter(address for _, address in sought.tries)
    assert set(tries) == set(crowd)
    assert min(tries.values()) >= 4


@pytest.mark.parametrize("hosts", [1, 3, 1_000])
def test_whatever_is_announced_few_connections_are_made(hosts: int) -> None:
    """So a flood of announcements is no way to flood somebody else."""
    sought = Sought()
    for n in range(PROVEN_MAX):
        sought.book.tell(Address("10.0.0.9", 1 + n))
    count = iter(range(10**9))

    def lookup() -> list[Address]:
        return [Address(f"10.8.{(n := next(count)) % hosts}.1", n % 60_000 + 1) for _ in range(500)]

    sought.run(120_000, lookup)
    for start_ms in range(0, 110_000, 1_000):
        window = [t for t, _ in sought.tries if start_ms <= t < start_ms + UNPROVEN_TRY_MS]
        assert len(window) <= UNPROVEN_AT_ONCE + KNOWN_AT_ONCE
    unproven = [address for _, address in sought.tries if address.host.startswith("10.8.")]
    assert len(unproven) <= 4 * 120 + UNPROVEN_AT_ONCE, "four a second"
    waiting = len(sought.book._new) + len(sought.book._tried)
    assert UNPROVEN_MAX < waiting <= 2 * UNPROVEN_MAX


def test_a_working_link_outlives_every_lookup() -> None:
    sought = Sought(TRUE)
    sought.book.find([TRUE])
    sought.until_heard(1_000)
    count = iter(range(10**9))
    sought.run(300_000, lambda: [elsewhere(next(count)) for _ in range(LOOKUP_MAX)])
    assert list(sought.open) == [TRUE]
    assert [address for _, address in sought.tries] == [TRUE], "nothing else is tried either"
    sought.run(600_000, list)
    assert list(sought.open) == [TRUE]


def test_a_link_outlives_a_pause_of_this_peer() -> None:
    """What others said meanwhile waits in the socket."""
    sought = Sought(TRUE)
    sought.book.find([TRUE])
    sought.until_heard(1_000)
    for _ in range(10):
        sought.now_ms += 60_000
        sought.step()
    assert [address for _, address in sought.tries] == [TRUE]


def test_proven_addresses_are_tried_first_and_alone_for_a_while() -> None:
    sought = Sought()
    sought.book.remember([fake(1), fake(2)])
    sought.book.find([fake(n) for n in range(3, 60)])
    sought.run(HEAD_START_MS)
    assert [address for _, address in sought.tries] == [fake(1), fake(2)]
    sought.run(LOOK_MS)
    assert len(sought.open) == 2 + UNPROVEN_AT_ONCE


def test_a_new_address_is_found_while_the_proven_ones_are_dead() -> None:
    sought = Sought(TRUE)
    sought.book.remember([elsewhere(n) for n in range(PROVEN_MAX)])
    for n in range(GIVEN_MAX):
        sought.book.give(fake(n))
    sought.until_heard(HEAD_START_MS + UNPROVEN_TRY_MS, lambda: [TRUE])


def test_all_known_addresses_have_their_turn() -> None:
    old = elsewhere(PROVEN_MAX - 1)
    sought = Sought(old)
    sought.book.remember([elsewhere(n) for n in range(PROVEN_MAX)])
    for n in range(GIVEN_MAX):
        sought.book.give(fake(n))
    rounds = -(-(PROVEN_MAX + GIVEN_MAX) // KNOWN_AT_ONCE)
    sought.until_heard(rounds * (KNOWN_TRY_MS + LOOK_MS))


def test_an_address_from_the_member_itself_is_tried_at_once() -> None:
    sought = Sought(fake(0))
    sought.book.find([fake(0)])
    sought.until_heard(1_000)
    count = iter(range(10**9))
    sought.at = {TRUE}  # it was restarted at another port, in the midst of a flood
    sought.run(20_000, lambda: [elsewhere(next(count)) for _ in range(LOOKUP_MAX)])
    sought.book.tell(fake(7))
    sought.book.tell(TRUE)  # its last word
    assert sought.until_heard(1_000) <= LOOK_MS
    assert sought.book.remembered == [TRUE, fake(0)]


def test_a_silent_connection_is_replaced_and_kept_if_it_works() -> None:
    sought = Sought(TRUE)
    sought.book.give(TRUE)
    sought.until_heard(1_000)
    sought.at.clear()
    sought.run(3 * KNOWN_TRY_MS)
    anew = [address for _, address in sought.tries]
    assert 3 <= len(anew) <= 4
    assert set(anew) == {TRUE}
    sought.at.add(TRUE)
    sought.run(STEP_MS)
    tries = len(sought.tries)
    sought.run(60_000)
    assert len(sought.tries) == tries


def test_a_member_heard_at_many_addresses_is_kept_at_the_first_ones() -> None:
    """And at a given one before all: it may be the others that are somebody's relays."""
    sought = Sought(*(fake(n) for n in range(20)))
    sought.book.find([fake(n) for n in range(20)])
    sought.run(1_000)
    assert len(sought.open) == HEARD_MAX
    assert sought.book.home in sought.open
    given = AddressBook(random.Random(1))
    sought.book = given
    sought.open.clear()
    given.find([fake(n) for n in range(20)])
    given.give(TRUE)
    sought.run(HEAD_START_MS + 1_000)
    assert TRUE in sought.open
    assert given.home != TRUE, "it is not there yet"
    sought.at.add(TRUE)
    sought.run(1_000)
    assert given.home == TRUE
    assert len(sought.open) == HEARD_MAX


def test_the_home_address_is_the_first_heard_until_it_is_silent() -> None:
    sought = Sought(TRUE, fake(1))
    sought.book.find([TRUE, fake(1)])
    sought.run(1_000)
    first = sought.book.home
    assert first is not None
    [second] = {TRUE, fake(1)} - {first}
    sought.run(10_000)
    assert sought.book.home == first
    sought.at.discard(first)
    sought.run(ALIVE_MS + 2 * STEP_MS)
    assert sought.book.home == second


def test_remembered_addresses_are_bounded_and_best_first() -> None:
    sought = Sought()
    for n in range(GIVEN_MAX):
        sought.book.give(elsewhere(n))
    sought.book.give(elsewhere(0))
    with pytest.raises(ValueError, match="at most 8 addresses"):
        sought.book.give(elsewhere(GIVEN_MAX))
    for n in range(100):
        sought.at = {fake(n)}
        sought.book.tell(fake(n))
        sought.run(2 * KNOWN_TRY_MS)
    assert sought.book.remembered == [fake(n) for n in reversed(range(100 - PROVEN_MAX, 100))]
    again = AddressBook(random.Random(1))
    again.remember(sought.book.remembered)
    assert again.remembered == sought.book.remembered
    assert set(again.known) < set(sought.book.known)


def test_given_addresses_are_kept_without_being_heard() -> None:
    book = AddressBook(random.Random(1))
    book.remember([fake(1)])
    book.give(TRUE)
    assert book.remembered == [fake(1), TRUE]
    assert book.known == [TRUE, fake(1)]


@pytest.mark.parametrize("seed", range(8))
def test_random_operations_keep_the_invariants(seed: int) -> None:
    rng = random.Random(seed)
    sought = Sought(seed=seed)
    crowd = [fake(n) for n in range(300)] + [elsewhere(n) for n in range(300)]
    for _ in range(2_000):
        match rng.randrange(30):
            case 0:
                sought.book.find(rng.sample(crowd, rng.choice([0, 1, 100, 400])))
            case 1:
                sought.book.tell(rng.choice(crowd))
            case 2:
                sought.at = set(rng.sample(crowd, rng.choice([0, 1, 50])))
            case 3 if rng.random() < 0.1:
                sought.book.close_all()
                sought.open.clear()
                sought.working.clear()
                sought.lately.clear()
        sought.step()
        assert sought.open.keys() == sought.book._open.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.0.0.1:3001", TRUE), ("a-b.example.org:1", Address("a-b.example.org", 1))],
)
def test_addresses_are_read(text: str, expected: Address) -> None:
    assert read_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:1x", "a: 1", "a b:1", "[::1]:1"),
        *("a/b:1", "*:1", "a:1:2", "-a:1", "a.:1", "x" * 254 + ":1", "a:\u0661", "a\n:1", "a:1\n"),
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        read_address(text)
