"""The Grape client with real Grapes, and with servers that misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from discovery.grape import (
    NAME_BYTES_MAX,
    REPLY_BYTES_MAX,
    Address,
    BadInputError,
    ClosedError,
    Grape,
    MalformedError,
    RefusedError,
    UnreachableError,
    value_hash,
)
from discovery.grapes import GrapeProcess, GrapeSpec, free_ports, running_grapes

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


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """An HTTP server that reads a request and then calls `behave`; yields its URL and a counter."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[int] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connections.append(connection.fileno())
                read_request(connection)
                try:
                    behave(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def read_request(connection: socket.socket) -> None:
    """Read the whole request: to close a socket with unread data would reset the connection."""
    with connection.makefile("rb") as file:
        length = 0
        while line := file.readline().strip():
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
        file.read(length)


def reply(body: bytes, status: str = "200 OK") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return lambda connection: connection.sendall(head + body)


def dead_url() -> str:
    _, (port,) = free_ports(1)
    return f"http://127.0.0.1:{port}"


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


# Servers that are no Grapes.


@pytest.mark.parametrize(
    "body",
    [b"<html>", b'{"a": 1}', b"17", b"null", b"", b"true", b"[" * 60_000, b"\xff", b"9" * 5000],
)
def test_a_reply_of_another_shape_is_malformed(body: bytes) -> None:
    with server(reply(body)) as (url, _), pytest.raises(MalformedError):
        Grape([url]).lookup("x")


@pytest.mark.parametrize("body", [b"[]", b"true", b"1.0", b"null", b"", b"{}"])
def test_an_announcement_needs_an_integer(body: bytes) -> None:
    with server(reply(body)) as (url, _), pytest.raises(MalformedError):
        Grape([url]).announce("x", 5001)


@pytest.mark.parametrize("body", [b'{"v": "other"}', b'{"v": 5}', b"{}", b"[]", b"5"])
def test_a_value_that_is_not_the_one_asked_for_is_malformed(body: bytes) -> None:
    with server(reply(body)) as (url, _), pytest.raises(MalformedError):
        Grape([url]).get(value_hash("text"))


def test_a_hash_that_is_not_the_texts_is_malformed() -> None:
    with server(reply(b'"' + b"0" * 40 + b'"')) as (url, _), pytest.raises(MalformedError):
        Grape([url]).put("text")


def test_addresses_that_cannot_be_connected_to_are_dropped() -> None:
    entries = (
        b'["0.0.0.0:5001", "1.2.3.4:5001", "1.2.3.4:5001", "1.2.3.4:0", "1.2.3.4:65536", 5, null,'
        b' "1.2.3.4", ":5001", "", "host:5001", "1.2.3:5001", "::1:5001", "224.0.0.1:5001",'
        b' "255.255.255.255:1", "1.2.3.4:+5", "1.2.3.4: 5", "1.2.3.4:5_0", ["1.2.3.4:1"],'
        b' "1.2.3.4:\xd9\xa5", "5.6.7.8:1"]'
    )
    with server(reply(entries)) as (url, _):
        assert Grape([url]).lookup("x") == [Address("1.2.3.4", 5001), Address("5.6.7.8", 1)]


def test_a_reply_has_a_limit() -> None:
    body = b"[" + b" " * REPLY_BYTES_MAX + b"]"
    with server(reply(body)) as (url, _), pytest.raises(MalformedError, match="more than"):
        Grape([url]).lookup("x")


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.02)


def silence(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize("behave", [drip, silence])
def test_a_reply_that_does_not_end_times_out(behave: Callable[[socket.socket], None]) -> None:
    with server(behave) as (url, _):
        began_s = time.monotonic()
        with pytest.raises(UnreachableError, match="timed out"):
            Grape([url], timeout_s=0.3).lookup("x")
        assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("sent", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_a_reply_cut_off_counts_as_none(sent: bytes) -> None:
    def cut_off(connection: socket.socket) -> None:
        connection.sendall(sent)

    with server(cut_off) as (url, _), pytest.raises((UnreachableError, MalformedError)):
        Grape([url], timeout_s=1).lookup("x")


def test_close_ends_a_call_in_progress() -> None:
    raised: list[Exception] = []
    with server(silence) as (url, connections):
        grape = Grape([url])

        def call() -> None:
            try:
                grape.lookup("x")
            except ClosedError as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while not connections:
            time.sleep(0.01)
        began_s = time.monotonic()
        grape.close()
        thread.join()
        assert time.monotonic() - began_s < 2
        assert len(raised) == 1
        with pytest.raises(ClosedError):
            grape.lookup("x")


# What is never sent.


@pytest.mark.parametrize("name", ["", "x" * (NAME_BYTES_MAX + 1), "é" * 257, "\ud800", None, b"x"])
def test_names_are_checked(name: str) -> None:
    grape = Grape([dead_url()])
    with pytest.raises(BadInputError, match="name"):
        grape.lookup(name)
    with pytest.raises(BadInputError, match="name"):
        grape.announce(name, 5001)


@pytest.mark.parametrize("port", [0, -1, 65536, True, 5001.0, "5001", None])
def test_ports_are_checked(port: int) -> None:
    with pytest.raises(BadInputError, match="port from 1 to 65535"):
        Grape([dead_url()]).announce("x", port)


@pytest.mark.parametrize("text", ["a" * 1000, "é" * 500, "\ud800", None, b"x"])
def test_values_are_checked(text: str) -> None:
    with pytest.raises(BadInputError, match="value"):
        Grape([dead_url()]).put(text)


@pytest.mark.parametrize("key", ["", "0" * 39, "0" * 41, "g" * 40, "0" * 40 + "\n", None])
def test_hashes_are_checked(key: str) -> None:
    with pytest.raises(BadInputError, match="40 hex digits"):
        Grape([dead_url()]).get(key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:30001",
        "https://127.0.0.1:30001",
        "http://127.0.0.1",
        "http://:30001",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:30001/path",
        "http://me@127.0.0.1:30001",
        "http://[::1:30001",
        None,
        5,
    ],
)
def test_urls_are_checked(url: str) -> None:
    with pytest.raises(BadInputError, match="URL"):
        Grape([url])


def test_the_arguments_of_a_client_are_checked() -> None:
    with pytest.raises(BadInputError):
        Grape([])
    with pytest.raises(BadInputError):
        Grape("http://127.0.0.1:30001")
    with pytest.raises(BadInputError):
        Grape([dead_url()] * 17)
    with pytest.raises(BadInputError):
        Grape([dead_url()], timeout_s=0)
