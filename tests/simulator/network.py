"""The links between peers: delay, reordering, loss, duplication, partitions.

Owns when and whether a message arrives. Must never look into one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulator.world import World

Deliver = Callable[[int, int, Any], None]  # to, from, message


@dataclass(frozen=True)
class Weather:
    """How the links behave. Times in microseconds."""

    base_us: int = 500
    spread_us: int = 500  # the mean of the exponential part
    loss: float = 0.0
    duplicate: float = 0.0
    straggle: float = 0.0  # the share of messages that take `straggle_us` more
    straggle_us: int = 0
    in_order: bool = False  # a link keeps the order of its messages, as one TCP connection does
    links_us: tuple[tuple[int, ...], ...] = ()  # more delay, by sender and receiver
    jitter: float = 0.0  # the mean of an exponential part of that, in shares of it


CALM = Weather()


class Network:
    def __init__(self, world: World, random: Random, weather: Weather, deliver: Deliver) -> None:
        self.world = world
        self.weather = weather
        self.slowness: dict[int, int] = {}  # extra delay of a peer's links, microseconds
        self.sides: tuple[int, ...] | None = None  # the side of each peer while cut apart
        self.cut: set[tuple[int, int]] = set()  # (from, to): links down one way
        self._random = random
        self._deliver = deliver
        self._last: dict[tuple[int, int], int] = {}

    def send(self, sender: int, to: int, message: Any) -> None:
        """One message on its way, or lost."""
        if self.parted(sender, to) or self._random.random() < self.weather.loss:
            return
        self._launch(sender, to, message)
        if self.weather.duplicate and self._random.random() < self.weather.duplicate:
            self._launch(sender, to, message)

    def parted(self, sender: int, to: int) -> bool:
        if (sender, to) in self.cut:
            return True
        return self.sides is not None and self.sides[sender] != self.sides[to]

    def _launch(self, sender: int, to: int, message: Any) -> None:
        delay = self._delay(sender, to)
        if self.weather.in_order:
            arrival = max(self.world.now_us + delay, self._last.get((sender, to), 0))
            self._last[sender, to] = arrival
            delay = arrival - self.world.now_us
        self.world.after(delay, self._arrive, sender, to, message)

    def _delay(self, sender: int, to: int) -> int:
        random, weather = self._random, self.weather
        delay = weather.base_us + int(random.expovariate(1) * weather.spread_us)
        if weather.straggle and random.random() < weather.straggle:
            delay += int(random.random() * weather.straggle_us)
        if weather.links_us:
            link_us = weather.links_us[sender][to]
            delay += link_us + int(link_us * weather.jitter * random.expovariate(1))
        return delay + self.slowness.get(sender, 0) + self.slowness.get(to, 0)

    def _arrive(self, sender: int, to: int, message: Any) -> None:
        if not self.parted(sender, to):
            self._deliver(to, sender, message)
