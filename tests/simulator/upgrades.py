"""Peers of two programs in one run, upgraded one after the other, and the next feature level.

Owns which program each peer starts with, and when the members activate the level. Must never
activate what a living peer does not know: it would stop, as it has to.
"""

from random import Random
from typing import TYPE_CHECKING

from peer.membership.epochs import Epoch
from peer.replica.changes import Activate, Approve
from peer.replica.governance import Proposal
from peer.replica.members import presence_wanted
from tests.simulator.keys import address_of
from tests.simulator.levels import NEXT_LEVELS
from tests.simulator.node import NodePeer
from tests.simulator.peer import Stage
from tests.simulator.world import MS

if TYPE_CHECKING:
    from tests.simulator.epochrun import EpochRun

DOWN_US = (5 * MS, 40 * MS, 300 * MS)


class Upgrades:
    def __init__(self, run: "EpochRun", random: Random) -> None:
        self._run = run
        self._random = random

    def install(self, peer: NodePeer, is_first: bool) -> None:
        """Half of the first members have the new program from the beginning, as has who joins."""
        if not is_first or self._random.random() < 0.5:
            peer.levels = NEXT_LEVELS

    def restarts(self, peer: NodePeer) -> None:
        """A peer that has died is about to start again, perhaps with the new program."""
        if not peer.up and self._random.random() < 0.5:
            peer.levels = NEXT_LEVELS

    def perhaps(self) -> None:
        """Perhaps a peer that has the old program is stopped, and starts with the new one."""
        old = [p for p in self._run.peers if p.up and p.levels is not NEXT_LEVELS]
        if old and self._random.random() < 0.7:
            peer = self._random.choice(old)
            peer.crash(Stage.NOW)
            peer.levels = NEXT_LEVELS
            self._run.restart(peer, self._random.choice(DOWN_US))

    def level(self, epoch: Epoch) -> int | None:
        """The level to activate now, if all that live know it, those that only follow too, and
        enough members live."""
        alive = [peer for peer in self._run.peers if not peer.lost]
        know = all(peer.up and peer.node.ledger.levels is NEXT_LEVELS for peer in alive)
        if not self._run.equivocators.keys().isdisjoint(address_of(s.key) for s in epoch.seats):
            return None  # a member that is present and does not say what it knows has to be forced
        able = [seat for seat in epoch.numbers if seat not in self._run.lost_seats]
        enough = len(able) >= presence_wanted(epoch.committee)
        enough = enough and not any(peer.up and peer.node.halted for peer in alive)
        if epoch.origin.level > 1 or not (know and enough) or self._random.random() < 0.3:
            return None
        return NEXT_LEVELS.highest

    @staticmethod
    def approval(peer: NodePeer, proposal: Proposal) -> Approve | None:
        """What a member's operator has to say of a proposal; None: it has been said."""
        ledger = peer.node.ledger
        level, me = ledger.levels.highest, ledger.me
        said = ledger.replica.governance.levels.get(me, 0) if me is not None else 0
        is_new = any(isinstance(each, Activate) for each in proposal.changes) and said < level
        if me in proposal.approvals and not is_new:
            return None
        return Approve(0, proposal.id, ledger.epoch.number, level)
