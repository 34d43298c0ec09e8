"""The Grape client with real Grapes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from discovery.grape import (
    NAME_BYTES_MAX,
    Address,
    Grape,
    RefusedError,
    UnreachableError,
    value_hash,
)
from discovery.grapes import GrapeProcess, GrapeSpec, free_ports, running_grapes
from tests.support.fake_grape import dead_url, reply, server

STATE = Path(__file__).parents[2] / ".run"


@pytest.fixture(scope="module")
def grapes() -> Iterator[list[GrapeProcess]]:
    with running_grapes(2, STATE) as grapes:
        yield grapes


@pytest.fixture
def first(grapes: list[GrapeProcess]) -> Grape:
    return Grape([grapes[0].spec.url])


@pytest.fixture
def second(grapes: list[GrapeProcess]) -> Grape:
    return Grape([grapes[1].spec.url])


# What a Grape does.


def test_announced_on_one_grape_is_seen_on_the_other(first: Grape, second: Grape) -> None:
    assert second.lookup("seen") == []
    assert first.announce("seen", 5001) == 2
    assert second.lookup("seen") == [Address("127.0.0.1", 5001)]
    assert first.announce("seen", 5001) == 2, "announcing again changes nothing"
    assert second.announce("seen", 5002) == 2
    assert sorted(first.lookup("seen")) == [("127.0.0.1", 5001), ("127.0.0.1", 5002)]


@pytest.mark.parametrize("name", ["a", "ключ/🍇", "n" * NAME_BYTES_MAX, '"', "00", "a\nb"])
def test_any_text_can_be_a_name(first: Grape, second: Grape, name: str) -> None:
    first.announce(name, 65535)
    assert second.lookup(name) == [Address("127.0.0.1", 65535)]
    assert second.lookup(name + "x" if len(name) < NAME_BYTES_MAX else name[:-1]) == []


@pytest.mark.parametrize("text", ["", "x", "héllo 🍇", '{"a": 1}', "a" * 999, "é" * 499])
def test_values_are_kept_by_their_hash(first: Grape, second: Grape, text: str) -> None:
    key = first.put(text)
    assert key == value_hash(text)
    assert second.get(key) == text
    assert second.get(key.upper()) == text


def test_an_unknown_hash_gives_none(first: Grape) -> None:
    assert first.get("0" * 40) is None


def test_a_lookup_gives_at_most_a_hundred_addresses(first: Grape, second: Grape) -> None:
    for port in range(6000, 6110):
        first.announce("crowd", port)
    seen = second.lookup("crowd")
    assert len(seen) == len(set(seen)) == 100
    assert all(6000 <= address.port < 6110 for address in seen)


@pytest.mark.parametrize(
    ("verb", "data", "reason"),
    [
        ("lookup", None, "ERR_GRAPE_LOOKUP"),
        ("lookup", 5, "ERR_GRAPE_LOOKUP"),
        ("announce", None, "ERR_GRAPE_ANNOUNCE"),
        ("announce", ["x"], "ERR_GRAPE_SERVICE_PORT"),
        ("announce", ["x", "5001"], "ERR_GRAPE_SERVICE_PORT"),
        ("put", {}, "opts.v not given"),
        ("put", {"v": "a" * 1000}, "v must be less than 1000 bytes in put()"),
        ("put", {"v": "é" * 999}, "All queries failed"),
        ("get", 5, "ERR_GRAPE_GENERIC"),
        ("nonsense", 1, "ERR_REQ_NOTFOUND"),
        ("lookup", "x" * 9000, "ERR_GRAPE_PAYLOAD_SIZE"),
    ],
)
def test_a_grapes_errors_are_refusals(first: Grape, verb: str, data: object, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        first.call(verb, data)
    assert caught.value.reason == reason


def test_an_error_thrown_in_a_grape_is_a_refusal(first: Grape) -> None:
    first.call("lookup", "x")
    with pytest.raises(RefusedError, match="HTTP 500"):
        first.call("announce", ["x", 70000])
    with pytest.raises(RefusedError, match="HTTP 500"):
        first.call("put", None)


def test_a_port_out_of_range_ends_a_grape_that_does_not_know_the_name() -> None:
    """So the client rejects it."""
    with running_grapes(1, STATE) as grapes:
        grape = Grape([grapes[0].spec.url])
        with pytest.raises(UnreachableError):
            grape.call("announce", ["never looked up", 70000])
        with pytest.raises(UnreachableError):
            grape.lookup("x")


def test_a_grape_takes_port_0_for_its_own(first: Grape, grapes: list[GrapeProcess]) -> None:
    """So the client rejects it."""
    first.call("lookup", "zero")
    first.call("announce", ["zero", 0])
    assert first.lookup("zero") == [Address("127.0.0.1", grapes[0].spec.dht_port)]


# Grapes that die.


def test_the_other_grape_is_asked_when_one_is_killed() -> None:
    with running_grapes(2, STATE) as grapes:
        both = Grape([grape.spec.url for grape in grapes])
        assert both.announce("x", 5001) == 2
        grapes[0].kill()
        assert both.lookup("x") == [Address("127.0.0.1", 5001)]
        assert both.announce("x", 5002) == 1


def test_announcing_recovers_at_once_after_the_other_grape_restarted() -> None:
    """Without a lookup, announcements go to the nodes found before, for up to five minutes."""
    with running_grapes(2, STATE) as grapes:
        grape = Grape([grapes[0].spec.url])
        assert grape.announce("x", 5001) == 2
        grapes[1].kill()
        assert grape.announce("x", 5001) == 1
        grapes[1].start()
        grapes[1].await_ready()
        assert grape.call("announce", ["x", 5001]) == 1, "the trap is gone from Grape"
        assert Grape([grapes[1].spec.url]).lookup("x") == [Address("127.0.0.1", 5001)]
        assert grape.announce("x", 5001) == 2


class Lonely(GrapeSpec, frozen=True, kw_only=True):
    """A Grape started as in its documentation: it knows only other nodes."""

    def options(self) -> list[str]:
        own = f"{self.host}:{self.dht_port},"
        return [option.replace(own, "") for option in super().options()]


def test_a_grape_without_neighbours_refuses(grapes: list[GrapeProcess], tmp_path: Path) -> None:
    (dht_port, dead), (http_port,) = free_ports(2)[0], free_ports(1)[1]
    spec = Lonely(dht_port=dht_port, http_port=http_port, join=(f"127.0.0.1:{dead}",))
    lonely = GrapeProcess(spec, grapes[0].program, tmp_path / "log")
    lonely.start()
    try:
        lonely.await_listening()
        with pytest.raises(RefusedError) as caught:
            Grape([spec.url]).announce("x", 5001)
        assert caught.value.reason == "No nodes to query"
    finally:
        lonely.kill()


def test_another_grape_is_asked_when_one_refuses(first: Grape) -> None:
    with server(reply(b'"No nodes to query"')) as (url, _):
        assert Grape([url, *first.urls]).announce("refused", 5001) == 2


def test_the_grape_that_answered_last_is_asked_first(first: Grape) -> None:
    with server(reply(b"busy", "503 Service Unavailable")) as (url, connections):
        both = Grape([url, first.urls[0]])
        both.lookup("x")
        both.lookup("x")
        both.announce("x", 5001)
        assert len(connections) == 1


def test_no_grape_at_all() -> None:
    urls = [dead_url(), dead_url()]
    with pytest.raises(UnreachableError) as caught:
        Grape(urls).lookup("x")
    assert all(url in str(caught.value) for url in urls)
