"""A change of members and the pause that it makes, counted in the time of the simulator.

There a message takes about a millisecond, and all else is a timer: a heartbeat each 250 ms, a look
at what is due each 100 ms, 3 s for others to speak before a member may. So a pause of a few
milliseconds means that nobody has waited for a timer.
"""

from pathlib import Path

import pytest

from peer.consensus.committee import Mode
from peer.membership.epochs import Epoch
from peer.replica.applied import Applied
from peer.replica.changes import AddMember, Change, Propose, RemoveMember, ReplaceMember
from peer.replica.governance import PROPOSALS_OPEN_MAX
from peer.replica.state_machine import Replica
from tests.simulator.epochreferee import EpochReferee
from tests.simulator.epochrun import ASK_US, EpochRun, Step
from tests.simulator.node import NodePeer
from tests.simulator.peer import Stage
from tests.simulator.plan import Plan, committee
from tests.simulator.run import Options
from tests.simulator.world import MS

BUSY_US = 8 * MS  # between two orders
PAUSE_US_MAX = 40 * MS
STEP_US_MAX = 20_000 * MS


class PauseReferee(EpochReferee):
    """Notes the longest time between two commits around the begin of each epoch."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.pauses_us: list[int] = []  # from the end of each epoch to the first commit after it
        self._ended_us: int | None = None

    def applied(self, peer: NodePeer, applied: Applied, replica: Replica) -> None:
        is_new = applied.commit.number == len(self.order) + 1
        super().applied(peer, applied, replica)
        if is_new and self._ended_us is not None:
            self.pauses_us.append(self.world.now_us - self._ended_us)
            self._ended_us = None
        if is_new and applied.epoch_end is not None:
            self._ended_us = self.world.now_us


class Growing(EpochRun):
    """Nothing goes wrong. `grow` makes one change after the other, under load."""

    referee: PauseReferee

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.is_healed = True

    def _referee(self, honest: frozenset[int]) -> PauseReferee:
        del honest
        return PauseReferee(self, self.world, self.plan, self.options.check_every, frozenset[str]())

    def entered(self, peer: NodePeer, epoch: Epoch, *, is_first: bool) -> None:
        """No trouble begins with an epoch."""

    def _tell_unsealed(self) -> None:
        """Nor does an operator start a peer again."""

    def close(self) -> None:
        """The files of all nodes."""
        for peer in self.peers:
            peer.node.ledger.journal.close()

    def grow(self, *changes: str) -> None:
        for peer in self.peers:
            peer.start()
        self._trade()
        self.world.run(self.world.now_us + 200 * MS)
        for each in changes:
            number = self.newest.number
            self.joiners = []
            self._wish(Step(number, self._changes(each)))
            until_us = self.world.now_us + STEP_US_MAX
            is_done = self.world.run(until_us, lambda n=number: self._is_sealed_after(n))
            assert is_done, f"{each}: {self._stuck()}"

    def _wish(self, step: Step) -> None:
        """All vote for it until it is done."""
        if self.newest.number == step.epoch:
            self._vote(step)
            self.world.after(ASK_US, self._wish, step)

    def _changes(self, what: str) -> tuple[Change, ...]:
        last = self.newest.numbers[-1]
        match what:
            case "add":
                return (AddMember(*self.joiner()),)
            case "replace":
                return (ReplaceMember(last, *self.joiner()),)
        return (RemoveMember(last),)

    def _is_sealed_after(self, number: int) -> bool:
        return self.newest.number > number and self.newest.number in self.referee.certified

    def _trade(self) -> None:
        for peer in self.members():
            self._submit(peer.address)
        self.world.after(BUSY_US, self._trade)


@pytest.mark.parametrize("mode", list(Mode))
def test_no_change_of_members_waits_for_a_timer(tmp_path: Path, mode: Mode) -> None:
    """ORDER-25, ORDER-49, ORDER-55: 1, 2 and 3 members, one of them replaced, and back."""
    run = Growing(Plan(1, committee(1, mode), 0, ()), Options(check_every=1_000_000), tmp_path)
    changes = ("add", "add", "replace", "remove")
    run.grow(*changes)
    run.close()
    assert len(run.referee.pauses_us) == len(changes)
    late = [us for us in run.referee.pauses_us if us > PAUSE_US_MAX]
    assert late == [], [us // MS for us in run.referee.pauses_us]


def test_a_member_leaves_though_it_may_make_no_more_proposals(tmp_path: Path) -> None:
    """ORDER-53."""
    run = Growing(
        Plan(2, committee(3, Mode.CRASH), 0, ()), Options(check_every=1_000_000), tmp_path
    )
    for peer in run.peers:
        peer.start()
    run.world.run(run.world.now_us + 3_500 * MS)
    leaver = run.peers[2]
    for _ in range(PROPOSALS_OPEN_MAX + 1):
        run.say(leaver, Propose(0, (RemoveMember(0),)))
    governance = leaver.node.ledger.replica.governance
    full = run.world.run(
        run.world.now_us + 5_000 * MS, lambda: len(governance.open()) == PROPOSALS_OPEN_MAX
    )
    assert full
    leaver.node.epochs.own_votes.is_leaving = True
    run.world.run(run.world.now_us + 5_000 * MS, lambda: run.newest.number > 0)
    assert run.newest.numbers == (0, 1)
    run.close()


def down(peer: NodePeer) -> None:
    peer.crash(Stage.NOW)
    peer.node.ledger.journal.close()


def test_a_member_that_is_back_does_not_leave_as_it_was_to(tmp_path: Path) -> None:
    """ORDER-53: its change waited for another member, it was started again to be a member, and then
    the other one came back."""
    run = Growing(
        Plan(3, committee(3, Mode.CRASH), 0, ()), Options(check_every=1_000_000), tmp_path
    )
    for peer in run.peers:
        peer.start()
    run.world.run(run.world.now_us + 3_500 * MS)
    away, leaver = run.peers[1:]
    down(away)
    leaver.node.epochs.own_votes.is_leaving = True
    governance = leaver.node.ledger.replica.governance
    waits = run.world.run(run.world.now_us + 5_000 * MS, lambda: bool(governance.accepted))
    assert waits
    down(leaver)
    leaver.start()
    leaver.node.epochs.own_votes.stay()
    run.world.run(run.world.now_us + 5_000 * MS)
    away.start()
    run.world.run(run.world.now_us + 5_000 * MS, lambda: run.newest.number > 0)
    assert run.newest.numbers == (0, 1, 2)
    run.close()
