"""Fetching a snapshot from another peer, piece by piece, without I/O.

Owns which helper is asked for what and when it is given up for another. Must never trust a helper:
it is given an offer only with a certificate that the node has verified, and what came in the end is
checked against it. The certificate does not cover the size, so of two sizes the smaller one is
tried first: too small a one is found out soon, too large a one could keep us busy for ever.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

PART_BYTES = 128 * 1024
SNAPSHOT_BYTES_MAX = 2 * 1024 * 1024 * 1024
PART_TIMEOUT_MS = 2_000
SHUNNED_MS = 60_000  # who helped badly
SILENT_MS = 10_000  # who did not answer: its connection may have to be made anew


class Manifest(NamedTuple):
    """A certified snapshot that a member has."""

    commit: int
    digest: bytes  # of the state


class PartWanted(NamedTuple):
    """Ask `member` for PART_BYTES of its snapshot after `commit`, from `offset` on."""

    member: int
    commit: int
    offset: int


@dataclass
class _Download:
    member: int
    manifest: Manifest
    certificate: list[bytes]
    asked_ms: int = -PART_TIMEOUT_MS
    parts: bytearray = field(default_factory=bytearray)


class Fetched(NamedTuple):
    """A whole snapshot, not yet checked against its digest."""

    member: int
    manifest: Manifest
    pieces: dict[int, bytes]  # what differs from the own state; an empty one: gone
    certificate: list[bytes]


class CatchUp:
    def __init__(self) -> None:
        self._download: _Download | None = None
        self._shunned: dict[int, int] = {}  # member -> until when
        self.received = 0  # bytes of snapshots, ever

    @property
    def progress(self) -> str:
        """For people; empty when nothing is being fetched."""
        if self._download is None:
            return ""
        manifest, got = self._download.manifest, len(self._download.parts)
        return f"fetching the state after commit {manifest.commit}: {got * 100 // manifest.size} %"

    def offer(self, member: int, manifest: Manifest, certificate: list[bytes], now_ms: int) -> None:
        """A member has a snapshot we need; `certificate` has been verified."""
        shunned = now_ms < self._shunned.get(member, now_ms)
        if shunned or not 0 < manifest.size <= SNAPSHOT_BYTES_MAX:
            return
        current = self._download
        if current is None or manifest.size < current.manifest.size:
            self._download = _Download(member, manifest, certificate)

    def request(self, now_ms: int) -> PartWanted | None:
        """What to ask for now. A helper that does not answer is given up."""
        download = self._download
        if download is None or now_ms - download.asked_ms < PART_TIMEOUT_MS:
            return None
        if download.asked_ms >= 0:
            self._give_up(now_ms + SILENT_MS)
            return None
        download.asked_ms = now_ms
        return PartWanted(download.member, download.manifest.commit, len(download.parts))

    def part(self, member: int, commit: int, offset: int, data: bytes) -> Fetched | None:
        """A part came; all of it if it was the last."""
        download = self._download
        if download is None or (member, commit) != (download.member, download.manifest.commit):
            return None
        if not data:  # it has a newer one by now, or says so: others first, then that
            self._give_up(download.asked_ms + PART_TIMEOUT_MS)
            return None
        left = download.manifest.size - len(download.parts)
        if offset != len(download.parts) or len(data) != min(left, PART_BYTES):
            return None
        download.parts += data
        self.received += len(data)
        download.asked_ms = -PART_TIMEOUT_MS
        if len(download.parts) < download.manifest.size:
            return None
        self._download = None
        return Fetched(member, download.manifest, bytes(download.parts), download.certificate)

    def _give_up(self, until_ms: int) -> None:
        """The member that helps now: others first."""
        if self._download is not None:
            self._shunned[self._download.member] = until_ms
        self._download = None

    def shun(self, member: int, now_ms: int) -> None:
        """A member helps badly: give it up, and do not ask it again soon."""
        self._shunned[member] = now_ms + SHUNNED_MS
        self._download = None
