"""What this peer says of epochs by itself: that the last hand-over is certified, that a candidate
has the state, and, as a candidate, that it has the state.

Owns when each is said. Must never decide anything: the replica judges what is said.
"""

from collections.abc import Callable, Iterator

from peer.node.ledger import Ledger
from peer.node.submissions import Submissions
from peer.replica.handover import Sealed, Stated, statement_of
from peer.replica.members import FRESH_COMMITS

AGAIN_COMMITS = FRESH_COMMITS // 2  # a candidate says it anew after so many
WAITING_MAX = 100  # statements of candidates that are not looked at yet


class Notices:
    """`sign` is that of this peer's key."""

    def __init__(
        self, ledger: Ledger, submissions: Submissions, sign: Callable[[bytes], bytes]
    ) -> None:
        self._ledger = ledger
        self._submissions = submissions
        self._sign = sign
        self._said: set[tuple[object, ...]] = set()  # in this epoch
        self._came: list[Stated] = []
        self._turn = 0
        self._stated = -1  # the last boundary of which this candidate has the state

    def begin_epoch(self) -> None:
        """What was said in another epoch may have to be said again."""
        self._said.clear()

    def came(self, stated: Stated) -> None:
        """A candidate has sent its statement."""
        if len(self._came) < WAITING_MAX:
            self._came.append(stated)

    @property
    def has_news(self) -> bool:
        """Whether a candidate has sent a statement since the last `put_in`."""
        return bool(self._came)

    def put_in(self, now_ms: int) -> None:
        """As a member, put what is due into the next block."""
        for notice in self._due():
            self._submissions.put(notice, now_ms)

    def _due(self) -> Iterator[Sealed | Stated]:
        ledger, came = self._ledger, self._came
        self._came = []
        epoch, replica = ledger.epoch, ledger.replica
        is_certified = ledger.epochs.is_certified(epoch.number)
        if not replica.members.sealed and is_certified and self._is_new("sealed"):
            yield Sealed(0, epoch.number, ledger.epochs.signatures)
        for stated in came:
            before = replica.members.stated(stated.key)
            is_late = before is not None and stated.commit < before + AGAIN_COMMITS
            if stated.key not in replica.candidates or is_late:
                continue
            if self._is_new(stated.key, stated.commit):
                yield stated

    def _is_new(self, *what: object) -> bool:
        is_new = what not in self._said
        self._said.add(what)
        return is_new

    def statement(self, again: bool, now_ms: int) -> Stated | None:
        """As a candidate, what to tell the members now; None: nothing. `again`: also of a boundary
        of which it was called before."""
        members, key = self._ledger.replica.members, self._ledger.journal.key
        boundary = members.newest_boundary
        if boundary is None or not (again or boundary[0] > self._stated):
            return None
        if key not in self._ledger.replica.candidates:
            return None
        if not self._ledger.consensus.could_speak(now_ms):  # with a seat, all would wait for it
            return None
        commit, digest = boundary
        self._stated = commit
        before = members.stated(key)
        if before is not None and commit < before + AGAIN_COMMITS:
            return None
        text = statement_of(self._ledger.committee.mesh, commit, digest)
        return Stated(0, key, commit, digest, self._sign(text))

    def next_of(self, members: list[int]) -> int:
        """Whom to tell: the members in turn."""
        self._turn += 1
        return members[self._turn % len(members)]
