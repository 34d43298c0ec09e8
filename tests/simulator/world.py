"""The clock and the queue of what happens when.

Owns simulated time, in whole microseconds, and the trace. Must never read a real clock; ties are
broken by the order in which things were asked for, so a run depends on its seed alone.
"""

import heapq
from collections.abc import Callable
from typing import Any

MS = 1_000  # microseconds
EPOCH_MS = 1_700_000_000_000  # the wall clock at simulated time 0


class World:
    def __init__(self, trace: Callable[[str], None] | None = None) -> None:
        self.now_us = 0
        self.steps = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0
        self._trace = trace

    def after(self, delay_us: int, action: Callable[..., None], *args: Any) -> None:
        """Call `action(*args)` once `delay_us` have passed."""
        self._asked += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._asked, action, args))

    def run(self, until_us: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let time pass to `until_us`, or until `stop()`, asked after every millisecond, is true;
        whether it was."""
        ask_us = self.now_us
        while self._queue and self._queue[0][0] <= until_us:
            if stop is not None and self._queue[0][0] >= ask_us:
                if stop():
                    return True
                ask_us = self._queue[0][0] + MS
            self.now_us, _, action, args = heapq.heappop(self._queue)
            self.steps += 1
            action(*args)
        self.now_us = until_us
        return stop is not None and stop()

    @property
    def tracing(self) -> bool:
        return self._trace is not None

    def note(self, who: int | str, text: str) -> None:
        """One line of the trace. Callers ask `tracing` first where making the text costs."""
        if self._trace is not None:
            name = f"peer {who}" if isinstance(who, int) else who
            self._trace(f"{self.now_us / MS:10.3f} ms  {name:8} {text}")
