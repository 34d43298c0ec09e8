"""gunicorn's threaded worker, with a waiting room for requests that are still arriving.

Owns the connections from their acceptance until a thread has them, and how long a thread may be
busy with one. A request gets a thread once all of it is there, so a client that sends a byte a
second costs a socket and no thread. Must never read from a connection: it only looks at it.
"""

import contextlib
import fcntl
import selectors
import socket
import struct
import termios
import time
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from web.arrival import CHUNKED_BYTES_MAX, TooMuchError, needed
from web.config import Config
from web.gateway import Gateway

STOP_SECONDS = 2  # the arbiter's patience; the worker takes half of it
SERVED_SECONDS_MAX = 30.0  # from a whole request to the end of its answer
ADDRESS_CONNECTIONS_MAX = 256  # of one address, streams not counted
ANSWER_BUFFER_BYTES = 512 * 1024  # the kernel's part: most answers leave the thread at once
FULL_BYTES = 64 * 1024  # the kernel may have room for so much only


class Worker(ThreadWorker):  # type: ignore[misc]
    """It also ends the streams when it is told to stop, not when it has drained."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served: dict[Any, float] = {}  # connections in threads, since when
        self._config: Config = self.app.config

    def handle_exit(self, sig: int, frame: object) -> None:
        self.cfg.set("graceful_timeout", STOP_SECONDS // 2)
        gateway_of(self).hub.stop()
        super().handle_exit(sig, frame)

    # Arriving, on the main thread

    def enqueue_req(self, conn: Any) -> None:
        """A connection is new, or was kept alive and says something again."""
        if conn.timeout is None:
            if self._is_crowded(conn.client[0]):
                self._hang_up(conn)
                return
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWER_BUFFER_BYTES)
        conn.timeout = time.monotonic() + self._config.request_timeout
        self._look(conn)

    def _is_crowded(self, address: str) -> bool:
        """Whether an address has connections enough. Behind TLS, `tls.Front` asks that; a reverse
        proxy has its own limits."""
        if self._config.tls_certificate or address in self._config.proxies:
            return False
        open_ = (*self.pending_conns, *self.keepalived_conns, *self._served)
        return len([1 for conn in open_ if conn.client[0] == address]) >= ADDRESS_CONNECTIONS_MAX

    def _look(self, conn: Any) -> None:
        """Hand a whole request to a thread; wait for the rest of one."""
        early = conn.parser.unreader.buf.getvalue() if conn.parser else b""  # behind the last one
        try:
            there = _bytes_there(conn.sock)
            want = needed(early + _peek(conn.sock)) - len(early)
        except (TooMuchError, OSError):
            self._hang_up(conn)
            return
        if want <= there:
            self._serve(conn)
        else:
            self._wait(conn, want)

    def _wait(self, conn: Any, want: int) -> None:
        """Until the kernel has so many bytes."""
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, want)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._arrived, conn, want))

    def _arrived(self, conn: Any, want: int, _sock: object) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)
        there = _bytes_there(conn.sock)
        if there >= want:
            self._look(conn)
        elif there >= FULL_BYTES:  # the kernel takes no more before somebody reads
            self._serve(conn)
        else:  # the client went away
            self._hang_up(conn)

    def _hang_up(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def _serve(self, conn: Any) -> None:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        conn.data_ready = True
        self._served[conn] = time.monotonic()
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, future: Any) -> None:
        self._served.pop(conn, None)
        super().finish_request(conn, future)

    def murder_pending(self) -> None:
        """End what has been arriving or has been served for too long. Called once a second."""
        if self.alive and (dead := gateway_of(self).dead_parts):
            self.log.critical("parts of the gateway have ended: %s", ", ".join(dead))
            raise SystemExit(1)  # the arbiter starts another worker
        now = time.monotonic()
        for conn in list(self.pending_conns):
            if conn.timeout <= now or not self.alive:  # what has not come by now is not awaited
                self.pending_conns.remove(conn)
                self.poller.unregister(conn.sock)
                self._hang_up(conn)
        for conn, since in list(self._served.items()):
            if now - since > SERVED_SECONDS_MAX:
                del self._served[conn]
                with contextlib.suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RDWR)  # its thread sees the end, and closes


def gateway_of(worker: Worker) -> Gateway:
    gateway = worker.app.callable.extensions["gateway"]
    assert isinstance(gateway, Gateway)
    return gateway


def _bytes_there(sock: socket.socket) -> int:
    """How many bytes the kernel holds for us."""
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
    return int(count)


def _peek(sock: socket.socket) -> bytes:
    """The first of them. OSError if there are none and none will come."""
    try:
        data = sock.recv(CHUNKED_BYTES_MAX, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""
    if not data:
        raise ConnectionResetError
    return data
