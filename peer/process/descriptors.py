"""How many files and connections this process may have open.

Owns the limit it asks the system for, and the bounds on others' connections that keep it from ever
being reached. Must never open anything.

The limit must not be reached for good reason: a local program that connects at that moment makes
libzmq (4.3.5) end the whole process. So the bounds stay well below, and who needs a descriptor and
gets none takes it for "later".
"""

import errno
import resource
from typing import NamedTuple

DESCRIPTORS_WANTED = 65_536
DESCRIPTORS_MIN = 512
SOCKETS_MAX = 1_024  # of ZeroMQ; a member in the largest mesh needs 130
UNPROVEN_MAX = 512  # connections over which nothing was said yet
OBSERVERS_MAX = 512  # connections of those who are no members
_PART = 8  # of a smaller limit, each of the two has one in so many


class Room(NamedTuple):
    """How many connections of others there may be, those of members apart."""

    unproven: int = UNPROVEN_MAX
    observers: int = OBSERVERS_MAX


def raise_limit(wanted: int = DESCRIPTORS_WANTED) -> int:
    """Let this process have `wanted` descriptors, or as many as it may; how many that are. OSError
    if a peer cannot live with them."""
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
    """How many connections of others a process with so many descriptors has room for."""
    return Room(min(UNPROVEN_MAX, limit // _PART), min(OBSERVERS_MAX, limit // _PART))


def is_full(error: BaseException) -> bool:
    """Whether something failed only because no descriptor is free just now: try it later."""
    return getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE)
