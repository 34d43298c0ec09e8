"""Moving an idle mesh for what happens at a time, as the expiry of an order.

Owns how many rounds a member proposes for it and how long it pauses before it tries again. Must
never read a clock: whether something is due, and the time, are arguments.

The ordered clock is moved by blocks alone. So when the members' clocks have passed the time of
something, a few empty rounds move the ordered clock there. They may be in vain, without a quorum
for instance: then trying again gets rarer, so that a mesh does not spin.
"""

SPARE_ROUNDS = 2  # beyond one wave: blocks that say the time, and one leader that does not commit
PAUSE_MS = 1_000
PAUSE_MS_MAX = 10_000


class Due:
    def __init__(self, wave: int) -> None:
        self._rounds = wave + SPARE_ROUNDS
        self._rest()

    def _rest(self) -> None:
        self._last_round = 0  # of this attempt
        self._next_ms: int | None = None  # when another attempt may begin
        self._pause_ms = PAUSE_MS

    def wants(self, round_: int, now_ms: int, is_due: bool) -> bool:
        """Whether to propose `round_`, the next one, for what is due."""
        if not is_due:
            self._rest()
            return False
        if self._next_ms is None or now_ms >= self._next_ms:
            self._last_round = round_ + self._rounds - 1
            self._next_ms = now_ms + self._pause_ms
            self._pause_ms = min(2 * self._pause_ms, PAUSE_MS_MAX)
        return round_ <= self._last_round
