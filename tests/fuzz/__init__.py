"""Hostile input to every place where a peer or its gateway reads what others wrote.

A `Target` is one such place. Its inputs are made from valid ones by changing them where it hurts
(`mutate`), so that they get past the first check; there is no corpus to keep. Whatever a target
raises is a bug: the typed errors a module promises are caught in the target itself.
"""

from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """`seeds` are valid inputs; `run` takes any bytes and must come back."""

    seeds: list[bytes]
    mutate: Callable[..., bytes]
    run: Callable[[bytes], None]
