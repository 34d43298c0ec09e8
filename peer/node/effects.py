"""Everything that a turn of the node brings about, as one value.

Owns the order of safety: the fields stand in the order in which the loop carries them out. Must
never act itself. Not among them are the answers to questions of programs and of members: they tell
what earlier turns have brought about.
"""

from dataclasses import dataclass, field

from engine import Command
from peer.client.programs import Caller
from peer.client.protocol import Refused, Reply
from peer.consensus.block import Block
from peer.consensus.committer import Commit
from peer.consensus.core import Pull, Ready, Wanted
from peer.consensus.dag import Evidence
from peer.storage.journal import ClientId, Taken
from peer.storage.part_requests import PartsWanted


@dataclass
class Effects:
    """ORDER-29. Persist, send, apply, answer, report; then, alone, take over another state."""

    # Persist: durable before anything below happens.
    blocks: list[Block] = field(default_factory=list)  # accepted
    evidence: list[Evidence] = field(default_factory=list)
    commands: dict[int, bytes] = field(default_factory=dict)  # by seq, taken and in no block
    names: dict[ClientId, Taken] = field(default_factory=dict)  # of orders that were taken
    withdrawn: list[int] = field(default_factory=list)  # seqs: their orders' names are free again
    first_waiting: int = 0  # all commands below this seq are in blocks
    # Send, to members.
    publish: list[Block] = field(default_factory=list)
    requests: list[Wanted | Pull | PartsWanted] = field(default_factory=list)
    cut: set[int] = field(default_factory=set)  # members that sent what no member may send
    # Apply.
    commits: list[Commit] = field(default_factory=list)
    send_again: bool = False  # commands are in no block any more that can be ordered
    # Answer, the programs on this machine.
    taken: list[Command] = field(default_factory=list)  # they are pending now
    taken_back: dict[str, list[int]] = field(default_factory=dict)  # ids, by account
    promises: list[tuple[Caller, Reply]] = field(default_factory=list)  # that all is persisted
    replies: list[tuple[Caller, Reply]] = field(default_factory=list)  # once changes are published
    # Report.
    halt: str = ""  # why this peer takes no part any more
    beat: bool = False  # tell the members how far this one is
    # Take over.
    takes_over: bool = False  # a member's state is here, to go on from in place of this one's

    is_persisted: bool = False  # set by the ledger

    def add(self, ready: Ready) -> None:
        """What consensus wants done."""
        self.blocks += ready.persist
        self.evidence += ready.evidence
        self.publish += ready.publish
        self.requests += ready.requests
        self.commits += ready.commits
        self.send_again = self.send_again or bool(ready.expired_blocks)
        self.halt = self.halt or ready.halted

    def lose(self, refused: Refused) -> None:
        """The disk failed. If it did before all was persisted, no promise can be given and no
        commit shown."""
        if not self.is_persisted:
            self.promises = [(caller, refused) for caller, _ in self.promises]
            self.taken, self.taken_back = [], {}
            self.commits = []

    @property
    def must_sync(self) -> bool:
        """Whether something below rests on what is to be persisted. Others' blocks alone can wait
        for the next turn in which that is so: their authors have them."""
        rests = self.publish or self.commits or self.commands or self.withdrawn or self.evidence
        return bool(rests) or self.beat
