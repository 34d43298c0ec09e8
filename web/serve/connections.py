"""Connections, from accepting them until the application has the request or the hub the socket.

Owns the settings of waitress and what waitress does not do: time limits, the number of connections
per address, and the handover of a stream. Must never wait: everything except `service` runs on the
main thread, for all connections.

waitress reads whole requests on that one thread, with a strict parser, and writes the answers
there. So a client that sends or reads one byte a second takes a socket and no thread, and a body
ends where the protocol says. gunicorn was replaced because each of its threads reads from one
client: to keep slow clients away from them took a second parser, and its main thread waited for
clients to close.
"""

import logging
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from flask import Flask
from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from peer.process.descriptors import is_full
from web.config import BODY_BYTES_MAX, Config
from web.contract.problems import Problem
from web.serve.client_address import counted, plain, release
from web.serve.request_parser import Parser, RequestTimeout
from web.serve.turns import Turns

ADDRESS_CONNECTIONS_MAX = 256  # per address, without streams
HEAD_BYTES_MAX = 32 * 1024
ANSWER_SECONDS_MAX = 60.0  # from a whole request until the client has taken its answer
IDLE_SECONDS_MAX = 15.0  # between two requests
LINGER_SECONDS_MAX = 2.0  # a client that still sends must see the answer before the close
LINGER_BYTES_MAX = 1024 * 1024

ACCEPTED_MAX = 64  # per turn
ACCEPT_REST_SECONDS = 0.5  # when no descriptor is free for one more connection

HAND_OVER = "web.hand_over"  # in a request's environment: hands the connection over

_log = logging.getLogger(__name__)


class Direct(Protocol):
    """Answers some requests without a thread of their own."""

    def wants(self, request: "Parser") -> bool:
        """Whether it may take this whole request. Called during a turn of the loop: quick."""

    def take(self, request: "Parser", channel: "Channel") -> bool:
        """Take the first request of a connection, and call `channel.answer` for it, once, from any
        thread. If it does not, a thread answers the request. Called between two turns."""


