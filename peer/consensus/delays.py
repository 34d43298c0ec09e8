"""How long blocks and answers of each member take to come, and so how long to wait for them.

Owns the estimates. Must never read a clock, and never decide what happens once a wait is over. No
rule of the order depends on an estimate: a wrong one costs time or bytes, and all are bounded.
"""

from typing import NamedTuple


class Bounds(NamedTuple):
    """Of a wait, in milliseconds: the least fits a local network."""

    least: int
    most: int


LATE = Bounds(15, 500)
ANSWER = Bounds(100, 2_000)


class Estimate:
    """The time within which something nearly always comes: the smoothed mean and four times the
    smoothed deviation, as in RFC 6298. In integers: 8 times the mean, 4 times the deviation."""

    def __init__(self) -> None:
        self._mean_8: int | None = None  # nothing is known yet
        self._deviation_4 = 0

    def add(self, took_ms: int) -> None:
        if self._mean_8 is None:
            self._mean_8, self._deviation_4 = 8 * took_ms, 2 * took_ms
            return
        error = took_ms - self._mean_8 // 8
        self._mean_8 += error
        self._deviation_4 += abs(error) - self._deviation_4 // 4

    def within(self, bounds: Bounds) -> int:
        """The estimate in milliseconds; the least while nothing is known."""
        nearly_always = (self._mean_8 or 0) // 8 + self._deviation_4
        return min(max(nearly_always, bounds.least), bounds.most)


class Delays:
    """By member. `late`: how long after another block that refers to it a block comes. `answer`:
    how long an answer takes."""

    def __init__(self, size: int, late: Bounds, answer: Bounds) -> None:
        self.late, self.answer = late, answer
        self._late = [Estimate() for _ in range(size)]
        self._answers = [Estimate() for _ in range(size)]

    def came(self, author: int, late_ms: int) -> None:
        """A block came by itself, so long after another one that refers to it."""
        self._late[author].add(late_ms)

    def answered(self, member: int, took_ms: int) -> None:
        """A member has answered a request."""
        self._answers[member].add(took_ms)

    def late_ms(self, author: int) -> int:
        """How long a missing block of an author may take to come by itself."""
        return self._late[author].within(self.late)

    def answer_ms(self, member: int) -> int:
        """How long a member's answer may take."""
        return self._answers[member].within(self.answer)
