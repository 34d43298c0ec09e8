"""The announce and lookup threads with real Grapes that start, stop and forget."""

import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from discovery import (
    Address,
    Announced,
    AnnounceRefused,
    BadInputError,
    Discovery,
    Event,
    Found,
    Grape,
    GrapeFound,
    GrapeLost,
    RefusedError,
    Timing,
    UnreachableError,
)
from discovery.grape import TIMEOUT_S
from discovery.grapes import free_ports, running_grapes

STATE = Path(__file__).parents[2] / ".run"
BRISK = Timing(announce_s=0.2, search_s=0.05, search_s_max=0.2, watch_s=0.3)


class Member:
    """One member of a mesh, which announces its own name and watches those of the others."""

    def __init__(self, urls: list[str], number: int, count: int, timing: Timing = BRISK) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.own = (f"mesh/{number}", 3000 + number)
        watch = [f"mesh/{other}" for other in range(count) if other != number]
        rng = random.Random(number)
        grapes = [Grape([url]) for url in urls]
        self.discovery = Discovery(grapes, self.own, watch, self.events.put, rng=rng, timing=timing)

    def until(self, *wanted: Event, timeout_s: float = 10.0) -> list[Event]:
        """All events up to the last of the wanted ones."""
        missing = list(wanted)
        seen: list[Event] = []
        deadline_s = time.monotonic() + timeout_s
        while missing:
            left_s = deadline_s - time.monotonic()
            try:
                event = self.events.get(timeout=max(left_s, 0.001))
            except queue.Empty:
                pytest.fail(f"{self.own} never saw {missing}, only {seen}")
            seen.append(event)
            if event in missing:
                missing.remove(event)
        return seen

    def until_kind(self, kind: type, timeout_s: float = 10.0) -> Event:
        while True:
            event = self.events.get(timeout=timeout_s)
            if isinstance(event, kind):
                return event

    def drain(self) -> list[Event]:
        seen = []
        while not self.events.empty():
            seen.append(self.events.get())
        return seen


@contextmanager
def running(*members: Member) -> Iterator[None]:
    with ExitStack() as stack:
        for member in members:
            stack.callback(member.discovery.stop)
            member.discovery.start()
        yield


