"""Python's garbage collector in a process that keeps a large state.

Owns which objects the collector visits. It visits all that a container refers to, so dictionaries
of a million orders would stop the loop for a tenth of a second, again and again. What is set aside
is not visited any more, even if it grows: freeing it is left to reference counts, as before.

A turn of the loop makes some 20,000 containers for a few thousand commands, and nearly all are gone
at its end without the collector. So it begins only when there are more.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_MAX = 50_000  # containers made and not freed since the last collection; by default 700


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside. What is there at the end is set aside, and collections are rare."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
        gc.enable()


class SetAside:
    """Sets aside each state that replaces an earlier one."""

    def __init__(self, state: object) -> None:
        self._state = state

    def watch(self, state: object) -> None:
        """`state` is the present one."""
        if state is not self._state:
            self._state = state
            gc.freeze()
