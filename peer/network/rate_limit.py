"""How much of this peer's work others may take.

Owns limits that no honest member reaches, and the order of answers. Must never read a clock or
touch a socket: steps and times are arguments.
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

WAITING_PER_ASKER_MAX = 16  # an honest asker has one request of each kind open, or a few
ASKERS_MAX = 256
MEMBERS_COST = 2  # answers to members take up to 1/MEMBERS_COST of the time,
OBSERVERS_COST = 20  # and answers to all observers together 1/OBSERVERS_COST
SAVED_US = 5_000  # of the time before, at most, that answers may use up at once

T = TypeVar("T")


class TokenBucket:
    """One token for every step of a growing count, and up to `burst` at once. A count that is lower
    than before has begun anew, as rounds do in each epoch: so does the bucket."""

    def __init__(self, burst: int) -> None:
        self._burst = self._left = burst
        self._count: int | None = None

    def take(self, count: int) -> bool:
        """Whether one more is allowed at this count."""
        grown = count - self._count if self._count is not None else 0
        self._count = count
        self._left = self._burst if grown < 0 else min(self._left + grown, self._burst)
        if self._left == 0:
            return False
        self._left -= 1
        return True


class FairQueue(Generic[T]):
    """Waiting requests, one queue per asker, answered in turn: an asker with more requests waits
    longer and delays no other. An answer that took time t uses up `cost` times t, so that this
    peer's own work continues. Time in which nothing was answered counts too, up to SAVED_US: during
    a long turn several requests come, and a peer that catches up waits for their answers."""

    def __init__(self, cost: int) -> None:
        self.dropped = 0
        self._cost = cost
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._began_us: int | None = None  # the answer under way
        self._free_us = 0

    def put(self, asker: str, request: T) -> None:
        """Add a request, if there is room: a caller without an answer asks again."""
        queue = self._waiting.get(asker)
        if queue is None and len(self._waiting) < ASKERS_MAX:
            queue = self._waiting[asker] = deque()
        if queue is None or len(queue) >= WAITING_PER_ASKER_MAX:
            self.dropped += 1
        else:
            queue.append(request)

    def next(self, now_us: int) -> T | None:
        """The request to answer now. Call again after the answer: this measures its duration."""
        if self._began_us is not None:
            since_us = max(self._free_us, self._began_us - SAVED_US)
            self._free_us = since_us + (now_us - self._began_us) * self._cost
            self._began_us = None
        if not self._waiting or now_us < self._free_us:
            return None
        asker, queue = self._waiting.popitem(last=False)
        request = queue.popleft()
        if queue:
            self._waiting[asker] = queue  # behind all others
        self._began_us = now_us
        return request

    @property
    def due_us(self) -> int | None:
        """When `next` will have a request; None: not without new input."""
        return self._free_us if self._waiting else None
