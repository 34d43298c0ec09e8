"""What can be wrong or different with the stand-in for a node, and the mesh that it shows then."""

from dataclasses import dataclass, field

from engine import Command
from peer.client.programs import Caller
from peer.client.proposal_views import EpochView
from peer.client.protocol import MemberView, Mesh, Reason, Refused


@dataclass
class Faults:
    """The faults of the node, until they are cleared."""

    follows: bool = False  # it is no member, and takes signed commands only
    behind: int = 0  # commits that the others have and it has not
    holds: bool = False  # commands are queued but not ordered,
    releases: bool = False  # but for those that are held now
    refusal: Refused | None = None
    mute: bool = False  # it sends nothing
    answers: bool = True  # False: it sends updates only
    unready: list[Reason] = field(default_factory=list)
    lost_updates: int = 0  # how many of the next market updates find no room
    misfits: int = 0  # how many of the next messages have one frame too many
    alarms: list[str] = field(default_factory=list)
    disagrees: bool = False  # another peer's digest differs
    catching_up: str = ""
    halted: str = ""  # why it has stopped
    loses_results: bool = False  # commands are ordered, but their results are lost
    held: list[tuple[Caller, list[int], list[Command]]] = field(default_factory=list)

    def clear(self) -> None:
        self.behind = 0
        self.holds = self.mute = self.disagrees = self.loses_results = False
        self.answers = True
        self.unready.clear()
        self.catching_up = self.halted = ""
        self.refusal, self.lost_updates, self.misfits = None, 0, 0
        self.alarms.clear()


def mesh_of(faults: Faults, seq: int, name: str, commit: int, digest: bytes) -> Mesh:
    """The mesh as the node shows it: of three members, the last was never heard."""
    alive = not faults.holds
    agrees = not faults.disagrees
    peers = [
        ("alpha" if faults.follows else name, True, 0, True),
        ("bravo", alive, 40 if alive else 9_000, agrees),  # what it said last
        ("charlie", False, -1, None),
    ]
    newest = commit + faults.behind
    members = [
        MemberView(member, f"{i}" * 64, f"127.0.0.1:300{i}", up, newest * 2, newest, age, ok)
        for i, (member, up, age, ok) in enumerate(peers, start=1)
    ]
    return Mesh(
        seq=seq,
        peer=name,
        mesh="00" * 16,
        mode="crash",
        members=members,
        quorum_size=2,
        quorum=alive,
        round=commit * 2,
        commit=commit,
        digest=digest,
        pending=sum(len(ids) for _, ids, _ in faults.held),
        finality_ms=3.2,
        halted=faults.halted,
        alarms=faults.alarms,
        catching_up=faults.catching_up,
        oldest_pending_ms=12_345 if faults.held else 0,
        unready=faults.unready,
        role="follower" if faults.follows else "member",
        epoch=EpochView(3, [0, 1, 2], [0, 12 if alive else None, None], []),
    )
