"""Whole exchanges over real connections: what clients send, in pieces, and when they go.

The real listener with its threads serves a real socket, and the hub its streams. Its loop is turned
here, so that nothing waits for a clock: an exchange is over when nothing is asked or answered any
more. Every LOOK_EVERY exchanges nothing may be left of them, and somebody well-behaved is served.
"""

import contextlib
import functools
import json
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum

import msgspec

from tests.fuzz import Target, mutate
from tests.fuzz.web_targets import ORDER, SAID, Served, of_stream, said_by, served
from tests.support.web_gateway import wait_for
from web.config import WAITING_MAX
from web.serve.connections import Listener

LOOK_EVERY = 200
SETTLE_SECONDS_MAX = 10.0  # far longer than anything here takes
BUSY_SECONDS_MAX = 60.0
PIECES_MAX = 40
ODD_STATUSES = {501, 503, 504}  # of 500 and above, those that are no failure of ours
TOKEN = b"p2p_TOKEN"  # in an input: a key of an admin, which is another one in each process

encode = msgspec.msgpack.encode


class How(IntEnum):
    """How a client sends its pieces, and leaves."""

    PATIENT = 0  # reads all that each piece brings before it sends the next one
    EAGER = 1  # sends all pieces at once and reads then
    LEAVING = 2  # closes without reading
    HALF = 3  # says that it sends no more, then reads


class Door:
    """The listener, and what may not grow."""

    def __init__(self) -> None:
        self.app: Served = served(is_live=True)
        logging.getLogger("waitress").addHandler(self.app.faults)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        config = replace(self.app.gateway.config, request_timeout=60.0)
        sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.listener = Listener(self.app.app, config, sock)
        self.where = sock.getsockname()
        self.count = 0
        self.use_all_threads()
        self.first = self.left()

    def use_all_threads(self) -> None:
        """So that what each thread keeps is there before it is counted."""
        self.behave()
        wait_for("the end of the first exchanges", self.is_at_rest)

    # Turning

    @property
    def is_idle(self) -> bool:
        """No thread is at work."""
        dispatcher = self.listener.task_dispatcher
        return not dispatcher.active_count and not dispatcher.queue

    def is_at_rest(self) -> bool:
        """Nobody is connected any more either."""
        self.turn()
        left = self.listener.active_channels or self.app.gateway.link._calls
        return self.is_idle and not left

    def turn(self, seconds: float = 0.0) -> None:
        self.listener.turn(seconds)

    def settle(self, one: socket.socket | None) -> bytes:
        """Serve until nothing happens any more; what the client was told meanwhile."""
        told, quiet, until = b"", 0, time.monotonic() + SETTLE_SECONDS_MAX
        while quiet < 2:
            channels = list(self.listener.active_channels.values())
            is_busy = any(c.requests or c.total_outbufs_len or c.will_close for c in channels)
            self.turn(0.02 if is_busy else 0.0)
            data = received(one) if one is not None else b""
            told += data
            quiet = 0 if is_busy or data else quiet + 1
            assert time.monotonic() < until, f"stuck: {[vars(c) for c in channels]}"
        return told

    def exchange(self, how: How, pieces: list[bytes]) -> bytes:
        """What a client that sends these pieces is told."""
        with socket.create_connection(self.where) as one:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            told = b""
            with contextlib.suppress(ConnectionError):  # it was told what was wrong, and closed
                for piece in pieces:
                    one.sendall(piece)
                    if how is How.PATIENT:
                        told += self.settle(one)
                if how is How.HALF:
                    one.shutdown(socket.SHUT_WR)
            if how is not How.LEAVING:
                told += self.settle(one)
        self.settle(None)
        return told

    # Looking

    def left(self) -> dict[str, int]:
        """What there is of each thing that an exchange may take and must give back."""
        gateway = self.app.gateway
        return {
            "connections": len(self.listener.active_channels),
            "addresses": len(self.listener.addresses),
            "streams": gateway.hub.client_count,
            "channels heard": len(gateway.hub._groups.channels),
            "calls of the node": len(gateway.link._calls),
            "waiting requests": WAITING_MAX - gateway.waiting._value,
            "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
        }

    def behave(self) -> None:
        """An order, and the end of it and of all others."""
        held = {"Authorization": f"Bearer {self.app.token}", "Host": "localhost"}
        order = {"side": "buy", "price": "1", "quantity": "1", "account": "ann"}
        cancels = [("DELETE", f"/orders?account={name}", "") for name in ("a", "ann", "op")]
        for method, path, body in (("POST", "/order", json.dumps(order)), *cancels):
            lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in held.items()]
            asked = ["\r\n".join([*lines, "", body]).encode()]
            wait_for(f"{method} {path}", lambda asked=asked: self.is_done(asked), BUSY_SECONDS_MAX)

    def is_done(self, asked: list[bytes]) -> bool:
        """Not so, as yet, while the machine is too busy for the node to answer in time."""
        told = self.exchange(How.PATIENT, asked)
        assert statuses(told) in ([200], [503], [504]), told
        return statuses(told) == [200]

    def is_as_before(self) -> bool:
        self.turn()
        return self.is_idle and self.left() == self.first

    def look(self) -> None:
        """Nothing is left of all exchanges, and somebody well-behaved is served."""
        self.behave()
        with contextlib.suppress(AssertionError):
            wait_for("the end of all", self.is_as_before)
        assert self.left() == self.first
        self.app.gateway.hub._post(self.app.gateway.hub.check)  # what it says is in the log


