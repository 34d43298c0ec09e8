"""Proposals and votes: what is accepted, when it takes effect, and when it is over."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Event, MarketState, MarketStatus, Reason
from peer.consensus.committee import Committee, Mode
from peer.membership.identity import Identity
from peer.replica import governance
from peer.replica.changes import (
    Activate,
    Approve,
    CancelAccount,
    Change,
    HaltMarket,
    Propose,
    RemoveMember,
    Vote,
    Withdraw,
)
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.governance import (
    PRESENT_COMMITS,
    PROPOSAL_MS,
    PROPOSALS_OPEN_MAX,
    Governance,
    Outcome,
    Proposal,
)
from peer.replica.members import presence_wanted

HALT = HaltMarket("X")
REMOVE = RemoveMember(2)
KEY = Identity(b"k" * 32).public.hex()
ENCODE = msgspec.msgpack.Encoder().encode


@dataclass
class Fake:
    """Rules whose answers the test gives. A change takes effect once."""

    must_wait: str = ""
    forbidden: set[Change] = field(default_factory=set)
    done: list[Change] = field(default_factory=list)

    def impossible(self, changes: Sequence[Change]) -> str:
        return "forbidden" if self.forbidden.intersection(changes) else ""

    def waits(self, proposal: Proposal) -> str:
        return "" if proposal.force else self.must_wait

    def carry_out(self, changes: Sequence[Change]) -> list[Event]:
        self.done += changes
        return [
            MarketState(each.symbol, MarketStatus.HALTED)
            for each in changes
            if isinstance(each, HaltMarket)
        ]


class Mesh:
    """A mesh of some members. Each `commit` has votes by (seat, vote) in their order."""

    def __init__(self, size: int = 3) -> None:
        self.committee = Committee(b"m" * 16, size, Mode.CRASH)
        self.state = Governance(range(size), self.committee.quorum)
        self.rules = Fake()
        self.number = 0
        self.time_ms = 1_000
        self.events: list[Event] = []
        self.ending: Proposal | None = None
        self._seqs = [0] * size

    def id_of(self, seat: int) -> int:
        """The id of the seat's next command."""
        return (self._seqs[seat] + 1) * MEMBERS_SPACE + seat

    def propose(self, seat: int, *changes: Change, force: bool = False) -> Vote:
        return Propose(self.id_of(seat), changes, force)

    def commit(
        self, *votes: tuple[int, Vote], authors: Sequence[int] = (), ms: int = 1
    ) -> list[Reason | None]:
        self.number += 1
        self.time_ms += ms
        self.state.begin_commit(self.number, self.time_ms, {*authors, *(seat for seat, _ in votes)})
        reasons = []
        for seat, vote in votes:
            self._seqs[seat] += 1
            reasons.append(self.state.take(vote, seat, self.rules))
        self.events, self.ending = self.state.end_commit(self.rules)
        self.state.check()
        return reasons

    def proposed(self, seat: int, *changes: Change, force: bool = False) -> int:
        """Make a proposal. Returns its id."""
        vote = self.propose(seat, *changes, force=force)
        assert self.commit((seat, vote)) == [None]
        return vote.id

    def approve(self, seat: int, proposal: int, epoch: int = 0) -> Reason | None:
        [reason] = self.commit((seat, Approve(self.id_of(seat), proposal, epoch)))
        return reason

    def withdraw(self, seat: int, proposal: int) -> Reason | None:
        [reason] = self.commit((seat, Withdraw(self.id_of(seat), proposal)))
        return reason

    def outcomes(self) -> dict[int, Outcome]:
        return {ended.proposal.id: ended.outcome for ended in self.state.ended}


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
