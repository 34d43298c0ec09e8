"""A peer that is behind: how it comes from one epoch to the next.

Owns which members in a later epoch are asked for the rest of this one, and the frames of the next
epoch that came too early. Must never trust a member: one that claims a later epoch and has no
blocks only wastes its own turn.
"""

from collections import deque

from peer.consensus.core import Pull

ANSWER_MS = 1_000  # then another member is asked
EARLY_MAX = 100  # frames of one member


class Lag:
    """Asks one member at a time."""

    def __init__(self) -> None:
        self._ahead: dict[int, int] = {}  # seat -> when it was last heard in a later epoch
        self._has: dict[int, tuple[int, tuple[int, ...]]] = {}  # seat -> that epoch, its rounds
        self._asked: Pull | None = None
        self._until_ms = 0
        self._again = False  # the last answer led further: there may be more

    def hear(self, member: int, epoch: int, rounds: tuple[int, ...], now_ms: int) -> None:
        """A member is in a later epoch, and has blocks up to these rounds, by author."""
        self._ahead[member] = now_ms
        self._has[member] = epoch, rounds

    def knows_of(self, author: int | None, epoch: int) -> bool:
        """Whether a member has blocks of an author of a later epoch. If the author is this peer,
        then its journal is an old copy."""
        rounds = [rounds for number, rounds in self._has.values() if number == epoch]
        return author is not None and any(
            max(each[author : author + 1], default=0) for each in rounds
        )

    def answered(self, member: int, rounds: tuple[int, ...]) -> None:
        """An answer has come completely; `rounds` are here now."""
        if self._asked is not None and self._asked.member == member:
            self._again = rounds != self._asked.above
            self._asked = None

    def requests(self, epoch: int, rounds: tuple[int, ...], now_ms: int) -> list[Pull]:
        """Ask a member for all blocks of this epoch above `rounds`."""
        if not self._ahead or (self._asked is not None and now_ms < self._until_ms):
            return []
        member, heard_ms = next(iter(self._ahead.items()))
        if not self._again:
            del self._ahead[member]  # it has its turn again when it is heard again
        self._again = False
        if now_ms - heard_ms >= ANSWER_MS:
            self._ahead.pop(member, None)
            return []
        self._asked = Pull(member, rounds, epoch)
        self._until_ms = now_ms + ANSWER_MS
        return [self._asked]

    def end(self) -> None:
        """This peer is in another epoch now."""
        self._ahead.clear()
        self._has.clear()
        self._asked, self._again = None, False


class EarlyFrames:
    """Of the next epoch, the last ones of each member. They cannot be verified yet."""

    def __init__(self) -> None:
        self._frames: dict[int, deque[bytes]] = {}
        self._epoch = 0  # that all of them are of

    def keep(self, member: int, frame: bytes, epoch: int) -> None:
        """Keep a frame of the epoch after the present one."""
        if epoch != self._epoch:
            self._epoch, self._frames = epoch, {}
        self._frames.setdefault(member, deque(maxlen=EARLY_MAX)).append(frame)

    def take(self, epoch: int) -> list[tuple[int, bytes]]:
        """Once this epoch is the present one: all of them, with their senders; then there are
        none."""
        if epoch != self._epoch:
            return []
        frames, self._frames = self._frames, {}
        return [(member, frame) for member, each in frames.items() for frame in each]
