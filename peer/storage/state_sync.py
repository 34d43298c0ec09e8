"""Fetching a certified state from other peers, without I/O.

Owns which state is fetched. Must never trust a member: the node verifies an offer's certificate
first, and `tree_walk` verifies every part.

Only differences from the own state are fetched. When a newer state is offered, the walk through its
tree reuses the parts that came: nothing that is in both is fetched twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from engine import HashTree
from peer.storage.part_requests import EXCLUDED_MS, Helper, PartRequests, PartsWanted
from peer.storage.tree_walk import TreeWalk

KEPT_BYTES_MAX = 1024 * 1024 * 1024  # of parts, when the next fetch starts
STALLED_MS = 3_000  # without a part: then an older state is accepted


class Manifest(NamedTuple):
    """A certified state that a member has."""

    commit: int
    digest: bytes
    epoch: int = 0  # of the commit


class Fetched(NamedTuple):
    """What turns the own state into a certified one."""

    member: int  # that offered it
    manifest: Manifest
    pieces: dict[int, bytes]  # by key, only different ones; empty: there is none
    certificate: list[bytes]


class _Target(NamedTuple):
    """The state being fetched."""

    member: int
    manifest: Manifest
    certificate: list[bytes]
    walk: TreeWalk
    requests: PartRequests


class CatchUp:
    """`numbers` gives each request its own number."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.received = 0  # missing parts that came, ever
        self._numbers = numbers
        self._helpers: defaultdict[int, Helper] = defaultdict(Helper)  # by member
        self._target: _Target | None = None
        self._came_ms = 0  # when the last part came

    @property
    def progress(self) -> str:
        """For people; empty when nothing is being fetched."""
        if self._target is None:
            return ""
        walk, commit = self._target.walk, self._target.manifest.commit
        return (
            f"fetching the state after commit {commit}: {walk.come:,} of the {walk.found:,} parts "
            "known to differ"
        )

    @property
    def is_complete(self) -> bool:
        """Whether a state is being fetched and no part is known to be missing."""
        return self._target is not None and not self._target.walk.missing

    def is_news(self, member: int, manifest: Manifest, now_ms: int) -> bool:
        """A member offers a state, perhaps in place of the parts of another one. Whether to `begin`
        with it, if its certificate is valid."""
        helper, target = self._helpers[member], self._target
        if helper.is_excluded(now_ms):
            return False
        if target is None:
            return True
        if manifest == target.manifest:
            helper.has_got_it()
            return False
        target.requests.does_not_have_it(member, now_ms)
        return manifest.commit > target.manifest.commit or now_ms - self._came_ms >= STALLED_MS

    def begin(
        self, member: int, manifest: Manifest, certificate: list[bytes], own: HashTree, now_ms: int
    ) -> None:
        """Fetch the differences from the `own` state. The caller has verified the certificate."""
        for helper in self._helpers.values():
            helper.forget_state()
        self._helpers[member].has_got_it()
        if self._target is None or self._target.walk.kept_bytes > KEPT_BYTES_MAX:
            walk = TreeWalk(manifest.digest, own)
        else:
            walk = self._target.walk
            walk.begin(manifest.digest, own)
        requests = PartRequests(walk, manifest.commit, self._helpers, self._numbers)
        self._target = _Target(member, manifest, certificate, walk, requests)
        self._came_ms = now_ms

    def requests(self, heard: Iterable[int], commit: int, now_ms: int) -> list[PartsWanted]:
        """What to ask the heard members for now; `commit` is the own last one."""
        if self._target is not None and self._target.manifest.commit <= commit:
            self.end()
        return [] if self._target is None else list(self._target.requests.requests(heard, now_ms))

    def take(
        self, member: int, number: int, commit: int, parts: Iterable[bytes], now_ms: int
    ) -> bool:
        """Parts came, asked for or not. False if the member lies."""
        if self._target is None:
            return True
        before = self._target.walk.kept_bytes
        is_honest = self._target.requests.take(member, number, commit, parts, now_ms)
        if grown := self._target.walk.kept_bytes - before:
            self.received += grown
            self._came_ms = now_ms
        return is_honest

    def complete(self, own: HashTree) -> Fetched | None:
        """All differences from the `own` state. None if something is missing: the own state has
        changed since the walk began, and those changes are fetched as well."""
        assert self._target is not None
        member, manifest, certificate, walk, _ = self._target
        if own.digest != walk.own.digest:
            walk.begin(manifest.digest, own)
        if not walk.missing:
            return Fetched(member, manifest, walk.changes, certificate)
        requests = PartRequests(walk, manifest.commit, self._helpers, self._numbers)
        self._target = self._target._replace(requests=requests)
        return None

    def end(self) -> None:
        """Stop fetching."""
        self._target = None

    def exclude(self, member: int, now_ms: int) -> None:
        """A member's offer was useless: do not ask it again soon."""
        self._helpers[member].exclude(now_ms + EXCLUDED_MS)
