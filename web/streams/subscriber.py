"""One client's open stream: WebSocket or server-sent events.

Owns the socket, its send queue, and the position in each channel. Never blocks and never grows: a
client that does not read loses its queue, and gets new snapshots when it reads again. Only the
hub's thread may call it.
"""

import socket
import time
from collections import deque
from enum import Enum
from typing import NoReturn

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from web.auth.keys import Credential
from web.streams.frames import Frame, close_frame, ping_frame, text_frame

# Send queue per client, besides snapshots; beyond it the queue is dropped.
BACKLOG_BYTES_MAX = 512 * 1024
SEND_BUFFER_BYTES = 128 * 1024  # in the kernel
MESSAGE_BYTES_MAX = 64 * 1024  # from a client
FRAGMENTS_MAX = 1_000  # of one message
PINGS_MAX = 20  # per read
READ_BYTES = 64 * 1024
STALL_SECONDS_MAX = 15.0  # without progress of the send queue
SILENCE_SECONDS_MAX = 60.0  # without a byte from a WebSocket client, pongs included
IN_FLIGHT_MAX = 64  # commands of one client without a final answer


class Kind(Enum):
    WEBSOCKET = "websocket"
    EVENTS = "events"


class ClosedError(Exception):
    """The stream has ended; the hub drops the client."""


