"""All open streams to browsers, served by one thread.

Owns the clients' sockets from the handover on, their subscriptions, and the ring of recent events.
A frame is encoded once for all clients, and no client can delay another. Must never block, and
never look into a book: frames and snapshots come from a `Source`.

The hub spends nearly all its time in the kernel, with one `send` per client. So clients with the
same channels form a group, and the hub joins all waiting frames once per group and sends them in
one piece: the further the hub is behind, the less a frame costs. Only a client that is behind, or
has just got a snapshot, is served frame by frame.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from web.config import STREAMS_MAX
from web.serve.client_address import release
from web.streams.frames import CLOSE_GOING_AWAY, CLOSE_POLICY, CLOSE_TRY_LATER, Frame
from web.streams.groups import Groups
from web.streams.ring import Ring
from web.streams.subscriber import BACKLOG_BYTES_MAX, Client, ClosedError

log = logging.getLogger(__name__)

ADDRESS_STREAMS_MAX = 100
STRANGERS_PERCENT = 75  # of all streams, for clients that the operator has not let in
CHANNELS_MAX = 32  # one client's subscriptions
INBOX_MAX = 10_000  # published messages that the hub has not taken yet
JOINED_BYTES_MAX = 64 * 1024  # of frames sent in one piece
HEARTBEAT_SECONDS = 15.0
TICK_SECONDS = 0.5
PERMITTED_SECONDS = 10.0  # between two checks for expired credentials


class Source(Protocol):
    """Makes the frames. Called on the hub's thread; must not block."""

    def snapshot(self, channel: str) -> tuple[int, bytes] | None:
        """The channel's state and the seq that it covers; None while there is none. The frames that
        it covers have been published before."""
        ...

    def on_message(self, client: Client, text: str) -> None: ...
    def on_audience(self, channel: str, listeners: int) -> None: ...
    def permissions(self) -> object:
        """A value that changes whenever the answer of `may_hear` may have changed."""
        ...

    def may_hear(self, client: Client, channels: Iterable[str]) -> bool:
        """Whether a client's credential is still valid and lets it hear all of these channels."""
        ...


