"""Finding where another peer's state differs from the own one, without I/O.

Owns how much of it is looked at. Must never trust the other peer: it can show only the state whose
digest it signed, see `tree_walk`. The cost is small: a few pieces name the fault.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from engine import HashTree
from peer.consensus.block import Attestation
from peer.storage.part_requests import Helper, PartRequests, PartsWanted
from peer.storage.tree_walk import TreeWalk

PIECES_ENOUGH = 16
PARTS_MAX = 512  # that the other may need to show that many pieces
AUDIT_MS = 3_000


class Found(NamedTuple):
    """What is known about a difference."""

    member: int
    attestation: Attestation
    pieces: dict[int, bytes]  # of the other, by key, only different ones; empty: it has none
    more: int  # further parts that differ, at least


class _Audit(NamedTuple):
    """An audit under way."""

    member: int
    attestation: Attestation
    walk: TreeWalk
    requests: PartRequests
    until_ms: int


class StateAudit:
    """One member at a time. `numbers` gives each request its own number."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._audit: _Audit | None = None
        self._is_over = False

    @property
    def is_under_way(self) -> bool:
        return self._audit is not None

    def begin(self, member: int, said: Attestation, own: HashTree, now_ms: int) -> None:
        """Compare the state a member says it has with the `own` one after that commit."""
        walk = TreeWalk(said.digest, own)
        helpers = {member: Helper()}
        requests = PartRequests(walk, said.commit, helpers, self._numbers, whole_first=True)
        self._audit = _Audit(member, said, walk, requests, now_ms + AUDIT_MS)
        self._is_over = False

    def requests(self, now_ms: int) -> list[PartsWanted]:
        """What to ask the member for now."""
        audit = self._audit
        return [] if audit is None else list(audit.requests.requests([audit.member], now_ms))

    def take(
        self, member: int, number: int, commit: int, parts: Iterable[bytes], now_ms: int
    ) -> None:
        """Parts came, asked for or not. A member that shows another state than it said gets no more
        requests."""
        if self._audit is not None and member == self._audit.member:
            is_honest = self._audit.requests.take(member, number, commit, parts, now_ms)
            self._is_over = self._is_over or not is_honest

    def found(self, now_ms: int) -> Found | None:
        """The difference, once enough is known or nothing more comes."""
        if self._audit is None:
            return None
        member, said, walk, _, until_ms = self._audit
        is_enough = not walk.missing or len(walk.changes) >= PIECES_ENOUGH
        if not (is_enough or self._is_over or walk.come >= PARTS_MAX or now_ms >= until_ms):
            return None
        self._audit = None
        keys = sorted(walk.changes)
        pieces = {key: walk.changes[key] for key in keys[:PIECES_ENOUGH]}
        return Found(member, said, pieces, len(keys) - len(pieces) + len(walk.missing))
