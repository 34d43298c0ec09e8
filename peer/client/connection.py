"""A program's way to its node: the local protocol of `api`, synchronously, in ticks and lots.

Owns one DEALER and a SUB for each feed. Must be used from one thread. What the web gateway can do,
any local program can do with this; `trader` has the same in decimals.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec
import zmq

from peer.client import protocol
from peer.client.endpoint import Endpoints
from peer.replica.signed import Entry

TIMEOUT_S = 10.0

_replies = msgspec.msgpack.Decoder(protocol.Reply)
_messages = msgspec.msgpack.Decoder(protocol.FeedMessage)
_encode = msgspec.msgpack.Encoder().encode
_ReplyT = TypeVar("_ReplyT", bound=protocol.Reply)


class ClientError(Exception):
    """The node did not do what was asked."""


class NodeRefusedError(ClientError):
    """The node refused; `code` is that of `api.Refused`."""

    def __init__(self, refused: protocol.Refused) -> None:
        super().__init__(refused.reason)
        self.code = refused.code


class NoAnswerError(ClientError):
    """No answer in time. What was asked may still happen."""


class NodeClient:
    """Talks to the node at `where`, which may start later. `timeout_s` bounds every call."""

    def __init__(self, where: Endpoints, timeout_s: float = TIMEOUT_S) -> None:
        self._where = where
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.linger = 0
        self._dealer.connect(where.node)
        self._feeds: list[zmq.Socket[bytes]] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> "NodeClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._dealer.close()
        for feed in self._feeds:
            feed.close()
        self._context.term()

    def send(self, request: protocol.Request) -> bytes:
        """Send without waiting; the request id that its answers will bear. ValueError, and nothing
        is sent, if a number in it has more than 64 bits."""
        number = next(self._numbers).to_bytes(8, "big")
        try:
            body = _encode(request)
        except OverflowError as error:
            raise ValueError(f"a number has more than 64 bits: {error}") from None
        self._dealer.send_multipart((number, body))
        return number

    def receive(self, timeout_s: float) -> tuple[bytes, protocol.Reply] | None:
        """The next answer to any request, or None if none comes in time."""
        if not self._dealer.poll(max(int(timeout_s * 1000), 0)):
            return None
        number, body = self._dealer.recv_multipart()
        return number, _replies.decode(body)

    def _ask(self, request: protocol.Request, kind: type[_ReplyT]) -> _ReplyT:
        number = self.send(request)
        return self.answer(number, kind, time.monotonic() + self._timeout_s)

    def answer(self, number: bytes, kind: type[_ReplyT], deadline_s: float) -> _ReplyT:
        """The next answer to request `number`, waited for until a monotonic time. NoAnswerError,
        NodeRefusedError."""
        while (answer := self.receive(deadline_s - time.monotonic())) is not None:
            if answer[0] != number:
                continue  # of a call that gave up
            if isinstance(answer[1], protocol.Refused):
                raise NodeRefusedError(answer[1])
            if isinstance(answer[1], kind):
                return answer[1]
        raise NoAnswerError(f"the node did not answer within {self._timeout_s} s")

    def submit(self, commands: Sequence[Entry]) -> list[int]:
        """Hand commands (with id 0) in; their ids, once they are durable. They will be ordered."""
        return self._ask(protocol.Execute(list(commands)), protocol.Queued).ids

    def execute(self, commands: Sequence[Entry]) -> list[protocol.Result]:
        """Hand commands (with id 0) in and wait until all are ordered: their final results."""
        number = self.send(protocol.Execute(list(commands)))
        deadline_s = time.monotonic() + self._timeout_s
        self.answer(number, protocol.Queued, deadline_s)
        results: list[protocol.Result] = []
        while len(results) < len(commands):
            results += self.answer(number, protocol.Done, deadline_s).results
        return results

    def withdraw(self, account: str, ids: Sequence[int]) -> list[int]:
        """Take back commands that are in no published block yet; those that could be."""
        return self._ask(protocol.Withdraw(account, list(ids)), protocol.Withdrawn).ids

    def state(self, market: str, depth: int = 1000) -> protocol.State:
        return self._ask(protocol.GetState(market, depth), protocol.State)

    def orders(self, account: str) -> protocol.Orders:
        return self._ask(protocol.GetOrders(account), protocol.Orders)

    def accounts(self, limit: int = 100) -> list[tuple[str, int]]:
        """Who has most open orders, and how many."""
        return self._ask(protocol.GetAccounts(limit), protocol.Accounts).accounts

    def markets(self) -> protocol.Markets:
        return self._ask(protocol.GetMarkets(), protocol.Markets)

    def feed(
        self, *topics: bytes, timeout_s: float | None = None
    ) -> Iterator[protocol.FeedMessage]:
        """The feed's messages of `topics` (see `api.topic`) from now on, until none comes for
        `timeout_s`."""
        feed = self._context.socket(zmq.SUB)
        feed.linger = 0
        feed.connect(self._where.feed)
        for topic in topics:
            feed.subscribe(topic)
        self._feeds.append(feed)
        return self._messages(feed, timeout_s)

    def _messages(
        self, feed: "zmq.Socket[bytes]", timeout_s: float | None
    ) -> Iterator[protocol.FeedMessage]:
        try:
            while feed.poll(None if timeout_s is None else int(timeout_s * 1000)):
                yield _messages.decode(feed.recv_multipart()[1])
        finally:
            self._feeds.remove(feed)
            feed.close()
