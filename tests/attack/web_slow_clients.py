"""Forty clients of a peer's page hold their connections for ever, in all known ways.

They are slow, end their requests with something like an end, wait for the other side to close, or
do not read the answers. Meanwhile another client trades.
"""

import contextlib
import socket
from pathlib import Path

from tests.support.web_crowd import CROWD, Waits, trade
from tests.support.web_gateway import Gateway, running_gateway, stand_in

SECONDS_LONG, SECONDS_SHORT = 20.0, 1.0  # of each kind
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
    with stand_in(folder), running_gateway(folder, *rates) as gateway:
        gateway.wait_ready()
        alone = trade(gateway)
        each = {name: _beside(gateway, said, seconds) for name, said in KINDS.items()}
        for name, waits in each.items():
            waits.beside(name, alone, gateway)
        beside = Waits(sorted(wait for waits in each.values() for wait in waits.each_ms))
        name = f"{CROWD} clients that hold on, in {len(KINDS)} ways"
        return beside.beside(name, alone, gateway)


def _beside(gateway: Gateway, said: bytes, seconds: float) -> Waits:
    with contextlib.ExitStack() as stack:
        for _ in range(CROWD):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10))
            one.sendall(said)
        return trade(gateway, seconds)
