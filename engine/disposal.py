"""Exchanges that are gone, and the orders they left behind.

Orders in a queue refer to each other, and no collector looks at them: they stay until they are
taken apart. Owns doing so. Must never run at the moment an exchange goes: the collector may find it
anywhere, at the recursion limit too, where nothing can be called. So the next exchange
that is made, or whose clock moves, looks which ones are gone by then.
"""

from sys import maxsize
from typing import Any, Final
from weakref import ref

from engine.book_side import Order, take_apart

_watched: Final[dict[ref[Any], dict[int, Order]]] = {}


def watch(exchange: object, orders: dict[int, Order]) -> None:
    """`orders` are all those of `exchange`, and are freed after it."""
    _watched[ref(exchange)] = orders


def release(most: int = maxsize) -> None:
    """Free up to `most` orders of exchanges that are gone."""
    for late in [each for each in list(_watched) if each() is None]:
        orders = _watched.pop(late, {})  # none: another thread is at it
        try:
            most -= take_apart(orders, most)
        finally:
            if orders:
                _watched[late] = orders
