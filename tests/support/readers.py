"""Readers that record everything that a peer shows.

Owns two threads for each peer: one asks, one subscribes. Must never judge the records: `shown`
does, in the end, when all journals can be read.
"""

import random
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from engine import OpenOrder
from peer.client.connection import ClientError, NodeClient
from peer.client.endpoint import Endpoint
from peer.client.protocol import State, topic
from tests.support.real_mesh import MARKET

PAUSE_S = 0.3  # between two questions
PATIENCE_S = 1.0  # with a peer that is down or paused
DEPTH = 1_000


class Answer(NamedTuple):
    """A state, asked for not before `asked_s` and received not after `shown_s`."""

    asked_s: float
    shown_s: float
    state: bytes  # protocol.State


class Held(NamedTuple):
    """An account's open orders, at some moment between two states."""

    account: str
    first_commit: int
    last_commit: int
    open: list[OpenOrder]


class Message(NamedTuple):
    """A message of a subscription."""

    shown_s: float
    body: bytes  # protocol.Streamed


class Seen(NamedTuple):
    """Everything that one peer has shown."""

    name: str
    answers: list[Answer]
    held: list[Held]
    feed: list[Message]


class Reader:
    """Reads from the peer `name`, and the orders of `accounts` in turn."""

    def __init__(self, name: str, where: Endpoint, accounts: Sequence[str], seed: int) -> None:
        self.seen = Seen(name, [], [], [])
        self._where = where
        self._accounts = list(accounts)
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"{name} {run.__name__}")
            for run in (self._ask, self._listen)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with NodeClient(self._where, timeout_s=PATIENCE_S) as client:
            while not self._stop.wait(PAUSE_S):
                try:
                    self._look(client)
                except ClientError:
                    continue

    def _look(self, client: NodeClient) -> None:
        account = self._rng.choice(self._accounts)
        before = self._state(client)
        orders = client.orders(account).open
        after = self._state(client)
        self.seen.held.append(Held(account, before.commit, after.commit, orders))

    def _state(self, client: NodeClient) -> State:
        asked_s = time.monotonic()
        state = client.state(MARKET, DEPTH)
        shown_s = time.monotonic()
        self.seen.answers.append(Answer(asked_s, shown_s, msgspec.msgpack.encode(state)))
        return state

    def _listen(self) -> None:
        accounts = [topic("account", account) for account in self._accounts]
        with NodeClient(self._where) as client:
            feed = client.feed(topic("market", MARKET), *accounts, topic("commit"), topic("mesh"))
            while not self._stop.is_set():
                for message in feed.batch(0.1):
                    body = msgspec.msgpack.encode(message)
                    self.seen.feed.append(Message(time.monotonic(), body))
