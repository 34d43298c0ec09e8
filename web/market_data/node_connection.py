"""The gateway's two local sockets to its node, and the one thread that owns them.

Owns the transport: requests out, replies and feed messages in, whether the node is there. Knows
nothing of books or browsers: what comes in is handed to a `Listener` on the link's thread. Must
never send a command later than it was asked to: without a connection it is refused at once, so
"refused" means that nothing was taken.

A connection that has ended takes with it the answers that were to come over it: who waits for them
is told so. Over TCP, ZeroMQ's heartbeats find out that one leads nowhere; a Unix socket cannot.

What goes wrong over one request ends that request alone. What goes wrong over the feed would leave
mirrors that are not the node's: it ends the thread, and whoever looks at `is_alive` the process.
"""

import logging
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from peer.client.protocol import Done, Execute, FeedMessage, Queued, Refused, Reply, Request

log = logging.getLogger(__name__)

CALLS_MAX = 100_000  # requests without a final answer
BATCH_MAX = 500  # messages of one socket before the other sockets get their turn
FEED_QUEUE_MAX = 100_000  # messages; beyond it they are lost, which shows as a gap
QUERY_SECONDS_MAX = 10.0  # an answer this late is not waited for any more
TICK_MS = 100
HEARTBEAT_MS = 2_000  # over TCP
HEARTBEAT_TIMEOUT_MS = 6_000

OnReply = Callable[[Reply], None]
UNREACHABLE = Refused(
    "unreachable", "This peer's node is not answering. Nothing was sent; try again in a moment."
)
UNSPEAKABLE = Refused("invalid", "A number in it is beyond what a node understands.")
OVERLOADED = Refused(
    "busy", "Too many requests are waiting for this peer's node. Nothing was sent."
)
NOT_TAKEN_FOR_SURE = Refused(
    "unknown_outcome", "The peer's node went away: the command may or may not have been taken."
)
LOST = Refused(
    "result_lost", "The peer's node went away. It has the command, whose result is not known here."
)


class Listener(Protocol):
    """Who is told; every call comes on the link's thread."""

    def on_connected(self) -> None: ...
    def on_disconnected(self) -> None: ...
    def on_feed(self, message: FeedMessage) -> None: ...
    def on_tick(self, now: float) -> float | None:
        """After every turn; the seconds until it must be called again, None for at leisure."""
        ...


class _Call:
    """One request and the answers still to come."""

    def __init__(self, request: Request, on_reply: OnReply) -> None:
        self.request = request
        self.on_reply = on_reply
        self.sent = time.monotonic()
        self._waiting: set[int] | None = None
        self._early = 0

    def is_final(self, reply: Reply) -> bool:
        """Take note of `reply`; True when no other will come."""
        if isinstance(reply, Queued):
            self._waiting = set(reply.ids)
            return not self._waiting
        if isinstance(reply, Done):
            assert self._waiting is not None, "Done before Queued"
            self._waiting.difference_update(result.id for result in reply.results)
            return not self._waiting
        return True

    @property
    def loss(self) -> Refused:
        """What to say if no answer can come any more."""
        if not isinstance(self.request, Execute):
            return UNREACHABLE
        return NOT_TAKEN_FOR_SURE if self._waiting is None else LOST

    def is_late(self, now: float) -> bool:
        return not isinstance(self.request, Execute) and now - self.sent > QUERY_SECONDS_MAX


