"""Forty clients of a peer's page hold their connections, in every way there is, and never let go.

They are slow, end their requests with what looks like an end, wait for the other side to close, or
do not read what they asked for. Meanwhile somebody trades.
"""

import contextlib
import socket
import time
from pathlib import Path

from tests.web_gateway import Gateway, buy, running_gateway, stand_in

CLIENTS = 40
SECONDS_LONG, SECONDS_SHORT = 20.0, 1.0  # of each kind
ORDER_SECONDS_MAX = 2.0  # far from what it takes, and from what any of these clients waits for
HOST = b"Host: localhost\r\n"
CHUNKED = b"POST /order HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
BIG = b"GET /static/vendor/lightweight-charts.mjs HTTP/1.1\r\n" + HOST
KINDS = {
    "slow heads": b"GET /healthz HTTP/1.1\r\nHost: lo",
    "slow bodies": b"POST /order HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n{",
    "lengths with zeros": b"POST /order HTTP/1.1\r\n" + HOST + b"Content-Length: 0001000\r\n\r\n",
    "false last chunks": CHUNKED + b'1000\r\n{"a":1}0\r\n\r\n',
    "endless trailers": CHUNKED + b"0\r\nX: y\r\n",
    "waiting to continue": CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    "polite ends": b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    "too much": b"POST /order HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 9999999\r\n\r\n"
    + b"x" * 99_999,
    "not reading": (BIG + b"\r\n") * 20,
    "nothing": b"",
}


def attack(folder: Path, long: bool) -> str:
    seconds = SECONDS_LONG if long else SECONDS_SHORT
    rates = ("--address-rate", "100000", "--account-rate", "100000")
    with stand_in(folder) as node, running_gateway(node.where, folder, *rates) as gateway:
        gateway.wait_ready()
        _trade(gateway, 1.0)
        worst_s = max(_beside(gateway, name, said, seconds) for name, said in KINDS.items())
    return (
        f"{len(KINDS)} kinds of {CLIENTS} clients that hold on; "
        f"the slowest order beside them took {worst_s * 1000:.0f} ms"
    )


def _beside(gateway: Gateway, name: str, said: bytes, seconds: float) -> float:
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10))
            one.sendall(said)
        worst_s = _trade(gateway, seconds)
    assert worst_s < ORDER_SECONDS_MAX, f"beside {name} an order took {worst_s:.1f} s"
    return worst_s


def _trade(gateway: Gateway, seconds: float) -> float:
    """Place orders for so long; the seconds that the slowest took."""
    worst_s, until = 0.0, time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        assert gateway.order(**buy("1", "1"))["status"] == "open"
        worst_s = max(worst_s, time.monotonic() - began)
    return worst_s
