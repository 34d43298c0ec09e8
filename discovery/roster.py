"""When to announce and to look up, and who has joined or left: discovery's rules, without I/O.

Owns the schedule and what is known of every watched name. Must never ask a grape, sleep or read a
clock: time is an argument (seconds of any monotonic clock), and effects come out as events.

The rules:

- A name without an address is looked up every `search_s`, backing off to `search_s_max`; a name
  with one backs off to `watch_s`. Any change starts again at `search_s`.
- Absence counts only in answers. While no grape answers, everything known stays, and absence
  starts anew afterwards: a restarted grape knows nobody until everybody has announced again.
- For that reason a name that had addresses and now has none makes us announce at once, and so does
  a grape that answers again.
- An address leaves after `left_after_s` of absence, or when there are too many for one name.
"""

import random
from collections.abc import Iterable, Sequence

import msgspec

from discovery.grape import Address, BadInput, check_name, check_port

ADDRESSES_PER_NAME_MAX = 64
NAMES_MAX = 256
RETRY_S_MAX = 5.0
_BACKOFF = 1.5


class Joined(msgspec.Struct, frozen=True):
    """A lookup of the name returned an address not known before. It may be stale or a lie."""

    name: str
    address: Address


class Left(msgspec.Struct, frozen=True):
    """The address has been absent from lookups of the name for long."""

    name: str
    address: Address


class Announced(msgspec.Struct, frozen=True):
    """Our name is announced: the first time, or again after the grapes were lost or refused it."""

    name: str
    stored: int  # grapes that keep it


class AnnounceRefused(msgspec.Struct, frozen=True):
    """The grapes answer but refuse our announcement; it is repeated until Announced."""

    name: str
    reason: str


class GrapesLost(msgspec.Struct, frozen=True):
    """No grape answers; asking goes on, and nobody leaves meanwhile."""

    reason: str


class GrapesFound(msgspec.Struct, frozen=True):
    """A grape answers: the first time, or again after GrapesLost."""


