"""Rounds for events at a set time, such as the expiry of an order, while the mesh is idle.

Owns how many rounds a member proposes for a due event, and how long it pauses between attempts.
Must never read a clock: whether an event is due, and the time, are arguments.

Only blocks move the ordered clock. So when the members' clocks have passed the time of an event, a
few empty rounds move the ordered clock there. Without a quorum they fail. Then the pauses grow, so
that the mesh does not spin.
"""

SPARE_ROUNDS = 2  # beyond one wave: one for the time, and one for a leader that does not commit
PAUSE_MS = 1_000
PAUSE_MS_MAX = 10_000


class Due:
    def __init__(self, wave: int) -> None:
        self._rounds = wave + SPARE_ROUNDS
        self._rest()

    def _rest(self) -> None:
        self._last_round = 0  # of this attempt
        self._next_ms: int | None = None  # when the next attempt may begin
        self._pause_ms = PAUSE_MS

    def wants(self, round_: int, now_ms: int, is_due: bool) -> bool:
        """Whether to propose `round_`, the next round, for a due event."""
        if not is_due:
            self._rest()
            return False
        if self._next_ms is None or now_ms >= self._next_ms:
            self._last_round = round_ + self._rounds - 1
            self._next_ms = now_ms + self._pause_ms
            self._pause_ms = min(2 * self._pause_ms, PAUSE_MS_MAX)
        return round_ <= self._last_round
