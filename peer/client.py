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

from peer import api
from peer.local import Endpoints
from peer.signed import Entry

TIMEOUT_S = 10.0

_replies = msgspec.msgpack.Decoder(api.Reply)
_messages = msgspec.msgpack.Decoder(api.FeedMessage)
_encode = msgspec.msgpack.Encoder().encode
_ReplyT = TypeVar("_ReplyT", bound=api.Reply)


class ClientError(Exception):
    """The node did not do what was asked."""


class NodeRefused(ClientError):
    """The node refused; `code` is that of `api.Refused`."""

    def __init__(self, refused: api.Refused) -> None:
        super().__init__(refused.reason)
        self.code = refused.code


class NoAnswer(ClientError):
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

    def send(self, request: api.Request) -> bytes:
        """Send without waiting; the request id that its answers will bear. ValueError, and nothing
        is sent, if a number in it has more than 64 bits."""
        number = next(self._numbers).to_bytes(8, "big")
        try:
            body = _encode(request)
        except OverflowError as error:
            raise ValueError(f"a number has more than 64 bits: {error}") from None
        self._dealer.send_multipart((number, body))
        return number

    def receive(self, timeout_s: float) -> tuple[bytes, api.Reply] | None:
        """The next answer to any request, or None if none comes in time."""
        if not self._dealer.poll(max(int(timeout_s * 1000), 0)):
            return None
        number, body = self._dealer.recv_multipart()
        return number, _replies.decode(body)

    def _ask(self, request: api.Request, kind: type[_ReplyT]) -> _ReplyT:
        number = self.send(request)
        return self.answer(number, kind, time.monotonic() + self._timeout_s)

    def answer(self, number: bytes, kind: type[_ReplyT], deadline_s: float) -> _ReplyT:
        """The next answer to request `number`, waited for until a monotonic time. NoAnswer,
        NodeRefused."""
        while (answer := self.receive(deadline_s - time.monotonic())) is not None:
            if answer[0] != number:
                continue  # of a call that gave up
            if isinstance(answer[1], api.Refused):
                raise NodeRefused(answer[1])
            if isinstance(answer[1], kind):
                return answer[1]
        raise NoAnswer(f"the node did not answer within {self._timeout_s} s")

    def submit(self, commands: Sequence[Entry]) -> list[int]:
        """Hand commands (with id 0) in; their ids, once they are durable. They will be ordered."""
        return self._ask(api.Execute(list(commands)), api.Queued).ids

    def execute(self, commands: Sequence[Entry]) -> list[api.Result]:
        """Hand commands (with id 0) in and wait until all are ordered: their final results."""
        number = self.send(api.Execute(list(commands)))
        deadline_s = time.monotonic() + self._timeout_s
        self.answer(number, api.Queued, deadline_s)
        results: list[api.Result] = []
        while len(results) < len(commands):
            results += self.answer(number, api.Done, deadline_s).results
        return results

    def withdraw(self, account: str, ids: Sequence[int]) -> list[int]:
        """Take back commands that are in no published block yet; those that could be."""
        return self._ask(api.Withdraw(account, list(ids)), api.Withdrawn).ids

    def state(self, market: str, depth: int = 1000) -> api.State:
        return self._ask(api.GetState(market, depth), api.State)

    def orders(self, account: str) -> api.Orders:
        return self._ask(api.GetOrders(account), api.Orders)

    def accounts(self, limit: int = 100) -> list[tuple[str, int]]:
        """Who has most open orders, and how many."""
        return self._ask(api.GetAccounts(limit), api.Accounts).accounts

    def markets(self) -> api.Markets:
        return self._ask(api.GetMarkets(), api.Markets)

    def feed(self, *topics: bytes, timeout_s: float | None = None) -> Iterator[api.FeedMessage]:
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
    ) -> Iterator[api.FeedMessage]:
        try:
            while feed.poll(None if timeout_s is None else int(timeout_s * 1000)):
                yield _messages.decode(feed.recv_multipart()[1])
        finally:
            self._feeds.remove(feed)
            feed.close()
