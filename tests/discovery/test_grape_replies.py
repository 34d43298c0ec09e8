"""Replies and arguments that a Grape's client refuses; without any Grape."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from discovery.grape import (
    NAME_BYTES_MAX,
    REPLY_BYTES_MAX,
    TIMEOUT_S,
    Address,
    BadInputError,
    ClosedError,
    Grape,
    MalformedError,
    UnreachableError,
    value_hash,
)
from tests.support.fake_grape import dead_url, reply, server

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
    for _ in range(500):
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
        assert time.monotonic() - began_s < 8, "the dripping takes 10 s"


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
        assert time.monotonic() - began_s < TIMEOUT_S - 1
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
