"""When to announce to a Grape and when to look up names: discovery's rules, without I/O.

Owns the schedule of one Grape; each Grape has a tracker of its own. Must never ask a Grape, sleep
or read a clock: time is an argument (seconds of any monotonic clock), and effects come out as
events. Keeps no address: it hands on what a lookup returned. A missing address means nothing.

The rules:

- A name is looked up every `search_s` at first. The wait grows to `search_s_max` while the Grape
  has no address for it, or at least CROWD_MIN: then a lookup returns a random part of them.
  Otherwise the wait grows to `watch_s`.
- A Grape that answers for the first time, or again after silence, may be new and empty. Then
  everything is due at once. Announcing is also due at once when a name loses its last address.
- A Grape that does not answer is asked less and less often, in the end every RETRY_S_MAX.
"""

import random
from collections.abc import Sequence

import msgspec

from discovery.grape import Address, BadInputError, check_name, check_port

NAMES_MAX = 256
CROWD_MIN = 100  # a Grape returns at most this many addresses of a name, invented ones included
RETRY_S_MAX = 5.0
_BACKOFF = 1.5


class Found(msgspec.Struct, frozen=True):
    """A lookup of the name returned these addresses, which may be stale or invented. There is one
    event for each lookup that returned any."""

    name: str
    addresses: tuple[Address, ...]


class Announced(msgspec.Struct, frozen=True):
    """The Grape took our announcement: the first one, or the first after a loss or a refusal."""

    grape: str  # its URL
    name: str
    stored: int  # grapes that keep it


class AnnounceRefused(msgspec.Struct, frozen=True):
    """The Grape refuses our announcement; discovery repeats it until Announced."""

    grape: str
    name: str
    reason: str


class GrapeLost(msgspec.Struct, frozen=True):
    """The Grape does not answer; discovery keeps asking."""

    grape: str
    reason: str


class GrapeFound(msgspec.Struct, frozen=True):
    """The Grape answers: the first time, or again after GrapeLost."""

    grape: str


