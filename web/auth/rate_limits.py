"""Rate limits by name, and limits on how many different things a name may use.

Owns the rates and the bounded tables of use. Must never wait: it says how long a client should.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

NAMES_MAX = 10_000  # beyond it, the least recently used name is dropped: its bucket is full again


class Limiter:
    """A token bucket per name: `rate` tokens a second, at most `burst`."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst = rate, burst
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, name: str, cost: int = 1) -> float:
        """0 if `name` may spend `cost` now, and it has; else the seconds until it may."""
        with self._lock:
            tokens, now = self._tokens(name)
            short = min(cost, self.burst) - tokens
            self._keep(name, tokens if short > 0 else tokens - cost, now)
        return short / self.rate if short > 0 else 0.0

    def spend(self, name: str, cost: int) -> None:
        """Charge `name` a cost that is known only afterwards. It may go into debt."""
        with self._lock:
            tokens, now = self._tokens(name)
            self._keep(name, max(tokens - cost, -float(self.burst)), now)

    def _tokens(self, name: str) -> tuple[float, float]:
        """What `name` has, and now."""
        now = self._clock()
        tokens, since = self._buckets.get(name, (float(self.burst), now))
        return min(tokens + (now - since) * self.rate, float(self.burst)), now

    def _keep(self, name: str, tokens: float, now: float) -> None:
        self._buckets[name] = (tokens, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > NAMES_MAX:
            self._buckets.popitem(last=False)


class Distinct:
    """At most `most` different things per name. A thing counts for `seconds` after its last use."""

    def __init__(
        self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.seconds = most, seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._used: OrderedDict[str, OrderedDict[str, float]] = (
            OrderedDict()
        )  # last use, oldest first

    def take(self, name: str, thing: str) -> float:
        """0 if `name` may use this thing now, else the seconds until it may use a new one."""
        with self._lock:
            now = self._clock()
            used = self._used.setdefault(name, OrderedDict())
            self._used.move_to_end(name)
            if len(self._used) > NAMES_MAX:
                self._used.popitem(last=False)
            while used and next(iter(used.values())) + self.seconds <= now:
                used.popitem(last=False)
            if thing not in used and len(used) >= self.most:
                return next(iter(used.values())) + self.seconds - now
            used[thing] = now
            used.move_to_end(thing)
            return 0.0
