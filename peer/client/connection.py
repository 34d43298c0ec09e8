"""A program's connection to its node: the local protocol, synchronous, in ticks and lots.

Owns one connection, over which answers and feeds come in the order in which things happened. Must
be used from one thread. With it any local program can do all that the web gateway can; `client` has
the same in decimals.
"""

import itertools
import time
from collections import deque
from collections.abc import Sequence
from typing import Self, TypeVar

import msgspec
import zmq

from peer.client import protocol
from peer.client.endpoint import Endpoint
from peer.client.queue_places import GetQueue, Queue
from peer.replica.changes import Vote
from peer.replica.signed import Entry

TIMEOUT_S = 10.0
UNREAD_MAX = 10_000  # unread messages of a feed; beyond it the feed starts again
BATCH_MAX = 1_000
KEPT_MAX = 10_000  # answers that came while a feed was read

_decode = msgspec.msgpack.Decoder(protocol.Answer).decode
_encode = msgspec.msgpack.Encoder().encode
_ReplyT = TypeVar("_ReplyT", bound=protocol.Reply)


class ClientError(Exception):
    """The node did not carry out a request."""


class NodeRefusedError(ClientError):
    """The node refused; `code` is that of `protocol.Refused`."""

    def __init__(self, refused: protocol.Refused) -> None:
        super().__init__(refused.reason)
        self.code = refused.code


class NoAnswerError(ClientError):
    """No answer in time. The request may still take effect."""


class Closing:
    """Something that a `with` block closes at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class NodeClient(Closing):
    """Talks to the node at `where`, which may start later. `timeout_s` limits every call."""

    def __init__(self, where: Endpoint, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.linger = 0
        self._monitor = self._dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._dealer.connect(where.address)
        self._poller = zmq.Poller()
        for socket in (self._dealer, self._monitor):
            self._poller.register(socket, zmq.POLLIN)
        self._feeds: dict[bytes, Feed | None] = {}  # None: closed
        self._kept: deque[tuple[bytes, protocol.Answer]] = deque(maxlen=KEPT_MAX)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Close the connection. This ends every feed."""
        self._dealer.disable_monitor()
        self._context.destroy(linger=0)

    def send(self, request: protocol.Request) -> bytes:
        """Send without waiting; returns the request id of the answers. ValueError, and nothing is
        sent, if a number in the request has more than 64 bits."""
        number = next(self._numbers).to_bytes(8, "big")
        self._send(number, request)
        return number

    def _send(self, number: bytes, request: protocol.Request) -> None:
        try:
            body = _encode(request)
        except OverflowError as error:
            raise ValueError(f"a number has more than 64 bits: {error}") from None
        self._dealer.send_multipart((number, body))

    def receive(self, timeout_s: float) -> tuple[bytes, protocol.Answer] | None:
        """The next answer to any request, or None if none comes in time. Messages of feeds that
        come meanwhile wait in the feeds."""
        deadline_s = time.monotonic() + timeout_s
        while not self._kept:
            if not self._read(deadline_s):
                return None
        return self._kept.popleft()

    def _read(self, deadline_s: float | None) -> bool:
        """Read the next message; False if none comes until the deadline."""
        if not self._poll(deadline_s):
            return False
        number, body = self._dealer.recv_multipart()
        message = _decode(body) if body else None
        if number in self._feeds:
            self._take(number, message)
        elif message is not None and not isinstance(message, protocol.Unsubscribed):
            self._kept.append((number, message))
        return True

    def _take(self, number: bytes, message: protocol.Answer | None) -> None:
        feed = self._feeds[number]
        if isinstance(message, protocol.Unsubscribed | protocol.Refused):
            del self._feeds[number]
        if feed is not None:
            feed._take(message)

    def _poll(self, deadline_s: float | None) -> bool:
        """Whether a message comes until the deadline."""
        while True:
            left_ms = None
            if deadline_s is not None:
                left_ms = max(int((deadline_s - time.monotonic()) * 1000), 0)
            ready = dict(self._poller.poll(left_ms))
            if self._monitor not in ready:
                return bool(ready)
            self._monitor.recv_multipart()
            self._subscribe_again()

    def _subscribe_again(self) -> None:
        """Renew the subscriptions: they ended with the last connection."""
        self._feeds = {number: feed for number, feed in self._feeds.items() if feed is not None}
        for number, feed in self._feeds.items():
            assert feed is not None
            self._send(number, feed.request)

    def _subscribe(self, feed: "Feed") -> bytes:
        number = self.send(feed.request)
        self._feeds[number] = feed
        return number

    def _unsubscribe(self, number: bytes) -> None:
        self._feeds[number] = None  # drops messages that still come
        if not self._dealer.closed:
            self._send(number, protocol.Unsubscribe())

    def _ask(self, request: protocol.Request, kind: type[_ReplyT]) -> _ReplyT:
        number = self.send(request)
        return self.answer(number, kind, time.monotonic() + self._timeout_s)

    def answer(self, number: bytes, kind: type[_ReplyT], deadline_s: float) -> _ReplyT:
        """Wait until a monotonic time for the next answer to request `number`. NoAnswerError,
        NodeRefusedError."""
        while (answer := self.receive(deadline_s - time.monotonic())) is not None:
            if answer[0] != number:
                continue  # it belongs to a call that timed out
            if isinstance(answer[1], protocol.Refused):
                raise NodeRefusedError(answer[1])
            if isinstance(answer[1], kind):
                return answer[1]
        raise NoAnswerError(f"no answer within {self._timeout_s} s: does the peer run?")

    def submit(self, commands: Sequence[Entry]) -> list[int]:
        """Send commands (with id 0); returns their ids once they are durable. They will be
        ordered."""
        return self._ask(protocol.Execute(list(commands)), protocol.Queued).ids

    def execute(self, commands: Sequence[Entry]) -> list[protocol.Result]:
        """Send commands (with id 0), wait until all are ordered, and return the final results."""
        return self._final(protocol.Execute(list(commands)), len(commands))

    def _final(self, request: protocol.Request, count: int) -> list[protocol.Result]:
        """Send a request with this many commands, and wait for the results of all."""
        number = self.send(request)
        deadline_s = time.monotonic() + self._timeout_s
        self.answer(number, protocol.Queued, deadline_s)
        results: list[protocol.Result] = []
        while len(results) < count:
            results += self.answer(number, protocol.Done, deadline_s).results
        return results

    def withdraw(self, account: str, ids: Sequence[int]) -> list[int]:
        """Withdraw commands that are in no published block yet; returns the ids of those
        withdrawn."""
        return self._ask(protocol.Withdraw(account, list(ids)), protocol.Withdrawn).ids

    def state(self, market: str, depth: int = 1000) -> protocol.State:
        return self._ask(protocol.GetState(market, depth), protocol.State)

    def orders(self, account: str) -> protocol.Orders:
        return self._ask(protocol.GetOrders(account), protocol.Orders)

    def accounts(self, limit: int = 100) -> list[tuple[str, int]]:
        """The accounts with most open orders, and how many they have."""
        return self._ask(protocol.GetAccounts(limit), protocol.Accounts).accounts

    def queue(self, account: str, ids: Sequence[int]) -> Queue:
        """What stands before these orders of the account."""
        return self._ask(GetQueue(account, list(ids)), Queue)

    def markets(self) -> protocol.Markets:
        return self._ask(protocol.GetMarkets(), protocol.Markets)

    def proposals(self) -> protocol.Proposals:
        """The epoch, which members are present, and the proposals."""
        return self._ask(protocol.GetProposals(), protocol.Proposals)

    def mesh(self) -> protocol.Mesh:
        """The mesh as the node sees it now. NoAnswerError."""
        with self.feed(protocol.topic("mesh"), timeout_s=self._timeout_s) as feed:
            for view in feed:
                assert isinstance(view, protocol.Mesh)
                return view
        raise NoAnswerError(f"no answer within {self._timeout_s} s: does the peer run?")

    def govern(self, votes: Sequence[Vote]) -> list[protocol.Result]:
        """Send votes of the node's member (with id 0), wait until all are ordered, and return the
        results. A vote without events counts."""
        return self._final(protocol.Govern(list(votes)), len(votes))

    def feed(self, *topics: str, timeout_s: float | None = None) -> "Feed":
        """Subscribe to `topics` (see `protocol.topic`): first the state of each, then its updates,
        until none comes for `timeout_s`."""
        return Feed(self, topics, timeout_s)


