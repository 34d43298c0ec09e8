"""The gateway's connection to its node, and the one thread that owns it.

Owns the transport: requests, answers, and whether the node is connected. Knows nothing of books or
browsers: an answer goes to the caller of its request, and other events to a `Listener`, on the
link's thread. Must never send a command late: without a connection it refuses the command at once,
so "refused" means that the node took nothing.

When a connection ends, the pending answers and the subscriptions on it are lost, and their callers
get a Refused. ZeroMQ's heartbeats detect a dead TCP connection; a Unix socket cannot be dead.

An error in one request ends only that request. An error in a subscription would leave wrong
mirrors, so it ends the thread; the process then sees `is_alive` and ends too.
"""

import logging
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from peer.client.protocol import (
    Answer,
    Done,
    Execute,
    Queued,
    Refused,
    Request,
    Subscribe,
    Unsubscribe,
)

log = logging.getLogger(__name__)

CALLS_MAX = 100_000  # requests without a final answer
BATCH_MAX = 500  # messages before the other sockets get their turn
QUEUE_MAX = 100_000  # messages that wait here; more wait at the node
QUERY_SECONDS_MAX = 10.0  # until a request that is not a command counts as lost
TICK_MS = 100
HEARTBEAT_MS = 2_000  # over TCP
HEARTBEAT_TIMEOUT_MS = 6_000

OnAnswer = Callable[[Answer], None]
UNREACHABLE = Refused(
    "unreachable", "This peer's node is not answering. Nothing was sent; try again in a moment."
)
NOT_ENCODABLE = Refused("invalid", "A number in the request is out of range.")
OVERLOADED = Refused(
    "busy", "Too many requests are waiting for this peer's node. Nothing was sent."
)
UNKNOWN_OUTCOME = Refused(
    "unknown_outcome", "The peer's node went away: the command may or may not have been taken."
)
RESULT_LOST = Refused(
    "result_lost", "The peer's node went away. It has the command; the result is not known here."
)


class Listener(Protocol):
    """Gets the events of the link, on the link's thread."""

    def on_connected(self) -> None: ...
    def on_tick(self, now: float) -> float | None:
        """Called after every turn. Returns the seconds until the next call must come; None if there
        is no hurry."""
        ...


class Call:
    """One request and its pending answers; a Subscribe has a stream of them."""

    def __init__(self, request: Request, on_answer: OnAnswer) -> None:
        self.request = request
        self.on_answer = on_answer
        self.sent = time.monotonic()
        self.name = b""  # empty before it is sent and after its end
        self.is_stream = isinstance(request, Subscribe)
        self.is_answered = False
        self._waiting: set[int] | None = None

    def is_final(self, answer: Answer) -> bool:
        """Note `answer`; True if it is the last one."""
        if isinstance(answer, Queued):
            self._waiting = set(answer.ids)
            return not self._waiting
        if isinstance(answer, Done):
            assert self._waiting is not None, "Done before Queued"
            self._waiting.difference_update(result.id for result in answer.results)
            return not self._waiting
        return not self.is_stream or isinstance(answer, Refused)

    @property
    def loss(self) -> Refused:
        """The answer to give if no more answers can come."""
        if not isinstance(self.request, Execute):
            return UNREACHABLE
        return UNKNOWN_OUTCOME if self._waiting is None else RESULT_LOST

    def is_late(self, now: float) -> bool:
        if isinstance(self.request, Execute) or (self.is_stream and self.is_answered):
            return False
        return now - self.sent > QUERY_SECONDS_MAX

    def deliver(self, answer: Answer) -> None:
        """Call back with an answer. An error in the callback of one request must not stop the
        answers to others."""
        try:
            self.on_answer(answer)
        except Exception:
            if self.is_stream:
                raise
            log.exception("an answer of the node could not be handled")