class Client:
    def __init__(
        self,
        sock: socket.socket,
        kind: Kind,
        channels: list[str],
        resume: int | None = None,
        greeting: bytes = b"",
        credential: Credential | None = None,
        address: str = "",
        is_known: bool = False,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.kind = kind
        self.credential = credential
        self.address = address
        self.is_known = is_known  # the operator has let it in
        self.wanted = channels  # the hub subscribes it to these
        self.resume = resume  # the last event that a resuming client saw
        self.channels: list[str] = []
        # The seq of snapshots that may be ahead of published frames, by channel.
        self.ahead: dict[str, int] = {}
        self.lagging = False
        self.in_flight = 0
        self.heard = self.moved = time.monotonic()
        self._codec = None if kind is Kind.EVENTS else Connection(ConnectionType.SERVER)
        self._partial: list[str] = []
        self._partial_size = 0
        self._pings = 0  # in the last read
        self._backlog: deque[tuple[bytes, bool]] = deque()  # bytes, may be dropped
        self._backlog_bytes = 0
        self._snapshot_bytes = 0  # of it, up to the end of the last snapshot
        self._offset = 0  # bytes of the first entry already written
        if greeting:
            self._backlog.append((greeting, False))
            self._backlog_bytes = len(greeting)

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for the socket to become writable."""
        return bool(self._backlog) or self.lagging

    @property
    def is_choked(self) -> bool:
        """Whether it does not read its answers. Then the hub reads no more requests."""
        return self._backlog_bytes > BACKLOG_BYTES_MAX

    @property
    def is_steady(self) -> bool:
        """Whether it can get all frames as they come."""
        return not (self._backlog or self.lagging or self.ahead)

    def send(self, data: bytes) -> bool:
        """Send encoded frames; False if the socket did not take all bytes."""
        return self._write(data, droppable=True)

    def send_frame(self, frame: Frame) -> bool:
        """Send `frame`; False if a snapshot covers it, or if the client is behind."""
        if self.lagging or (frame.seq <= self.ahead.get(frame.channel, -1) and not frame.resets):
            return False
        self.ahead.pop(frame.channel, None)
        data = self.encoded(frame)
        if self._backlog_bytes + len(data) > BACKLOG_BYTES_MAX + self._snapshot_bytes:
            self.drop_backlog()
            return False
        self._write(data, droppable=True)
        return True

    def send_snapshot(self, frame: Frame) -> None:
        """Start or restart a channel."""
        self.ahead[frame.channel] = frame.seq
        self._write(self.encoded(frame), droppable=True)
        self._snapshot_bytes = self._backlog_bytes

    def encoded(self, frame: Frame) -> bytes:
        return frame.websocket if self.kind is Kind.WEBSOCKET else frame.event

    def send_reply(self, payload: bytes) -> None:
        """Send an answer to this client. It is kept even if the queue is dropped."""
        self._write(text_frame(payload), droppable=False)

    def send_raw(self, data: bytes) -> None:
        self._write(data, droppable=False)

    def ping(self) -> None:
        self._write(ping_frame() if self.kind is Kind.WEBSOCKET else b": \n\n", droppable=False)

    def _write(self, data: bytes, droppable: bool) -> bool:
        sent = 0
        if not self._backlog:
            try:
                sent = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                raise ClosedError(str(error)) from None
            if sent == len(data):
                return True
            self._offset = sent
            self.moved = time.monotonic()
        self._backlog.append((data, droppable and not sent))
        self._backlog_bytes += len(data) - sent
        return False

    def flush(self) -> bool:
        """Write as much as the socket takes now; True if the queue is empty."""
        try:
            while self._backlog:
                data = self._backlog[0][0]
                sent = self.sock.send(memoryview(data)[self._offset :])
                self.moved = time.monotonic()
                self._backlog_bytes -= sent
                self._offset += sent
                if self._offset < len(data):
                    return False
                self._backlog.popleft()
                self._offset = 0
            self._snapshot_bytes = 0
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise ClosedError(str(error)) from None
        return True

    def drop_backlog(self) -> None:
        """Drop queued frames of a slow client, except a partly sent one and answers. It restarts
        from snapshots."""
        self.lagging = True
        kept = deque(
            (data, droppable)
            for i, (data, droppable) in enumerate(self._backlog)
            if not droppable or (i == 0 and self._offset)
        )
        self._backlog = kept
        self._snapshot_bytes = 0
        self._backlog_bytes = sum(len(data) for data, _ in kept) - self._offset

    def receive(self) -> list[str]:
        """Read whole messages. Answers pings and close frames itself."""
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise ClosedError(str(error)) from None
        if not data:
            raise ClosedError("the client went away")
        self.heard = time.monotonic()
        if self._codec is None:
            return []
        self._pings = 0
        try:
            self._codec.receive_data(data)
            return [text for event in self._codec.events() if (text := self._take(event))]
        except RemoteProtocolError as error:
            self.refuse(1002, str(error))

    def _take(self, event: object) -> str | None:
        assert self._codec is not None
        if isinstance(event, TextMessage):
            return self._take_text(event)
        if isinstance(event, Ping | CloseConnection):
            self._pings += 1
            if self._pings > PINGS_MAX:
                self.refuse(1008, f"at most {PINGS_MAX} pings at a time")
            try:
                self._write(self._codec.send(event.response()), droppable=False)
            except LocalProtocolError:
                raise ClosedError("closed twice") from None
            if isinstance(event, CloseConnection):
                raise ClosedError("closed by the client")
        elif not isinstance(event, Pong):
            self.refuse(1003, "text messages only")
        return None

    def _take_text(self, event: TextMessage) -> str | None:
        self._partial_size += len(event.data)
        if self._partial_size > MESSAGE_BYTES_MAX:
            self.refuse(1009, f"messages have at most {MESSAGE_BYTES_MAX} bytes")
        if len(self._partial) >= FRAGMENTS_MAX:
            self.refuse(1009, f"messages have at most {FRAGMENTS_MAX} fragments")
        self._partial.append(event.data)
        if not event.message_finished:
            return None
        text = "".join(self._partial)
        self._partial.clear()
        self._partial_size = 0
        return text

    def refuse(self, code: int, reason: str) -> NoReturn:
        """Close the stream with a reason."""
        self.say_goodbye(code, reason)
        raise ClosedError(reason)

    def say_goodbye(self, code: int, reason: str) -> None:
        """Send the reason of the close, if the socket takes it. The caller closes the socket."""
        try:
            if self.kind is Kind.WEBSOCKET and not self._offset:
                self.sock.send(close_frame(code, reason))
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(READ_BYTES):
                pass  # with unread bytes the kernel would send a reset
        except OSError:
            pass

    def is_dead(self, now: float) -> bool:
        if self._backlog and now - self.moved > STALL_SECONDS_MAX:
            return True
        return self.kind is Kind.WEBSOCKET and now - self.heard > SILENCE_SECONDS_MAX

    def check(self) -> None:
        assert self._backlog_bytes == sum(len(d) for d, _ in self._backlog) - self._offset
        assert not self._offset or self._backlog
