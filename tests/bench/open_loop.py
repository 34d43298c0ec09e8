"""Orders at a given rate, however long the answers take: an open loop.

Owns the submitters, one thread and connection a peer. Each request has a moment at which it is due,
decided before the clock starts, and its latency counts from that moment. A submitter that is late,
because the peer or the machine was, adds its lateness to the latency (there is no coordinated
omission). Must never wait for an answer before it sends the next request.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine import Command
from peer.client.connection import NodeClient
from peer.client.endpoint import Endpoint
from peer.client.protocol import Done, Execute, Refused
from tests.bench.measuring import small_order

REQUESTS_MAX = 1_000  # a second and submitter; beyond, those due together share a request
ANSWERED_S_MAX = 30.0  # after the last request
_POLL_S = 0.001  # a connection cannot wait for less

Make = Callable[[int], Command]


class Sample(NamedTuple):
    due_s: float  # monotonic
    latency_ms: float


@dataclass
class Flow:
    """What became of the orders of one submitter."""

    samples: list[Sample] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0

    @property
    def latencies_ms(self) -> list[float]:
        return [sample.latency_ms for sample in self.samples]


def schedule(rate: float, seconds: float, start_s: float, seed: int) -> tuple[list[float], int]:
    """When requests are due, and how many orders each has. Each is due at a random moment of an
    interval of its own, so that it keeps no step with the peers' timers."""
    orders = max(1, math.ceil(rate / REQUESTS_MAX))
    every_s = orders / rate
    rng = random.Random(seed)
    count = max(1, round(seconds / every_s))
    return [start_s + (k + rng.random()) * every_s for k in range(count)], orders


class _Submitter(threading.Thread):
    def __init__(self, where: Endpoint, due_s: list[float], orders: int, make: Make) -> None:
        super().__init__(daemon=True)
        self.flow = Flow()
        self._where, self._due_s, self._orders, self._make = where, due_s, orders, make
        self._waiting: dict[bytes, tuple[float, int]] = {}  # due, orders that are not final

    def run(self) -> None:
        with NodeClient(self._where) as client:
            for n, due_s in enumerate(self._due_s):
                self._hear_until(client, due_s)
                first = n * self._orders
                commands = [self._make(first + k) for k in range(self._orders)]
                self._waiting[client.send(Execute(commands))] = due_s, self._orders
            end_s = time.monotonic() + ANSWERED_S_MAX
            while self._waiting and (left_s := end_s - time.monotonic()) > 0:
                self._hear(client, left_s)
        self.flow.unanswered = sum(orders for _, orders in self._waiting.values())

    def _hear_until(self, client: NodeClient, until_s: float) -> None:
        """Read what has come, at least once, and what comes until then."""
        while self._hear(client, 0):
            pass
        while (left_s := until_s - time.monotonic()) > 0:
            if left_s < _POLL_S:
                time.sleep(left_s)
            else:
                self._hear(client, left_s)

    def _hear(self, client: NodeClient, timeout_s: float) -> bool:
        if (answer := client.receive(timeout_s)) is None:
            return False
        number, body = answer
        due_s, left = self._waiting.get(number, (0.0, 0))
        match body:
            case Done(_, _, results) if left:
                latency_ms = (time.monotonic() - due_s) * 1000
                self.flow.samples += [Sample(due_s, latency_ms)] * len(results)
                left -= len(results)
                self._waiting[number] = due_s, left
            case Refused() if left:
                self.flow.refused += left
                left = 0
        if not left:
            self._waiting.pop(number, None)
        return True


def submit(
    where: Sequence[Endpoint],
    rate: float,
    seconds: float,
    make: Make = small_order,
    seed: int = 1,
) -> list[Flow]:
    """`rate` orders a second, an equal share through each node; returns when all are final or
    ANSWERED_S_MAX has passed since the last was due."""
    start_s = time.monotonic() + 0.2  # by then all are connected
    submitters = [
        _Submitter(place, *schedule(rate / len(where), seconds, start_s, seed + n), make)
        for n, place in enumerate(where)
    ]
    for each in submitters:
        each.start()
    for each in submitters:
        each.join()
    return [each.flow for each in submitters]
