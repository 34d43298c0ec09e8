"""This peer's condition: what holds it up, what waits here, and how far it has come.

Owns how the parts of the node add up to one status. Must never act on it.
"""

from collections.abc import Callable

from peer.client.protocol import Mesh
from peer.node.forwarding import Forwarding
from peer.node.health import Status
from peer.node.ledger import Ledger
from peer.node.lifecycle import Lifecycle, State
from peer.node.mesh_status import MeshStatus
from peer.node.state_fetcher import StateFetcher
from peer.node.submissions import Submissions


class Condition:
    """`dropped`: how many requests of other peers were dropped."""

    def __init__(
        self,
        ledger: Ledger,
        life: Lifecycle,
        mesh_status: MeshStatus,
        fetcher: StateFetcher,
        submissions: Submissions,
        forwarding: Forwarding,
        dropped: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._life = life
        self._mesh_status = mesh_status
        self._fetcher = fetcher
        self._submissions = submissions
        self._forwarding = forwarding
        self._dropped = dropped

    def view(self, seq: int, now_ms: int) -> Mesh:
        """The mesh as people see it."""
        return self._mesh_status.view(seq, now_ms, self._status(now_ms), self._progress())

    def _status(self, now_ms: int) -> Status:
        catching_up = self._catching_up(now_ms)
        if self._life.takes_part:
            self._life.enter(State.CATCHING_UP if catching_up else State.RUNNING)
        submissions, forwarding = self._submissions, self._forwarding
        return Status(
            halted=self._life.halted,
            is_stopping=self._life.state is State.STOPPING,
            quorum=self._mesh_status.quorum,
            hears_enough=self._mesh_status.hears_enough,
            catching_up=catching_up,
            pending=submissions.outstanding + forwarding.outstanding,
            oldest_pending_ms=max(submissions.oldest_ms(now_ms), forwarding.oldest_ms(now_ms)),
            refused_requests=self._dropped(),
        )

    def _progress(self) -> tuple[int, ...]:
        """At least one of these numbers grows when catching up advances."""
        return (sum(self._ledger.rounds), self._ledger.commit, self._fetcher.received)

    def _catching_up(self, now_ms: int) -> str:
        """This peer's progress in catching up, for people; empty when it is not catching up."""
        ahead = self._ledger.far_ahead(now_ms)
        blocks = f"fetching blocks: at round {self._ledger.round} of {ahead}" if ahead else ""
        return self._fetcher.progress or blocks