class Link:
    """Call `start` once, after any fork. `request`, `subscribe` and `stop` may be called from any
    thread."""

    def __init__(self, node: str, feed: str, listener: Listener) -> None:
        self._addresses = node, feed
        self._listener = listener
        self._inbox: deque[tuple[_Call | None, bytes, bool]] = deque()
        self._calls: dict[bytes, _Call] = {}
        self._count = 0
        self.is_connected = False  # for requests
        self._unanswered: float | None = None  # since when nothing came, though it was asked for
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_reply = msgspec.msgpack.Decoder(Reply).decode
        self._decode_feed = msgspec.msgpack.Decoder(FeedMessage).decode

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake()
        self._thread.join(2)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def unanswered_seconds(self) -> float:
        """How long the node has not answered anything; 0 if nothing was asked."""
        since = self._unanswered
        return 0.0 if since is None else time.monotonic() - since

    @property
    def owed(self) -> int:
        """Requests without their final answer."""
        return len(self._calls)

    def request(self, request: Request, on_reply: OnReply) -> None:
        """Send `request`; `on_reply` gets every answer to it, on the link's thread (or at once,
        when it is refused here)."""
        if len(self._calls) + len(self._inbox) >= CALLS_MAX:
            _tell(on_reply, OVERLOADED)
            return
        self._inbox.append((_Call(request, on_reply), b"", True))
        self._wake()

    def subscribe(self, topic: bytes, on: bool = True) -> None:
        self._inbox.append((None, topic, on))
        self._wake()

    def _wake(self) -> None:
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            pass  # full of wake-ups already
        except OSError:
            assert self._stopping.is_set()

    def _run(self) -> None:
        context = zmq.Context()
        self._node, self._feed = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        self._node.setsockopt(zmq.IMMEDIATE, 1)
        self._feed.setsockopt(zmq.RCVHWM, FEED_QUEUE_MAX)
        self._monitor = self._feed.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._node_monitor = self._node.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        for sock, address in zip((self._node, self._feed), self._addresses, strict=True):
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            if address.startswith("tcp:"):
                sock.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
                sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
            sock.connect(address)
        try:
            self._loop()
        except Exception:
            log.critical("the link to the node has failed", exc_info=True)
        finally:
            for sock in (self._node, self._feed):
                sock.disable_monitor()
            context.destroy(linger=0)
            self._reader.close()
            self._writer.close()

    def _loop(self) -> None:
        poller = zmq.Poller()
        steps: dict[object, Callable[[], None]] = {
            self._node_monitor: self._take_node_monitor,
            self._reader.fileno(): self._take_inbox,
            self._node: self._take_replies,
            self._feed: self._take_feed,
            self._monitor: self._take_monitor,
        }
        for source in steps:
            poller.register(source, zmq.POLLIN)
        wait_ms, checked = TICK_MS, 0.0
        while not self._stopping.is_set():
            try:
                for source, _ in poller.poll(wait_ms):
                    steps[source]()
                now = time.monotonic()
                soon = self._listener.on_tick(now)
                wait_ms = TICK_MS if soon is None else min(TICK_MS, math.ceil(soon * 1000))
                if now - checked >= 1:
                    checked = now
                    self._forget_late_calls(now)
            except msgspec.MsgspecError as error:
                log.error("the node sent what peer.api does not know: %s", error)
            except zmq.ContextTerminated:
                return

    def _take_inbox(self) -> None:
        self._reader.recv(4096)
        while self._inbox:
            call, topic, on = self._inbox.popleft()
            if call is None:
                option = zmq.SUBSCRIBE if on else zmq.UNSUBSCRIBE
                self._feed.setsockopt(option, topic)
            else:
                self._send(call)

    def _send(self, call: _Call) -> None:
        self._count += 1
        name = self._count.to_bytes(8, "big")
        try:
            self._node.send_multipart([name, self._encode(call.request)], zmq.NOBLOCK)
        except zmq.Again:
            _tell(call.on_reply, UNREACHABLE)
        except (OverflowError, TypeError, ValueError):  # of the encoder
            log.exception("a request can't be told to the node")
            _tell(call.on_reply, UNSPEAKABLE)
        else:
            self._calls[name] = call
            if self._unanswered is None:
                self._unanswered = time.monotonic()

    def _take_replies(self) -> None:
        for _ in range(BATCH_MAX):
            try:
                name, body = self._node.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._unanswered = None
            call = self._calls.get(name)
            if call is None:
                continue
            reply = self._decode_reply(body)
            if call.is_final(reply):
                del self._calls[name]
            _tell(call.on_reply, reply)

    def _take_feed(self) -> None:
        for _ in range(BATCH_MAX):
            try:
                _, body = self._feed.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._listener.on_feed(self._decode_feed(body))

    def _take_monitor(self) -> None:
        event = recv_monitor_message(self._monitor)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._listener.on_connected()
        elif event == zmq.EVENT_DISCONNECTED:
            self._listener.on_disconnected()

    def _take_node_monitor(self) -> None:
        event = recv_monitor_message(self._node_monitor)["event"]
        self.is_connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if event == zmq.EVENT_DISCONNECTED:
            self._lose_calls()

    def _lose_calls(self) -> None:
        """The connection has ended. What came over it before counts."""
        while self._node.poll(0):
            self._take_replies()
        calls, self._calls = self._calls, {}
        self._unanswered = None
        for call in calls.values():
            _tell(call.on_reply, call.loss)

    def _forget_late_calls(self, now: float) -> None:
        for name, call in list(self._calls.items()):
            if call.is_late(now):
                del self._calls[name]
                _tell(call.on_reply, call.loss)


def _tell(on_reply: OnReply, reply: Reply) -> None:
    """What one request does with its answer is no reason for others to go without theirs."""
    try:
        on_reply(reply)
    except Exception:
        log.exception("an answer of the node came to nothing")
