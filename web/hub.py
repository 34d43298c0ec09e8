"""Every open stream to a browser, served by one thread.

Owns the clients' sockets from the moment the web server hands them over, who subscribed to what,
and the ring of recent events. A frame is encoded once, however many read it, and no client can
delay another. Must never block, and must never look into a book: frames and snapshots come from a
`Source`.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from web.client import Client, Closed
from web.frames import CLOSE_GOING_AWAY, CLOSE_TRY_LATER, Frame

log = logging.getLogger(__name__)

CLIENTS_MAX = 2_000
CHANNELS_MAX = 32  # one client's subscriptions
RING_FRAMES_MAX = 4_096
RING_BYTES_MAX = 8 * 1024 * 1024
HEARTBEAT_SECONDS = 15.0
TICK_SECONDS = 0.5


class Source(Protocol):
    """Where frames come from; called on the hub's thread, must not block."""

    def snapshot(self, channel: str) -> tuple[int, bytes] | None:
        """The channel's state and the seq it covers; None while there is none."""
        ...

    def on_message(self, client: Client, text: str) -> None: ...
    def on_audience(self, channel: str, listeners: int) -> None: ...


class Hub:
    """`start` after any fork; every other public method may be called from any thread."""

    def __init__(self, epoch: str, source: Source) -> None:
        self._epoch = epoch
        self._source = source
        self._clients: dict[int, Client] = {}
        self._audience: dict[str, dict[int, Client]] = {}
        self._ring: deque[tuple[int, Frame]] = deque()
        self._ring_bytes = 0
        self._number = 0
        self._inbox: deque[Callable[[], None]] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ, None)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self.dropped_to_snapshot = 0
        self.frames_sent = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye to everyone (1001) and end. Safe in a signal handler; does not wait."""
        self._post(self._close_all)

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def client_count(self) -> int:
        return len(self._clients)

    @property
    def is_full(self) -> bool:
        return len(self._clients) >= CLIENTS_MAX

    def adopt(self, client: Client) -> None:
        self._post(lambda: self._adopt(client))

    def publish(self, channel: str, seq: int, payload: bytes, resets: bool = False) -> None:
        """Send a message to the channel's audience. One that `resets` is a snapshot for all."""
        self._post(lambda: self._publish(channel, seq, payload, resets))

    def reply(self, client: Client, payload: bytes, done: bool = True) -> None:
        """Answer one client; `done` ends one of its requests in flight."""
        self._post(lambda: self._reply(client, payload, done))

    def _post(self, step: Callable[[], None]) -> None:
        self._inbox.append(step)
        with contextlib.suppress(OSError):  # woken already, or ended
            self._writer.send(b"\0")

    def _run(self) -> None:
        ticked = pinged = time.monotonic()
        while not self._stopping:
            for key, mask in self._selector.select(TICK_SECONDS):
                if key.data is None:
                    self._take_inbox()
                else:
                    self._serve(key.data, mask)
            now = time.monotonic()
            if now - ticked >= TICK_SECONDS:
                ticked = now
                self._cut_the_dead(now)
            if now - pinged >= HEARTBEAT_SECONDS:
                pinged = now
                self._each(Client.ping)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def _take_inbox(self) -> None:
        self._reader.recv(65536)
        while self._inbox:
            step = self._inbox.popleft()
            try:
                step()
            except Exception:
                log.exception("a step of the hub failed")

    def _serve(self, client: Client, mask: int) -> None:
        if client.sock.fileno() not in self._clients:
            return
        try:
            if mask & selectors.EVENT_WRITE and client.flush():
                self._caught_up(client)
            if mask & selectors.EVENT_READ:
                for text in client.receive():
                    self._source.on_message(client, text)
            self._watch(client)
        except Closed:
            self._let_go(client)
        except Exception:
            log.exception("serving a stream failed")
            self._let_go(client)

    def _caught_up(self, client: Client) -> None:
        if client.lagging:
            client.lagging = False
            for channel in list(client.positions):
                self._send_snapshot(client, channel)

    def _watch(self, client: Client) -> None:
        """Ask to be told when the socket takes more, only while something waits."""
        reading = 0 if client.is_choked else selectors.EVENT_READ
        mask = reading | (selectors.EVENT_WRITE if client.is_waiting else 0)
        if self._selector.get_key(client.sock).events != mask:
            self._selector.modify(client.sock, mask, client)

    def _adopt(self, client: Client) -> None:
        fd = client.sock.fileno()
        if self.is_full or self._stopping:
            client.say_goodbye(CLOSE_TRY_LATER, "too many streams are open")
            client.sock.close()
            return
        self._clients[fd] = client
        self._selector.register(client.sock, selectors.EVENT_READ, client)
        try:
            missed = self._missed(client)
            if client.resume is not None and missed is None:
                client.send_raw(b'event: reset\ndata: {"reason":"too old"}\n\n')
            for channel in client.wanted:
                self.subscribe(client, channel, snapshot=missed is None)
            for frame in missed or ():
                if frame.channel in client.positions:
                    client.send_snapshot(frame)
            client.flush()
            self._watch(client)
        except Closed:
            self._let_go(client)

    def _missed(self, client: Client) -> list[Frame] | None:
        """The frames since the last one the client saw; None if that is not known any more."""
        if client.resume is None or client.resume > self._number:
            return None
        oldest = self._ring[0][0] if self._ring else self._number + 1
        if client.resume < oldest - 1:
            return None
        return [frame for number, frame in self._ring if number > client.resume]

    def subscribe(self, client: Client, channel: str, snapshot: bool = True) -> bool:
        """On the hub's thread only: start `channel` for `client`, from a snapshot."""
        if channel not in client.positions and len(client.positions) >= CHANNELS_MAX:
            return False
        audience = self._audience.setdefault(channel, {})
        audience[client.sock.fileno()] = client
        self._source.on_audience(channel, len(audience))
        client.positions[channel] = -1
        if snapshot:
            self._send_snapshot(client, channel)
        return True

    def unsubscribe(self, client: Client, channel: str) -> None:
        if client.positions.pop(channel, None) is not None:
            audience = self._audience[channel]
            del audience[client.sock.fileno()]
            self._source.on_audience(channel, len(audience))

    def _send_snapshot(self, client: Client, channel: str) -> None:
        found = self._source.snapshot(channel)
        if found is not None:
            seq, payload = found
            client.send_snapshot(Frame(channel, seq, payload, f"{self._epoch}-{self._number}"))

    def _publish(self, channel: str, seq: int, payload: bytes, resets: bool) -> None:
        self._number += 1
        frame = Frame(channel, seq, payload, f"{self._epoch}-{self._number}", resets)
        self._remember(frame)
        for client in list(self._audience.get(channel, {}).values()):
            self._send(client, frame)

    def _send(self, client: Client, frame: Frame) -> None:
        try:
            was_lagging, was_waiting = client.lagging, client.is_waiting
            client.send_frame(frame)
            self.frames_sent += 1
            self.dropped_to_snapshot += client.lagging and not was_lagging
            if client.is_waiting != was_waiting:
                self._watch(client)
        except Closed:
            self._let_go(client)

    def _remember(self, frame: Frame) -> None:
        self._ring.append((self._number, frame))
        self._ring_bytes += len(frame.payload)
        while len(self._ring) > RING_FRAMES_MAX or self._ring_bytes > RING_BYTES_MAX:
            self._ring_bytes -= len(self._ring.popleft()[1].payload)

    def _reply(self, client: Client, payload: bytes, done: bool) -> None:
        client.in_flight -= done
        if self._clients.get(client.sock.fileno()) is client:
            try:
                client.send_reply(payload)
                self._watch(client)
            except Closed:
                self._let_go(client)

    def _each(self, action: Callable[[Client], None]) -> None:
        for client in list(self._clients.values()):
            try:
                action(client)
                self._watch(client)
            except Closed:
                self._let_go(client)

    def _cut_the_dead(self, now: float) -> None:
        for client in list(self._clients.values()):
            if client.is_dead(now):
                self._let_go(client)

    def _let_go(self, client: Client) -> None:
        fd = client.sock.fileno()
        if self._clients.pop(fd, None) is None:
            return
        for channel in list(client.positions):
            audience = self._audience[channel]
            del audience[fd]
            self._source.on_audience(channel, len(audience))
        self._selector.unregister(client.sock)
        client.sock.close()

    def _close_all(self) -> None:
        self._stopping = True
        for client in list(self._clients.values()):
            client.say_goodbye(CLOSE_GOING_AWAY, "this peer is stopping")
            self._let_go(client)

    def check(self) -> None:
        for fd, client in self._clients.items():
            assert client.sock.fileno() == fd
            assert all(self._audience[channel][fd] is client for channel in client.positions)
            client.check()
        for audience in self._audience.values():
            assert all(self._clients[fd] is client for fd, client in audience.items())
        assert self._ring_bytes == sum(len(frame.payload) for _, frame in self._ring)
