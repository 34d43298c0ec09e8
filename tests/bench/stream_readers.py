"""The clients of `bench_web`: a process that reads a thousand WebSockets, itself not measured.

Owns the sockets and what was counted. One client in `EVERY` is read as soon as something comes, and
its messages' ages are taken by the kernel's own time of their arrival, however late this process
gets to run. The others are emptied ten times a second, and their messages counted.
"""

import base64
import os
import select
import socket
import struct
import time
from multiprocessing.connection import Connection

import msgspec

EVERY = 10
DRAIN_SECONDS = 0.1
BUFFER_BYTES = 1 << 18
GOING_AWAY = (1001).to_bytes(2, "big") + b"this peer"
DELTA = b'"type":"delta"'
SO_TIMESTAMPNS = 35  # Linux; `socket` has no name for it
_TIMESPEC = struct.Struct("@ll")


class Counted(msgspec.Struct):
    """`ages_ms` are of the timed clients' messages; `processor_s` is what the reading cost."""

    messages: int
    ages_ms: list[float]
    processor_s: float


def connect(port: int, number: int) -> socket.socket:
    """A WebSocket client that hears the book and nothing else; ten of them share an address."""
    source = (f"127.1.{number // 10 // 250}.{number // 10 % 250 + 1}", 0)
    sock = socket.create_connection(("127.0.0.1", port), source_address=source)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /ws?channels=book HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert b" 101 " in head, head
    sock.setblocking(False)
    return sock


class Readers:
    def __init__(self, port: int, clients: int, stalled: int) -> None:
        self.stalled = [connect(port, number) for number in range(stalled)]
        self.socks = [connect(port, number) for number in range(clients)]
        timed = self.socks[::EVERY]
        self.timed = {sock.fileno(): sock for sock in timed}
        self.others = [sock for sock in self.socks if sock.fileno() not in self.timed]
        self.poll = select.epoll()
        for number in self.timed:
            self.poll.register(number, select.EPOLLIN)
        self.buffer = bytearray(BUFFER_BYTES)
        self.messages = 0
        self.ages_ms: list[float] = []

    def read(self, until: float) -> None:
        """Read until the monotonic time `until`."""
        due = time.monotonic() + DRAIN_SECONDS
        while (now := time.monotonic()) < until:
            if now >= due:
                due = now + DRAIN_SECONDS
                for sock in self.others:
                    self._drain(sock)
            for number, _ in self.poll.poll(max(0.0, min(due, until) - now)):
                self._time(self.timed[number])

    def _drain(self, sock: socket.socket) -> None:
        try:
            size = sock.recv_into(self.buffer)
        except BlockingIOError:
            return
        self.messages += self.buffer.count(DELTA, 0, size)

    def _time(self, sock: socket.socket) -> None:
        data, extra, _, _ = sock.recvmsg(BUFFER_BYTES, 64)
        seconds, nanos = _TIMESPEC.unpack(extra[0][2])
        arrived_ms = seconds * 1000 + nanos / 1_000_000
        for part in data.split(DELTA)[1:]:
            start = part.index(b'"time":') + 7
            self.messages += 1
            self.ages_ms.append(arrived_ms - int(part[start : start + 13]))

    def goodbyes(self) -> int:
        """How many of the clients have been told that the server goes away."""
        return sum(_last_bytes(sock).find(GOING_AWAY) >= 0 for sock in self.socks)

    def close(self) -> None:
        for sock in (*self.socks, *self.stalled):
            sock.close()


def _last_bytes(sock: socket.socket) -> bytes:
    last = b""
    while True:
        try:
            data = sock.recv(BUFFER_BYTES)
        except OSError:
            return last
        if not data:
            return last
        last = data[-200:]


def serve(pipe: Connection, port: int, clients: int, stalled: int) -> None:
    """A process's work: connect, say so, read for the seconds it is told, say what came; and when
    it is told that the server has ended, how many were told goodbye."""
    readers = Readers(port, clients, stalled)
    readers.read(time.monotonic() + 0.5)
    readers.messages = 0
    readers.ages_ms.clear()
    pipe.send(None)
    seconds: float = pipe.recv()
    before = time.process_time()
    readers.read(time.monotonic() + seconds)
    pipe.send(Counted(readers.messages, readers.ages_ms, time.process_time() - before))
    pipe.recv()
    pipe.send(readers.goodbyes())
    readers.close()
