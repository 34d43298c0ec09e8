"""What this peer fetches of others' states: all differences, to continue from one of them, or some,
to name the difference to people.

Owns which offers are accepted, and what is reported about members that help badly. Must never
change the state: the loop does, once everything is here.
"""

import itertools
import logging
from collections.abc import Collection

from peer.network.messages import ChainWanted, Offered, PartsIn
from peer.node.ledger import Ledger
from peer.node.mesh_status import MeshStatus
from peer.replica.difference import Pair, describe_differences
from peer.storage.part_requests import PartsWanted
from peer.storage.state_audit import Found, StateAudit
from peer.storage.state_sync import CatchUp, Fetched

AUDIT_PAUSE_MS = 5_000  # between two audits of a member's state

_log = logging.getLogger(__name__)


class StateFetcher:
    def __init__(self, ledger: Ledger, mesh_status: MeshStatus) -> None:
        self._ledger = ledger
        self._mesh_status = mesh_status
        numbers = itertools.count(1)
        self._catch_up = CatchUp(numbers)
        self._audit = StateAudit(numbers)
        self._audited: dict[int, int] = {}  # by member: no new audit before then

    @property
    def progress(self) -> str:
        """For people; empty when nothing is being fetched."""
        return self._catch_up.progress

    @property
    def received(self) -> int:
        """Bytes of parts, ever. It grows when fetching advances."""
        return self._catch_up.received

    @property
    def is_complete(self) -> bool:
        """Whether a member's state is completely here, as far as is known."""
        return self._catch_up.is_complete

    def offered(self, offer: Offered, now_ms: int) -> None:
        """A member says that it has a state to continue from."""
        member, manifest, certificate = offer
        ledger, catch_up = self._ledger, self._catch_up
        if manifest.commit <= ledger.commit or not catch_up.is_news(member, manifest, now_ms):
            return
        if manifest.epoch > ledger.epochs.newest.number:
            ledger.epochs.seeker.want(member, now_ms)
            return
        if ledger.epochs.certifies(manifest, certificate):
            _log.info("fetching the differences to the state after commit %d", manifest.commit)
            catch_up.begin(member, manifest, certificate, ledger.replica.tree, now_ms)

    def take(self, answer: PartsIn, now_ms: int) -> None:
        """Parts came."""
        self._audit.take(*answer, now_ms)
        if not self._catch_up.take(*answer, now_ms):
            self._mesh_status.helped_badly(
                answer.member, "a part that does not belong to the requested state"
            )

    def requests(self, heard: Collection[int], now_ms: int) -> list[PartsWanted | ChainWanted]:
        """What to ask the heard members for."""
        ledger, epochs = self._ledger, self._ledger.epochs
        lacks = epochs.uncertified(ledger.replica.members.sealed)
        chain = epochs.seeker.requests(epochs.newest.number, lacks, heard, now_ms)
        wanted = self._catch_up.requests(heard, ledger.commit, now_ms)
        return [*chain, *wanted, *self._look_into_differences(now_ms)]

    def _look_into_differences(self, now_ms: int) -> list[PartsWanted]:
        if (found := self._audit.found(now_ms)) is not None:
            self._audited[found.member] = now_ms + AUDIT_PAUSE_MS
            if found.pieces:
                commit = found.attestation.commit
                self._mesh_status.name_difference(found.member, commit, self._describe(found))
        if not self._audit.is_under_way:
            self._begin_audit(now_ms)
        return self._audit.requests(now_ms)

    def _begin_audit(self, now_ms: int) -> None:
        for member, said in list(self._mesh_status.differing.items()):
            if now_ms >= self._audited.get(member, now_ms):
                del self._mesh_status.differing[member]
                if (own := self._ledger.tree_at(said.commit)) is not None:
                    self._audit.begin(member, said, own, now_ms)
                    return

    def _describe(self, found: Found) -> str:
        """The difference in a member's state, as far as the member shows it."""
        commit, ledger = found.attestation.commit, self._ledger
        pairs = (Pair(k, ledger.piece_at(commit, k), piece) for k, piece in found.pieces.items())
        return "; ".join(describe_differences(pairs, found.more))

    def fetched(self) -> Fetched | None:
        """What turns the own present state into a member's, if all is here."""
        fetched = self._catch_up.complete(self._ledger.replica.tree)
        if fetched is None or fetched.manifest.commit <= self._ledger.commit:
            return None
        count, commit = len(fetched.pieces), fetched.manifest.commit
        _log.info("fetched all %d pieces that differ in the state after commit %d", count, commit)
        return fetched

    def end(self) -> None:
        """The state has been taken over."""
        self._catch_up.end()

    def refused(self, fetched: Fetched, why: str, now_ms: int) -> None:
        """The state is unusable, though a quorum signed it."""
        self._mesh_status.helped_badly(fetched.member, f"an unusable state: {why}")
        self._catch_up.exclude(fetched.member, now_ms)
        self._catch_up.end()
