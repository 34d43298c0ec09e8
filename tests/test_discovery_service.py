"""The announce and lookup thread against real Grapes that come, go and forget."""

import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from discovery import (
    Address,
    Announced,
    AnnounceRefused,
    BadInput,
    Discovery,
    Event,
    Grape,
    GrapesFound,
    GrapesLost,
    Joined,
    Left,
    Refused,
    Timing,
)
from discovery.grapes import GrapeProcess, GrapeSpec, free_ports, running_grapes
from discovery.grapes.parts import grape_program

STATE = Path(__file__).parents[1] / ".run"
BRISK = Timing(announce_s=0.2, search_s=0.05, search_s_max=0.2, watch_s=0.3, left_after_s=1.0)


class Member:
    """One member of a mesh, which announces its own name and watches those of the others."""

    def __init__(self, urls: list[str], number: int, count: int, timing: Timing = BRISK) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.own = (f"mesh/{number}", 3000 + number)
        watch = [f"mesh/{other}" for other in range(count) if other != number]
        rng = random.Random(number)
        self.discovery = Discovery(
            Grape(urls), self.own, watch, self.events.put, rng=rng, timing=timing
        )

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


def joined(member: Member) -> Joined:
    name, port = member.own
    return Joined(name, Address("127.0.0.1", port))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_three_peers_find_each_other_at_once() -> None:
    with running_grapes(2, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        members = [
            Member(urls, 0, 3, Timing()),
            Member(urls[::-1], 1, 3, Timing()),
            Member(urls, 2, 3, Timing()),
        ]
        began_s = time.monotonic()
        with running(*members):
            for member in members:
                others = [joined(other) for other in members if other is not member]
                seen = member.until(*others)
                assert seen[:2] == [GrapesFound(), Announced(member.own[0], 2)]
                assert len(seen) == 4, "each is told once"
        assert time.monotonic() - began_s < 2


def test_grapes_that_restart_are_told_again_who_we_are() -> None:
    patient = replace(BRISK, left_after_s=4.0)  # one may be slow to tell them
    with running_grapes(2, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        a, b = (Member(urls, number, 2, patient) for number in range(2))
        with running(a, b):
            a.until(joined(b))
            b.until(joined(a))
            for grape in grapes:
                grape.kill()
            assert isinstance(a.until_kind(GrapesLost), GrapesLost)
            time.sleep(patient.left_after_s)
            assert a.drain() == [], "told once, and nobody left"
            for grape in grapes:
                grape.start()
            a.until(GrapesFound(), Announced(a.own[0], 2))
            outsider = Grape(urls)
            await_true(lambda: outsider.lookup("mesh/0") == [joined(a).address])
            await_true(lambda: outsider.lookup("mesh/1") == [joined(b).address])
            assert a.drain() == [], "nobody left and nobody joined again"


class Forgetful(GrapeSpec, frozen=True, kw_only=True):
    """A Grape that forgets within about a second."""

    def options(self) -> list[str]:
        return [*(o for o in super().options() if not o.startswith("--dpa")), "--dpa=600"]


@contextmanager
def forgetful_grape(directory: Path) -> Iterator[GrapeProcess]:
    (dht_port,), (http_port,) = free_ports(1)
    spec = Forgetful(dht_port=dht_port, http_port=http_port)
    grape = GrapeProcess(spec, grape_program(STATE, print), directory / "log")
    grape.start()
    try:
        grape.await_ready()
        yield grape
    finally:
        grape.kill()


def test_who_stops_announcing_leaves_and_may_come_back(tmp_path: Path) -> None:
    with forgetful_grape(tmp_path) as grape:
        urls = [grape.spec.url]
        a, b = Member(urls, 0, 2), Member(urls, 1, 2)
        with running(a):
            with running(b):
                a.until(joined(b))
            a.until(Left(b.own[0], joined(b).address), timeout_s=20)
            with running(Member(urls, 1, 2)):
                a.until(joined(b))
                time.sleep(2)
                assert a.drain() == [], "re-announcing keeps it there"


def test_without_grapes_it_keeps_asking_and_says_so_once() -> None:
    _, (port,) = free_ports(1)
    member = Member([f"http://127.0.0.1:{port}"], 0, 3)
    with running(member):
        time.sleep(1)
        seen = member.drain()
        assert len(seen) == 1
        assert isinstance(seen[0], GrapesLost)
        assert str(port) in seen[0].reason


class Fake(Grape):
    """A client whose answers are passed in."""

    def __init__(self, announce: Callable[[], int], lookup: Callable[[], list[Address]]) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self._announce = announce
        self._lookup = lookup
        self.lookups = 0

    def announce(self, name: str, port: int) -> int:
        return self._announce()

    def lookup(self, name: str) -> list[Address]:
        self.lookups += 1
        return self._lookup()


def raising(error: Exception) -> Callable[[], int]:
    def announce() -> int:
        raise error

    return announce


def watching(grape: Grape, on_event: Callable[[Event], None], timing: Timing = BRISK) -> Discovery:
    return Discovery(grape, ("me", 1), ["other"], on_event, rng=random.Random(1), timing=timing)


def test_lookups_go_on_while_announcing_is_refused() -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    address = Address("127.0.0.1", 9)
    refused = raising(Refused("no", "No nodes to query"))
    discovery = watching(Fake(refused, lambda: [address]), events.put)
    discovery.start()
    seen = [events.get(timeout=5) for _ in range(3)]
    time.sleep(0.5)
    discovery.stop()
    assert seen == [
        GrapesFound(),
        AnnounceRefused("me", "No nodes to query"),
        Joined("other", address),
    ]
    assert events.empty(), "told once"


def test_a_receiver_that_fails_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def receive(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("receiver")

    grape = Fake(lambda: 1, lambda: [Address("127.0.0.1", 9)])
    discovery = watching(grape, receive)
    with caplog.at_level(logging.ERROR, "discovery"):
        discovery.start()
        await_true(lambda: len(seen) == 3)
        discovery.stop()
    assert "receiver" in caplog.text


def test_a_bug_is_logged_and_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    answers: Iterator[Callable[[], int]] = iter([raising(ZeroDivisionError("bug")), lambda: 1])
    grape = Fake(lambda: next(answers)(), list)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    discovery = watching(grape, events.put)
    with caplog.at_level(logging.ERROR, "discovery"):
        discovery.start()
        assert events.get(timeout=5) == GrapesFound()
        discovery.stop()
    assert "ZeroDivisionError: bug" in caplog.text


def test_it_never_spins() -> None:
    hasty = Timing(announce_s=1e-9, search_s=1e-9, search_s_max=1e-9, watch_s=1e-9)
    grape = Fake(lambda: 1, list)
    discovery = Discovery(
        grape, None, ["other"], lambda event: None, rng=random.Random(1), timing=hasty
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
            assert time.monotonic() - began_s < 1
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
    assert stopped == [GrapesFound()], "no event after stop"
    with pytest.raises(RuntimeError):
        from_within.start()


def test_a_client_closed_by_another_ends_it_aloud(caplog: pytest.LogCaptureFixture) -> None:
    _, (port,) = free_ports(1)
    grape = Grape([f"http://127.0.0.1:{port}"])
    discovery = watching(grape, lambda event: None)
    with caplog.at_level(logging.ERROR, "discovery"):
        discovery.start()
        grape.close()
        await_true(lambda: "closed by another" in caplog.text)
    discovery.stop()


def test_its_arguments_are_checked() -> None:
    with pytest.raises(BadInput):
        Discovery(
            Grape(["http://127.0.0.1:1"]), ("", 1), [], lambda event: None, rng=random.Random(1)
        )


def await_true(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
