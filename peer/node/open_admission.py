"""Open admission: members let peers in by themselves.

Owns the requests of peers that want to be members, and when this member proposes, approves and
withdraws in its own name. Must never touch a socket or read a clock. In a mesh with
`admission = "vote"` it does nothing.

The rules: a proposal to add one member, without force, is approved by every node; a node gives one
such approval in PACE_MS. Its own proposals of that kind have PATIENCE_MS to succeed: a peer that
asks and goes away must not keep a place among the open ones.
"""

from collections.abc import Iterator

from peer.membership.admission import AdmissionRequest, admission_request
from peer.membership.mesh_file import MeshConfig
from peer.node.ledger import Ledger
from peer.replica.changes import AddMember, Approve, Propose, Withdraw
from peer.replica.governance import PROPOSALS_OPEN_MAX, Proposal
from peer.replica.members import keys_of

PACE_MS = 10_000
PATIENCE_MS = 60_000
REQUESTS_MAX = 16  # that wait
ASK_MS = 1_000  # between two requests of a peer that wants to be a member,
ASK_ONE_MS = 5_000  # and for so long it asks the same member


class Admission:
    def __init__(self, config: MeshConfig, ledger: Ledger) -> None:
        self.wanted_name = ""  # under which this peer wants to be a member; empty: it does not
        self._is_open = config.admission == "open"
        self._mesh = config.id
        self._ledger = ledger
        self._requests: dict[bytes, AdmissionRequest] = {}
        self._approve_ms: int | None = None  # no approval before then
        self._since_ms: dict[int, int] = {}  # when this node first saw an own proposal
        self._ask_ms = 0

    # As a peer that wants to be a member

    def request(self, heard: list[int], now_ms: int) -> tuple[int, AdmissionRequest] | None:
        """Which of the heard members to ask now, and what; None: nobody."""
        ledger = self._ledger
        key = ledger.journal.key
        is_known = ledger.seat is not None or key in ledger.replica.candidates
        if not (self._is_open and self.wanted_name and heard) or is_known or now_ms < self._ask_ms:
            return None
        self._ask_ms = now_ms + ASK_MS
        member = heard[now_ms // ASK_ONE_MS % len(heard)]
        return member, admission_request(self._mesh, self.wanted_name, key, ledger.sign)

    # As a member

    def asked(self, request: AdmissionRequest) -> None:
        """A peer asks to be a member."""
        has_room = request.key in self._requests or len(self._requests) < REQUESTS_MAX
        if self._is_open and has_room and request.is_genuine(self._mesh):
            self._requests[request.key] = request

    def votes(self, now_ms: int) -> Iterator[Propose | Approve | Withdraw]:
        """What to vote now, at most one thing; who proposes approves too. Call it as a member."""
        if not self._is_open:
            return
        me, governance = self._ledger.me, self._ledger.replica.governance
        proposals = [each for each in governance.open() if _admits(each)]
        own = {each.id for each in proposals if each.seat == me}
        self._since_ms = {id_: self._since_ms.get(id_, now_ms) for id_ in own}
        late = [id_ for id_, since_ms in self._since_ms.items() if now_ms - since_ms > PATIENCE_MS]
        if late:
            yield Withdraw(0, late[0])
        elif self._approve_ms is None or now_ms >= self._approve_ms:
            fresh = [
                each
                for each in proposals
                if me not in each.approvals + each.against and each.id not in governance.accepted
            ]
            vote = Approve(0, fresh[0].id, governance.epoch) if fresh else self._proposal()
            if vote is not None:
                self._approve_ms = now_ms + PACE_MS
                yield vote

    def _proposal(self) -> Propose | None:
        """To add the next peer that asks, if that is possible."""
        replica = self._ledger.replica
        mine = [each for each in replica.governance.open() if each.seat == self._ledger.me]
        if len(mine) >= PROPOSALS_OPEN_MAX:
            return None
        while self._requests:
            key = next(iter(self._requests))
            change = AddMember(self._requests.pop(key).name, key.hex())
            is_known = any(key in keys_of(each.changes) for each in replica.governance.open())
            if not is_known and not replica.rules.impossible((change,)):
                return Propose(0, (change,))
        return None


def _admits(proposal: Proposal) -> bool:
    """Whether it adds one member, and waits for all that such a change has to wait for."""
    is_plain = not (proposal.force or proposal.unsealed)
    return is_plain and len(proposal.changes) == 1 and isinstance(proposal.changes[0], AddMember)