class Refusal(ErrorTask):  # type: ignore[misc]
    """Answers an invalid request with a Problem, and ends the connection."""

    def execute(self) -> None:
        error = self.request.error
        problem = Problem(error.code, f"{error.body}.", error.reason.lower().replace(" ", "_"))
        body = msgspec.json.encode(problem.view)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/problem+json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Task(WSGITask):  # type: ignore[misc]
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        if self.channel.is_alone:
            environ[HAND_OVER] = self.channel.hand_over
            environ["gunicorn.socket"] = self.channel.socket  # where flask-sock expects it
        return environ

    def execute(self) -> None:
        try:
            super().execute()
        except StopIteration:  # a stream has no response to write
            if not self.channel.is_gone:
                raise
            self.wrote_header = self.close_on_finish = True


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    request: Parser | None  # the unfinished one
    parser_class = Parser
    task_class = Task
    error_task_class = Refusal

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = counted(self.addr[0])  # its address, as limits count it
        self.is_gone = False  # it was handed over: this class must not end it
        self._is_counted = True
        self.server.addresses[self.name] += 1
        self._served = 0
        self.is_direct = False  # the first request is answered without a thread
        self._has_ended = False  # the client has sent all it will
        self._lingering = 0  # bytes that it may still discard
        self._phase: tuple[str, int] = ("arriving", 0)
        self.since = time.monotonic()  # start of the phase

    # Streams

    @property
    def is_alone(self) -> bool:
        """Whether this connection has one request and no other."""
        return len(self.requests) == 1 and self.request is None and not self.total_outbufs_len

    def hand_over(self) -> socket.socket:
        """Give the connection to the caller, as a socket. Called in the thread of the request."""
        mine: socket.socket = self.socket.dup()
        self.is_gone = True
        return mine

    def service(self) -> None:
        super().service()
        self._served += 1
        self._wake()

    def write_soon(self, data: Any) -> int:
        written: int = super().write_soon(data)
        if self.total_outbufs_len:
            self._wake()
        return written

    def _wake(self) -> None:
        """Let the main thread ask again what to wait for. Thread-safe."""
        if self.connected:
            self.server.turns.touch(self._fileno)
            with suppress(OSError):  # the server closes, and nobody waits any more
                self.server.pull_trigger()

    # Answers without a thread

    def answer(self, whole: bytes) -> None:
        """Answer the first request, and send what can be sent at once."""
        with suppress(ClientDisconnected):
            self.write_soon(whole)
        self.current_outbuf_count = self.adj.outbuf_high_watermark  # the next answer: a new buffer
        with self.requests_lock:
            self.requests.pop(0).close()
            self._served += 1
            self.is_direct = False
            more = bool(self.requests)
        if more:
            self.server.add_task(self)
        if more or self.will_close or self._has_ended:
            self._wake()

    @property
    def _looks_ahead(self) -> bool:
        """Whether to read on although a request waits for its answer: it is answered from another
        thread, which then need not wake the loop for the next request."""
        busy = self.will_close or self.close_when_flushed or self.total_outbufs_len
        return self.is_direct and len(self.requests) == 1 and not (busy or self._has_ended)

    # Ending

    def _flush_some(self, do_close: bool = True) -> bool:
        """Flush under the lock. waitress does not take it on the main thread while no request is
        there. Just then a thread may send `100 Continue`, and both would send it."""
        with self.outbuf_lock:
            if not self.connected:  # closed meanwhile, which takes this lock first
                return False
            sent: bool = super()._flush_some(do_close)
            return sent

    def readable(self) -> bool:
        return bool(self._lingering or super().readable() or self._looks_ahead)

    def writable(self) -> bool:
        return bool(not self._lingering and super().writable())

    def handle_read(self) -> None:
        if self.is_direct and not self.socket.recv(1, socket.MSG_PEEK):
            self._has_ended = True  # it may still wait for its answer
            return
        if not self._lingering:
            super().handle_read()
            return
        try:
            size = len(self.recv(self.adj.recv_bytes))
        except OSError:
            size = 0
        self._lingering -= size
        if not size or self._lingering <= 0:
            self.handle_close()

    def handle_write(self) -> None:
        if self.is_gone or not self.close_when_flushed:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            self._linger()

    def _linger(self) -> None:
        """The answer is sent. Read on for a while: if the socket closed with unread bytes, the
        kernel would reset the connection, and the client might not see the answer."""
        self.close_when_flushed, self._lingering = False, LINGER_BYTES_MAX
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()

    def look(self, now: float, limits: dict[str, float]) -> None:
        """End the connection if its phase takes too long."""
        phase = self._current(), self._served
        if phase != self._phase:
            self._phase, self.since = phase, now
        elif now - self.since > limits[phase[0]]:
            if phase[0] == "arriving" and self.request is not None:
                self._refuse_unfinished(self.request)
            else:
                self.handle_close()

    def _refuse_unfinished(self, request: Parser) -> None:
        """Answer a request that did not arrive whole in time."""
        request.error, request.completed = RequestTimeout("The request did not end in time"), True
        self.request, self.requests = None, [request]
        self.server.add_task(self)

    @property
    def is_waiting(self) -> bool:
        """Whether no whole request waits for its answer."""
        return self._current() in ("arriving", "idle", "lingering")

    def _current(self) -> str:
        if self.is_gone:
            return "gone"
        if self._lingering:
            return "lingering"
        if self.requests or self.total_outbufs_len:
            return "answering"
        return "arriving" if self.request is not None or not self._served else "idle"

    def add_channel(self, map: Any = None) -> None:
        super().add_channel(map)
        self.server.turns.touch(self._fileno)

    def del_channel(self, map: Any = None) -> None:
        self.server.turns.forget(self._fileno)
        super().del_channel(map)
        if self._is_counted:
            self._is_counted = False
            release(self.server.addresses, self.name)


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """Accepts connections on a bound socket. `client_of` returns the client's address for the port
    of a connection that comes through this process, else None."""

    channel_class = Channel

    def __init__(
        self,
        app: Flask,
        config: Config,
        sock: socket.socket,
        client_of: Callable[[int], str | None] = lambda port: None,
        direct: Direct | None = None,
    ) -> None:
        self._direct = direct
        self._ready: deque[Channel] = deque()  # whose first request may be answered directly
        self._later: deque[Channel] = deque()  # whose next request was there before an answer
        self._main = threading.get_ident()
        self.addresses: Counter[str] = Counter()  # number of connections
        self._client_of = client_of
        self._proxies = config.proxies  # they have their own limits
        self._most = config.connections
        self._rest_until = 0.0  # it accepts nothing before
        self._limits = {
            "arriving": config.request_timeout,
            "answering": ANSWER_SECONDS_MAX,
            "idle": IDLE_SECONDS_MAX,
            "lingering": LINGER_SECONDS_MAX,
            "gone": 0.0,
        }
        settings = Adjustments(
            sockets=[sock],
            threads=config.threads,
            connection_limit=config.connections + 2 * ACCEPTED_MAX,  # never reached
            max_request_header_size=HEAD_BYTES_MAX,
            max_request_body_size=BODY_BYTES_MAX + 1,
            recv_bytes=64 * 1024,
            cleanup_interval=1,
            clear_untrusted_proxy_headers=False,  # `proxy` checks who sends them
            ident=None,
            log_socket_errors=False,
        )
        where = (sock.family, sock.type, sock.proto, sock.getsockname())
        sockets: dict[int, Any] = {}
        self.turns = Turns(sockets)
        super().__init__(app, sockets, _sock=sock, adj=settings, sockinfo=where, bind_socket=False)

    def readable(self) -> bool:
        return bool(time.monotonic() >= self._rest_until and super().readable())

    def handle_accept(self) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                found = self.accept()
                if found is None:
                    return
                sock, (host, port, *_more) = found
                self.set_socket_options(sock)
            except OSError as error:
                if is_full(error):  # new connections wait in the kernel
                    self._rest_until = time.monotonic() + ACCEPT_REST_SECONDS
                    _log.error("no descriptor is free for a connection: accepting later")
                    return
                continue  # the client has left
            self._admit(sock, plain(self._client_of(port) or host), port)

    def _admit(self, sock: socket.socket, host: str, port: int) -> None:
        crowded = self.addresses[counted(host)] >= ADDRESS_CONNECTIONS_MAX
        if crowded and host not in self._proxies:
            sock.close()
            return
        self.channel_class(self, sock, (host, port), self.adj, map=self._map)

    def add_task(self, task: Channel) -> None:
        """Serve a connection's next request. Another thread than the main one, which has just
        answered the one before, wakes the main one then: that decides, for all requests alike."""
        if threading.get_ident() != self._main:
            self._later.append(task)
        elif self._direct is not None and self._direct.wants(task.requests[0]):
            task.is_direct = True
            self._ready.append(task)
        else:
            super().add_task(task)

    def _serve_direct(self) -> None:
        """Answer what needs no thread."""
        while self._later:
            channel = self._later.popleft()
            if channel.requests:  # it is still connected
                self.add_task(channel)
        while self._ready:
            channel = self._ready.popleft()
            if self._direct is None or not self._direct.take(channel.requests[0], channel):
                channel.is_direct = False
                self.turns.touch(channel._fileno)
                super().add_task(channel)

    def turn(self, seconds: float) -> None:
        """Wait for connections up to `seconds`, and do what they need."""
        self._make_room()
        self.turns.touch(self._fileno)  # whether it accepts depends on the time
        self.turns.touch(self.trigger._fileno)
        self.turns.run(seconds)
        self._serve_direct()

    def _make_room(self) -> None:
        """If there are too many connections, end those that have waited longest, of the address
        with most connections. Called between two turns of the loop: during a turn, a new
        connection could get the descriptor of an ended one, and then its events."""
        excess = len(self.active_channels) - self._most
        if excess <= 0:
            return
        waiting = [one for one in self.active_channels.values() if one.is_waiting]
        waiting.sort(key=lambda one: (-self.addresses[one.name], one.since))
        for one in waiting[:excess]:
            one.handle_close()

    @property
    def is_busy(self) -> bool:
        """Whether a whole request waits for its answer."""
        return any(not channel.is_waiting for channel in self.active_channels.values())

    def look(self, now: float) -> None:
        """End connections that take too long. Call it once a second, between two turns."""
        for channel in list(self.active_channels.values()):
            channel.look(now, self._limits)
            self.turns.touch(channel._fileno)

    def maintenance(self, now: float) -> None:
        """Replaces waitress' own check of slow connections, which runs during a turn."""
