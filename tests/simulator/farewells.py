"""Members that leave while nobody trades, one right after the other.

Owns who leaves then, and that it is possible. What an epoch begins with, nobody present, is over
there only if members speak without any command to order (ORDER-49).
"""

from random import Random
from typing import TYPE_CHECKING

from tests.simulator.keys import address_of
from tests.simulator.world import MS

if TYPE_CHECKING:
    from tests.simulator.epochrun import EpochRun

LEAVE_US = 10_000 * MS
LIKELY = 0.3
MOST = 3  # members of a run


class Farewells:
    def __init__(self, run: "EpochRun", random: Random) -> None:
        self._run = run
        self._random = random

    def perhaps(self) -> str:
        """Some leave a silent mesh. Returns why one could not."""
        if self._random.random() >= LIKELY:
            return ""
        for _ in range(self._random.randint(1, MOST)):
            if (seat := self._leaver()) is None:
                return ""
            if not self._leaves(seat):
                return f"the member in seat {seat} cannot leave a silent mesh"
        return ""

    def _leaver(self) -> int | None:
        run, epoch = self._run, self._run.newest
        if run.is_unsealed(epoch) or run.trouble.waiting:
            return None
        able = [seat for seat in run.steps.leavers(epoch) if run.steps.may_go(epoch, seat)]
        up = {p.node.ledger.me for p in run.alive if p.node.life.refusal() is None}
        able = [seat for seat in able if seat in up]
        return self._random.choice(able) if able else None

    def _leaves(self, seat: int) -> bool:
        run, epoch = self._run, self._run.newest
        peer = run.node_at(address_of(next(s.key for s in epoch.seats if s.number == seat)))
        run.world.note(peer.address, f"wants to leave epoch {epoch.number}, in silence")
        peer.leaves = peer.node.epochs.own_votes.is_leaving = True
        has_left = run.world.run(
            run.world.now_us + LEAVE_US, lambda: run.newest.number > epoch.number
        )
        peer.leaves = False
        return has_left
