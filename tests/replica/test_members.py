"""Who the members are, as the replicated state knows it: what changes need, and what shows it."""

import pytest

from engine import Reason
from peer.consensus.committee import Committee, Mode
from peer.membership.epochs import DOMAIN, Epoch
from peer.replica.changes import (
    Activate,
    AddMember,
    Change,
    RemoveMember,
    ReplaceMember,
)
from peer.replica.governance import Proposal
from peer.replica.handover import Sealed, Stated, statement_of
from peer.replica.members import FRESH_COMMITS, Members
from tests.support.epochs import first_epoch, key_of

MESH = b"m" * 16
FIRST = first_epoch(Committee(MESH, 3, Mode.CRASH))
DIGEST = b"d" * 32


def key(seat: int) -> str:
    return key_of(seat).public.hex()


def proposal(*changes: Change, force: bool = False, unsealed: bool = False) -> Proposal:
    return Proposal(256, changes, force, unsealed, 0)


def statement(seat: int, commit: int, digest: bytes = DIGEST) -> Stated:
    signature = key_of(seat).sign(statement_of(MESH, commit, digest))
    return Stated(0, key_of(seat).public, commit, digest, signature)


def after(epoch: Epoch, *changes: Change) -> Members:
    """The members after an epoch that ends with these changes."""
    members = Members(epoch)
    members.begin_epoch(members.following(proposal(*changes), 64, DIGEST, 1_000))
    return members


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([RemoveMember(3)], "no member has seat 4"),
        ([RemoveMember(1), RemoveMember(1)], "no member has seat 2"),
        ([RemoveMember(0), RemoveMember(1), RemoveMember(2)], "1 to 25 members"),
        ([AddMember("m1", key(3))], "is a member's, or was"),
        ([AddMember("new", key(1))], "is a member's, or was"),
        ([ReplaceMember(1, "new", key(1))], "is a member's, or was"),
        ([AddMember("a", key(3)), AddMember("b", key(3))], "is a member's, or was"),
        ([Activate(1)], "level 1 holds already"),
        ([Activate(3)], "the level after 1 is 2, not 3"),
        ([ReplaceMember(1, "m1", key(3))], ""),
        ([RemoveMember(1), AddMember("m1", key(3))], ""),
    ],
)
def test_which_changes_are_possible(changes: list[Change], why: str) -> None:
    """ORDER-43."""
    found = Members(FIRST).impossible(changes)
    assert why in found if why else found == ""


def test_a_key_that_was_a_members_is_none_again() -> None:
    """ORDER-43."""
    members = after(FIRST, RemoveMember(1))
    assert "or was" in members.impossible([AddMember("new", key(1))])
    again = Members(members.epoch, members.head)
    assert "or was" in again.impossible([AddMember("new", key(1))])


def test_a_change_waits_for_members_of_the_next_epoch() -> None:
    """ORDER-49: of three, all; of two, both; one more than the quorum of five."""
    members = Members(FIRST)
    assert members.waits(proposal(ReplaceMember(2, "new", key(3))), [0, 1]) == (
        "2 of the 3 members it needs are present, not new, which has not shown a late state"
    )
    assert members.waits(proposal(RemoveMember(2)), [0, 1]) == ""
    assert members.waits(proposal(RemoveMember(1)), [0, 1]) != ""
    assert members.waits(proposal(RemoveMember(1), force=True), [0, 1]) == ""
    two = proposal(AddMember("a", key(3)), AddMember("b", key(4)))
    assert members.waits(two, [0, 1, 2]).startswith(
        "3 of the 4 members it needs are present, not a"
    )
    assert members.waits(proposal(RemoveMember(1)), [0, 1]).endswith("present, not m2")


def test_a_candidate_counts_once_it_has_shown_the_state() -> None:
    """ORDER-49."""
    members, wanted = Members(FIRST), proposal(ReplaceMember(2, "new", key(3)))
    members.note_boundary(64, DIGEST)
    candidates = [key_of(3).public]
    assert members.take_statement(statement(3, 64), candidates) is None
    assert members.waits(wanted, [0, 1]) == ""
    again = Members(FIRST, members.head)
    assert again.waits(wanted, [0, 1]) == ""
    again.forget(64 + 1_025)
    assert again.waits(wanted, [0, 1]) != "", "too long ago"


def test_a_candidate_must_have_shown_a_late_state() -> None:
    """ORDER-49: it follows the others as they go on. Everybody has the state after commit 0."""
    members, wanted = Members(FIRST), proposal(ReplaceMember(2, "new", key(3)))
    candidates = [key_of(3).public]
    members.note_boundary(0, DIGEST)
    assert members.take_statement(statement(3, 0), candidates) is None
    assert members.waits(wanted, [0, 1]) == "", "there is no other state"
    members.note_boundary(64, DIGEST)
    assert members.waits(wanted, [0, 1]) != ""
    assert members.take_statement(statement(3, 64), candidates) is None
    for commit in range(128, 64 + FRESH_COMMITS + 1, 64):
        members.note_boundary(commit, DIGEST)
        assert members.waits(wanted, [0, 1]) == ""
    members.note_boundary(64 + FRESH_COMMITS + 1, DIGEST)
    assert members.waits(wanted, [0, 1]) != ""


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        (statement(4, 64), Reason.IMPOSSIBLE_CHANGE),  # no candidate
        (statement(3, 65), Reason.IMPOSSIBLE_CHANGE),  # no boundary
        (statement(3, 64, b"e" * 32), Reason.IMPOSSIBLE_CHANGE),  # another state
        (Stated(0, key_of(3).public, 64, DIGEST, b"s" * 64), Reason.BAD_SIGNATURE),
    ],
)
def test_a_wrong_statement_does_not_count(stated: Stated, reason: Reason) -> None:
    """ORDER-49."""
    members = Members(FIRST)
    members.note_boundary(64, DIGEST)
    assert members.take_statement(stated, [key_of(3).public]) is reason
    assert members.stated(key_of(3).public) is None


def test_no_epoch_ends_before_its_begin_is_certified() -> None:
    """ORDER-46: by a quorum of the members before, and not by the new ones."""
    members = after(FIRST, ReplaceMember(2, "new", key(3)))
    epoch, shrink = members.epoch, proposal(RemoveMember(0))
    assert "not certified" in members.waits(shrink, [0, 1, 3])
    assert members.waits(proposal(RemoveMember(0), unsealed=True), [0, 1, 3]) == ""

    def signed(*seats: int) -> Sealed:
        return Sealed(0, 1, {seat: key_of(seat).sign(DOMAIN + epoch.seal) for seat in seats})

    assert members.seal(signed(0)) is Reason.BAD_SIGNATURE
    assert members.seal(signed(0, 3)) is Reason.BAD_SIGNATURE, "a new member"
    assert members.seal(Sealed(0, 2, {})) is Reason.OTHER_EPOCH
    assert members.seal(signed(0, 2)) is None, "the removed one signs, too"
    assert members.waits(shrink, [0, 1, 3]) == ""
