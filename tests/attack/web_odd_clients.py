"""Forty strangers, each in its own network, connect without a pause, all in unusual ways.

They close connections fully, half or not at all, send bodies in odd chunks, wait for `100
Continue`, send invalid WebSocket handshakes and bytes that are not HTTP. Each must get the right
answer, while another client trades.
"""

import socket
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from tests.support.web_crowd import CROWD, crowd, trade
from tests.support.web_gateway import running_gateway, stand_in

SECONDS_LONG, SECONDS_SHORT = 60.0, 5.0
ANSWER_SECONDS_MAX = 20.0
HOST = b"Host: localhost\r\n"
CALL = b'["rid","s",{"op":"book"}]'
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: %b\r\n%b\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
SOCKET = b"GET /ws?channels=book HTTP/1.1\r\n" + HOST


class Odd(NamedTuple):
    """The pieces that a client sends, the answers that it gets, and whether it closes its side
    first. A client without an answer leaves at once."""

    answers: list[int]
    pieces: list[bytes]
    half: bool = False


KINDS = {
    "polite ends": Odd([200], [HEALTH + b"Connection: close\r\n\r\n"]),
    "half ends": Odd([200], [HEALTH + b"\r\n"], half=True),
    "no ends": Odd([], [HEALTH]),
    "chunks": Odd(
        [200], [CHUNKED + b"9;a=b\r\n", CALL[:9] + b"\r\n10\r\n", CALL[9:] + b"\r\n0\r\n\r\n"]
    ),
    "false last chunks": Odd([200], [CHUNKED + b"5\r\n0\r\n\r\n\r\n0\r\nX: y\r\n\r\n"]),
    "lengths with zeros": Odd([200], [POST + b"Content-Length: 00025\r\n\r\n" + CALL]),
    "continued": Odd(
        [100, 200], [POST + b"Expect: 100-continue\r\nContent-Length: 25\r\n\r\n", CALL]
    ),
    "not continued": Odd(
        [413], [POST + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"]
    ),
    "two lengths": Odd([400], [POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    "unknown codings": Odd([501], [POST + b"Transfer-Encoding: gzip\r\n\r\n"]),
    "other hosts": Odd([421], [b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"]),
    "long heads": Odd([431], [HEALTH + b"X: " + b"x" * 40_000 + b"\r\n\r\n"]),
    "TLS": Odd([400], [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"]),
    "pipelines": Odd(
        [200, 404, 200], [HEALTH + b"\r\nGET /x HTTP/1.1\r\n" + HOST + b"\r\n" + HEALTH, b"\r\n"]
    ),
    "old handshakes": Odd([400], [SOCKET + UPGRADE % (b"8", KEY)]),
    "handshakes without a key": Odd([400], [SOCKET + UPGRADE % (b"13", b"")]),
    "handshakes of other sites": Odd(
        [403], [SOCKET + b"Origin: null\r\n" + UPGRADE % (b"13", KEY)]
    ),
    "streams of rubbish": Odd([101], [SOCKET + UPGRADE % (b"13", KEY), b"\xff" * 9]),
}


def attack(folder: Path, long: bool) -> str:
    with stand_in(folder), running_gateway(folder) as gateway:
        gateway.wait_ready()
        alone = trade(gateway)
        with crowd(gateway.port, stranger) as counted:
            beside = trade(gateway, SECONDS_LONG if long else SECONDS_SHORT)
        name = f"{CROWD} odd clients that came {counted.total():,} times"
        told = beside.beside(name, alone, gateway)
    wrong = {what: count for what, count in counted.items() if what not in KINDS}
    assert not wrong, f"wrong answers: {wrong}"
    assert counted.keys() == KINDS.keys(), f"too slow: {counted}"
    return f"{len(KINDS)} kinds, each with the right answer; {told}"


def stranger(port: int, n: int, over: Event, counted: Counter[str]) -> None:
    while not over.is_set():
        for name, odd in KINDS.items():
            found = _come(port, f"127.0.{n + 1}.1", odd)
            counted[name if found == odd.answers else f"{name}: {found}"] += 1


def _come(port: int, address: str, odd: Odd) -> list[int]:
    """The answers to one such client."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX, (address, 0)) as one:
        told, answers = b"", list[int]()
        for piece in odd.pieces:
            one.sendall(piece)
            if odd.answers[:1] in ([100], [101]) and not told:
                told = one.recv(65_536)
        if odd.half:
            one.shutdown(socket.SHUT_WR)
        while len(answers := _statuses(told)) < len(odd.answers):
            if not (more := one.recv(65_536)):
                break
            told += more
        return answers


def _statuses(told: bytes) -> list[int]:
    return [int(part[2:5]) for part in told.split(b"HTTP/1.")[1:] if len(part) >= 5]