class Link:
    """Call `start` once, after any fork. Any thread may call `request`, `ask_again`, `end` and
    `stop`."""

    def __init__(self, node: str, listener: Listener) -> None:
        self._address = node
        self._listener = listener
        self._inbox: deque[Callable[[], None]] = deque()  # steps for the thread
        self._calls: dict[bytes, Call] = {}
        self._streams: dict[bytes, Call] = {}
        self._count = 0
        self.is_connected = False
        self._unanswered: float | None = None  # since when a request has waited without any answer
        self._is_woken = False  # the thread will look into the inbox
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Answer).decode

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
        """How long the node has not answered; 0 if no request waits."""
        since = self._unanswered
        return 0.0 if since is None else time.monotonic() - since

    @property
    def owed(self) -> int:
        """Requests without their final answer."""
        return len(self._calls)

    def request(self, request: Request, on_answer: OnAnswer) -> Call:
        """Send `request`; `on_answer` gets every answer, on the link's thread (or at once, if the
        link refuses it). The last answer to a subscription is Refused, by the node or because the
        connection has ended."""
        call = Call(request, on_answer)
        if len(self._calls) + len(self._inbox) >= CALLS_MAX:
            call.deliver(OVERLOADED)
        else:
            self._do(partial(self._begin, call))
        return call

    def ask_again(self, subscription: Call) -> None:
        """Request the states of a subscription again. They come in order with its updates."""
        self._do(partial(self._ask_again, subscription))

    def end(self, subscription: Call) -> None:
        """End a subscription."""
        self._do(partial(self._end, subscription))

    def _do(self, step: Callable[[], None]) -> None:
        self._inbox.append(step)
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def _wake(self) -> None:
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            pass  # it is full of wake-ups
        except OSError:
            assert self._stopping.is_set()

    def _run(self) -> None:
        context = zmq.Context()
        self._node = context.socket(zmq.DEALER)
        self._node.setsockopt(zmq.IMMEDIATE, 1)
        self._node.setsockopt(zmq.RCVHWM, QUEUE_MAX)
        self._node.setsockopt(zmq.LINGER, 0)
        self._node.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._address.startswith("tcp:"):
            self._node.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
            self._node.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        self._monitor = self._node.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._node.connect(self._address)
        try:
            self._loop()
        except Exception:
            log.critical("the link to the node has failed", exc_info=True)
        finally:
            self._node.disable_monitor()
            context.destroy(linger=0)
            self._reader.close()
            self._writer.close()

    def _loop(self) -> None:
        poller = zmq.Poller()
        steps: dict[object, Callable[[], None]] = {
            self._monitor: self._take_monitor,
            self._reader.fileno(): self._take_inbox,
            self._node: self._take_answers,
        }
        for source in steps:
            poller.register(source, zmq.POLLIN)
        wait_ms, checked = TICK_MS, 0.0
        while not self._stopping.is_set():
            for source, _ in poller.poll(wait_ms):
                steps[source]()
            now = time.monotonic()
            soon = self._listener.on_tick(now)
            wait_ms = TICK_MS if soon is None else min(TICK_MS, math.ceil(soon * 1000))
            if now - checked >= 1:
                checked = now
                self._forget_late(now)

    def _take_inbox(self) -> None:
        self._reader.recv(4096)
        self._is_woken = False  # before it looks: what comes now is seen, what comes later wakes it
        while self._inbox:
            self._inbox.popleft()()

    def _send(self, name: bytes, request: Request) -> Refused | None:
        """Send a request; returns why it was not sent, or None."""
        try:
            self._node.send_multipart([name, self._encode(request)], zmq.NOBLOCK)
        except zmq.Again:
            return UNREACHABLE
        except (OverflowError, TypeError, ValueError):  # of the encoder
            log.exception("a request to the node could not be encoded")
            return NOT_ENCODABLE
        if self._unanswered is None and not isinstance(request, Unsubscribe):
            self._unanswered = time.monotonic()
        return None

    def _begin(self, call: Call) -> None:
        self._count += 1
        name = self._count.to_bytes(8, "big")
        refused = self._send(name, call.request)
        if refused is not None:
            call.deliver(refused)
        else:
            call.name, self._table(call)[name] = name, call

    def _table(self, call: Call) -> dict[bytes, Call]:
        return self._streams if call.is_stream else self._calls

    def _ask_again(self, subscription: Call) -> None:
        if subscription.name:
            self._send(subscription.name, subscription.request)

    def _end(self, subscription: Call) -> None:
        if subscription.name:
            self._send(subscription.name, Unsubscribe())
            self._forget(subscription)

    def _forget(self, call: Call) -> None:
        del self._table(call)[call.name]
        call.name = b""

    def _take_answers(self) -> None:
        for _ in range(BATCH_MAX):
            try:
                name, body = self._node.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            call = self._calls.get(name) or self._streams.get(name)
            if call is not None:
                self._take_answer(call, body)

    def _take_answer(self, call: Call, body: bytes) -> None:
        if not (call.is_stream and call.is_answered):
            call.is_answered, self._unanswered = True, None
        try:
            answer = self._decode(body)
        except msgspec.MsgspecError as error:
            if call.is_stream:
                raise
            log.error("an answer of the node is not in its protocol: %s", error)
            return
        if call.is_final(answer):
            self._forget(call)
        call.deliver(answer)

    def _take_monitor(self) -> None:
        event = recv_monitor_message(self._monitor)["event"]
        self.is_connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if self.is_connected:
            self._listener.on_connected()
        else:
            self._lose_calls()

    def _lose_calls(self) -> None:
        """Give up all calls: the connection has ended. Takes what came before its end."""
        while self._node.poll(0):
            self._take_answers()
        self._unanswered = None
        for call in (*self._calls.values(), *self._streams.values()):
            self._lose(call)

    def _forget_late(self, now: float) -> None:
        for call in (*self._calls.values(), *self._streams.values()):
            if call.is_late(now):
                self._lose(call)

    def _lose(self, call: Call) -> None:
        """Give up a call."""
        self._forget(call)
        call.deliver(call.loss)
