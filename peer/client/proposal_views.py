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


class CandidateView(msgspec.Struct, frozen=True):
    """A key that an open proposal would make a member's. It has the state if it has shown that of
    a late boundary; what it lacks until then only it knows."""

    name: str
    key: str  # hex Ed25519 public key
    proposal: int
    shown: int | None  # the last boundary whose state it has shown; None: none yet
    boundary: int | None  # the newest one; None: there is none yet


class EpochView(msgspec.Struct, frozen=True):
    """The epoch in which a peer stands, as that peer sees it."""

    number: int
    seats: list[int]  # of the members, in their order
    # How many milliseconds each member's clock is ahead of the median; None: it is not heard.
    clocks_ms: list[int | None]
    candidates: list[CandidateView]
