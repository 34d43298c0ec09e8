"""The announce and lookup loops: one thread per Grape, which reports what it finds there.

Owns these daemon threads and, from start() on, the Grape clients it was given. Must never touch its
caller's state: events go out through the callback only. The callback runs in these threads and must
hand events on without blocking (a bounded queue, a socket).

Each thread announces to its own Grape and looks up there, independent of the others: a Grape that
is dead, slow or empty delays and hides nothing. A Grape can take seconds to answer, hence the
threads. They follow the rules in `discovery.service_tracker`.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from discovery.grape import GRAPES_MAX, BadInputError, ClosedError, Grape, GrapeError, RefusedError
from discovery.service_tracker import Event, ServiceTracker, Timing

_PAUSE_S = 0.01  # at least this between two steps
_PAUSE_AFTER_BUG_S = 1.0
_STOP_S = 10.0

_log = logging.getLogger(__name__)


class Discovery:
    """Announces one name and watches others, at every Grape, until stopped.

    `grapes` are clients of one Grape each. `announce` is the name and TCP port to announce, or None
    to only watch; `watch` holds the names to look up. Every event goes to `on_event`, in the thread
    of its Grape, so several threads may call it at once. `rng` jitters the waits, `clock` is in
    seconds and monotonic. Raises BadInputError.
    """

    def __init__(
        self,
        grapes: Sequence[Grape],
        announce: tuple[str, int] | None,
        watch: Sequence[str],
        on_event: Callable[[Event], None],
        *,
        rng: random.Random,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= len(grapes) <= GRAPES_MAX:
            raise BadInputError(f"expected 1 to {GRAPES_MAX} Grapes, got {len(grapes)}")
        timing = timing or Timing()
        self._stopping = threading.Event()
        self._loops = []
        for grape in grapes:
            own_rng = random.Random(rng.getrandbits(64))
            tracker = ServiceTracker(
                ", ".join(grape.urls), announce, watch, timing, own_rng, clock()
            )
            self._loops.append(_Loop(grape, announce, tracker, on_event, clock, self._stopping))

    def start(self) -> None:
        """Start the threads. A second call raises RuntimeError."""
        for loop in self._loops:
            loop.thread.start()

    def stop(self) -> None:
        """Stop the threads, even during calls to grapes; no event follows. May be called twice.

        Closes the Grape clients. The announcement stays in the grapes until it expires.
        """
        self._stopping.set()
        for loop in self._loops:
            loop.grape.close()
        deadline_s = time.monotonic() + _STOP_S
        for loop in self._loops:
            if loop.thread.is_alive() and loop.thread is not threading.current_thread():
                loop.thread.join(max(deadline_s - time.monotonic(), 0))


class _Loop:
    """The thread of one Grape."""

    def __init__(
        self,
        grape: Grape,
        announce: tuple[str, int] | None,
        tracker: ServiceTracker,
        on_event: Callable[[Event], None],
        clock: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self.grape = grape
        self.thread = threading.Thread(target=self._run, name="discovery", daemon=True)
        self._own = announce
        self._tracker = tracker
        self._on_event = on_event
        self._clock = clock
        self._stopping = stopping

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
                pause_s = max(self._tracker.next_due_s() - self._clock(), _PAUSE_S)
            except ClosedError:
                if not self._stopping.is_set():
                    _log.error("discovery ends: its Grape client was closed by another thread")
                return
            except Exception:
                _log.exception("bug in discovery; it goes on")
                pause_s = _PAUSE_AFTER_BUG_S
            self._stopping.wait(min(pause_s, threading.TIMEOUT_MAX))

    def _step(self) -> None:
        """Do one thing that is due, if any. Announcing goes first, as lookups may be slow."""
        try:
            if self._tracker.announce_due(self._clock()):
                events = self._announce()
            elif (name := self._tracker.lookup_due(self._clock())) is not None:
                events = self._tracker.found(name, self.grape.lookup(name), self._clock())
            else:
                return
        except ClosedError:
            raise
        except GrapeError as error:
            events = self._tracker.failed(str(error), self._clock())
        self._deliver(events)

    def _announce(self) -> list[Event]:
        assert self._own is not None
        try:
            stored = self.grape.announce(*self._own)
        except RefusedError as error:
            return self._tracker.refused(error.reason, self._clock())
        return self._tracker.announced(stored, self._clock())

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._stopping.is_set():
                return
            try:
                self._on_event(event)
            except Exception:
                _log.exception("the callback failed on %r", event)