def received(one: socket.socket) -> bytes:
    """What has come to a client until now."""
    data = b""
    with contextlib.suppress(OSError):
        while more := one.recv(1 << 20, socket.MSG_DONTWAIT):
            data += more
    return data


@functools.cache
def door() -> Door:
    return Door()


def statuses(told: bytes) -> list[int]:
    """Of all answers: the first, and those behind other bodies."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", told)]


def converse(data: bytes) -> None:
    """[how, piece, …] as msgpack; anything else is sent as it is."""
    at = door()
    how, pieces = parsed(data)
    token = at.app.token.encode()
    told = at.exchange(how, [piece.replace(TOKEN, token) for piece in pieces])
    bad = [status for status in statuses(told) if status >= 500 and status not in ODD_STATUSES]
    assert not bad, told
    assert not at.app.faults.seen, at.app.faults.seen
    at.count += 1
    if at.count % LOOK_EVERY == 0:
        at.look()


def parsed(data: bytes) -> tuple[How, list[bytes]]:
    try:
        how, *pieces = msgspec.msgpack.decode(data, type=list[int | bytes])
    except (msgspec.DecodeError, ValueError):
        return How.PATIENT, [data]
    known = [piece for piece in pieces if isinstance(piece, bytes)][:PIECES_MAX]
    return How(how % len(How) if isinstance(how, int) else 0), known


# Valid exchanges

HOST = b"Host: localhost\r\n"
MINE = HOST + b"Authorization: Bearer " + TOKEN + b"\r\n"
CALL = b'["rid","s",{"op":"book"}]'
BODY = json.dumps({"side": "buy", "price": "1", "quantity": "1", "account": "a"}).encode()
HANDSHAKE = (
    MINE + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def get(path: bytes, head: bytes = HOST, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, path, version, head)


def post(path: bytes, body: bytes, head: bytes = MINE, method: bytes = b"POST") -> bytes:
    return get(path, head + b"Content-Length: %d\r\n" % len(body), method) + body


def chunked(path: bytes, *parts: bytes, head: bytes = MINE, trailer: bytes = b"") -> bytes:
    body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
    return get(path, head + b"Transfer-Encoding: chunked\r\n", b"POST") + (
        body + b"0\r\n" + trailer + b"\r\n"
    )


def conversations() -> list[list[bytes]]:
    """Valid ones, each a list of pieces."""
    order = json.dumps(ORDER).encode()
    expecting = MINE + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(BODY)
    end = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
    return [
        [get(b"/state"), get(b"/book?depth=5&group=0.5"), get(b"/candles?interval=60")],
        [get(b"/healthz") + get(b"/markets") + get(b"/nothing") + get(b"/static/js/app.js")],
        [post(b"/order", BODY), get(b"/orders?account=a", MINE)],
        [post(b"/order", order), post(b"/orders", b'{"orders":[%b,%b]}' % (BODY, order))],
        [post(b"/order/1-17", b'{"quantity":1}', method=b"PATCH")],
        [get(b"/order/1-17?account=a", MINE, b"DELETE"), get(b"/orders", MINE, b"DELETE")],
        [post(b"/", CALL), chunked(b"/", CALL, trailer=b"X-Sum: 7\r\n")],
        [chunked(b"/order", BODY[:9], BODY[9:])],
        [chunked(b"/order", BODY)[:-30], chunked(b"/order", BODY)[-30:] + get(b"/healthz")],
        [get(b"/order", expecting, b"POST"), BODY],
        [post(b"/session/link", b'{"token":"x"}'), get(b"/session", MINE, b"DELETE")],
        [get(b"/static/js/app.js", HOST + b"Range: bytes=0-9\r\nIf-None-Match: x\r\n")],
        [get(b"/", version=b"1.0"), get(b"/docs", HOST + b"Connection: close\r\n")],
        [get(b"/events?channels=book,trades", method=b"HEAD")],
        [get(b"/events?channels=book,mesh", HOST + b"Last-Event-ID: ab-7\r\n")],
        [get(b"/ws?channels=book,trades,orders&account=a", HANDSHAKE[:-2]), said_by(SAID), end],
        [get(b"/ws?channels=candles&interval=60", HANDSHAKE[:-2]), said_by(SAID[:1]) + end],
        [get(b"/healthz"), get(b"/ws", HANDSHAKE[:-2]), *([said_by(SAID[:3])] * 3)],
    ]


# Changes

LINES = (
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5"),
    *(b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length: " + b"9" * 4_400),
    *(b"Expect: 100-continue", b"Expect: x", b"Connection: close", b"Connection: Upgrade"),
    *(b"Connection: keep-alive", b"Upgrade: websocket", b"Upgrade: h2c", b"Host: evil.example"),
    *(b"Host: [::1", b"Host: localhost:99999999", b"X-Forwarded-For: 1.2.3.4", b"Trailer: x"),
    *(b"Range: bytes=-1,5-2,0-", b"If-Range: x", b"If-None-Match: *", b"If-Modified-Since: x"),
    *(b"Cookie: a=\xff; =; b", b"Accept-Encoding: gzip;q=x", b"Content-Encoding: gzip"),
    *(b"Content-Type: multipart/form-data; checkpoint=x", b"Content-Type: text/\xff; charset=x"),
    *(b"Sec-Fetch-Site: cross-site", b"Origin: null", b"Origin: http://[", b"Last-Event-ID: -"),
    *(b"\xff: \xff", b": x", b" folded", b"X\0: y", b"no colon", b"X: " + b"x" * 40_000),
    *(b"Authorization: Bearer", b"Authorization: Basic \xff", b"Content-Length : 5", b"0", b"fff"),
    *(b"GET //..//%2e%2e/%00 HTTP/1.1", b"GET /static/../../x HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    *(b"CONNECT a:1 HTTP/1.1", b"GET http://[::1]:x/ HTTP/1.1", b"PRI * HTTP/2.0", b"GET /"),
    *(b"TRACE / HTTP/1.1", b"GET /static/%ff?%zz=%&&= HTTP/1.1", b"GET /" + b"a" * 9_000),
    *(b"GET /orders/%ff HTTP/1.1", b"POST /order?account=%00 HTTP/1.1", b"GET ?x HTTP/1.1"),
)
ENDS = (b"\n", b"\r", b"", b"\r\n\r\n", b"\0", b"\r\n ", b"\n\n")
DIGITS = (b"0", b"-1", b"1", b"99999999999999999999", b"00000005", b"+1", b"1e9", b"ffffffff", b"")
Pieces = list[bytes]


def _other_line(rng: random.Random, piece: bytes) -> bytes:
    lines = piece.split(b"\r\n")
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 2:
            lines[at] = rng.choice(LINES)
        case 3:
            lines[at] = mutate.of_bytes(rng, lines[at])
        case _:
            lines.insert(min(at, 1), rng.choice(LINES))
    return b"\r\n".join(lines)


def _other_end(rng: random.Random, piece: bytes) -> bytes:
    lines = piece.split(b"\r\n")
    at = rng.randrange(len(lines))
    return b"\r\n".join(lines[:at]) + rng.choice(ENDS) + b"\r\n".join(lines[at:])


def _other_number(rng: random.Random, piece: bytes) -> bytes:
    found = list(re.finditer(rb"\d+", piece))
    if not found:
        return piece
    one = rng.choice(found)
    return piece[: one.start()] + rng.choice(DIGITS) + piece[one.end() :]


PIECE_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_other_line, _other_line, _other_line, _other_end, _other_number, mutate.of_bytes),
    lambda rng, piece: piece[: rng.randrange(len(piece) + 1)],
)


def _of_pieces(rng: random.Random, pieces: Pieces) -> Pieces:
    at = rng.randrange(len(pieces))
    one = pieces[at]
    match rng.randrange(8):
        case 0:  # where it is cut
            cut = rng.randrange(len(one) + 1)
            return [*pieces[:at], one[:cut], one[cut:], *pieces[at + 1 :]]
        case 1:
            return [b"".join(pieces)]
        case 2:  # another one behind or between
            return [*pieces[:at], *rng.choice(conversations()), *pieces[at:]]
        case 3:
            return [*pieces[:at], of_stream(rng, said_by(SAID)), *pieces[at:]]
        case _:
            return [*pieces[:at], rng.choice(PIECE_CHANGES)(rng, one), *pieces[at + 1 :]]


def of_exchange(rng: random.Random, data: bytes) -> bytes:
    how, pieces = parsed(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        pieces = _of_pieces(rng, pieces or [b""])
    return encode([rng.randrange(len(How)) if rng.random() < 0.5 else how, *pieces])


def exchange_seeds() -> list[bytes]:
    return [encode([How.PATIENT, *pieces]) for pieces in conversations()]


TARGETS = {"exchange": lambda: Target(exchange_seeds(), of_exchange, converse)}
