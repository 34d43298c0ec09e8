"""Which addresses may read the past, and for how long.

Owns the cost of a question: the time to read the journal, and to write the answer if it is long.
Few questions are read at a time, so that threads and the interpreter stay free for trading. Each
address has its share of time, and waits once it is used up. No address gets all readers or all
waiting places. Must never delay the gateway's own reading.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from peer.replica.trade import MarketTrade
from peer.storage.history_reader import History, PastOrder
from web.auth.rate_limits import Limiter
from web.contract.problems import Problem, too_many
from web.serve.client_address import release

READERS_MAX = 2  # questions that are read at a time
WAITING_MAX = 4  # questions that wait for their turn, each in a thread
ADDRESS_READERS_MAX, ADDRESS_WAITING_MAX = 1, 2  # the same, per address
WAIT_SECONDS = 0.5
READ_MS_RATE, READ_MS_BURST = 100.0, 2_000  # reading time per address: a second, and at once

T = TypeVar("T")


class Readers:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._reading: Counter[str] = Counter()  # by address
        self._waiting: Counter[str] = Counter()
        self._spent = Limiter(READ_MS_RATE, READ_MS_BURST, clock)

    def read(self, where: str, question: Callable[[], T]) -> T:
        """The answer to a question of an address. Problem if the address has used up its time, asks
        too much at once, or if too many others ask."""
        if wait_s := self._spent.take(where):
            raise too_many(wait_s, "questions about the past from this address")
        self._begin(where)
        began = self._clock()
        try:
            return question()
        finally:
            with self._changed:
                release(self._reading, where)
                self._changed.notify_all()
            self._spent.spend(where, int(1000 * (self._clock() - began)))

    def _begin(self, where: str) -> None:
        with self._changed:
            if not self._has_turn(where):
                self._wait(where)
            self._reading[where] += 1

    def _has_turn(self, where: str) -> bool:
        has_enough = self._reading[where] >= ADDRESS_READERS_MAX
        return not has_enough and self._reading.total() < READERS_MAX

    def _wait(self, where: str) -> None:
        if self._waiting[where] >= ADDRESS_WAITING_MAX:
            raise too_many(1, "questions about the past at once from this address")
        if self._waiting.total() < WAITING_MAX:
            self._waiting[where] += 1
            try:
                if self._changed.wait_for(lambda: self._has_turn(where), WAIT_SECONDS):
                    return
            finally:
                release(self._waiting, where)
        text = "Too many clients ask about the past now: try again in a moment."
        raise Problem(503, text, "past_busy")


class LimitedHistory:
    """The journal, within the limits of one address."""

    def __init__(self, history: History, readers: Readers, where: str) -> None:
        self._history, self._readers, self._where = history, readers, where

    def trades(self, market: str, below: int, limit: int) -> list[MarketTrade]:
        return self._read(lambda: self._history.trades(market, below, limit))

    def order(self, id_: int) -> PastOrder | None:
        return self._read(lambda: self._history.order(id_))

    def owner(self, id_: int) -> str:
        return self._read(lambda: self._history.owner(id_))

    def orders_ended(self, account: str, below: int | None, limit: int) -> list[PastOrder] | None:
        return self._read(lambda: self._history.orders_ended(account, below, limit))

    def orders_since(self) -> int:
        return self._read(self._history.orders_since)

    def _read(self, question: Callable[[], T]) -> T:
        return self._readers.read(self._where, question)
