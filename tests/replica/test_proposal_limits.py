"""When a proposal is over, how many there may be, and who is present."""

import pytest

from engine import Reason
from peer.consensus.committee import Committee, Mode
from peer.replica.changes import RemoveMember
from peer.replica.governance import PRESENT_COMMITS, PROPOSAL_MS, PROPOSALS_OPEN_MAX, Outcome
from peer.replica.members import presence_wanted
from tests.support.voting import HALT, REMOVE, Mesh


def test_a_seat_has_few_open_proposals() -> None:
    """D5."""
    mesh = Mesh()
    ids = [mesh.proposed(0, HALT) for _ in range(PROPOSALS_OPEN_MAX)]
    assert mesh.commit((0, mesh.propose(0, HALT))) == [Reason.TOO_MANY_PROPOSALS]
    mesh.proposed(1, HALT)
    mesh.withdraw(0, ids[0])
    mesh.proposed(0, HALT)


def test_proposals_go_with_their_seat() -> None:
    """D5."""
    mesh = Mesh()
    one, two = mesh.proposed(0, HALT), mesh.proposed(2, HALT)
    mesh.state.begin_epoch(1, (0, 1), 2)
    assert [each.id for each in mesh.state.open()] == [one]
    assert mesh.outcomes() == {two: Outcome.SEAT_GONE}


def test_a_change_of_members_ends_what_it_makes_impossible() -> None:
    """D5: otherwise changes of seats that are gone fill their proposers' shares."""
    mesh = Mesh()
    other = RemoveMember(1)
    ids = [mesh.proposed(0, REMOVE) for _ in range(3)] + [mesh.proposed(0, other)]
    mesh.state.begin_epoch(1, (0, 1), 2)
    mesh.rules.forbidden.add(REMOVE)
    mesh.state.drop_impossible(mesh.rules)
    assert [each.id for each in mesh.state.open()] == ids[3:]
    assert mesh.outcomes() == dict.fromkeys(ids[:3], Outcome.IMPOSSIBLE)
    mesh.state.check()


def test_a_proposal_ends_after_seven_days_of_the_ordered_clock() -> None:
    """D5: an accepted one that waits, too."""
    mesh = Mesh()
    mesh.rules.must_wait = "for one"
    one, two = mesh.proposed(0, HALT), mesh.proposed(1, REMOVE)
    mesh.approve(0, two)
    mesh.approve(1, two)
    first_ms, second_ms = (each.ends_ms for each in mesh.state.open())
    assert first_ms == mesh.state.proposals[one].time_ms + PROPOSAL_MS
    mesh.commit(ms=first_ms - mesh.time_ms - 1)
    assert len(mesh.state.open()) == 2
    assert mesh.approve(0, one) is Reason.UNKNOWN_PROPOSAL
    mesh.commit(ms=second_ms - mesh.time_ms)
    assert mesh.outcomes() == {one: Outcome.EXPIRED, two: Outcome.EXPIRED}
    assert mesh.state.accepted == []


def test_a_proposal_that_too_many_are_against_is_over() -> None:
    mesh = Mesh()
    one = mesh.proposed(0, HALT)
    mesh.approve(1, one)
    assert mesh.withdraw(1, one) is None
    assert (mesh.state.proposals[one].approvals, mesh.state.proposals[one].against) == ((), (1,))
    mesh.approve(1, one)
    assert (mesh.state.proposals[one].approvals, mesh.state.proposals[one].against) == ((1,), ())
    mesh.withdraw(1, one)
    mesh.withdraw(2, one)
    assert mesh.outcomes() == {one: Outcome.REJECTED}


def test_present_is_who_has_a_block_in_the_last_commits() -> None:
    """D4: counted from the first commit of the epoch."""
    mesh = Mesh()
    assert mesh.state.present(range(3)) == []
    mesh.commit(authors=[0, 1, 2])
    for _ in range(PRESENT_COMMITS - 1):
        mesh.commit(authors=[1])
        assert mesh.state.present(range(3)) == [0, 1, 2]
    mesh.commit(authors=[1])
    assert mesh.state.present(range(3)) == [1]
    assert mesh.state.present([0, 2]) == []
    assert mesh.state.seen[0].commit == 1
    mesh.state.begin_epoch(1, (0, 1, 2), 2)
    assert mesh.state.present(range(3)) == []


@pytest.mark.parametrize(
    ("size", "mode", "wanted"),
    [
        (1, Mode.CRASH, 1),
        (2, Mode.CRASH, 2),
        (3, Mode.CRASH, 3),
        (4, Mode.CRASH, 4),
        (5, Mode.CRASH, 4),
        (3, Mode.BYZANTINE, 3),
        (4, Mode.BYZANTINE, 4),
        (7, Mode.BYZANTINE, 6),
    ],
)
def test_a_new_epoch_needs_one_more_than_its_quorum(size: int, mode: Mode, wanted: int) -> None:
    """D4: except for one or two members."""
    assert presence_wanted(Committee(b"m" * 16, size, mode)) == wanted
