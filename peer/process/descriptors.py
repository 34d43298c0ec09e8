"""The number of descriptors, for files and connections, that this process may have open.

Owns the limit that the process asks for, and the bounds on others' connections that keep it below
that limit. Must never open anything.

The process must never reach the limit: libzmq (4.3.5) would end it if a local program connected at
that moment. So the bounds stay well below, and code that gets no descriptor tries again later.
"""

import errno
import resource
from typing import NamedTuple

DESCRIPTORS_WANTED = 65_536
DESCRIPTORS_MIN = 512
SOCKETS_MAX = 1_024  # of ZeroMQ; a member in the largest mesh needs 130
UNPROVEN_MAX = 512  # connections without any message yet
OBSERVERS_MAX = 512  # connections of observers
_PART = 8  # with fewer descriptors, each of the two gets an eighth


class Room(NamedTuple):
    """How many connections there may be besides those of members."""

    unproven: int = UNPROVEN_MAX
    observers: int = OBSERVERS_MAX


def raise_limit(wanted: int = DESCRIPTORS_WANTED) -> int:
    """Raise the limit to `wanted` descriptors, or as far as the system allows; returns the limit.
    OSError if it is too low for a peer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    while goal > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
            soft = goal
        except (ValueError, OSError):  # some systems allow less than they say
            goal //= 2
    if soft < DESCRIPTORS_MIN:
        text = f"{soft} open files are too few for a peer: expected {DESCRIPTORS_MIN} (ulimit -n)"
        raise OSError(errno.EMFILE, text)
    return soft


def room_of(limit: int) -> Room:
    """The room in a process that may have `limit` descriptors."""
    return Room(min(UNPROVEN_MAX, limit // _PART), min(OBSERVERS_MAX, limit // _PART))


def is_full(error: BaseException) -> bool:
    """Whether the error is that no descriptor is free, so that a later try may work."""
    return getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE)
