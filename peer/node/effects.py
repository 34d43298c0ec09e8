"""All effects of one turn of the node, as one value.

Owns the order of safety: the loop carries out the fields from top to bottom. Must never act itself.
Answers to questions of programs and members are not effects: they report what earlier turns did.
"""

from dataclasses import dataclass, field

from engine import Command
from peer.client.programs import Caller
from peer.client.protocol import Refused, Reply
from peer.consensus.block import Block
from peer.consensus.committer import Commit
from peer.consensus.core import Ready
from peer.consensus.dag import Evidence
from peer.network.messages import Question


@dataclass
class Effects:
    """ORDER-29. Persist, send, apply, answer, report; then, alone, take over another state."""

    # Persist: durable before anything below happens.
    blocks: list[Block] = field(default_factory=list)  # accepted
    evidence: list[Evidence] = field(default_factory=list)
    commands: dict[int, bytes] = field(default_factory=dict)  # by seq, taken and in no block
    first_waiting: int = 0  # all commands below this seq are in blocks
    # Send, to members.
    publish: list[Block] = field(default_factory=list)
    requests: list[Question] = field(default_factory=list)
    cut: set[int] = field(default_factory=set)  # members that sent what no member may send
    # Apply.
    commits: list[Commit] = field(default_factory=list)
    send_again: bool = False  # some commands have lost their block and can be ordered in another
    # Answer the programs on this machine.
    taken: list[Command] = field(default_factory=list)  # they are pending now
    taken_back: dict[str, list[int]] = field(default_factory=dict)  # ids, by account
    promises: list[tuple[Caller, Reply]] = field(default_factory=list)  # that all is persisted
    replies: list[tuple[Caller, Reply]] = field(default_factory=list)  # once changes are published
    # Report.
    halt: str = ""  # why this peer has stopped taking part, until it is in another epoch
    beat: bool = False  # tell the members this peer's progress
    heard: bool = False  # a member has told its own
    # Take over.
    takes_over: bool = False  # a member's state is here, and replaces this peer's

    is_persisted: bool = False  # set by the ledger

    def add(self, ready: Ready) -> None:
        """Add what consensus wants done."""
        self.blocks += ready.persist
        self.evidence += ready.evidence
        self.publish += ready.publish
        self.requests += ready.requests
        self.commits += ready.commits
        self.send_again = self.send_again or bool(ready.expired_blocks)
        self.halt = self.halt or ready.halted

    def lose(self, refused: Refused) -> None:
        """The disk failed. If it failed before everything was persisted, drop all promises and
        commits."""
        if not self.is_persisted:
            self.promises = [(caller, refused) for caller, _ in self.promises]
            self.taken, self.taken_back = [], {}
            self.commits = []

    @property
    def must_sync(self) -> bool:
        """Whether a later effect depends on what must survive a power failure. Others' blocks can
        wait for the next such turn: their authors have them."""
        rests = self.publish or self.commands or self.evidence
        return bool(rests) or self.beat
