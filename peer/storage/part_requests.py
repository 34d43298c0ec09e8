"""Which member is asked for which parts of a state's hash tree, without I/O.

Owns the open requests, and how well members help. Must never trust a member: see `tree_walk`.

Several members are asked at once, each for other parts. When nothing else is left to ask for, the
parts of a slow member are asked of another as well. A member that does not answer is left out for a
while. A member whose answer is not part of the state is left out for long.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from peer.storage.tree_walk import Place, TreeWalk

PLACES_MAX = 128  # in one request to a fast member,
PLACES_FIRST = 16  # to a member of unknown speed,
PLACES_MIN = 4  # and at least, if each member has a share: fewer are not worth a request
REQUESTS_MAX = 4  # open requests per member: a busy one answers only between its turns
HELPERS_MAX = 8  # members that are asked at once
ANSWER_BYTES = 256 * 1024  # of parts in one answer; at least one part

FAST_MS = 250
SLOW_MS = 1_000
TIMEOUT_MS = 2_000
EXCLUDED_MS = 60_000  # for a member that lied
SILENT_MS = 10_000  # for one that did not answer: its connection may need a reconnect
ABSENT_MS = 1_000  # for one that does not have this state yet


class PartsWanted(NamedTuple):
    """Ask `member` for the parts at these places of its tree after `commit`. The answer has the
    same number."""

    member: int
    number: int
    commit: int
    places: tuple[Place, ...]


class _Asked(NamedTuple):
    """An open request."""

    member: int
    digests: list[bytes]
    asked_ms: int


@dataclass
class Helper:
    """What is known about a member."""

    places: int = PLACES_FIRST  # per request
    has_it: bool = False  # the state being fetched
    excluded_until_ms: int | None = None
    absent_until_ms: int | None = None

    def is_excluded(self, now_ms: int) -> bool:
        return self.excluded_until_ms is not None and now_ms < self.excluded_until_ms

    def may_help(self, now_ms: int) -> bool:
        is_absent = self.absent_until_ms is not None and now_ms < self.absent_until_ms
        return not (is_absent or self.is_excluded(now_ms))

    def exclude(self, until_ms: int) -> None:
        """Until then, neither ask the member nor take its offers."""
        self.excluded_until_ms, self.has_it = until_ms, False

    def lacks_it(self, now_ms: int) -> None:
        """The member does not have the state, or says so."""
        self.absent_until_ms, self.has_it = now_ms + ABSENT_MS, False

    def has_got_it(self) -> None:
        self.absent_until_ms, self.has_it = None, True

    def forget_state(self) -> None:
        """Another state is fetched from now on."""
        self.absent_until_ms, self.has_it = None, False

    def note_pace(self, took_ms: int) -> None:
        """The member answered a request."""
        self.has_got_it()
        if took_ms < FAST_MS:
            self.places = min(2 * self.places, PLACES_MAX)
        elif took_ms > SLOW_MS:
            self.places = max(self.places // 2, 1)


class PartRequests:
    """Requests for what `walk` misses of the state after `commit`. Only this object may move the
    walk. `numbers` gives each request its own number. `whole_first`: parts below a part come before
    parts beside it, so the first pieces come early."""

    def __init__(
        self,
        walk: TreeWalk,
        commit: int,
        helpers: dict[int, Helper],
        numbers: Iterator[int],
        whole_first: bool = False,
    ) -> None:
        self._walk = walk
        self._commit = commit
        self._helpers = helpers
        self._numbers = numbers
        self._whole_first = whole_first
        self._waiting = deque(walk.missing)  # digests to ask for
        self._asked: dict[int, _Asked] = {}  # by number

    def requests(self, heard: Iterable[int], now_ms: int) -> Iterator[PartsWanted]:
        """What to ask the heard members for now. Each gets one request before any gets a second. A
        member that does not answer is left out."""
        self._give_up_late_ones(now_ms)
        helpers = [m for m in heard if self._helpers[m].may_help(now_ms)]
        helpers.sort(key=lambda m: not self._helpers[m].has_it)
        helpers = helpers[:HELPERS_MAX]
        for others in range(REQUESTS_MAX):
            for place, member in enumerate(helpers):
                if len(self._asked_of(member)) > others or self._is_late(member, now_ms):
                    continue
                share = -(-len(self._waiting) // (len(helpers) - place))
                digests = self._next(member, share) or self._late(member, now_ms)
                if digests:
                    number = next(self._numbers)
                    self._asked[number] = _Asked(member, digests, now_ms)
                    places = tuple(map(self._walk.place, digests))
                    yield PartsWanted(member, number, self._commit, places)

    def _next(self, member: int, share: int) -> list[bytes]:
        """What to ask a member for: its share of the waiting digests."""
        most = min(max(share, PLACES_MIN), self._helpers[member].places)
        under_way = {digest for asked in self._asked.values() for digest in asked.digests}
        digests: list[bytes] = []
        while self._waiting and len(digests) < most:
            digest = self._waiting.popleft()
            if digest in self._walk.missing and digest not in under_way:
                digests.append(digest)
        return digests

    def _is_late(self, member: int, now_ms: int) -> bool:
        """Whether the member's answer is so late that it gets no new request until it answers."""
        times = (self._asked[number].asked_ms for number in self._asked_of(member))
        return any(now_ms - asked_ms >= FAST_MS for asked_ms in times)

    def _late(self, member: int, now_ms: int) -> list[bytes]:
        """What an idle member is asked for as well: parts that slow members owe."""
        if self._asked_of(member):
            return []
        asked_ms: dict[bytes, int] = {}
        for asked in self._asked.values():  # oldest request first
            asked_ms.update(dict.fromkeys(asked.digests, asked.asked_ms))
        late = [digest for digest, at_ms in asked_ms.items() if now_ms - at_ms >= FAST_MS]
        return [d for d in late if d in self._walk.missing][: self._helpers[member].places]

    def take(
        self, member: int, number: int, commit: int, parts: Iterable[bytes], now_ms: int
    ) -> bool:
        """Parts came: on request, late or unasked. False if the member lies."""
        known: list[bool] = []
        found: list[bytes] = []
        for part in parts:
            missing = self._walk.take(part)
            known.append(missing is not None or self._walk.has(part))
            found += missing or ()
        if self._whole_first:
            self._waiting.extendleft(reversed(found))
        else:
            self._waiting.extend(found)
        asked = self._asked.get(number)
        if asked is None or (asked.member, self._commit) != (member, commit):
            return True
        del self._asked[number]
        left = self._put_back(asked.digests)
        if not all(known):
            self.leave(member, now_ms + EXCLUDED_MS)
            return False
        if left < len(asked.digests):
            self._helpers[member].note_pace(now_ms - asked.asked_ms)
        elif self._helpers[member].has_it:
            self.leave(member, now_ms + SILENT_MS)
        else:
            self.does_not_have_it(member, now_ms)
        return True

    def _give_up_late_ones(self, now_ms: int) -> None:
        for asked in list(self._asked.values()):
            if now_ms - asked.asked_ms >= TIMEOUT_MS:
                self._helpers[asked.member].places = PLACES_FIRST
                self.leave(asked.member, now_ms + SILENT_MS)

    def leave(self, member: int, until_ms: int) -> None:
        """Do not ask a member until then."""
        self._helpers[member].exclude(until_ms)
        self._release(member)

    def does_not_have_it(self, member: int, now_ms: int) -> None:
        """A member's answer has nothing of the request, or is of another state."""
        self._helpers[member].lacks_it(now_ms)
        self._release(member)

    def _release(self, member: int) -> None:
        """Free the member's requests for others."""
        for number in self._asked_of(member):
            self._put_back(self._asked.pop(number).digests)

    def _put_back(self, digests: list[bytes]) -> int:
        """Put the missing ones first in the queue again. Returns their number."""
        left = [digest for digest in digests if digest in self._walk.missing]
        self._waiting.extendleft(reversed(left))
        return len(left)

    def _asked_of(self, member: int) -> list[int]:
        """The numbers of the member's open requests."""
        return [number for number, asked in self._asked.items() if asked.member == member]
