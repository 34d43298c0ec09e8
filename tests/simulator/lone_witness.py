"""A member dies for good at the moment when, of all that live, one newcomer alone has the last
blocks of an epoch.

Owns when that happens in a run. Must never take more from a mesh than it can do without. What is
on its way from the member is lost as well: the others can have the blocks from the newcomer only.
"""

from random import Random
from typing import TYPE_CHECKING

from peer.membership.epochs import Epoch
from tests.simulator.keys import identity_of
from tests.simulator.node import NodePeer
from tests.simulator.plan import CHANGING_ADDRESSES

if TYPE_CHECKING:
    from tests.simulator.epochrun import EpochRun

LIKELY = 0.5


class LoneWitness:
    def __init__(self, run: "EpochRun", random: Random) -> None:
        self._run = run
        self._random = random

    def entered(self, peer: NodePeer, epoch: Epoch) -> None:
        """A peer has entered an epoch. If it is the first newcomer there, another one is not there
        yet, and the epoch bears the loss of all others that are there, these perhaps die."""
        run, before, own = self._run, epoch.previous, epoch.seat_of(_key(peer))
        if before is None or own is None or own in before.numbers or run.is_healed:
            return
        if epoch.number != run.newest.number or run.trouble.only_copies or run.trouble.waiting:
            return
        members = zip(epoch.numbers, run.members(), strict=True)
        up = {seat: member for seat, member in members if member.up and seat != own}
        inside = {seat for seat, p in up.items() if p.node.ledger.epoch.number >= epoch.number}
        old = set(before.numbers)
        if not inside or inside - old or not up.keys() - inside - old:
            return
        lost = len(run.unreliable.intersection(epoch.numbers)) + len(inside)
        bears = lost <= epoch.committee.faults and all(map(run.can_spare, inside))
        if bears and self._random.random() < LIKELY:
            for seat in sorted(inside):
                self._lose(up[seat], seat)

    def _lose(self, peer: NodePeer, seat: int) -> None:
        """What it has sent arrives nowhere any more."""
        self._run.network.cut.update((peer.address, to) for to in range(CHANGING_ADDRESSES))
        self._run.lose_seat(_key(peer), seat)


def _key(peer: NodePeer) -> bytes:
    return identity_of(peer.address).public
