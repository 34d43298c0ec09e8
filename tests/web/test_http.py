"""HTTP with unusual clients: unusual but valid requests are served, invalid ones are refused.

Each test gives the bytes of an exchange. After any input, the next client is served.
"""

import contextlib
import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.web_targets import said_by
from tests.support.web_gateway import Gateway, buy, running_gateway, stand_in
from web.auth.keys import Scope
from web.config import BODY_BYTES_MAX, Config
from web.serve.client_address import counted, plain
from web.serve.connections import HEAD_BYTES_MAX
from web.serve.origin import answers_to, place_of

HOST = b"Host: localhost\r\n"
CALL = b'["rid","s",{"op":"book"}]'
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
NO_KEY = {"Authorization": ""}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("http")
    options = ("--address-rate", "100000", "--request-timeout", "3")
    with stand_in(folder), running_gateway(folder, *options) as gateway:
        yield gateway.wait_ready()


@contextlib.contextmanager
def connected(web: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", web.port), 10) as one:
        yield one


def answer(one: socket.socket, method: str = "GET") -> tuple[int, bytes]:
    response = http.client.HTTPResponse(one, method=method)
    response.begin()
    return response.status, response.read()


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        chunk(CALL) + b"0\r\n\r\n",
        b"".join(chunk(CALL[n : n + 1]) for n in range(len(CALL))) + b"0\r\n\r\n",
        chunk(CALL, b";name=value") + b"0;last\r\n\r\n",
        chunk(CALL) + b"0\r\nX-Checksum: 7\r\nX-Other: 8\r\n\r\n",
        b"0000" + chunk(CALL) + b"00\r\n\r\n",
        chunk(CALL[:5]) + chunk(CALL[5:]) + b"0\r\n\r\n",
        chunk(CALL + b" " * 8 + b"\r\n0\r\n\r\n") + b"0\r\n\r\n",  # the end is not in the data
    ],
)
def test_a_body_in_chunks_is_read_correctly(web: Gateway, body: bytes) -> None:
    for step in (len(body), 1):
        with connected(web) as one:
            one.sendall(CHUNKED)
            for at in range(0, len(body), step):
                one.sendall(body[at : at + step])
            status, data = answer(one)
            assert (status, b'"bids"' in data or b"NOT_JSON" in data) == (200, True), data
            one.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer(one)[0] == 200, "the connection is where it should be"


@pytest.mark.parametrize("length", [b"%d", b"000000000000000000000000%d"])
def test_a_length_may_begin_with_zeros(web: Gateway, length: bytes) -> None:
    with connected(web) as one:
        head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + length + b"\r\n\r\n"
        one.sendall(head % len(CALL) + CALL[:4])
        one.sendall(CALL[4:])
        assert answer(one)[0] == 200


def test_a_client_that_expects_100_continue_gets_it(web: Gateway) -> None:
    with connected(web) as one:
        expect = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n"
        one.sendall(expect + b"Content-Length: %d\r\n\r\n" % len(CALL))
        assert one.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(CALL)
        assert answer(one)[0] == 200
        one.sendall(expect + b"Transfer-Encoding: chunked\r\n\r\n")
        assert one.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(chunk(CALL) + b"0\r\n\r\n")
        assert answer(one)[0] == 200
        one.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n\r\n")
        assert answer(one)[0] == 200, "without a body there is nothing to wait for"
        one.sendall(expect + b"Content-Length: %d\r\n\r\n" % 10**9)
        assert answer(one)[0] == 413, "before it is sent"


# Heads


