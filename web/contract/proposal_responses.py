"""The API's requests and responses about proposals of the members. Owns their fields. Pure."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import msgspec

from peer.client import protocol
from peer.client.change_input import Wanted
from peer.client.proposal_views import EndedView, ProposalView
from peer.client.protocol import format_id
from peer.replica.changes import CHANGES_MAX
from web.contract.responses import Id, Reply, TimeMs, copied

OutcomeName = Literal["done", "withdrawn", "rejected", "expired", "impossible", "seat_gone"]


class NewProposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes that are accepted all together, or not at all."""

    changes: Annotated[list[Wanted], msgspec.Meta(min_length=1, max_length=CHANGES_MAX)]
    force: bool = False
    unsealed: bool = False


class Member(Reply, frozen=True):
    """Whether a member has a block in the last ten commits, and its newest one in this epoch."""

    number: Annotated[int, msgspec.Meta(description="As in ids.")]
    name: str
    present: bool
    commit: int
    time: TimeMs


class Proposal(Reply, frozen=True):
    id: Id
    proposer: str
    changes: list[str]
    approvals: list[str]
    against: list[str]
    needed: int
    time: TimeMs
    ends: TimeMs
    state: Annotated[str, msgspec.Meta(description="What it still needs, in words.")]

    @classmethod
    def of(cls, view: ProposalView) -> Self:
        known = copied(view, cls)
        return cls(**known | {"id": format_id(view.id), "time": view.time_ms, "ends": view.ends_ms})


class Ended(Reply, frozen=True):
    id: Id
    proposer: str
    changes: list[str]
    outcome: OutcomeName
    time: TimeMs

    @classmethod
    def of(cls, view: EndedView) -> Self:
        return cls(**copied(view, cls) | {"id": format_id(view.id), "time": view.time_ms})


class Proposals(Reply, frozen=True):
    epoch: int
    members: Sequence[Member]
    open: Sequence[Proposal]
    ended: Sequence[Ended]

    @classmethod
    def of(cls, view: protocol.Proposals) -> Self:
        members = [
            Member(each.seat + 1, each.name, each.is_present, each.commit, each.time_ms)
            for each in view.members
        ]
        opened, ended = map(Proposal.of, view.open), map(Ended.of, view.ended)
        return cls(view.epoch, members, list(opened), list(ended))


class Voted(Reply, frozen=True):
    """A vote that counts. `state` says what the proposal still needs, or how it ended."""

    id: Id
    state: str
