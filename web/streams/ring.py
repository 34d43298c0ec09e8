"""The latest frames, for streams that resume.

Owns their numbers and their limits. Must never know a client.
"""

from collections import deque
from collections.abc import Collection

from web.streams.frames import Frame

FRAMES_MAX = 4_096
BYTES_MAX = 8 * 1024 * 1024


class Ring:
    """Frames are numbered from 1. `newest` is the number of the last one."""

    def __init__(self, epoch: str) -> None:
        self.newest = 0
        self._epoch = epoch
        self._frames: deque[tuple[int, Frame]] = deque()
        self._bytes = 0

    @property
    def event_id(self) -> str:
        """The id from which a stream that has all frames up to now can resume."""
        return f"{self._epoch}-{self.newest}"

    def add(self, frame: Frame) -> None:
        self.newest += 1
        frame.event_id = self.event_id
        self._frames.append((self.newest, frame))
        self._bytes += len(frame.payload)
        while len(self._frames) > FRAMES_MAX or self._bytes > BYTES_MAX:
            self._bytes -= len(self._frames.popleft()[1].payload)

    def clear(self) -> None:
        """Drop all frames: some were lost, so no stream can resume from here."""
        self.newest += 1
        self._frames.clear()
        self._bytes = 0

    def since(self, number: int, channels: Collection[str], bytes_max: int) -> list[Frame] | None:
        """The frames of these channels after frame `number`; None if one may be missing, or if they
        exceed `bytes_max`."""
        if number > self.newest:
            return None
        oldest = self._frames[0][0] if self._frames else self.newest + 1
        if number < oldest - 1:
            return None
        found = [frame for n, frame in self._frames if n > number and frame.channel in channels]
        return None if sum(len(frame.payload) for frame in found) > bytes_max else found

    def check(self) -> None:
        """Assert every invariant."""
        assert self._bytes == sum(len(frame.payload) for _, frame in self._frames)
