"""The turns of the main thread: waits for the connections that have something to do.

Owns the selector, and what it waits for on each connection. waitress asks every connection before
every turn what to wait for, so that a thousand idle ones would delay each request by milliseconds.
Here a connection is asked only when that may have changed: after its own event, or when it says so
by `touch`. Must never be used by another thread, but for `touch`.
"""

import select
import selectors
from collections import deque
from typing import Any

from waitress import wasyncore

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_POLLED = {READ: select.POLLIN, WRITE: select.POLLOUT, READ | WRITE: select.POLLIN | select.POLLOUT}


class Turns:
    """`sockets` has the dispatchers of waitress by their descriptors; they change while this
    runs."""

    def __init__(self, sockets: dict[int, Any]) -> None:
        self._sockets = sockets
        self._selector = selectors.DefaultSelector()
        self._waits: dict[int, int] = {}  # events by descriptor
        self._touched: deque[int] = deque()

    def touch(self, descriptor: int | None) -> None:
        """Ask this one before the next turn. Any thread may call it, and then has to wake the main
        thread."""
        if descriptor is not None:
            self._touched.append(descriptor)

    def forget(self, descriptor: int | None) -> None:
        """Wait for this one no more. Call it before the descriptor is closed: a copy of it may
        stay open, and would be heard."""
        if descriptor is not None and self._waits.pop(descriptor, 0):
            self._selector.unregister(descriptor)

    def run(self, seconds: float) -> None:
        """One turn: wait, and handle what has come."""
        while self._touched:
            self._ask(self._touched.popleft())
        for key, events in self._selector.select(seconds):
            one = self._sockets.get(key.fd)
            if one is not None:
                wasyncore.readwrite(one, _POLLED[events])
                self._ask(key.fd)

    def _ask(self, descriptor: int) -> None:
        """Ask what to wait for."""
        one = self._sockets.get(descriptor)
        if one is None:
            self.forget(descriptor)
            return
        wanted = READ if one.readable() else 0
        if one.writable() and not one.accepting:
            wanted |= WRITE
        before = self._waits.get(descriptor, 0)
        if wanted == before:
            return
        self._waits[descriptor] = wanted
        if not before:
            self._selector.register(descriptor, wanted)
        elif wanted:
            self._selector.modify(descriptor, wanted)
        else:
            self._selector.unregister(descriptor)

    def close(self) -> None:
        self._selector.close()
