"""A peer's way into the mesh and out of it, in words.

Owns what `python -m peer join` says, and the orderly end of a peer that leaves. Must never change
anything by itself: the node votes.
"""

import time
from pathlib import Path
from typing import NamedTuple

import click

from peer.client.protocol import format_id
from peer.node.governance_views import state_of
from peer.node.loop import Node
from peer.replica.changes import leaves
from peer.replica.governance import Proposal
from peer.replica.members import keys_of

LEAVE_S = 7.0  # for the others to order it, and to certify the end of the epoch
REMOVED_STATUS = 3  # of a process whose key was a member's before it started
STAYS_STATUS = 1  # of one that was to leave, and the others have not let it go in time


class Intent(NamedTuple):
    """`name` is the member that this peer wants to be; `leaves`: it leaves when it is stopped."""

    name: str
    leaves: bool = False


class MembershipGuide:
    """`end` is what a signal calls."""

    def __init__(self, node: Node, folder: Path, intent: Intent) -> None:
        self._node = node
        self._folder = folder
        self._intent = intent
        self._said = ""
        self._leave_until_s: float | None = None
        self._was_member = False  # since it started
        node.epochs.admission.wanted_name = intent.name
        self.status = 0  # with which the process should end

    def end(self) -> None:
        """Leave if that is intended; if it is under way already, stop at once."""
        node, votes = self._node, self._node.epochs.own_votes
        is_possible = node.ledger.me is not None and not votes.cannot_leave
        if self._intent.leaves and is_possible and self._leave_until_s is None:
            votes.is_leaving = True
            self._leave_until_s = time.monotonic() + LEAVE_S
            return
        if self._intent.leaves and node.ledger.me is not None:
            self.status = STAYS_STATUS
        node.stop()

    def watch(self) -> None:
        """Say what has changed. Call it now and then."""
        if (text := self._state()) != self._said:
            self._said = text
            click.echo(f"join: {text}")
        votes = self._node.epochs.own_votes
        self._was_member |= self._node.ledger.me is not None
        if self._leave_until_s is None:
            if votes.is_removed and not self._was_member:
                self.status = REMOVED_STATUS
                self._node.stop()
        elif votes.has_left:
            self._node.stop()
        elif time.monotonic() >= self._leave_until_s:
            self.status = STAYS_STATUS
            click.echo(f"join: it stops as a member: the others have not let it go{self._why_not}")
            self._node.stop()

    def _state(self) -> str:
        node, epochs = self._node, self._node.ledger.epochs
        me, votes = node.ledger.me, node.epochs.own_votes
        if votes.is_leaving and not votes.has_left:
            if me is None:
                return "leaving: stay until the others have certified it"
            return f"leaving{self._why_not}"
        if votes.is_leaving:
            return f"left in epoch {epochs.current.number}: its key is of no use any more"
        if votes.is_removed:
            sealed = "" if votes.has_left else "; keep this peer running until that is certified"
            return f"no member any more, for good: join again with another folder{sealed}"
        if me is not None:
            return f"member {epochs.name_of(me)} in seat {me + 1}, epoch {epochs.current.number}"
        return self._outside()

    def _outside(self) -> str:
        """The state of a peer that has never been a member."""
        node, key = self._node, self._node.ledger.journal.key
        governance = node.ledger.replica.governance
        asked = [each for each in governance.open() if key in keys_of(each.changes)]
        if asked:
            return self._proposed(asked[0])
        if not node.mesh_status.quorum:
            return "looking for the members (unless they let anybody listen, they have to propose)"
        if self._replaces:
            return self._how_to_replace
        if node.config.admission == "open":
            return "follows; asks the members to let it in"
        return "follows; waiting for a proposal"

    def _proposed(self, proposal: Proposal) -> str:
        name_of = self._node.ledger.epochs.name_of
        state = state_of(self._node.ledger.replica, proposal, name_of)
        return f"proposal {format_id(proposal.id)} by {name_of(proposal.seat)}: {state}"

    @property
    def _why_not(self) -> str:
        """What its leave still waits for, if that is known."""
        node = self._node
        replica, me, name_of = node.ledger.replica, node.ledger.me, node.ledger.epochs.name_of
        for proposal in replica.governance.open():
            if proposal.seat == me and leaves(proposal.changes, proposal.seat):
                return f": {state_of(replica, proposal, name_of)}"
        return ""

    def introduce(self) -> None:
        """Say what the members have to do. Call it after recovery."""
        ledger = self._node.ledger
        if self._intent.leaves:
            self._node.epochs.own_votes.stay()
        click.echo(f"join: the key of {self._folder} is {ledger.journal.key.hex()}")
        if ledger.seat is not None:
            return
        if self._replaces:
            click.echo(f"join: {self._how_to_replace}")
        elif self._node.config.admission != "open":
            click.echo(f"join: {self._how('add')}")

    def _how(self, *words: str) -> str:
        """What a member does to propose this peer."""
        name, key = self._intent.name, self._node.ledger.journal.key.hex()
        command = " ".join(["python -m peer members DATA", *words, name, key])
        return f"one member runs `{command}`, and the others approve what it prints"

    @property
    def _how_to_replace(self) -> str:
        name = self._intent.name
        how = self._how("replace", name)
        return f"a member is called {name}: join by another --name or, to take its place, {how}"

    @property
    def _replaces(self) -> bool:
        """Whether a member has the name that this peer wants, as far as it knows."""
        return any(seat.name == self._intent.name for seat in self._node.ledger.epoch.seats)
