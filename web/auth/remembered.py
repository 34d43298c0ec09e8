"""Answers of a SQLite database, remembered until any process changes it.

Owns the look at the index of its write-ahead log. Every commit changes that index's header, and
SQLite itself compares it before it reads (https://sqlite.org/walformat.html, "The WAL-Index
Header"). A query gives up the interpreter's lock several times, which costs a busy gateway more
than the query. Must never write to the index.
"""

import mmap
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

HEADER_BYTES = 48
ANSWERS_MAX = 10_000  # beyond it, all are forgotten

T = TypeVar("T")


class Remembered(Generic[T]):
    """For the database at `path`, which is in WAL mode, and which the caller has open: so the index
    stays. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        with path.with_name(f"{path.name}-shm").open("rb") as index:
            self._index = mmap.mmap(index.fileno(), HEADER_BYTES, access=mmap.ACCESS_READ)
        self._version = b""
        self._answers: dict[Hashable, T] = {}

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer to a question; `ask` asks the database."""
        version = self._index[:HEADER_BYTES]  # before it is asked
        if version != self._version or len(self._answers) >= ANSWERS_MAX:
            self._version, self._answers = version, {}
        if question not in self._answers:
            self._answers[question] = ask()
        return self._answers[question]

    def close(self) -> None:
        self._index.close()
