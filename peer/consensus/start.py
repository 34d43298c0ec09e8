"""When a member may speak again after a start.

Owns the rule that keeps a journal put back from an old copy from contradicting what this key has
signed before. Must never read a clock or touch a socket.

What a member has said, others have heard. So after a start it proposes nothing until members that
make a quorum with it have said, in heartbeats of now, that they know no block of it above the
newest one in its journal. In crash mode it gives all others some time to say so too: one of them
may be the only one that heard the last block. A member that knows more hands the block over, and
the node stops; a claim without the signed block keeps no member silent for long. So equivocation by
an old journal is rare; if no member that heard the last block is there, it remains possible.
"""

from peer.consensus.committee import Committee, Mode


class Start:
    """`wait_ms`: how long to wait, once a quorum agrees, for those that do not yet (crash mode)."""

    def __init__(self, committee: Committee, wait_ms: int) -> None:
        self._committee = committee
        self._wait_ms = wait_ms
        self._agree: set[int] = set()  # members that know nothing newer of this one
        self._quorum_ms: int | None = None  # since when a quorum agrees
        self._over = False

    def hear(self, member: int, claimed: int, own: int) -> None:
        """A member's heartbeat names `claimed` as the newest round of this one, which itself knows
        of `own`: its newest block's round or, in byzantine mode, a later one up to which all is
        collected."""
        if claimed > own:
            self._agree.discard(member)
        else:
            self._agree.add(member)

    def is_over(self, now_ms: int) -> bool:
        """Whether this member may propose. Once it may, it always may."""
        if not self._over:
            self._over = self._may_speak(now_ms)
        return self._over

    def _may_speak(self, now_ms: int) -> bool:
        if len(self._agree) + 1 < self._committee.quorum:
            self._quorum_ms = None
            return False
        if self._quorum_ms is None:
            self._quorum_ms = now_ms
        waited = now_ms - self._quorum_ms >= self._wait_ms
        all_agree = len(self._agree) == self._committee.size - 1
        return waited or all_agree or self._committee.mode is Mode.BYZANTINE

    @property
    def due_ms(self) -> int | None:
        """When the wait for the others ends; None: not by time alone, or it is over."""
        if self._over or self._quorum_ms is None:
            return None
        return self._quorum_ms + self._wait_ms