def test_requests_behind_one_another_are_answered_in_order(web: Gateway) -> None:
    paths = [b"/healthz", b"/nothing", b"/markets", b"/static/js/app.js"]
    asked = b"".join(b"GET %b HTTP/1.1\r\n" % path + HOST + b"\r\n" for path in paths)
    with connected(web) as one:
        one.sendall(asked + b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        data = b"".join(iter(lambda: one.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+) ", data) == [b"200", b"404", b"200", b"200", b"200"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", 421),  # no Host header
        (b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n", 200),
        (b"\r\n\r\nGET /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nhOsT: LOCALHOST:1234\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost:x\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 421),
        (b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /book?market=\x8a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET //book?market=\x8a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Bad header\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\nb\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n") + b"0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (CHUNKED.replace(b"chunked", b"gzip, chunked"), 501),
        (CHUNKED + b"x\r\n", 400),
        (CHUNKED + b"-1\r\n", 400),
        (CHUNKED + b"2\r\nhix\r\n0\r\n\r\n", 400),
        (CHUNKED + b"2;\x00\r\nhi\r\n0\r\n\r\n", 400),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 2_000, 400),
        (CHUNKED + b"1;" + b"x" * 10_000, 400),
        (CHUNKED + (b"%x\r\n" % BODY_BYTES_MAX) + b"x" * BODY_BYTES_MAX, 413),
        (CHUNKED + b"f" * 15 + b"\r\nx", 413),
        (CHUNKED + b"f" * 4_000 + b"\r\nx", 413),
        (CHUNKED + b"f" * 5_000, 400),
    ],
)
def test_an_odd_head_gets_the_right_answer(web: Gateway, head: bytes, status: int) -> None:
    with connected(web) as one:
        one.sendall(head)
        found, body = answer(one)
        assert found == status, body
    assert web.order(**buy("1", "1"))["status"] == "open"


def test_connection_close_among_other_values_is_honoured(web: Gateway) -> None:
    with connected(web) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: TE, close\r\n\r\n")
        response = http.client.HTTPResponse(one)
        response.begin()
        assert response.getheader("Connection") == "close"
        response.read()
        assert one.recv(1) == b""


# HEAD, previews and streams


def test_a_head_request_has_no_body(web: Gateway) -> None:
    for path in ("/", "/state", "/healthz", "/docs", "/static/js/app.js", "/events?channels=book"):
        with connected(web) as one:
            one.sendall(b"HEAD %b HTTP/1.1\r\n" % path.encode() + HOST + b"\r\n")
            status, body = answer(one, "HEAD")
            assert (status, body) == (200, b""), path
    streams = web.ask("GET", "/metrics").body.decode()
    assert "orderbook_web_streams 0.0" in streams, "no listener"


def test_a_get_does_not_use_up_a_link(web: Gateway) -> None:
    link = web.link("ann", Scope.TRADE)
    path = link.removeprefix(web.url)
    previews: list[dict[str, str]] = [
        {"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"},
        {"User-Agent": "Slackbot-LinkExpanding 1.0", "Accept": "*/*", "Range": "bytes=0-32768"},
        {"User-Agent": "facebookexternalhit/1.1"},
        {},
    ]
    for method in ("HEAD", "GET", "OPTIONS"):
        for headers in previews:
            looked = web.ask(method, path, None, NO_KEY | headers)
            assert looked.status in (200, 206)
            assert looked.headers["Set-Cookie"] is None
    assert web.open_link(link).json["account"] == "ann"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 101),
        ({"Connection": "keep-alive, upgrade", "Upgrade": "WebSocket"}, 101),
        ({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}, 101),
        ({"Sec-WebSocket-Protocol": "chat, superchat"}, 101),
        ({"Upgrade": "h2c"}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 400),
        ({"Sec-WebSocket-Version": ""}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "!" * 24}, 400),
        ({"Content-Length": "5"}, 400),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
def test_an_odd_handshake_gets_the_right_answer(
    web: Gateway, change: dict[str, str], status: int
) -> None:
    headers = {name: value for name, value in (UPGRADE | change).items() if value}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for method, version, expected in (
        ("GET", "1.1", status),
        ("HEAD", "1.1", max(status, 400)),
        ("POST", "1.1", max(status, 400)),
        ("GET", "1.0", max(status, 400)),
    ):
        with connected(web) as one:
            request = f"{method} /ws?channels=mesh HTTP/{version}\r\n"
            body = b"hello" if "Content-Length" in headers else b""
            one.sendall(request.encode() + HOST + lines.encode() + b"\r\n" + body)
            found = int(one.recv(12).split()[1])
            assert found == expected or (method == "POST" and found in (403, 405)), method


