"""When a member may propose again after a start.

Owns the rule against equivocation by a member whose journal was restored from an old copy. Must
never read a clock or use a socket.

The other members know the blocks that this member has sent. So after a start it proposes nothing
until enough members for a quorum, with itself, have stated in current heartbeats that they know no
block of it above the newest one in its journal. In crash mode it also gives all others some time to
state this, since one of them may be the only one that has the last block. A member that knows more
sends the block, and the node stops. A claim without the signed block does not keep a member silent
for long. So equivocation by an old journal is rare; it remains possible if no member that has the
last block is there.

A peer that only follows takes the same from members in the epoch in which it follows: a later one,
in which its key may have signed, has not begun for these. So once it has a seat it speaks at once.
"""

from peer.consensus.committee import Committee, Mode


class Start:
    """`wait_ms`: how long to wait for the other members once a quorum agrees (crash mode).
    `is_member`: whether this peer is one of them."""

    def __init__(self, committee: Committee, wait_ms: int, is_member: bool = True) -> None:
        self.committee = committee
        self._is_member = is_member
        self._wait_ms = wait_ms
        self._agree: set[int] = set()  # members that know no newer block of this one
        self._quorum_ms: int | None = None  # since when a quorum agrees
        self.over = False  # whether `is_over` was ever true

    def hear(self, member: int, claimed: int, own: int) -> None:
        """A member's heartbeat claims that this member's newest round is `claimed`. `own` is the
        newest round that this member knows of itself: that of its newest block or, in byzantine
        mode, a later one up to which all blocks are collected."""
        if claimed > own:
            self._agree.discard(member)
        else:
            self._agree.add(member)

    def is_over(self, now_ms: int) -> bool:
        """Whether this member may propose. Once true, it stays true."""
        if not self.over:
            self.over = self._may_speak(now_ms)
        return self.over

    def _may_speak(self, now_ms: int) -> bool:
        if len(self._agree) + self._is_member < self.committee.quorum:
            self._quorum_ms = None
            return False
        if self._quorum_ms is None:
            self._quorum_ms = now_ms
        waited = now_ms - self._quorum_ms >= self._wait_ms
        all_agree = len(self._agree) == self.committee.size - self._is_member
        return waited or all_agree or self.committee.mode is Mode.BYZANTINE

    @property
    def due_ms(self) -> int | None:
        """When the wait for the others ends; None if no quorum agrees yet, or if it is over."""
        if self.over or self._quorum_ms is None:
            return None
        return self._quorum_ms + self._wait_ms
