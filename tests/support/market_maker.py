"""A realistic market: quotes around a moving price, and takers, at every peer.

Owns the flow for screenshots and page tests: real orders through real nodes, from one seed. Must
never run longer than asked.
"""

import random
import time
from collections import deque
from collections.abc import Sequence

from engine import Cancel, Command, OrderType, Side, Submit, TimeInForce
from peer.client.connection import NodeClient
from tests.support.real_mesh import MARKET

MIDDLE = 6_725_000  # ticks of 0.01
LOT = 100_000_000  # lots of one whole unit
QUOTES = 150  # resting orders kept in the book
ACCOUNT = "maker"


class MarketMaker:
    """Quotes and takes through `clients`, each turn through the next one."""

    def __init__(self, clients: Sequence[NodeClient], seed: int = 7) -> None:
        self._clients = list(clients)
        self._rng = random.Random(seed)
        self._middle = float(MIDDLE)
        self._quotes: deque[int] = deque()
        self._turn = 0

    def fill(self) -> None:
        """Fill an empty book."""
        for _ in range(QUOTES // 10):
            self._execute([self._quote() for _ in range(10)])

    def run(self, seconds: float, turn_s: float = 0.08) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.step()
            time.sleep(turn_s)

    def step(self) -> None:
        """Move the price, replace some quotes, and sometimes take."""
        drift = 0.002 * (MIDDLE - self._middle)
        self._middle += self._rng.gauss(drift, 45.0)
        commands: list[Command] = [self._quote() for _ in range(3)]
        while len(self._quotes) > QUOTES:
            commands.append(Cancel(0, ACCOUNT, self._quotes.popleft()))
        if self._rng.random() < 0.6:
            commands.append(self._take())
        self._execute(commands)

    def _execute(self, commands: list[Command]) -> None:
        client = self._clients[self._turn % len(self._clients)]
        self._turn += 1
        for command, result in zip(commands, client.execute(commands), strict=True):
            if isinstance(command, Submit) and command.type is OrderType.LIMIT:
                self._quotes.append(result.id)

    def _size(self, most: float) -> int:
        size = min(most, self._rng.lognormvariate(-1.4, 1.1))
        return max(1, int(size * 1000)) * (LOT // 1000)

    def _quote(self) -> Submit:
        side = self._rng.choice((Side.BUY, Side.SELL))
        away = 30 + self._rng.expovariate(1 / 450)
        price = self._middle + (away if side is Side.SELL else -away)
        return Submit(0, ACCOUNT, MARKET, side, self._size(3.0), int(price))

    def _take(self) -> Submit:
        side = self._rng.choice((Side.BUY, Side.SELL))
        kind, tif = OrderType.MARKET, TimeInForce.IOC
        return Submit(0, "taker", MARKET, side, self._size(0.8), 0, kind, tif)
