"""What this peer fetches of the states of others, to go on from one of them.

Owns whose offers are taken, and what is told of members that help badly. Must never change the
state: the loop does, once all is here.
"""

import itertools
from collections.abc import Iterable

from peer.network.messages import Offered, PartsIn
from peer.node.ledger import Ledger
from peer.node.mesh_status import Overview
from peer.storage.part_requests import PartsWanted
from peer.storage.state_sync import CatchUp, Fetched


class StateFetcher:
    def __init__(self, ledger: Ledger, overview: Overview) -> None:
        self._ledger = ledger
        self._overview = overview
        self._catch_up = CatchUp(itertools.count(1))

    @property
    def progress(self) -> str:
        """For people; empty when nothing is being fetched."""
        return self._catch_up.progress

    @property
    def received(self) -> int:
        """Bytes of parts, ever. It grows whenever fetching gets on."""
        return self._catch_up.received

    @property
    def is_complete(self) -> bool:
        """Whether all of a member's state is here, as far as is known."""
        return self._catch_up.is_complete

    def offered(self, offer: Offered, now_ms: int) -> None:
        """A member has a state to go on from, it says."""
        member, manifest, certificate = offer
        ledger, catch_up = self._ledger, self._catch_up
        if manifest.commit <= ledger.commit or not catch_up.is_news(member, manifest, now_ms):
            return
        if ledger.is_certified(manifest, certificate):
            catch_up.begin(member, manifest, certificate, ledger.replica.tree, now_ms)

    def take(self, answer: PartsIn, now_ms: int) -> None:
        """Parts came."""
        if not self._catch_up.take(*answer, now_ms):
            self._overview.helped_badly(
                answer.member, "a part of a state that does not belong to it"
            )

    def requests(self, heard: Iterable[int], now_ms: int) -> list[PartsWanted]:
        """What to ask the members for that are heard."""
        return self._catch_up.requests(heard, self._ledger.commit, now_ms)

    def fetched(self) -> Fetched | None:
        """What makes a member's state of the own one as it is now, if all is here."""
        fetched = self._catch_up.complete(self._ledger.replica.tree)
        return fetched if fetched and fetched.manifest.commit > self._ledger.commit else None

    def end(self) -> None:
        """It is taken over."""
        self._catch_up.end()

    def refused(self, fetched: Fetched, why: str, now_ms: int) -> None:
        """It is no state to go on from, though a quorum has signed it."""
        self._overview.helped_badly(fetched.member, f"a bad snapshot: {why}")
        self._catch_up.shun(fetched.member, now_ms)
        self._catch_up.end()
