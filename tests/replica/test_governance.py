"""Proposals and votes: what is accepted, and when it takes effect."""

from collections.abc import Sequence

from msgspec.structs import replace

from engine import Event, MarketState, MarketStatus, Reason
from peer.replica.changes import Activate, Approve, CancelAccount, Change, Propose, Withdraw
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.governance import Outcome
from tests.support.voting import HALT, REMOVE, Mesh

REMOVE_BY_FORCE = Propose(0, (REMOVE,), force=True)
REMOVE_UNSEALED = Propose(0, (REMOVE,), unsealed=True)


def test_a_quorum_of_approvals_accepts_all_changes_of_a_proposal() -> None:
    """D1: the id of a proposal is that of its command; it is accepted as one."""
    mesh = Mesh()
    ann = CancelAccount("ann")
    one = mesh.proposed(0, HALT, ann)
    assert one == 1 * MEMBERS_SPACE + 0
    assert mesh.approve(0, one) is None
    assert mesh.rules.done == []
    assert mesh.approve(1, one) is None
    assert mesh.rules.done == [HALT, ann]
    assert mesh.events == [MarketState("X", MarketStatus.HALTED)]
    assert mesh.outcomes() == {one: Outcome.DONE}
    assert mesh.approve(2, one) is Reason.UNKNOWN_PROPOSAL


def test_a_proposal_is_no_approval() -> None:
    """D1: only an approval names an epoch, so only an approval counts."""
    mesh = Mesh(1)
    one = mesh.proposed(0, HALT)
    assert mesh.rules.done == []
    mesh.approve(0, one)
    assert mesh.rules.done == [HALT]


def test_a_member_leaves_by_its_own_approval() -> None:
    """D5, ORDER-53: and only it; the change still waits until the others are present (D4)."""
    mesh = Mesh()
    other = mesh.proposed(0, REMOVE)
    mesh.approve(0, other)
    both = mesh.proposed(2, REMOVE, HALT)
    mesh.approve(2, both)
    own = mesh.proposed(2, REMOVE)
    mesh.approve(1, own)
    assert mesh.state.accepted == []
    mesh.rules.must_wait = "for one"
    mesh.approve(2, own)
    assert (mesh.state.accepted, mesh.ending) == ([own], None)
    mesh.rules.must_wait = ""
    mesh.commit()
    assert mesh.ending is not None
    assert mesh.ending.id == own


def test_a_member_alone_cannot_leave_before_the_others_can_do_without_it() -> None:
    """D4, D5, ORDER-53: that takes a quorum, as any other change that does not wait."""
    for waived in (REMOVE_BY_FORCE, REMOVE_UNSEALED):
        mesh = Mesh()
        vote = replace(waived, id=mesh.id_of(2))
        assert mesh.commit((2, vote)) == [None]
        mesh.approve(2, vote.id)
        assert (mesh.state.accepted, mesh.ending) == ([], None)
        assert mesh.state.needed(mesh.state.proposals[vote.id]) == 2
        mesh.approve(0, vote.id)
        assert mesh.ending is not None


def test_others_remove_a_member_that_proposed_to_leave_and_is_gone() -> None:
    """D1, ORDER-53. Its approval may be of an earlier epoch, and so count no more."""
    mesh = Mesh()
    own = mesh.proposed(2, REMOVE)
    assert mesh.state.needed(mesh.state.proposals[own]) == 2
    mesh.approve(0, own)
    mesh.approve(1, own)
    assert mesh.ending is not None
    assert mesh.ending.id == own


def test_a_seat_counts_once() -> None:
    """D1."""
    mesh = Mesh()
    one = mesh.proposed(0, HALT)
    for _ in range(3):
        assert mesh.approve(0, one) is None
    assert mesh.state.proposals[one].approvals == (0,)
    assert mesh.rules.done == []


def test_an_approval_counts_only_in_the_epoch_that_it_names() -> None:
    """D1."""
    mesh = Mesh()
    one = mesh.proposed(0, HALT)
    assert mesh.approve(0, one, epoch=1) is Reason.OTHER_EPOCH
    assert mesh.state.proposals[one].approvals == ()


def test_approvals_begin_anew_in_each_epoch() -> None:
    """D1: also those of members that stay, and an acceptance that waits."""
    mesh = Mesh()
    mesh.rules.must_wait = "for one"
    one, two = mesh.proposed(0, HALT), mesh.proposed(1, REMOVE)
    mesh.approve(0, one)
    mesh.approve(0, two)
    mesh.approve(1, two)
    assert mesh.state.accepted == [two]
    mesh.state.begin_epoch(1, (0, 1, 3), 2)
    assert mesh.state.accepted == []
    assert [each.approvals for each in mesh.state.open()] == [(), ()]
    assert mesh.approve(1, one) is Reason.OTHER_EPOCH
    assert mesh.approve(1, one, epoch=1) is None
    assert mesh.rules.done == []
    mesh.approve(0, one, epoch=1)
    assert mesh.rules.done == [HALT]


def test_the_command_that_completes_the_quorum_accepts_for_good() -> None:
    """D1: what comes later in the same commit, or while it waits, changes nothing."""
    mesh = Mesh()
    one = mesh.proposed(0, HALT)
    mesh.approve(0, one)
    reasons = mesh.commit(
        (1, Approve(0, one, 0)), (1, Withdraw(0, one)), (0, Withdraw(0, one)), (2, Withdraw(0, one))
    )
    assert reasons == [None, *[Reason.ALREADY_ACCEPTED] * 3]
    assert mesh.rules.done == [HALT]
    mesh.rules.must_wait = "for one"
    two = mesh.proposed(0, REMOVE)
    mesh.approve(0, two)
    mesh.approve(1, two)
    assert mesh.withdraw(1, two) is Reason.ALREADY_ACCEPTED
    assert mesh.ending is None
    mesh.rules.must_wait = ""
    mesh.commit()
    assert mesh.ending is not None
    assert mesh.ending.id == two


