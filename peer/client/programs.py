"""The programs that are subscribed to a node's updates, or have answers to read.

Owns the subscriptions, and the messages that wait for a slow program. Must never wait for a
program, nor keep more for it than the limits below. Pure: `send` is the socket.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from peer.client.protocol import (
    TOPICS_PER_REQUEST_MAX,
    Lost,
    Refused,
    Reply,
    Streamed,
    Subscribe,
    Update,
)

PROGRAMS_MAX = 64  # with subscriptions
TOPICS_MAX = 2_000  # per program
UNREAD_BUSY = 1_000  # unread answers of a program; beyond it the node refuses its requests
UNREAD_MAX = 10_000  # beyond it the node ignores its requests
STARTING_AGAIN_MAX = 100  # subscriptions that start again in one turn of the node

_encode = msgspec.msgpack.Encoder().encode
_LOST = _encode(Lost())


class Caller(NamedTuple):
    """Where an answer goes: a connection, and the request id that the program chose. Or, of a peer
    that forwards orders, its connection to this one, and the number of its message."""

    connection: bytes
    request: bytes
    is_peer: bool = False


class _Program:
    """One connection. Subscriptions are topics by request id."""

    def __init__(self) -> None:
        self.subscriptions: dict[bytes, tuple[str, ...]] = {}  # those that get updates
        self.behind: dict[bytes, tuple[str, ...]] = {}  # those that lost updates
        self.unread: deque[tuple[bytes, bytes]] = deque()  # answers: request id, body

    @property
    def is_slow(self) -> bool:
        return bool(self.behind or self.unread)

    @property
    def topics(self) -> int:
        every = (*self.subscriptions.values(), *self.behind.values())
        return sum(len(topics) for topics in every)


class _Topic:
    """The listeners of a topic, and the `seq` of its last update."""

    def __init__(self) -> None:
        self.listeners: dict[Caller, None] = {}
        self.seq = 0


class Programs:
    """`send` passes a message to the socket: False if the program's queue is full. It raises
    ConnectionError if the program has disconnected."""

    def __init__(self, send: Callable[[Caller, bytes], bool]) -> None:
        self._to_socket = send
        self._programs: dict[bytes, _Program] = {}
        self._slow: dict[bytes, _Program] = {}
        self._topics: dict[str, _Topic] = {}  # those with listeners

    def reply(self, caller: Caller, reply: Reply) -> None:
        """Send an answer; a slow program gets it later."""
        body, program = _encode(reply), self._programs.get(caller.connection)
        is_slow = program is not None and program.is_slow
        if is_slow or not self._send(caller, body):
            program = self._program(caller.connection)
            program.unread.append((caller.request, body))
            self._slow[caller.connection] = program

    def unread(self, connection: bytes) -> int:
        """The number of answers that wait for a program."""
        program = self._programs.get(connection)
        return len(program.unread) if program else 0

    def hears(self, topic: str) -> bool:
        """Whether `topic` has a listener."""
        return topic in self._topics

    def heard(self, kind: str) -> set[str]:
        """The names of the topics of a kind that have listeners."""
        begin = f"{kind}/"
        return {name.removeprefix(begin) for name in self._topics if name.startswith(begin)}

    def seq(self, topic: str) -> int:
        """The `seq` of the last update of a topic; 0 before the first."""
        known = self._topics.get(topic)
        return known.seq if known else 0

    def subscribe(
        self,
        caller: Caller,
        topics: Sequence[str],
        state_of: Callable[[str], Streamed | Refused],
    ) -> None:
        """Send the states of `topics`, and their updates from now on; or refuse all of them."""
        topics = sorted(dict.fromkeys(topics), key=lambda topic: topic == "commit")  # the last
        program = self._programs.get(caller.connection)
        if program is not None:
            self._end(caller, program)
        refused = self._no_room(program, topics)
        states = [] if refused else [state_of(topic) for topic in topics]
        refused = refused or next((one for one in states if isinstance(one, Refused)), None)
        if refused is not None:
            self.reply(caller, refused)
            self._tidy(caller.connection)
            return
        self._program(caller.connection).subscriptions[caller.request] = tuple(topics)
        for topic in topics:
            self._topics.setdefault(topic, _Topic()).listeners[caller] = None
        for state in states:
            if not self._send(caller, _encode(state)):
                self._lose(caller)
                return

    def _no_room(self, program: _Program | None, topics: Sequence[str]) -> Refused | None:
        """Why a program cannot subscribe to these topics; None if it can."""
        if not 1 <= len(topics) <= TOPICS_PER_REQUEST_MAX:
            text = f"expected 1 to {TOPICS_PER_REQUEST_MAX} topics, got {len(topics)}"
            return Refused("invalid", text)
        if program is not None and program.topics + len(topics) > TOPICS_MAX:
            return Refused("busy", f"a program hears at most {TOPICS_MAX} topics")
        if program is None and len(self._programs) >= PROGRAMS_MAX:
            self._drop_gone()
            if len(self._programs) >= PROGRAMS_MAX:
                return Refused("busy", f"{PROGRAMS_MAX} programs have subscribed already")
        return None

    def unsubscribe(self, caller: Caller) -> None:
        program = self._programs.get(caller.connection)
        if program is not None:
            self._end(caller, program)
            self._tidy(caller.connection)

    def publish(self, update: Update, topic: str) -> None:
        """Send an update to every listener of `topic`."""
        if known := self._topics.get(topic):
            known.seq, body = update.seq, _encode(update)
            for caller in tuple(known.listeners):
                if not self._send(caller, body):
                    self._lose(caller)

    def start_again(self) -> None:
        """Start all subscriptions again: the states have changed in ways that no update shows."""
        for connection, program in self._programs.items():
            for request in tuple(program.subscriptions):
                self._lose(Caller(connection, request))

    def starting_again(self) -> Iterator[tuple[Caller, Subscribe]]:
        """Yield subscriptions that lost updates and whose programs have read enough, to be served
        like new ones. Then send the answers that wait."""
        left = STARTING_AGAIN_MAX
        for connection, program in tuple(self._slow.items()):
            while left and program.behind:
                caller = Caller(connection, next(iter(program.behind)))
                if not self._send(caller, _LOST):
                    break
                if topics := program.behind.pop(caller.request, ()):
                    left -= 1
                    yield caller, Subscribe(list(topics))
            while program.unread and not program.behind:
                request, body = program.unread[0]
                if not self._send(Caller(connection, request), body):
                    break
                if program.unread:
                    program.unread.popleft()
            self._tidy(connection)

    def _send(self, caller: Caller, body: bytes) -> bool:
        """False if there is no room. Drops a program that has disconnected."""
        try:
            return self._to_socket(caller, body)
        except ConnectionError:
            self._drop(caller.connection)
            return True

    def _program(self, connection: bytes) -> _Program:
        return self._programs.setdefault(connection, _Program())

    def _lose(self, caller: Caller) -> None:
        """Mark a subscription that missed an update. It starts again when the program has read."""
        program = self._programs[caller.connection]
        program.behind[caller.request] = self._end(caller, program)
        self._slow[caller.connection] = program

    def _end(self, caller: Caller, program: _Program) -> tuple[str, ...]:
        """End a subscription; returns its topics."""
        program.behind.pop(caller.request, None)
        topics = program.subscriptions.pop(caller.request, ())
        for topic in topics:
            listeners = self._topics[topic].listeners
            del listeners[caller]
            if not listeners:
                del self._topics[topic]
        return topics

    def _drop(self, connection: bytes) -> None:
        """Remove a program that has disconnected."""
        program = self._programs.get(connection)
        if program is not None:
            for request in (*program.subscriptions, *program.behind):
                self._end(Caller(connection, request), program)
            program.unread.clear()
            self._tidy(connection)

    def _tidy(self, connection: bytes) -> None:
        """Forget a program without subscriptions and waiting messages."""
        program = self._programs.get(connection)
        if program is not None and not program.is_slow:
            self._slow.pop(connection, None)
            if not program.subscriptions:
                del self._programs[connection]

    def _drop_gone(self) -> None:
        """Find and remove disconnected programs, by sending an empty message."""
        for connection in tuple(self._programs):
            self._send(Caller(connection, b""), b"")

    def check(self) -> None:
        """Assert every invariant."""
        for connection, program in self._programs.items():
            assert program.subscriptions or program.is_slow
            assert not program.subscriptions.keys() & program.behind.keys()
            assert program.is_slow == (connection in self._slow)
            for request, topics in program.subscriptions.items():
                caller = Caller(connection, request)
                assert all(caller in self._topics[topic].listeners for topic in topics)
        assert self._slow.keys() <= self._programs.keys()
        listening = sum(len(topic.listeners) for topic in self._topics.values())
        heard = (len(t) for p in self._programs.values() for t in p.subscriptions.values())
        assert listening == sum(heard)
