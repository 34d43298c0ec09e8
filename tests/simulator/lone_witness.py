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
        """A peer has entered an epoch. If it is the first newcomer there, and the epoch bears the
        loss of all members of the one before that are there too, these perhaps die."""
        run, before = self._run, epoch.previous
        if before is None or epoch.number != run.newest.number or run.is_healed:
            return
        if run.trouble.only_copies or run.trouble.waiting:
            return
        old = {seat.key for seat in before.seats}
        if identity_of(peer.address).public in old:
            return
        members = [each for each in run.members() if each.up and each is not peer]
        inside = [m for m in members if m.node.ledger.epoch.number >= epoch.number]
        keys = {identity_of(each.address).public for each in inside}
        lost = run.unreliable.intersection(epoch.numbers)
        bears = len(lost) + len(inside) <= epoch.committee.faults
        is_alone = keys and keys <= old and len(inside) < len(members)
        if is_alone and bears and self._random.random() < LIKELY:
            for each in inside:
                self._lose(each, epoch)

    def _lose(self, peer: NodePeer, epoch: Epoch) -> None:
        """What it has sent arrives nowhere any more."""
        key = identity_of(peer.address).public
        self._run.network.cut.update((peer.address, to) for to in range(CHANGING_ADDRESSES))
        seat = next(seat.number for seat in epoch.seats if seat.key == key)
        self._run.lose_seat(key, seat)