class Hub:
    """Set `source`, then call `start`, after any fork. Any thread may call the other methods."""

    source: Source

    def __init__(self, epoch: str, clients_max: int = STREAMS_MAX) -> None:
        self._clients_max = clients_max
        self._clients: dict[int, Client] = {}
        self._addresses: Counter[str] = Counter()  # number of streams
        self._strangers = 0
        self._groups = Groups()
        self._just_begun: set[Client] = set()  # their snapshots may be ahead of the inbox
        self._ring = Ring(epoch)
        self._inbox: deque[Frame | Callable[[], None]] = deque()
        self._overflowed = False
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ, None)
        self._permissions: object = None
        self._permitted = 0.0  # when that was looked at
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self.dropped_to_snapshot = 0
        self.frames_sent = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close all streams (1001) and end. Safe in a signal handler; does not wait."""
        self._post(self._close_all)

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def client_count(self) -> int:
        return len(self._clients)

    def is_full(self, is_known: bool) -> bool:
        """Whether there is no room for one more stream, of a client that the operator has let in
        (`is_known`) or of a stranger."""
        of_strangers = self._clients_max * STRANGERS_PERCENT // 100
        crowded = not is_known and self._strangers >= of_strangers
        return crowded or len(self._clients) >= self._clients_max

    def has_enough(self, address: str) -> bool:
        """Whether an address has as many streams as it may."""
        return bool(self._addresses[address] >= ADDRESS_STREAMS_MAX)

    def adopt(self, client: Client) -> None:
        self._post(lambda: self._adopt(client))

    def publish(self, channel: str, seq: int, payload: bytes, resets: bool = False) -> None:
        """Queue a message for the channel's listeners; the next `wake` sends it. A message with
        `resets` is a snapshot for all."""
        if len(self._inbox) < INBOX_MAX:
            self._inbox.append(Frame(channel, seq, payload, resets=resets))
        else:
            self._overflowed = True

    def wake(self) -> None:
        """Send the published messages."""
        if self._inbox:
            with contextlib.suppress(OSError):  # the hub is awake, or has ended
                self._writer.send(b"\0")

    def reply(self, client: Client, payload: bytes, done: bool = True) -> None:
        """Answer one client; `done` ends one of its requests in flight."""
        self._post(lambda: self._reply(client, payload, done))

    def _post(self, step: Callable[[], None]) -> None:
        self._inbox.append(step)
        self.wake()

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
                self._end_the_forbidden(now)
            if now - pinged >= HEARTBEAT_SECONDS:
                pinged = now
                self._each(Client.ping)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def _take_inbox(self) -> None:
        self._reader.recv(65536)
        frames: list[Frame] = []
        size = 0
        while self._inbox:
            step = self._inbox.popleft()
            if isinstance(step, Frame):
                frames.append(step)
                size += len(step.payload)
                if size < JOINED_BYTES_MAX:
                    continue
            self._do(partial(self._deliver, frames))
            frames, size = [], 0
            if not isinstance(step, Frame):
                self._do(step)
        self._do(partial(self._deliver, frames))
        if self._overflowed:
            self._start_again()
        # All frames that a snapshot covers were published before it, so they have passed by now.
        for client in self._just_begun:
            client.ahead.clear()
        self._just_begun.clear()

    def _start_again(self) -> None:
        """The inbox overflowed: give snapshots to all, and let no stream resume from before."""
        self._overflowed = False
        self._ring.clear()
        self.dropped_to_snapshot += len(self._clients)
        self._each(Client.drop_backlog)

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            log.exception("a step of the hub failed")
            self._overflowed = True  # it is unknown what the step has delivered

    def _with(self, client: Client, action: Callable[[Client], object]) -> None:
        """Do something for one client. An error ends only its stream."""
        try:
            action(client)
            self._watch(client)
        except ClosedError:
            self._let_go(client)
        except Exception:
            log.exception("a stream has failed")
            self._let_go(client)

    def _serve(self, client: Client, mask: int) -> None:
        if client.sock.fileno() in self._clients:
            self._with(client, partial(self._exchange, mask))

    def _exchange(self, mask: int, client: Client) -> None:
        if mask & selectors.EVENT_WRITE and client.flush():
            self._caught_up(client)
        if mask & selectors.EVENT_READ:
            for text in client.receive():
                self.source.on_message(client, text)

    def _caught_up(self, client: Client) -> None:
        if client.lagging:
            client.lagging = False
            for channel in client.channels:
                self._send_snapshot(client, channel)

    def _watch(self, client: Client) -> None:
        """Wait for the socket to become writable only while data waits."""
        reading = 0 if client.is_choked else selectors.EVENT_READ
        mask = reading | (selectors.EVENT_WRITE if client.is_waiting else 0)
        if self._selector.get_key(client.sock).events != mask:
            self._selector.modify(client.sock, mask, client)

    def _adopt(self, client: Client) -> None:
        fd = client.sock.fileno()
        crowded = self.is_full(client.is_known) or self.has_enough(client.address)
        if crowded or self._stopping:
            client.say_goodbye(CLOSE_TRY_LATER, "too many streams are open")
            client.sock.close()
            return
        self._clients[fd] = client
        self._addresses[client.address] += 1
        self._strangers += not client.is_known
        self._selector.register(client.sock, selectors.EVENT_READ, client)
        self._with(client, self._begin)

    def _begin(self, client: Client) -> None:
        self._check_permission(client, client.wanted)  # it may have expired meanwhile
        missed = self._missed(client)
        if client.resume is not None and missed is None:
            client.send_raw(b'event: reset\ndata: {"reason":"too old"}\n\n')
        for channel in client.wanted:
            self.subscribe(client, channel, snapshot=missed is None)
        for frame in missed or ():
            client.send(client.encoded(frame))
        client.flush()

    def _missed(self, client: Client) -> list[Frame] | None:
        """The frames since the last one that the client saw; None if one is no longer known, or if
        they exceed a client's backlog."""
        if client.resume is None:
            return None
        return self._ring.since(client.resume, frozenset(client.wanted), BACKLOG_BYTES_MAX)

    def subscribe(self, client: Client, channel: str, snapshot: bool = True) -> bool:
        """Start `channel` for `client`, with a snapshot. Call it on the hub's thread. False if the
        client has too many channels."""
        if channel not in client.channels:
            if len(client.channels) >= CHANNELS_MAX:
                return False
            self._groups.leave(client)
            client.channels.append(channel)
            self._groups.join(client)
        self._tell_audience(channel)
        if snapshot:
            self._send_snapshot(client, channel)
        return True

    def unsubscribe(self, client: Client, channel: str) -> None:
        if channel in client.channels:
            self._groups.leave(client)
            client.channels.remove(channel)
            client.ahead.pop(channel, None)
            self._groups.join(client)
            self._tell_audience(channel)

    def _tell_audience(self, channel: str) -> None:
        self.source.on_audience(channel, self._groups.listeners(channel))

    def _send_snapshot(self, client: Client, channel: str) -> None:
        found = self.source.snapshot(channel)
        if found is not None:
            seq, payload = found
            client.send_snapshot(Frame(channel, seq, payload, self._ring.event_id))
            self._just_begun.add(client)

    def _deliver(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._ring.add(frame)
        for group in self._groups.of(frame.channel for frame in frames):
            wanted = [frame for frame in frames if frame.channel in group.channels]
            self._deliver_to(list(group.clients.values()), wanted)

    def _deliver_to(self, clients: list[Client], frames: list[Frame]) -> None:
        """Send all `frames` to all `clients`, which are of one kind."""
        data = b"".join([clients[0].encoded(frame) for frame in frames])
        self.frames_sent += len(frames) * len(clients)
        for client in clients:
            try:
                if not client.is_steady:
                    self._deliver_singly(client, frames)
                elif not client.send(data):
                    self._watch(client)
            except ClosedError:
                self._let_go(client)
            except Exception:
                log.exception("a stream has failed")
                self._let_go(client)

    def _deliver_singly(self, client: Client, frames: list[Frame]) -> None:
        was_lagging = client.lagging
        for frame in frames:
            self.frames_sent -= not client.send_frame(frame)
        self.dropped_to_snapshot += client.lagging and not was_lagging
        self._watch(client)

    def _reply(self, client: Client, payload: bytes, done: bool) -> None:
        client.in_flight -= done
        if self._clients.get(client.sock.fileno()) is client:
            self._with(client, lambda one: one.send_reply(payload))

    def _each(self, action: Callable[[Client], object]) -> None:
        for client in list(self._clients.values()):
            self._with(client, action)

    def _cut_the_dead(self, now: float) -> None:
        for client in list(self._clients.values()):
            if client.is_dead(now):
                self._let_go(client)

    def _end_the_forbidden(self, now: float) -> None:
        """End the streams of credentials that were revoked or have expired."""
        try:
            permissions = self.source.permissions()
        except Exception:
            log.exception("the permissions of streams can't be checked")
            return
        if permissions == self._permissions and now - self._permitted < PERMITTED_SECONDS:
            return
        self._permissions, self._permitted = permissions, now
        for client in list(self._clients.values()):
            if client.credential is not None:
                self._with(client, lambda one: self._check_permission(one, one.channels))

    def _check_permission(self, client: Client, channels: Iterable[str]) -> None:
        if client.credential is not None and not self.source.may_hear(client, channels):
            client.refuse(CLOSE_POLICY, "this key or session has ended")

    def _let_go(self, client: Client) -> None:
        fd = client.sock.fileno()
        if self._clients.pop(fd, None) is None:
            return
        release(self._addresses, client.address)
        self._strangers -= not client.is_known
        self._groups.leave(client)
        for channel in client.channels:
            self._tell_audience(channel)
        self._selector.unregister(client.sock)
        client.sock.close()

    def _close_all(self) -> None:
        self._stopping = True
        for client in list(self._clients.values()):
            client.say_goodbye(CLOSE_GOING_AWAY, "this peer is stopping")
            self._let_go(client)

    def check(self) -> None:
        assert self._addresses == Counter(each.address for each in self._clients.values())
        assert self._strangers == sum(not each.is_known for each in self._clients.values())
        for fd, client in self._clients.items():
            assert client.sock.fileno() == fd
            assert not client.ahead or client in self._just_begun
            client.check()
        self._groups.check(self._clients)
        self._ring.check()
