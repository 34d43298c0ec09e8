"""Deleted exchanges, and the orders they left behind.

Orders in a queue refer to each other, and the garbage collector ignores them: they stay in memory
until code unlinks them. Owns that. Must never run when Python deletes an exchange: that may happen
anywhere, even at the recursion limit, where no call is possible. So the next new exchange, or the
next one whose clock moves, looks for deleted ones.
"""

from sys import maxsize
from typing import Any, Final
from weakref import ref

from engine.book_side import Order, take_apart

_watched: Final[dict[ref[Any], list[dict[int, Order]]]] = {}


def watch(exchange: object, parts: list[dict[int, Order]]) -> None:
    """`parts` have all orders of `exchange`. `release` frees them after it."""
    _watched[ref(exchange)] = parts


def release(most: int = maxsize) -> None:
    """Free up to `most` orders of deleted exchanges."""
    for late in [each for each in list(_watched) if each() is None]:
        parts = _watched.pop(late, [])  # empty: another thread has them
        try:
            most -= take_apart(parts, most)
        finally:
            if parts:
                _watched[late] = parts
