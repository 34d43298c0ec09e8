"""Votes as bytes, and the state of all votes as pieces."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.replica import governance
from peer.replica.changes import (
    Activate,
    Approve,
    CancelAccount,
    Change,
    Propose,
    RemoveMember,
    Vote,
    Withdraw,
)
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.governance import PROPOSAL_MS, Governance, Outcome
from tests.support.voting import ENCODE, HALT, KEY, REMOVE, Fake, Mesh


@pytest.mark.parametrize(
    "fields",
    [
        [18, 0, [], False, False],
        [18, 0, [[6, "X"]] * 9, False, False],
        [18, 0, [[6, ""]], False, False],
        [18, 0, [[6, "X" * 33]], False, False],
        [18, 0, [[5, "X"]], False, False],
        [18, 0, [[9, ""]], False, False],
        [18, 0, [[9, "a" * 65]], False, False],
        [18, 0, [[3, 0]], False, False],
        [18, 0, [[1, -1]], False, False],
        [18, 0, [[2, 65_536, "dave", KEY]], False, False],
        [18, 0, [[0, "not a name", KEY]], False, False],
        [18, 0, [[0, "dave", KEY[2:]]], False, False],
        [18, 0, [[0, "dave", KEY.upper()]], False, False],
        [18, 0, [[2, 0, "dave", "f" * 64]], False, False],
        [18, 0, [[4, {"symbol": "X", "tick": "0", "lot": "1"}]], False, False],
        [18, 0, [[4, {"symbol": "X Y", "tick": "1", "lot": "1"}]], False, False],
        [18, 0, [[4, {"symbol": "\x1bX", "tick": "1", "lot": "1"}]], False, False],
        [18, 0, [[4, {"symbol": "X", "tick": "1", "lot": "1", "orders_max": 0}]], False, False],
    ],
)
def test_fields_that_are_impossible_are_no_vote(fields: list[object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(ENCODE(fields), type=Vote)


VOTES = st.tuples(
    st.integers(0, 3),  # the seat
    st.sampled_from(["propose", "approve", "approve", "approve", "withdraw", "epoch", "late"]),
    st.integers(0, 7),  # which proposal
    st.sampled_from([HALT, REMOVE, Activate(2), CancelAccount("ann")]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(VOTES, max_size=4), max_size=20), st.booleans())
def test_any_votes_keep_the_rules_and_the_pieces_make_the_same_state(
    commits: list[list[tuple[int, str, int, Change]]], waits: bool
) -> None:
    """D1, D2, D5: nothing takes effect without a quorum, and what pieces make goes on the same."""
    mesh, epoch = Mesh(4), 0
    mesh.rules.must_wait = "for one" if waits else ""
    ids: list[int] = []
    for number, commit in enumerate(commits):
        if number % 7 == 6:
            mesh.rules.must_wait = ""
        votes: list[tuple[int, Vote]] = []
        for seat, what, which, change in commit:
            chosen = ids[which % len(ids)] if ids else 0
            if what == "propose":
                ids.append((1_000 + len(ids)) * MEMBERS_SPACE + seat)
                votes.append((seat, Propose(ids[-1], (change,))))
            elif what == "withdraw":
                votes.append((seat, Withdraw(1, chosen)))
            else:
                votes.append((seat, Approve(1, chosen, epoch + (what == "epoch"))))
        late = any(what == "late" for _, what, *_ in commit)
        done, twin, rules = len(mesh.rules.done), again(mesh.state), Fake(mesh.rules.must_wait)
        mesh.commit(*votes, ms=PROPOSAL_MS // 3 if late else 1)
        twin.begin_commit(mesh.number, mesh.time_ms, {seat for seat, _ in votes})
        for seat, vote in votes:
            twin.take(vote, seat, rules)
        assert twin.end_commit(rules) == (mesh.events, mesh.ending)
        assert pieces_of(twin) == pieces_of(mesh.state)
        new = mesh.rules.done[done:]
        assert sum(isinstance(each, RemoveMember | Activate) for each in new) <= 1
        for ended in mesh.state.ended:
            quorum = len(ended.proposal.approvals) >= mesh.state.needed(ended.proposal)
            assert quorum or ended.outcome is not Outcome.DONE
        if mesh.ending is not None:
            epoch += 1
            mesh.state.begin_epoch(epoch, range(4), 3)


def pieces_of(state: Governance) -> tuple[bytes, dict[int, bytes]]:
    """Its head, and the proposals of each seat."""
    proposals = {
        seat: ENCODE(theirs)
        for seat in state.seats
        if (
            theirs := [
                each
                for each in sorted(state.proposals.values(), key=lambda p: p.id)
                if each.seat == seat
            ]
        )
    }
    return ENCODE(state.head), proposals


def again(state: Governance) -> Governance:
    return governance.read(state.seats, state.quorum, *pieces_of(state))


def test_changed_seats_are_told_once_with_all_their_proposals() -> None:
    mesh = Mesh()
    one, two = mesh.proposed(1, HALT), mesh.proposed(1, REMOVE)
    told = list(mesh.state.changed_seats())
    assert [(seat, [each.id for each in theirs]) for seat, theirs in told] == [(1, [one, two])]
    assert list(mesh.state.changed_seats()) == []
    mesh.withdraw(1, one)
    mesh.withdraw(1, two)
    assert list(mesh.state.changed_seats()) == [(1, [])]


def test_pieces_that_are_no_state_are_refused() -> None:
    mesh = Mesh()
    mesh.proposed(1, HALT)
    head, proposals = pieces_of(mesh.state)
    for wrong in (
        (b"", proposals),
        (ENCODE([0, [[7, [1, 1]]], [], []]), proposals),
        (ENCODE([0, [], [99], []]), proposals),
        (head, {1: ENCODE([[7, [[6, "X"]], False, False, 1, [], []]])}),
    ):
        with pytest.raises((ValueError, msgspec.DecodeError)):
            governance.read(range(3), 2, *wrong)
