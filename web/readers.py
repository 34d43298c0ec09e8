"""Who may ask about the past, and for how long.

Owns the price of a question: the time that the journal is read for it. Few read at a time, so that
most threads are always free for those who trade; each address has its share, and whoever has used
it up has to wait. Must never be in the way of the gateway's own reading.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from peer.api import TradeView
from peer.history import History, PastCandle, PastOrder
from web.limits import Limiter
from web.problems import Problem, too_many

READERS_MAX = 2  # questions that are read for at a time
WAITING_MAX = 4  # that wait for their turn, each with a thread
WAIT_SECONDS = 0.5
READ_MS_RATE, READ_MS_BURST = 100.0, 2_000  # of reading a second, and at once, of an address

T = TypeVar("T")


class Readers:
    """Safe for many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reading = threading.BoundedSemaphore(READERS_MAX)
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._spent = Limiter(READ_MS_RATE, READ_MS_BURST, clock)

    def read(self, where: str, question: Callable[[], T]) -> T:
        """The answer to a question of an address. Problem if it has asked enough, or too many
        others ask."""
        if wait_s := self._spent.take(where):
            raise too_many(wait_s, "questions about the past from this address")
        if not self._reading.acquire(blocking=False):
            self._wait()
        began = self._clock()
        try:
            return question()
        finally:
            self._reading.release()
            self._spent.spend(where, int(1000 * (self._clock() - began)))

    def _wait(self) -> None:
        if self._waiting.acquire(blocking=False):
            try:
                if self._reading.acquire(timeout=WAIT_SECONDS):
                    return
            finally:
                self._waiting.release()
        raise Problem(503, "Too many ask about the past now: try again in a moment.", "past_busy")


class Asked:
    """The journal as one address may ask it."""

    def __init__(self, history: History, readers: Readers, where: str) -> None:
        self._history, self._readers, self._where = history, readers, where

    def trades(self, market: str, below: int, limit: int) -> list[TradeView]:
        return self._read(lambda: self._history.trades(market, below, limit))

    def number_at(self, market: str, time_ms: int) -> int:
        return self._read(lambda: self._history.number_at(market, time_ms))

    def candles(self, market: str, interval_ms: int, below: int, limit: int) -> list[PastCandle]:
        return self._read(lambda: self._history.candles(market, interval_ms, below, limit))

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
