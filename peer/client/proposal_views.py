"""What local programs see of proposals and of the members that vote. Has no behaviour."""

import msgspec


class ProposalView(msgspec.Struct, frozen=True):
    """An open proposal, with the names of members."""

    id: int
    proposer: str
    changes: list[str]  # in words
    approvals: list[str]  # of this epoch
    against: list[str]
    needed: int  # approvals
    time_ms: int
    ends_ms: int
    state: str  # what it still needs, in words


class EndedView(msgspec.Struct, frozen=True):
    id: int
    proposer: str
    changes: list[str]
    outcome: str  # done, withdrawn, rejected, expired, impossible, seat_gone
    time_ms: int


class Presence(msgspec.Struct, frozen=True):
    """Whether a member takes part, and its newest committed block of this epoch; 0: none."""

    seat: int
    name: str
    is_present: bool
    commit: int
    time_ms: int
