"""Pid files: what `make stop` has to end.

Owns one file for each running program, and the end of these programs. Must never end another
process that has the same pid later: a file says when its process was born.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from discovery.grapes.process import birth, end

STOP_S = 20.0  # then a program is killed


class Running(msgspec.Struct, frozen=True):
    """A pid file's content. `born` tells the process from a later one with the same pid."""

    pid: int
    born: str


@contextlib.contextmanager
def recorded(state: Path, kind: str) -> Iterator[None]:
    """Keep a pid file of this process in the folder `state`, so that `stop` finds it."""
    state.mkdir(parents=True, exist_ok=True)
    path = state / f"{kind}-{os.getpid()}.pid"
    path.write_bytes(msgspec.json.encode(Running(os.getpid(), birth(os.getpid()) or "")))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def stop(state: Path, kind: str) -> list[int]:
    """End every program of this kind that has a pid file in `state`; returns their pids."""
    ended = []
    for path in sorted(state.glob(f"{kind}-*.pid")):
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):  # cut off by a full disk
            running = msgspec.json.decode(path.read_bytes(), type=Running)
            if end(running.pid, running.born, patience_s=STOP_S):
                ended.append(running.pid)
        path.unlink(missing_ok=True)
    return ended
