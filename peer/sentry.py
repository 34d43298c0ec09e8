"""The TCP connections of this process, as the kernel counts them.

Owns the bounds that libzmq has not: it limits a frame and how many messages wait, but neither the
parts of one message nor what a subscriber subscribes to, and both take memory. Must never read from
a connection: it looks at the kernel's counters, and ends what is beyond any use. Without /proc, so
elsewhere than on Linux, nothing is watched.
"""

import contextlib
import logging
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUBSCRIBER_BYTES_MAX = 16 * 1024  # a handshake and a subscription are about 1 KiB
UNHEARD_BYTES_MAX = 8 * 1024 * 1024  # without a whole message; the longest honest one is shorter
ADDRESS_CONNECTIONS_MAX = 128  # of one address to one socket
PLACES_LOGGED_MAX = 1_000
_OPEN_FILES = Path("/proc/self/fd")
_BYTES_RECEIVED = struct.Struct("@128xQ")  # in struct tcp_info

_log = logging.getLogger(__name__)

Place = tuple[str, int]


class _Connection(NamedTuple):
    fd: int
    port: int  # ours
    remote: Place
    received: int  # bytes


class _Seen(NamedTuple):
    remote: Place
    heard: int  # whole messages, when
    received: int  # so many bytes had come


class Sentry:
    """`publishing` and `answering` are the ports of the two sockets others connect to."""

    def __init__(self, publishing: int, answering: int) -> None:
        self.ended = 0
        self.heard: Counter[int | Place] = Counter()  # messages by descriptor, or by where from
        self._publishing, self._answering = publishing, answering
        self._seen: dict[int, _Seen] = {}  # by descriptor
        self._logged: set[str] = set()

    def look(self) -> None:
        """End the connections that are beyond any use. Call it a few times a second."""
        before, self._seen = self._seen, {}
        crowd: Counter[tuple[str, int]] = Counter()
        for one in sorted(_connections(), key=lambda one: one.fd not in before):  # new ones last
            is_served = one.port in (self._publishing, self._answering)
            heard = self.heard[one.fd if is_served else one.remote]
            seen = before.get(one.fd)
            if seen is None or seen.remote != one.remote:
                seen = _Seen(one.remote, heard, 0)
            elif seen.heard != heard and one.port != self._publishing:
                seen = _Seen(one.remote, heard, one.received)
            self._seen[one.fd] = seen
            crowd[one.remote[0], one.port] += is_served
            self._judge(one, one.received - seen.received, crowd[one.remote[0], one.port])
        alive = {*self._seen, *(seen.remote for seen in self._seen.values())}
        self.heard = Counter({key: n for key, n in self.heard.items() if key in alive})

    def _judge(self, one: _Connection, unheard: int, crowd: int) -> None:
        if one.port == self._publishing and unheard > SUBSCRIBER_BYTES_MAX:
            self._end(one, "a subscriber that says so much")
        elif unheard > UNHEARD_BYTES_MAX:
            self._end(one, "a message without an end")
        elif crowd > ADDRESS_CONNECTIONS_MAX:
            self._end(one, "one of too many")

    def _end(self, one: _Connection, why: str) -> None:
        """libzmq sees it closed, and frees what it holds of it."""
        self.ended += 1
        with contextlib.suppress(OSError), _socket(one.fd) as found:
            if found.getpeername()[:2] == one.remote:
                found.shutdown(socket.SHUT_RDWR)
        host = one.remote[0]
        if host not in self._logged and len(self._logged) < PLACES_LOGGED_MAX:
            self._logged.add(host)
            _log.warning("ended a connection with %s:%d: %s", *one.remote, why)


def _connections() -> Iterator[_Connection]:
    try:
        names = os.listdir(_OPEN_FILES)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            fd = int(name)
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                yield from _connection(fd)


def _connection(fd: int) -> Iterator[_Connection]:
    with _socket(fd) as found:
        if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
            host, port, *_ = found.getpeername()
            info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
            (received,) = _BYTES_RECEIVED.unpack(info)
            yield _Connection(fd, found.getsockname()[1], (host, port), received)


def _socket(fd: int) -> socket.socket:
    """A descriptor of its own for the same socket."""
    return socket.socket(fileno=os.dup(fd))
