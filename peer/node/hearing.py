"""Which members hear which, as their heartbeats report it.

Owns the judgement of who is deaf: a member that speaks, but hears too few to take part, or not this
peer. Must never raise an alarm, read a clock or touch a link.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from peer.consensus.committee import Committee
from peer.network.addresses import ALIVE_MS

DEAF_MS = 5_000  # deaf in all heartbeats, before an alarm: a new peer hears no one yet

Hears = Sequence[bool]  # by member


class Deaf(NamedTuple):
    """A member's fault; `why` continues its name."""

    member: int
    why: str


class Hearing:
    """`me` is this peer's number, None for a peer that only follows."""

    def __init__(self, committee: Committee, me: int | None) -> None:
        self._committee = committee
        self._me = me
        self._since_ms: dict[Deaf, int] = {}
        self._heard_us_ms: dict[int, int] = {}  # by member: when it last said so

    def after(self, committee: Committee, me: int | None, members: Mapping[int, int]) -> "Hearing":
        """The same in the next epoch, in which the old `members` have these new numbers."""
        new = Hearing(committee, me)
        for old, number in members.items():
            if old in self._heard_us_ms:
                new._heard_us_ms[number] = self._heard_us_ms[old]
        return new

    def note(self, member: int, now_ms: int) -> None:
        """A member hears this peer, by what it said before it had its number."""
        self._heard_us_ms[member] = now_ms

    def hear(self, member: int, hears: Hears, now_ms: int) -> None:
        """A member reported whom it hears."""
        if self._me is not None and hears[self._me]:
            self._heard_us_ms[member] = now_ms

    def has_quorum(self, heard: Collection[int], now_ms: int, running: bool) -> bool:
        """Whether this peer's orders can be ordered. `heard` are the heard members. A member that
        has not said for ALIVE_MS that it hears this peer carries none of its blocks. (A single such
        report may be about an earlier pause of this peer.) A peer that only follows only has to
        hear enough."""
        if self._me is None:
            return len(heard) >= self._committee.quorum
        since_ms = now_ms - ALIVE_MS
        both_ways = sum(self._heard_us_ms.get(n, since_ms) > since_ms for n in heard)
        return both_ways + running >= self._committee.quorum

    def deaf(self, heard: Mapping[int, Hears], now_ms: int) -> list[Deaf]:
        """The members that have been deaf for DEAF_MS, with at most one reason each."""
        now_deaf = list(self._judge(heard))
        self._since_ms = {one: self._since_ms.get(one, now_ms) for one in now_deaf}
        return [one for one in now_deaf if now_ms - self._since_ms[one] >= DEAF_MS]

    def _judge(self, heard: Mapping[int, Hears]) -> Iterator[Deaf]:
        enough = len(heard) + (self._me is not None) >= self._committee.quorum
        for member, hears in heard.items():
            if enough and sum(hears) < self._committee.quorum:
                yield Deaf(member, "is deaf: it sends, but hears too few members for a quorum")
            elif self._me is not None and not hears[self._me]:
                yield Deaf(member, "does not hear this peer, though this peer hears it")
