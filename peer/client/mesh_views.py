"""A peer's mesh as local programs see it: its members, and why the peer is not ready.

Owns the messages; has no behaviour.
"""

import msgspec

from peer.client.proposal_views import EpochView


class MemberView(msgspec.Struct, frozen=True):
    """One member of the mesh as this peer sees it."""

    name: str
    key: str  # hex Ed25519 public key
    address: str  # host:port where it was found; empty if never found
    alive: bool
    round: int  # of its newest block here
    commit: int  # the last one that it says it has applied
    age_ms: int  # since it was last heard; -1: never
    agrees: bool | None  # its audit digest equals ours for the same commit; None: not comparable
    unread: int = 0  # its messages that this peer did not read: too many, or invalid
    barred: str = ""  # why this peer ignores it: "cut off", "floods", "another mesh"; empty: not
    hears: list[str] = []  # the other members that it says it hears; empty while it is not alive
    renewed: int = 0  # times the connection for requests was renewed, as no answer came
    version: str = ""  # of its program, as it says; empty: never heard
    level: int = 0  # the highest one whose rules its program knows


class Reason(msgspec.Struct, frozen=True):
    """Why a peer is not ready: an order sent to it now would not be ordered soon, or at all."""

    code: str  # halted, stopping, no_quorum, unheard, catching_up, pending
    text: str


class Mesh(msgspec.Struct, frozen=True, tag="mesh"):
    seq: int
    peer: str  # this peer's name
    mesh: str  # hex mesh id
    mode: str  # crash or byzantine
    members: list[MemberView]  # in the mesh file's order, this peer included
    quorum_size: int
    quorum: bool  # enough members hear this one and are heard, this one included
    round: int
    commit: int
    digest: bytes
    pending: int  # commands accepted here and not ordered yet
    finality_ms: float  # median of this peer's recent commands, submit to applied; 0: none yet
    halted: str  # why this peer stopped; empty while it runs
    alarms: list[str]
    catching_up: str = ""  # what this peer fetches, and its progress; empty: nothing
    refused: int = 0  # connections without a key of this mesh, or over a limit
    unanswered: int = 0  # requests of others that were dropped because too many waited
    oldest_pending_ms: int = 0  # how long the oldest pending command has waited; 0: none waits
    unready: list[Reason] = []  # the worst first; empty: it is ready
    role: str = "member"  # or "follower": it takes signed orders only, and forwards them to members
    version: str = ""  # of this peer's program
    level: int = 1  # whose rules hold in this epoch
    level_known: int = 1  # the highest one that this peer's program knows
    epoch: EpochView | None = None
