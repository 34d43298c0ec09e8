"""Markets and proposals as local programs see them.

Owns the words for what a proposal waits for. Reads the replica, never changes it.
"""

from collections.abc import Callable, Iterable, Mapping

from peer.client import protocol
from peer.client.change_words import change_text
from peer.client.proposal_views import (
    CandidateView,
    EndedView,
    EpochView,
    Presence,
    ProposalView,
)
from peer.membership.epochs import Epoch
from peer.replica.changes import AddMember, Change, ReplaceMember
from peer.replica.governance import Proposal
from peer.replica.state_machine import Replica

CANDIDATES_MAX = 32  # told of
NameOf = Callable[[int], str]  # of the member in a seat


def market_list(replica: Replica, seq: int) -> protocol.MarketList:
    return protocol.MarketList(seq, replica.markets, list(replica.exchange.markets().values()))


def proposals(replica: Replica, name_of: NameOf, seq: int) -> protocol.Proposals:
    governance = replica.governance
    present = set(governance.present(governance.seats))
    members = []
    for seat in governance.seats:
        seen = governance.seen.get(seat)
        commit, time_ms = seen or (0, 0)
        members.append(Presence(seat, name_of(seat), seat in present, commit, time_ms))
    return protocol.Proposals(
        seq=seq,
        epoch=governance.epoch,
        members=members,
        open=[_view(replica, each, name_of) for each in governance.open()],
        ended=[
            EndedView(
                each.proposal.id,
                name_of(each.proposal.seat),
                _texts(replica, each.proposal.changes, name_of),
                each.outcome.name.lower(),
                each.time_ms,
            )
            for each in reversed(governance.ended)
        ],
        seal=replica.members.epoch.seal,
        sealed=replica.members.sealed,
    )


def epoch_view(epoch: Epoch, replica: Replica, ahead_ms: Mapping[int, int]) -> EpochView:
    """The epoch in which this peer stands. `ahead_ms`: by author, how far its clock is ahead."""
    boundary = replica.members.newest_boundary
    newest = None if boundary is None else boundary[0]
    candidates = []
    for proposal in replica.governance.open():
        for change in proposal.changes:
            if isinstance(change, AddMember | ReplaceMember):
                shown = replica.members.stated(bytes.fromhex(change.key))
                where = proposal.id, shown, newest
                candidates.append(CandidateView(change.name, change.key, *where))
    clocks_ms = [ahead_ms.get(author) for author in range(epoch.committee.size)]
    return EpochView(epoch.number, list(epoch.numbers), clocks_ms, candidates[:CANDIDATES_MAX])


def _texts(replica: Replica, changes: Iterable[Change], name_of: NameOf) -> list[str]:
    markets = {market.symbol: market for market in replica.markets}
    return [change_text(change, name_of, markets) for change in changes]


def state_of(replica: Replica, proposal: Proposal, name_of: NameOf) -> str:
    """What an open proposal still needs."""
    flags = "; by force: it waits for nobody to be present" if proposal.force else ""
    flags += "; unsealed: newcomers will need --trust" if proposal.unsealed else ""
    if proposal.id in replica.governance.accepted:
        return f"accepted, but it waits: {replica.rules.waits(proposal)}{flags}"
    approvals = [name_of(seat) for seat in proposal.approvals]
    needed = replica.governance.needed(proposal)
    names = f" ({', '.join(approvals)})" if approvals else ""
    return f"waiting for approval: {len(approvals)} of {needed} needed{names}{flags}"


def _view(replica: Replica, proposal: Proposal, name_of: NameOf) -> ProposalView:
    approvals = [name_of(seat) for seat in proposal.approvals]
    needed = replica.governance.needed(proposal)
    return ProposalView(
        proposal.id,
        name_of(proposal.seat),
        _texts(replica, proposal.changes, name_of),
        approvals,
        [name_of(seat) for seat in proposal.against],
        needed,
        proposal.time_ms,
        proposal.ends_ms,
        state_of(replica, proposal, name_of),
    )
