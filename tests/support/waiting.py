"""How tests wait for something that happens elsewhere: in a process, a thread or on the wire.

Owns how often they look. The first looks follow each other closely, since most things happen within
a millisecond or two; later ones cost a busy machine little.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SOON_S, LATER_S = 0.0005, 0.02  # between the first two looks, and between all after some


def wait_for(what: str, ask: Callable[[], T | None], timeout_s: float = 20.0) -> T:
    """Call `ask` until its result is true, and return that."""
    pause_s, deadline_s = SOON_S, time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if answer := ask():
            return answer
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LATER_S)
    raise AssertionError(f"waited {timeout_s} s in vain for {what}")