def test_a_proposer_takes_back_what_waits() -> None:
    mesh = Mesh()
    mesh.rules.must_wait = "for one"
    one = mesh.proposed(0, REMOVE)
    mesh.approve(0, one)
    mesh.approve(1, one)
    assert mesh.withdraw(0, one) is None
    assert mesh.outcomes() == {one: Outcome.WITHDRAWN}
    mesh.rules.must_wait = ""
    mesh.commit()
    assert mesh.ending is None


def test_an_epoch_ends_with_one_proposal() -> None:
    """D2: the commit accepts nothing more; its other commands still apply."""
    mesh = Mesh()
    one, two, three = (mesh.proposed(n, each) for n, each in enumerate((REMOVE, Activate(2), HALT)))
    for id_ in (one, two, three):
        mesh.approve(0, id_)
    reasons = mesh.commit(
        (1, Approve(0, one, 0)),
        (1, Approve(0, two, 0)),
        (1, Approve(0, three, 0)),
        (1, mesh.propose(1, HALT)),
    )
    assert reasons == [None] * 4
    assert mesh.ending is not None
    assert mesh.ending.id == one
    assert mesh.rules.done == [REMOVE]
    assert mesh.state.accepted == []
    assert len(mesh.state.open()) == 3


def test_market_changes_accepted_before_the_end_of_the_epoch_take_effect() -> None:
    """D2."""
    mesh = Mesh()
    one, two = mesh.proposed(0, HALT), mesh.proposed(1, REMOVE)
    mesh.approve(0, one)
    mesh.approve(0, two)
    mesh.commit((1, Approve(0, one, 0)), (1, Approve(0, two, 0)))
    assert mesh.rules.done == [HALT, REMOVE]
    assert mesh.ending is not None


def test_of_two_that_wait_the_first_accepted_ends_the_epoch() -> None:
    """D2, D4: both may go on with the same commit."""
    mesh = Mesh()
    mesh.rules.must_wait = "for one"
    one, two = mesh.proposed(0, REMOVE), mesh.proposed(1, Activate(2))
    for id_ in (two, one):
        mesh.approve(0, id_)
        mesh.approve(1, id_)
    mesh.rules.must_wait = ""
    mesh.commit()
    assert mesh.ending is not None
    assert mesh.ending.id == two
    assert mesh.state.accepted == [one]


def test_what_waits_takes_effect_with_the_first_commit_in_which_it_can() -> None:
    """D4."""
    mesh = Mesh()
    mesh.rules.must_wait = "for one"
    waits, forced = mesh.proposed(0, REMOVE), mesh.proposed(1, REMOVE, HALT, force=True)
    mesh.approve(0, waits)
    mesh.approve(1, waits)
    assert mesh.ending is None
    assert mesh.rules.done == []
    mesh.approve(0, forced)
    mesh.approve(1, forced)
    assert mesh.ending is not None
    assert mesh.ending.id == forced
    assert mesh.rules.done == [REMOVE, HALT]


def test_a_change_that_waits_wants_blocks_of_absent_members() -> None:
    """D4, ORDER-49: in an idle mesh nobody would become present by itself."""
    mesh = Mesh()
    mesh.rules.must_wait = "for one"
    waits = mesh.proposed(0, REMOVE)
    assert not any(mesh.state.awaits(seat) for seat in range(3)), "nothing waits yet"
    mesh.approve(0, waits)
    mesh.approve(1, waits)
    mesh.commit(authors=[0, 1])
    assert [mesh.state.awaits(seat) for seat in (0, 1, 2, None, 9)] == [False, False, True] + [
        False
    ] * 2
    mesh.commit(authors=[2])
    assert not mesh.state.awaits(2)
    mesh.rules.must_wait = ""
    mesh.commit()
    assert not mesh.state.accepted


def test_a_change_that_is_impossible_is_refused_and_later_ends_its_proposal() -> None:
    """D1: no change of the proposal takes effect."""
    mesh = Mesh()
    mesh.rules.forbidden = {HALT}
    assert mesh.commit((0, mesh.propose(0, HALT))) == [Reason.IMPOSSIBLE_CHANGE]
    ann = CancelAccount("ann")
    mesh.rules.forbidden = set()
    one = mesh.proposed(0, ann, HALT)
    mesh.approve(0, one)
    mesh.rules.forbidden = {HALT}
    mesh.approve(1, one)
    assert mesh.outcomes() == {one: Outcome.IMPOSSIBLE}
    assert mesh.rules.done == []


def test_an_end_of_the_epoch_that_became_impossible_in_its_commit_ends_nothing() -> None:
    mesh = Mesh()
    one, two = mesh.proposed(0, HALT), mesh.proposed(1, REMOVE, HALT)
    mesh.approve(0, one)
    mesh.approve(0, two)
    carry_out = mesh.rules.carry_out

    def once(changes: Sequence[Change]) -> list[Event]:
        mesh.rules.forbidden.update(changes)
        return carry_out(changes)

    mesh.rules.carry_out = once  # type: ignore[method-assign]
    mesh.commit((1, Approve(0, one, 0)), (1, Approve(0, two, 0)))
    assert mesh.ending is None
    assert mesh.outcomes() == {one: Outcome.DONE, two: Outcome.IMPOSSIBLE}
