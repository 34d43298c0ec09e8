"""Which members this peer asks for the chain of epochs, or for certificates that its own lacks.

Owns whom to ask next, and whether all were asked in vain. Must never verify a chain or raise an
alarm.

One member may lack what another has. So all are asked in turn, before anybody is told that the
chain leads no further.
"""

from collections.abc import Collection

from peer.network.messages import ChainWanted

ASK_MS = 250  # between two questions, until all members were asked,
AGAIN_MS = 5_000  # and after that
WANTED_MS = 10_000  # so long this peer believes that others have more


class ChainSeeker:
    """`gap`: why a chain leads no further than this peer is; empty: none does, or nobody said."""

    def __init__(self) -> None:
        self.gap = ""
        self._above: int | None = None  # where the chain that is sought begins
        self._asked: dict[int, int] = {}  # members asked for it, and when
        self._first = -1  # a member to ask before the others
        self._next_ms = 0
        self._wanted_ms: int | None = None  # when somebody last had more

    def want(self, member: int, now_ms: int) -> None:
        """A member has a state of an epoch that this peer does not know."""
        self._wanted_ms = now_ms
        if member not in self._asked:
            self._first, self._next_ms = member, now_ms

    def failed(self, why: str, now_ms: int) -> None:
        """Somebody's chain leads no further, though nobody need have lied."""
        self.gap, self._wanted_ms = why, now_ms

    def requests(
        self, newest: int, uncertified: int | None, heard: Collection[int], now_ms: int
    ) -> list[ChainWanted]:
        """What to ask one of the heard members now. This peer knows the epochs up to `newest`, and
        `uncertified` is the first that others can prove and it cannot."""
        above = None if uncertified is None else uncertified - 1
        if self._wanted_ms is not None and now_ms - self._wanted_ms < WANTED_MS:
            above = newest
        if above != self._above:
            self._above, self.gap, self._asked, self._next_ms = above, "", {}, now_ms
        if above is None or not heard or now_ms < self._next_ms:
            return []
        first, self._first = self._first, -1
        member = first if first in heard else min(heard, key=lambda m: self._asked.get(m, -1))
        self._asked = {m: at for m, at in self._asked.items() if m in heard} | {member: now_ms}
        self._next_ms = now_ms + (AGAIN_MS if self.has_asked(heard) else ASK_MS)
        return [ChainWanted(member, above)]

    def has_asked(self, heard: Collection[int]) -> bool:
        """Whether each of the heard members was asked since the chain last led further."""
        return all(member in self._asked for member in heard)
