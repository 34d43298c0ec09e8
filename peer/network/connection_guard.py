"""The TCP connections of this process, as the kernel counts them.

Owns the bounds that libzmq lacks. It limits a frame and the waiting messages, but not a message's
parts, a subscriber's subscriptions or the number of connections, and all take memory or
descriptors. Must never read from a connection: it reads the kernel's counters and ends useless
connections. Without /proc (outside Linux) it watches nothing.

It has its own thread: the node's thread may be busy for longer than others need to take all
descriptors. The node's thread calls `hear` to report which asker has spoken over which connection.
"""

import contextlib
import logging
import os
import resource
import socket
import stat
import struct
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peer.network.authenticator import Asker
from peer.network.connection_limits import Visitor, too_many
from peer.process.descriptors import Room, is_full

SUBSCRIBER_BYTES_MAX = 16 * 1024  # a handshake and a subscription are about 1 KiB
UNHEARD_BYTES_MAX = 8 * 1024 * 1024  # without a whole message; the longest honest one is shorter
CHECK_S = 0.1  # between two looks,
QUICK_CHECK_S = 0.02  # unless this many descriptors more are open than at the last one
BURST_DESCRIPTORS = 64
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


@dataclass
class _Seen:
    """What is known about a connection."""

    remote: Place
    number: int  # in the order of discovery
    looks: int = 0  # between which the node made progress
    asker: Asker | None = None
    heard_bytes: int = 0  # bytes received when it last brought a whole message
    taken_bytes: int = 0  # bytes received at a look; the node has taken in everything since
    turn: int = 0  # the node's turn at that look
    is_ended: bool = False  # by this peer, though libzmq has not closed it yet


class ConnectionGuard:
    """`publishing` and `answering` are the ports of the two sockets others connect to. Only one
    thread may call `look`: the guard's own once it is started."""

    def __init__(self, publishing: int, answering: int, room: Room | None = None) -> None:
        self.ended = 0
        self._answering = answering
        self._hardly_told = {publishing}  # ports to which others send hardly anything
        self._room = room or Room()
        self._heard: dict[int, Asker | None] = {}  # by descriptor, since the last look
        self._lock = threading.Lock()  # guards what was heard
        self._turn = self._looked_turn = 0
        self._count = 0
        self._seen: dict[int, _Seen] = {}  # by descriptor
        self._open = 0  # descriptors, after the last look
        self._logged: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="connection guard", daemon=True)

    def watch(self, port: int) -> None:
        """Others connect to this port too, and send hardly anything. Call before `start`."""
        self._hardly_told.add(port)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Harmless if it never started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def hear(self, fd: int, asker: Asker | None = None) -> None:
        """A whole message came over a connection; from `asker` if others made the connection."""
        with self._lock:
            self._heard[fd] = asker

    def turned(self) -> None:
        """The node has taken in all input that was there at its last call of this."""
        self._turn += 1

    def _watch(self) -> None:
        waited_s = 0.0
        while not self._stopping.wait(QUICK_CHECK_S):
            waited_s += QUICK_CHECK_S
            if waited_s >= CHECK_S or self._has_burst():
                waited_s = 0.0
                try:
                    self.look()
                except Exception:
                    _log.exception("the connection guard failed and continues")

    def _has_burst(self) -> bool:
        try:
            count = os.stat(_OPEN_FILES).st_size or len(os.listdir(_OPEN_FILES))  # 0: an old Linux
            return count > self._open + BURST_DESCRIPTORS
        except OSError as error:
            return is_full(error)

    def look(self) -> None:
        """End the useless connections."""
        before, self._seen = self._seen, {}
        with self._lock:
            heard, self._heard = self._heard, {}
        turn, self._open = self._turn, 0
        went_on, self._looked_turn = turn != self._looked_turn, turn
        visitors: dict[Visitor, _Connection] = {}
        for one in self._connections():
            seen = before.get(one.fd)
            if seen is None or seen.remote != one.remote:
                self._count += 1
                seen = _Seen(one.remote, self._count, taken_bytes=one.received, turn=turn)
            self._seen[one.fd] = seen
            if one.fd in heard:
                seen.asker = heard[one.fd] or seen.asker
                seen.heard_bytes = seen.taken_bytes = one.received
                seen.turn = turn
            self._judge(one, seen, turn)
            if one.port in {*self._hardly_told, self._answering} and not seen.is_ended:
                seen.looks += went_on
                place = one.port, one.remote[0]
                visitors[Visitor(seen.number, *place, seen.looks, seen.asker)] = one
        for visitor in too_many(list(visitors), self._room):
            self._end(visitors[visitor], "too many connections")

    def _judge(self, one: _Connection, seen: _Seen, turn: int) -> None:
        if one.port in self._hardly_told:
            if one.received > SUBSCRIBER_BYTES_MAX:
                self._end(one, f"a subscriber sent over {SUBSCRIBER_BYTES_MAX} bytes")
        elif turn >= seen.turn + 2:  # a whole turn has passed between
            if seen.taken_bytes - seen.heard_bytes > UNHEARD_BYTES_MAX:
                self._end(one, f"over {UNHEARD_BYTES_MAX} bytes without a complete message")
            seen.taken_bytes, seen.turn = one.received, turn

    def _end(self, one: _Connection, why: str) -> None:
        """libzmq sees the connection closed, and frees its memory."""
        seen = self._seen[one.fd]
        if seen.is_ended:
            return
        seen.is_ended = True
        self.ended += 1
        self._open -= 1
        with contextlib.suppress(OSError), _socket(one.fd) as found:
            if found.getpeername()[:2] == one.remote:
                found.shutdown(socket.SHUT_RDWR)
        host = one.remote[0]
        if host not in self._logged and len(self._logged) < PLACES_LOGGED_MAX:
            self._logged.add(host)
            _log.warning("ended a connection with %s:%d: %s", *one.remote, why)

    def _connections(self) -> Iterator[_Connection]:
        for fd in _open_files():
            with contextlib.suppress(OSError):
                is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
                self._open += 1
                if is_socket:
                    yield from _connection(fd)


def _open_files() -> Collection[int]:
    """Descriptors that may be open."""
    try:
        return [int(name) for name in os.listdir(_OPEN_FILES)]
    except OSError as error:  # the listing itself takes a descriptor
        return range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) if is_full(error) else ()


def _connection(fd: int) -> Iterator[_Connection]:
    with _socket(fd) as found:
        if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
            host, port, *_ = found.getpeername()
            info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
            (received,) = _BYTES_RECEIVED.unpack(info)
            yield _Connection(fd, found.getsockname()[1], (host, port), received)


@contextlib.contextmanager
def _socket(fd: int) -> Iterator[socket.socket]:
    """A descriptor as a socket. The descriptor stays open afterwards, and no new one is used."""
    found = socket.socket(fileno=fd)
    try:
        yield found
    finally:
        found.detach()