Event = Joined | Left | Announced | AnnounceRefused | GrapesLost | GrapesFound


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds but `jitter`, the share by which every wait is shortened or lengthened.

    `announce_s` has to be well below the grapes' maximum age (120 s as run here), and
    `left_after_s` well above `announce_s`. Raises BadInput.
    """

    announce_s: float = 30.0
    search_s: float = 0.3
    search_s_max: float = 2.0
    watch_s: float = 10.0
    left_after_s: float = 90.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.search_s <= self.search_s_max <= self.watch_s:
            raise BadInput("expected 0 < search_s <= search_s_max <= watch_s")
        if not (self.announce_s > 0 and self.left_after_s > 0 and 0 <= self.jitter < 1):
            raise BadInput("expected announce_s and left_after_s above 0, jitter from 0 to below 1")


class _Watched:
    """One name: its addresses with the time since when answers have lacked each, if they do."""

    def __init__(self, due_s: float, delay_s: float) -> None:
        self.absent_since_s: dict[Address, float | None] = {}
        self.due_s = due_s
        self.delay_s = delay_s


class Roster:
    """What is due and who is known. `own` is the name and port to announce, if any.

    Raises BadInput.
    """

    def __init__(
        self,
        own: tuple[str, int] | None,
        watch: Sequence[str],
        timing: Timing,
        rng: random.Random,
        now_s: float,
    ) -> None:
        if isinstance(watch, str) or len(watch) > NAMES_MAX:
            raise BadInput(f"expected a list of at most {NAMES_MAX} names to watch")
        for name in watch:
            check_name(name)
        if own is not None:
            check_name(own[0])
            check_port(own[1])
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
        """When there will be something to do; infinite if there is nothing to announce or watch."""
        times = [watched.due_s for watched in self._names.values()]
        if self._own is not None:
            times.append(self._announce_due_s)
        return min(times, default=float("inf"))

    def addresses(self, name: str) -> list[Address]:
        """The known addresses of a watched name; KeyError for another."""
        return list(self._names[name].absent_since_s)

    def announced(self, stored: int, now_s: float) -> list[Event]:
        """A grape took the announcement."""
        assert self._own is not None, "announced() without anything to announce"
        events = self._answered(now_s)
        if not self._announced:
            events.append(Announced(self._own[0], stored))
        self._announced, self._refused = True, False
        self._refused_retry_s = self._timing.search_s
        self._announce_due_s = now_s + self._jittered(self._timing.announce_s)
        return events

    def refused(self, reason: str, now_s: float) -> list[Event]:
        """A grape answered the announcement with a refusal, as one without neighbours does."""
        assert self._own is not None, "refused() without anything to announce"
        events = self._answered(now_s)
        if not self._refused:
            events.append(AnnounceRefused(self._own[0], reason))
        self._announced, self._refused = False, True
        self._announce_due_s = now_s + self._jittered(self._refused_retry_s)
        self._refused_retry_s = min(self._refused_retry_s * _BACKOFF, RETRY_S_MAX)
        return events

    def found(self, name: str, addresses: Iterable[Address], now_s: float) -> list[Event]:
        """A grape answered the lookup of a watched name."""
        events = self._answered(now_s)
        watched = self._names[name]
        known = watched.absent_since_s
        before = len(events)
        fresh = dict.fromkeys(addresses)
        had_any = any(since_s is None for since_s in known.values())
        for address in known:
            if address in fresh:
                known[address] = None
            elif known[address] is None:
                known[address] = now_s
        events += self._joined(name, known, fresh)
        events += self._expired(name, known, now_s)
        if had_any and not fresh:
            self._announce_due_s = now_s
        self._reschedule(watched, now_s, changed=len(events) > before)
        return events

    def failed(self, reason: str, now_s: float) -> list[Event]:
        """No grape answered: everything waits, a little longer each time."""
        recent = self._failed_s is not None and now_s - self._failed_s < self._timing.announce_s
        grown_s = min(self._retry_s * _BACKOFF, RETRY_S_MAX)
        self._retry_s = grown_s if recent else self._timing.search_s
        self._failed_s = now_s
        retry_due_s = now_s + self._jittered(self._retry_s)
        self._announce_due_s = max(self._announce_due_s, retry_due_s)
        for watched in self._names.values():
            watched.due_s = max(watched.due_s, retry_due_s)
            for address in watched.absent_since_s:
                watched.absent_since_s[address] = None
        if self._answering is False:
            return []
        self._answering = False
        self._announced = self._refused = False
        return [GrapesLost(reason)]

    def check(self) -> None:
        """Assert what must hold after every call."""
        for watched in self._names.values():
            assert len(watched.absent_since_s) <= ADDRESSES_PER_NAME_MAX
            assert self._timing.search_s <= watched.delay_s <= self._timing.watch_s
            if self._answering is False:
                assert all(since_s is None for since_s in watched.absent_since_s.values())
        assert not (self._announced and self._refused)
        assert self._retry_s <= max(RETRY_S_MAX, self._timing.search_s)

    def _answered(self, now_s: float) -> list[Event]:
        """Any answer. The first one after silence makes everything due: a grape may be new."""
        if self._answering:
            return []
        self._answering = True
        self._announce_due_s = now_s
        for watched in self._names.values():
            watched.due_s = now_s
            watched.delay_s = self._timing.search_s
        return [GrapesFound()]

    def _joined(
        self, name: str, known: dict[Address, float | None], fresh: Iterable[Address]
    ) -> list[Event]:
        events: list[Event] = []
        for address in fresh:
            if address in known:
                continue
            if len(known) >= ADDRESSES_PER_NAME_MAX:
                absent = [(since_s, old) for old, since_s in known.items() if since_s is not None]
                if not absent:
                    break
                _, longest = min(absent)
                del known[longest]
                events.append(Left(name, longest))
            known[address] = None
            events.append(Joined(name, address))
        return events

    def _expired(self, name: str, known: dict[Address, float | None], now_s: float) -> list[Event]:
        gone = [
            address
            for address, since_s in known.items()
            if since_s is not None and now_s - since_s >= self._timing.left_after_s
        ]
        for address in gone:
            del known[address]
        return [Left(name, address) for address in gone]

    def _reschedule(self, watched: _Watched, now_s: float, changed: bool) -> None:
        present = any(since_s is None for since_s in watched.absent_since_s.values())
        longest_s = self._timing.watch_s if present else self._timing.search_s_max
        delay_s = self._timing.search_s if changed else min(watched.delay_s, longest_s)
        watched.due_s = now_s + self._jittered(delay_s)
        watched.delay_s = min(delay_s * _BACKOFF, longest_s)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - self._timing.jitter, 1 + self._timing.jitter)