class Feed(Closing):
    """An iterator over the messages of one subscription, in order. If updates were lost, because
    the program did not read them or the connection ended, the states come again and replace what
    came before. Reading may raise NodeRefusedError."""

    def __init__(self, node: NodeClient, topics: Sequence[str], timeout_s: float | None) -> None:
        self.request = protocol.Subscribe(list(topics))
        self._node = node
        self._timeout_s = timeout_s
        self._waiting: deque[protocol.Streamed] = deque()
        self._refused: protocol.Refused | None = None
        self._number: bytes | None = node._subscribe(self)  # None: it lost messages
        self._is_closed = False

    def close(self) -> None:
        self._end()
        self._is_closed = True

    def _end(self) -> None:
        if self._number is not None:
            self._node._unsubscribe(self._number)
        self._number = None
        self._waiting.clear()

    def begin_again(self) -> None:
        """Request the states of the topics again. They come after the messages on their way."""
        if self._number is not None:
            self._node._send(self._number, self.request)

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> protocol.Streamed:
        if not self._wait(self._timeout_s):
            raise StopIteration
        return self._waiting.popleft()

    def batch(self, timeout_s: float | None) -> list[protocol.Streamed]:
        """Wait for the first message; returns up to BATCH_MAX. Empty if none came."""
        if self._wait(timeout_s):
            for _ in range(BATCH_MAX):
                if not self._node._read(0):
                    break
        return [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]

    def _wait(self, timeout_s: float | None) -> bool:
        if self._is_closed:
            return False
        if self._number is None:
            self._number = self._node._subscribe(self)
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._waiting:
            if self._refused is not None:
                raise NodeRefusedError(self._refused)
            if not self._node._read(deadline_s):
                return False
        return True

    def _take(self, message: protocol.Answer | None) -> None:
        match message:
            case None | protocol.Lost():
                pass  # the states follow
            case protocol.Refused():
                self._refused = message
            case (
                protocol.State()
                | protocol.Orders()
                | protocol.MarketUpdate()
                | protocol.PendingUpdate()
                | protocol.AccountUpdate()
                | protocol.Committed()
                | protocol.Mesh()
                | protocol.MarketList()
                | protocol.Proposals()
            ):
                self._waiting.append(message)
        if len(self._waiting) > UNREAD_MAX:
            self._end()