def test_a_stream_needs_a_connection_without_other_requests(web: Gateway) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items()).encode()
    ask = b"GET /ws?channels=mesh HTTP/1.1\r\n" + HOST + lines + b"\r\n"
    with connected(web) as one:
        one.sendall(ask + b"\x81\x85\x00\x00\x00\x00hello")  # before it was said to be one
        assert one.recv(12) == b"HTTP/1.1 400"
    with connected(web) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert answer(one)[0] == 200
        one.sendall(ask)
        assert one.recv(12) == b"HTTP/1.1 101"


def test_a_client_that_leaves_during_the_answer_is_no_failure(web: Gateway) -> None:
    """The fixture checks at the end that the log has no error."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items()).encode()
    asked = [{"op": "subscribe", "id": n, "channel": "mesh"} for n in range(20)]
    for _ in range(20):
        with connected(web) as one:
            one.sendall(b"GET /ws?channels=, HTTP/1.1\r\n" + HOST + lines + b"\r\n")
            assert one.recv(4_096).endswith(b"\r\n\r\n"), "all is read: the end is no reset"
            one.sendall(said_by(list(asked)))
    assert web.ask("GET", "/healthz").status == 200


# Clients' addresses, and pages of other sites


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::ffff:c000:201", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_all_addresses_of_one_client_are_counted_together(
    one: str, other: str, together: bool
) -> None:
    assert (counted(one) == counted(other)) is together


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.1:4711", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_proxy_may_write_an_address_in_many_ways(written: str, meant: str) -> None:
    assert plain(written) == meant


@pytest.mark.parametrize("written", ["", "unknown", "_hidden", "1.2.3", "[::1", "1.2.3.4:5:6"])
def test_an_invalid_address_is_none(written: str) -> None:
    with contextlib.suppress(ValueError):
        assert plain(written) == "::1"


@pytest.mark.parametrize(
    "host",
    ["book.example.org", "BOOK.example.ORG", "book.example.org:8443", "book.example.org."],
)
def test_a_name_may_be_written_in_many_ways(host: str) -> None:
    for known in ("book.example.org", "Book.Example.Org", "book.example.org:8443"):
        place = place_of(host)
        assert place is not None
        assert answers_to(place.name, Config("", "", hosts=(known,)))
        assert not answers_to("evil.example", Config("", "", hosts=(known,)))


CROSS = {"Sec-Fetch-Site": "cross-site"}
LINK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/candles", {}, 200),
        ("/candles", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("/candles", {"Sec-Fetch-Site": "none"} | LINK, 200),
        ("/candles", CROSS, 403),
        ("/candles", CROSS | LINK, 403),
        ("/candles", {"Sec-Fetch-Site": "same-site"}, 403),
        ("/candles", {"Origin": "http://evil.example"}, 403),
        ("/candles", {"Origin": "http://localhost:1"}, 403),
        ("/events?channels=book", CROSS, 403),
        ("/static/js/app.js", CROSS, 403),
        ("/", CROSS | LINK, 200),
        ("/docs", CROSS | LINK, 200),
        ("/", CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_make_a_peer_work(
    web: Gateway, path: str, headers: dict[str, str], status: int
) -> None:
    assert web.ask("GET", path, None, headers).status == status


def test_a_page_at_any_port_of_a_proxy_may_trade(tmp_path: Path) -> None:
    options = ("--proxy", "127.0.0.1", "--host", "Book.example.org")
    with stand_in(tmp_path), running_gateway(tmp_path, *options) as gateway:
        gateway.wait_ready()
        by_proxy = {"X-Forwarded-For": "192.0.2.7:4711", "X-Forwarded-Proto": "https"}
        for host in ("book.example.org", "BOOK.example.org:8443"):
            headers = by_proxy | {"Host": host, "Origin": "https://book.example.org:8443"}
            assert gateway.ask("POST", "/order", buy("1", "1"), headers).status == 200
            upgraded = gateway.ask("GET", "/ws?channels=nothing", None, headers | UPGRADE)
            assert upgraded.status == 404, "it came as far as that"
        evil = by_proxy | {"Host": "book.example.org", "Origin": "https://evil.example:8443"}
        assert gateway.ask("POST", "/order", buy("1", "1"), evil).status == 403
