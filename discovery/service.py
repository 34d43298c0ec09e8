"""The announce and lookup loop: a thread that tells who joined and who left.

Owns one daemon thread and, from start() on, the Grape client it was given. Must never touch its
caller's state: events go out through the callback only, which runs in this thread and has to hand
them on without blocking (a bounded queue, a socket).

A Grape can take seconds to answer, which is why this is a thread of its own. Which rules it follows
is in `discovery.roster`.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from discovery.grape import Closed, Grape, GrapeError, Refused
from discovery.roster import Event, Roster, Timing

_PAUSE_S = 0.01  # the least between two steps, whatever the schedule says
_PAUSE_AFTER_BUG_S = 1.0
_STOP_S = 10.0

_log = logging.getLogger(__name__)


class Discovery:
    """Announces one name and watches others, until stopped.

    `announce` is the name and TCP port to announce, or None to only watch; `watch` holds the names
    to look up. Every event goes to `on_event`, in this object's thread. `rng` jitters the waits,
    `clock` is in seconds and monotonic. Raises BadInput.
    """

    def __init__(
        self,
        grape: Grape,
        announce: tuple[str, int] | None,
        watch: Sequence[str],
        on_event: Callable[[Event], None],
        *,
        rng: random.Random,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grape = grape
        self._own = announce
        self._on_event = on_event
        self._clock = clock
        self._roster = Roster(announce, watch, timing or Timing(), rng, clock())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        """Begin; once only (RuntimeError)."""
        self._thread.start()

    def stop(self) -> None:
        """End, also in the midst of a call to a grape; no event comes afterwards. Harmless twice.

        Closes the Grape client. Our announcement stays in the grapes until it expires.
        """
        self._stopping.set()
        self._grape.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
                pause_s = max(self._roster.next_due_s() - self._clock(), _PAUSE_S)
            except Closed:
                if not self._stopping.is_set():
                    _log.error("discovery ends: its Grape client was closed by another")
                return
            except Exception:
                _log.exception("a bug in discovery; going on")
                pause_s = _PAUSE_AFTER_BUG_S
            self._stopping.wait(min(pause_s, threading.TIMEOUT_MAX))

    def _step(self) -> None:
        """Do one thing that is due, if any: lookups may be slow, and announcing goes first."""
        if self._roster.announce_due(self._clock()):
            self._announce()
        elif (name := self._roster.lookup_due(self._clock())) is not None:
            self._look_up(name)

    def _announce(self) -> None:
        assert self._own is not None
        try:
            stored = self._grape.announce(*self._own)
        except Closed:
            raise
        except Refused as error:
            self._deliver(self._roster.refused(error.reason, self._clock()))
        except GrapeError as error:
            self._deliver(self._roster.failed(str(error), self._clock()))
        else:
            self._deliver(self._roster.announced(stored, self._clock()))

    def _look_up(self, name: str) -> None:
        try:
            addresses = self._grape.lookup(name)
        except Closed:
            raise
        except GrapeError as error:
            self._deliver(self._roster.failed(str(error), self._clock()))
        else:
            self._deliver(self._roster.found(name, addresses, self._clock()))

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._stopping.is_set():
                return
            try:
                self._on_event(event)
            except Exception:
                _log.exception("the receiver of %r failed", event)