Event = Found | Announced | AnnounceRefused | GrapeLost | GrapeFound


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds except `jitter`, the largest share by which a wait varies either way.

    `announce_s` must be well below the grapes' maximum age (120 s as run here). Raises
    BadInputError.
    """

    announce_s: float = 30.0
    search_s: float = 0.3
    search_s_max: float = 2.0
    watch_s: float = 10.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.search_s <= self.search_s_max <= self.watch_s:
            raise BadInputError("expected 0 < search_s <= search_s_max <= watch_s")
        if not (self.announce_s > 0 and 0 <= self.jitter < 1):
            raise BadInputError("expected announce_s above 0, jitter from 0 to below 1")


class _Watched:
    """One name: when to look it up next, and whether the last answer had an address."""

    def __init__(self, due_s: float, delay_s: float) -> None:
        self.due_s = due_s
        self.delay_s = delay_s
        self.is_there = False


class ServiceTracker:
    """What is due at the Grape `grape`. `own` is the name and port to announce, if any.

    Raises BadInputError.
    """

    def __init__(
        self,
        grape: str,
        own: tuple[str, int] | None,
        watch: Sequence[str],
        timing: Timing,
        rng: random.Random,
        now_s: float,
    ) -> None:
        if isinstance(watch, str) or len(watch) > NAMES_MAX:
            raise BadInputError(f"expected a list of at most {NAMES_MAX} names to watch")
        for name in watch:
            check_name(name)
        if own is not None:
            check_name(own[0])
            check_port(own[1])
        self._grape = grape
        self._own = own
        self._timing = timing
        self._rng = rng
        self._names = {name: _Watched(now_s, timing.search_s) for name in watch}
        self._announce_due_s = now_s
        self._announced = False
        self._refused = False
        self._answering: bool | None = None  # None: never asked
        self._failed_s: float | None = None
        self._retry_s = timing.search_s
        self._refused_retry_s = timing.search_s

    def announce_due(self, now_s: float) -> bool:
        return self._own is not None and self._announce_due_s <= now_s

    def lookup_due(self, now_s: float) -> str | None:
        """The name whose lookup is most overdue, if one is due."""
        due = [(watched.due_s, name) for name, watched in self._names.items()]
        due_s, name = min(due, default=(float("inf"), ""))
        return name if due_s <= now_s else None

    def next_due_s(self) -> float:
        """When the next thing is due; infinite if there is nothing to announce or watch."""
        times = [watched.due_s for watched in self._names.values()]
        if self._own is not None:
            times.append(self._announce_due_s)
        return min(times, default=float("inf"))

    def announced(self, stored: int, now_s: float) -> list[Event]:
        """The Grape took the announcement."""
        assert self._own is not None, "announced() without anything to announce"
        events = self._answered(now_s)
        if not self._announced:
            events.append(Announced(self._grape, self._own[0], stored))
        self._announced, self._refused = True, False
        self._refused_retry_s = self._timing.search_s
        self._announce_due_s = now_s + self._jittered(self._timing.announce_s)
        return events

    def refused(self, reason: str, now_s: float) -> list[Event]:
        """The Grape refused the announcement, as a Grape without neighbours does."""
        assert self._own is not None, "refused() without anything to announce"
        events = self._answered(now_s)
        if not self._refused:
            events.append(AnnounceRefused(self._grape, self._own[0], reason))
        self._announced, self._refused = False, True
        self._announce_due_s = now_s + self._jittered(self._refused_retry_s)
        self._refused_retry_s = min(self._refused_retry_s * _BACKOFF, RETRY_S_MAX)
        return events

    def found(self, name: str, addresses: Sequence[Address], now_s: float) -> list[Event]:
        """The Grape answered the lookup of a watched name."""
        events = self._answered(now_s)
        watched = self._names[name]
        if addresses:
            events.append(Found(name, tuple(addresses)))
        elif watched.is_there:
            self._announce_due_s = now_s
        watched.is_there = bool(addresses)
        searching = not 0 < len(addresses) < CROWD_MIN
        longest_s = self._timing.search_s_max if searching else self._timing.watch_s
        delay_s = min(watched.delay_s, longest_s)
        watched.due_s = now_s + self._jittered(delay_s)
        watched.delay_s = min(delay_s * _BACKOFF, longest_s)
        return events

    def failed(self, reason: str, now_s: float) -> list[Event]:
        """The Grape did not answer: everything waits, a little longer each time."""
        recent = self._failed_s is not None and now_s - self._failed_s < self._timing.announce_s
        grown_s = min(self._retry_s * _BACKOFF, RETRY_S_MAX)
        self._retry_s = grown_s if recent else self._timing.search_s
        self._failed_s = now_s
        retry_due_s = now_s + self._jittered(self._retry_s)
        self._announce_due_s = max(self._announce_due_s, retry_due_s)
        for watched in self._names.values():
            watched.due_s = max(watched.due_s, retry_due_s)
        if self._answering is False:
            return []
        self._answering = False
        self._announced = self._refused = False
        return [GrapeLost(self._grape, reason)]

    def check(self) -> None:
        """Assert what must hold after every call."""
        for watched in self._names.values():
            assert self._timing.search_s <= watched.delay_s <= self._timing.watch_s
        assert not (self._announced and self._refused)
        assert self._retry_s <= max(RETRY_S_MAX, self._timing.search_s)

    def _answered(self, now_s: float) -> list[Event]:
        """Record any answer. The first after silence makes everything due: a Grape may be new."""
        if self._answering:
            return []
        self._answering = True
        self._announce_due_s = now_s
        for watched in self._names.values():
            watched.due_s = now_s
            watched.delay_s = self._timing.search_s
        return [GrapeFound(self._grape)]

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - self._timing.jitter, 1 + self._timing.jitter)
