"""Clients that are slow, or take too many connections."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web_gateway import Gateway, buy, running_gateway, stand_in, wait_for
from web.config import BODY_BYTES_MAX, CONNECTIONS_MAX, Config
from web.serve.connections import ADDRESS_CONNECTIONS_MAX

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /order HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = 2 * Config.threads


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Gateway]:
    options = ("--request-timeout", "4", "--address-rate", "100000")
    with stand_in(tmp_path), running_gateway(tmp_path, *options) as gateway:
        yield gateway.wait_ready()


@contextlib.contextmanager
def connections(web: Gateway, count: int) -> Iterator[list[socket.socket]]:
    opened = [socket.create_connection(("127.0.0.1", web.port), 10) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(100_000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    "slow",
    [
        b"",
        GET[:20],
        POST % 1_000 + b"{",
        CHUNKED + b"2\r\nhi\r\n",
        CHUNKED + b'1000\r\n{"a":1}0\r\n\r\n',  # ends as a last chunk does
        CHUNKED + b"0\r\nTrailer: never ends\r\n",
        POST.replace(b"%d", b"000000000000000000%d") % 1_000,
        POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") % 1_000,
        GET + GET[:20],  # the rest of the second comes never
    ],
)
def test_slow_clients_hold_no_thread_and_are_ended(web: Gateway, slow: bytes) -> None:
    """Twice as many clients as threads, each sending a byte now and then."""
    with connections(web, SLOW) as slowly:
        for one in slowly:
            one.sendall(slow)
        assert web.order(**buy("1", "1"))["status"] == "open", "others are served"

        def all_closed() -> bool:
            for one in slowly:
                with contextlib.suppress(OSError):
                    one.sendall(b"T" if slow else b"")
                one.settimeout(0.001)
            assert web.ask("GET", "/healthz").status == 200
            return all(is_closed(one) for one in slowly)

        wait_for("their end", all_closed, 60)


def test_a_client_that_does_not_finish_its_request_gets_an_error(web: Gateway) -> None:
    begun = (GET[:20], POST % 1_000 + b"{", CHUNKED + b"2\r\nhi\r\n", GET + GET[:20])
    with connections(web, len(begun) + 1) as slowly:
        for one, said in zip(slowly, (*begun, b""), strict=True):
            one.sendall(said)
            if said.startswith(GET):
                answered = http.client.HTTPResponse(one)
                answered.begin()
                assert (answered.status, answered.read()) == (200, b'{"status":"ok"}')
        for one in slowly[:-1]:
            told = http.client.HTTPResponse(one)
            told.begin()
            assert (told.status, told.getheader("Connection")) == (408, "close")
            assert json.loads(told.read())["type"] == "urn:p2p-orderbook:request_timeout"
            assert one.recv(1) == b""
        assert slowly[-1].recv(100) == b"", "who asked nothing is told nothing"


def test_clients_that_do_not_read_hold_no_thread(web: Gateway) -> None:
    asked = b"GET /static/vendor/lightweight-charts.mjs HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connections(web, SLOW) as slowly:
        for one in slowly:
            one.sendall(asked)
        for _ in range(10):
            assert web.order(**buy("1", "1"))["status"] == "open"


@pytest.mark.parametrize("count", [8, SLOW])
def test_clients_that_wait_for_the_server_to_close_delay_no_other(web: Gateway, count: int) -> None:
    """A client that sent `Connection: close` reads to the end, and only then closes."""
    with connections(web, count) as polite:
        for one in polite:
            one.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        for one in polite:
            assert one.recv(12) == b"HTTP/1.1 200"
        for _ in range(20):
            assert web.order(**buy("1", "1"))["status"] == "open"


def test_a_client_that_sends_too_much_still_gets_the_answer(web: Gateway) -> None:
    with connections(web, 1) as (one,):
        one.sendall(POST % 10_000_000 + b"x" * 300_000)
        response = http.client.HTTPResponse(one)
        response.begin()
        assert response.status == 413
        assert b"262144" in response.read()


def test_a_full_server_makes_room_for_another_address(web: Gateway) -> None:
    """One network has all connections; a client of another network still gets one."""
    with contextlib.ExitStack() as stack:
        crowd = []
        for n in range(CONNECTIONS_MAX + 50):
            source = (f"127.0.1.{n // 200 + 1}", 0)
            one = socket.create_connection(("127.0.0.1", web.port), 10, source)
            stack.callback(one.close)
            crowd.append(one)
        assert web.ask("GET", "/healthz").status == 200


def test_a_request_in_small_pieces_is_served(web: Gateway) -> None:
    body = b'{"side":"buy","price":"1","quantity":"1","account":"a"}' + b" " * (BODY_BYTES_MAX - 55)
    head = (POST % len(body))[:-2] + b"Authorization: " + web.bearer.encode() + b"\r\n\r\n"
    with connections(web, 1) as (one,):
        for at in range(0, len(head), 9):
            one.sendall((head)[at : at + 9])
        for at in range(0, len(body), 50_000):
            one.sendall(body[at : at + 50_000])
        response = http.client.HTTPResponse(one)
        response.begin()
        assert response.status == 200, response.read()


def test_a_body_in_chunks_is_served(web: Gateway) -> None:
    with connections(web, 1) as (one,):
        call = b'["rid","s",{"op":"book"}]'
        one.sendall(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(call), call))
        response = http.client.HTTPResponse(one)
        response.begin()
        assert b'"bids"' in response.read()


def test_one_address_has_a_limited_number_of_connections(web: Gateway) -> None:
    with connections(web, ADDRESS_CONNECTIONS_MAX + 5) as many:
        for one in many:
            one.settimeout(2)
        assert [is_closed(one) for one in many[-5:]] == [True] * 5
        many[0].sendall(GET)
        assert many[0].recv(12) == b"HTTP/1.1 200"
