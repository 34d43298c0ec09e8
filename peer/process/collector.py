"""Python's garbage collector in a process that keeps a large state.

Owns which objects the collector visits. It visits all that a container refers to, so dictionaries
of a million orders would stop the loop for a tenth of a second, again and again. What is set aside
is not visited any more, even if it grows: freeing it is left to reference counts, as before.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New containers from one collection to the next. Python's own 700 mean several in every turn, and
# next to nothing here is ever part of a cycle.
NEW_MAX = 10_000


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside, and rarer ones after it. What is there at the end is set aside."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(NEW_MAX)
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
