"""The members' clocks, as their heartbeats report them.

Owns what each member's clock shows now, what the ordered clock would show, and which clocks are
wrong. Must never read a clock: wall time and monotonic time are arguments.
"""

from typing import NamedTuple

from peer.consensus.clock import ordered_time_ms

SKEW_MS_MAX = 2_000
SKEW_SEEN_MS = 3_000  # delayed heartbeats, after a paused process for instance, are no skew
CLOCK_AGE_MS_MAX = 3_000  # a member not heard for this long is silent


class _Reading(NamedTuple):
    time_ms: int  # what the member's clock showed
    now_ms: int  # when that was heard, monotonic


class Clocks:
    """`me` is this peer's member number, None for a peer that only follows."""

    def __init__(self, size: int, me: int | None) -> None:
        self._size = size
        self._me = me
        self._readings: dict[int, _Reading] = {}
        self._off_since_ms: dict[int, int] = {}  # members whose clocks are off, monotonic

    def hear(self, member: int, time_ms: int, now_ms: int) -> None:
        self._readings[member] = _Reading(time_ms, now_ms)

    def _shown(self, now_ms: int, wall_ms: int) -> dict[int, int]:
        """What the clocks of all members that are not silent show now."""
        shown = {
            member: heard.time_ms + now_ms - heard.now_ms
            for member, heard in self._readings.items()
            if now_ms - heard.now_ms < CLOCK_AGE_MS_MAX
        }
        if self._me is not None:
            shown[self._me] = wall_ms
        return shown

    def ordered_ms(self, now_ms: int, wall_ms: int) -> int:
        """What the ordered clock would show after blocks made now. A silent member does not move
        it, so 0 stands for its time. 0 if too many members are silent."""
        shown = self._shown(now_ms, wall_ms)
        return ordered_time_ms([shown.get(member, 0) for member in range(self._size)])

    def ahead(self, now_ms: int, wall_ms: int) -> dict[int, int]:
        """How far the clock of each heard member, and this peer's own, is ahead of their median."""
        shown = self._shown(now_ms, wall_ms)
        median_ms = ordered_time_ms(list(shown.values())) if shown else 0
        return {member: time_ms - median_ms for member, time_ms in shown.items()}

    def off(self, now_ms: int, wall_ms: int) -> dict[int, int]:
        """The members, perhaps this one too, whose clocks have differed from the median of all
        heard members by over SKEW_MS_MAX for SKEW_SEEN_MS; and each difference."""
        differ = self.ahead(now_ms, wall_ms)
        self._off_since_ms = {
            member: self._off_since_ms.get(member, now_ms)
            for member, by_ms in differ.items()
            if abs(by_ms) > SKEW_MS_MAX
        }
        return {
            member: differ[member]
            for member, since_ms in self._off_since_ms.items()
            if now_ms - since_ms >= SKEW_SEEN_MS
        }
