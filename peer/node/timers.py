"""A node's time, and what the loop does on time rather than on input.

Owns the node's two clocks, and how long the loop may wait.
"""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from peer.network.mesh import HEARTBEAT_MS

TURN_MS_MAX = 100
LOOK_MS = 20
MESH_VIEW_MS = 500
SETTLE_MS = 1_000  # until the history has what happened: the longer, the fewer pages are written
FOLLOW_MS = 20  # in which a peer that only follows gathers what members send
STOP_MS = 2_000  # for waiting commands to be ordered before a peer stops


def _now_us() -> int:
    return time.monotonic_ns() // 1_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock(NamedTuple):
    """A node's clocks: a monotonic one that drives all timers, and the time of day."""

    now_us: Callable[[], int] = _now_us
    wall_ms: Callable[[], int] = _wall_ms

    def now_ms(self) -> int:
        return self.now_us() // 1_000


class Timers:
    """Reads no clock."""

    def __init__(self) -> None:
        self._beat_ms = 0  # when the next heartbeat is due,
        self._settle_ms = 0  # the next write of the history,
        self._look_ms = 0  # the next look at the mesh,
        self._view_ms = 0  # the next mesh view,
        self._stop_ms = 0  # and the end of a stopping peer

    def beats(self, now_ms: int) -> bool:
        """Whether a heartbeat is due; if so, the next is due HEARTBEAT_MS later."""
        if now_ms < self._beat_ms:
            return False
        self._beat_ms = now_ms + HEARTBEAT_MS
        return True

    def settles(self, now_ms: int) -> bool:
        """Whether readers of the history have waited for SETTLE_MS; if so, they wait anew."""
        if now_ms < self._settle_ms:
            return False
        self._settle_ms = now_ms + SETTLE_MS
        return True

    def looks(self, now_ms: int, heard: bool) -> bool:
        """Whether to look which members are here: one was `heard`, or the last look was
        LOOK_MS ago."""
        if now_ms < self._look_ms and not heard:
            return False
        self._look_ms = now_ms + LOOK_MS
        return True

    def shows(self, now_ms: int, changed: bool) -> bool:
        """Whether the mesh view is due, or the mesh has `changed`; if so, the next is due
        MESH_VIEW_MS later."""
        if now_ms < self._view_ms and not changed:
            return False
        self._view_ms = now_ms + MESH_VIEW_MS
        return True

    def stop(self, now_ms: int) -> None:
        """The peer stops, STOP_MS from now at the latest."""
        self._stop_ms = now_ms + STOP_MS

    def is_over(self, now_ms: int) -> bool:
        """Whether a stopping peer has waited long enough."""
        return now_ms >= self._stop_ms

    def wait_ms(self, now_ms: int, due: Iterable[int | None]) -> int:
        """How long there is nothing to do without input. `due`: when others have work; None: not by
        time alone."""
        times = [self._beat_ms, now_ms + TURN_MS_MAX, *(at for at in due if at is not None)]
        return max(min(times) - now_ms, 0)