def found(member: Member) -> Found:
    name, port = member.own
    return Found(name, (Address("127.0.0.1", port),))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_three_peers_find_each_other_at_once() -> None:
    with running_grapes(2, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        members = [Member(urls, number, 3, Timing()) for number in range(3)]
        began_s = time.monotonic()
        with running(*members):
            for member in members:
                others = [found(other) for other in members if other is not member]
                told = [GrapeFound(url) for url in urls]
                told += [Announced(url, member.own[0], 2) for url in urls]
                seen = member.until(*others, *told)
                assert all(seen.count(event) == 1 for event in told), "each is told once"
        assert time.monotonic() - began_s < 2


def test_a_peer_announces_again_to_a_restarted_grape() -> None:
    with running_grapes(2, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        a, b = (Member(urls, number, 2) for number in range(2))
        with running(a, b):
            a.until(found(b))
            b.until(found(a))
            for grape in grapes:
                grape.kill()
            lost = [a.until_kind(GrapeLost) for _ in urls]
            assert {event.grape for event in lost} == set(urls)
            time.sleep(1)
            assert a.drain() == [], "told once"
            for grape in grapes:
                grape.start()
            a.until(*(GrapeFound(url) for url in urls), *(Announced(u, a.own[0], 2) for u in urls))
            outsider = Grape(urls)
            await_true(lambda: outsider.lookup("mesh/0") == [*found(a).addresses])
            await_true(lambda: outsider.lookup("mesh/1") == [*found(b).addresses])


def test_a_peer_announces_to_every_grape_and_combines_their_results() -> None:
    """Two Grapes that do not know each other, each with one member that the other lacks."""
    with running_grapes(1, STATE) as [one], running_grapes(1, STATE) as [other]:
        urls = [one.spec.url, other.spec.url]
        both = Member(urls, 0, 3)
        here, there = Member(urls[:1], 1, 3), Member(urls[1:], 2, 3)
        with running(both, here, there):
            both.until(found(here), found(there))
            here.until(found(both))
            there.until(found(both))
            assert Grape(urls[:1]).lookup(there.own[0]) == []


def test_without_grapes_it_keeps_asking_and_reports_that_once() -> None:
    _, (port,) = free_ports(1)
    member = Member([f"http://127.0.0.1:{port}"], 0, 3)
    with running(member):
        time.sleep(1)
        seen = member.drain()
        assert len(seen) == 1
        assert isinstance(seen[0], GrapeLost)
        assert str(port) in seen[0].reason


FAKE = "http://127.0.0.1:1"


class Fake(Grape):
    """A client with prepared answers."""

    def __init__(self, announce: Callable[[], int], lookup: Callable[[], list[Address]]) -> None:
        super().__init__([FAKE])
        self._announce = announce
        self._lookup = lookup
        self.lookups = 0

    def announce(self, name: str, port: int) -> int:
        return self._announce()

    def lookup(self, name: str) -> list[Address]:
        self.lookups += 1
        return self._lookup()


def raising(error: Exception) -> Callable[[], NoReturn]:
    def call() -> NoReturn:
        raise error

    return call


def watching(grape: Grape, on_event: Callable[[Event], None], timing: Timing = BRISK) -> Discovery:
    return Discovery([grape], ("me", 1), ["other"], on_event, rng=random.Random(1), timing=timing)


def test_a_hanging_or_empty_grape_delays_and_hides_nothing() -> None:
    address = Address("127.0.0.1", 9)
    released = threading.Event()

    def hang() -> list[Address]:
        released.wait(30)
        return []

    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    dead = Fake(raising(UnreachableError("dead")), raising(UnreachableError("dead")))
    hanging = Fake(lambda: len(hang()), hang)
    ignorant = Fake(lambda: 1, list)

    def announced() -> int:
        told.put(1)
        return 1

    knowing = Fake(announced, lambda: [address])
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    discovery = Discovery(
        [hanging, dead, ignorant, knowing],
        ("me", 1),
        ["other"],
        events.put,
        rng=random.Random(1),
        timing=BRISK,
    )
    discovery.start()
    try:
        seen: list[Event] = []
        while seen.count(Found("other", (address,))) < 3:
            seen.append(events.get(timeout=5))
        for _ in range(3):
            told.get(timeout=5)
        assert not released.is_set()
    finally:
        released.set()
        discovery.stop()


def test_lookups_go_on_while_announcing_is_refused() -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    address = Address("127.0.0.1", 9)
    refused = raising(RefusedError("no", "No nodes to query"))
    discovery = watching(Fake(refused, lambda: [address]), events.put)
    discovery.start()
    seen = [events.get(timeout=5) for _ in range(5)]
    discovery.stop()
    assert seen == [
        GrapeFound(FAKE),
        AnnounceRefused(FAKE, "me", "No nodes to query"),
        *[Found("other", (address,))] * 3,
    ]


def test_a_failing_callback_does_not_end_discovery(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def receive(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("receiver")

    grape = Fake(lambda: 1, lambda: [Address("127.0.0.1", 9)])
    discovery = watching(grape, receive)
    with caplog.at_level(logging.ERROR, "discovery"):
        discovery.start()
        await_true(lambda: len(seen) >= 3)
        discovery.stop()
    assert "receiver" in caplog.text


def test_a_bug_is_logged_and_does_not_end_discovery(caplog: pytest.LogCaptureFixture) -> None:
    answers: Iterator[Callable[[], int]] = iter([raising(ZeroDivisionError("bug")), lambda: 1])
    grape = Fake(lambda: next(answers)(), list)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    discovery = watching(grape, events.put)
    with caplog.at_level(logging.ERROR, "discovery"):
        discovery.start()
        assert events.get(timeout=5) == GrapeFound(FAKE)
        discovery.stop()
    assert "ZeroDivisionError: bug" in caplog.text


def test_discovery_never_spins() -> None:
    hasty = Timing(announce_s=1e-9, search_s=1e-9, search_s_max=1e-9, watch_s=1e-9)
    grape = Fake(lambda: 1, list)
    discovery = Discovery(
        [grape], None, ["other"], lambda event: None, rng=random.Random(1), timing=hasty
    )
    discovery.start()
    time.sleep(0.5)
    discovery.stop()
    assert 5 < grape.lookups <= 51


def test_stop_does_not_wait_for_a_silent_grape() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        events: list[Event] = []
        discovery = watching(Grape([f"http://127.0.0.1:{port}"]), events.append)
        discovery.start()
        connection, _ = silent.accept()
        with connection:
            began_s = time.monotonic()
            discovery.stop()
            assert time.monotonic() - began_s < TIMEOUT_S - 1
    assert events == []


def test_stop_is_harmless_at_any_time() -> None:
    never_started = watching(Fake(lambda: 1, list), lambda event: None)
    never_started.stop()
    stopped: list[Event] = []

    def stop_at_once(event: Event) -> None:
        stopped.append(event)
        from_within.stop()

    from_within = watching(Fake(lambda: 1, list), stop_at_once)
    from_within.start()
    await_true(lambda: bool(stopped))
    from_within.stop()
    from_within.stop()
    assert stopped == [GrapeFound(FAKE)], "no event after stop"
    with pytest.raises(RuntimeError):
        from_within.start()


def test_a_client_closed_by_another_thread_ends_discovery_with_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, (port,) = free_ports(1)
    grape = Grape([f"http://127.0.0.1:{port}"])
    discovery = watching(grape, lambda event: None)
    with caplog.at_level(logging.ERROR, "discovery"):
        discovery.start()
        grape.close()
        await_true(lambda: "closed by another" in caplog.text)
    discovery.stop()


def test_the_arguments_of_discovery_are_checked() -> None:
    with pytest.raises(BadInputError):
        Discovery([Grape([FAKE])], ("", 1), [], lambda event: None, rng=random.Random(1))
    with pytest.raises(BadInputError):
        Discovery([], ("me", 1), [], lambda event: None, rng=random.Random(1))


def await_true(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
