"""A follower forwards signed orders: to which member, how often, and whose copy counts."""

from collections.abc import Iterator

import pytest

from engine import Cancelled, Event, Reason, Rejected, Side, Submit
from peer.client.programs import Caller
from peer.client.protocol import Done, Queued, Refused, Reply, format_id
from peer.client.signer import Signer
from peer.consensus.block import Ref
from peer.consensus.committer import Commit
from peer.membership.identity import Identity
from peer.network.messages import ForwardAnswered, ForwardWanted
from peer.node.forwarding import (
    ANSWER_MS,
    FORGET_MS,
    REST_MS,
    UNANSWERED_MAX,
    WAITING_MAX,
    WAITING_SOURCE_MAX,
    Forwarding,
)
from peer.replica.applied import Applied
from peer.replica.batch import command_id
from peer.replica.signed import Entry, Signed, with_id
from tests.support.real_mesh import MARKET

TRADER = Identity(b"t" * 32)
ALL = [0, 1, 2]


class Follower:
    """A follower that begins with member 0; its callers are named by a letter."""

    def __init__(self) -> None:
        self.forwarding = Forwarding(0)
        self.signer = Signer(TRADER, "00" * 16, lambda: 1_000)
        self.now_ms = 0
        self.told: list[tuple[str, Reply]] = []
        self._commit = 0

    def order(self) -> Signed:
        account = self.signer.account
        return self.signer.sign(Submit(0, account, MARKET, Side.BUY, 1, 100))

    def take(self, name: str, *entries: Entry, source: str = "") -> Refused | None:
        caller = Caller(b"program", name.encode())
        taken = entries or (self.order(),)
        return self.forwarding.take(caller, taken, source, self.now_ms, lambda _: True)

    def wanted(self, heard: list[int] = ALL) -> list[ForwardWanted]:
        return self.forwarding.wanted(heard, self.now_ms)

    def hear(self, replies: Iterator[tuple[Caller, Reply]]) -> list[tuple[str, Reply]]:
        return [(caller.request.decode(), reply) for caller, reply in replies]

    def answer(
        self, asked: ForwardWanted, reply: Queued | Refused, ordered: bool = False
    ) -> list[tuple[str, Reply]]:
        answer = ForwardAnswered(asked.member, asked.number, reply)
        return self.hear(self.forwarding.answered(answer, self.now_ms, lambda _: ordered))

    def commit(
        self, *rows: tuple[int, Signed, Event], firsts: dict[int, int] | None = None
    ) -> list[tuple[str, Reply]]:
        """A commit with these commands, by their ids."""
        self._commit += 1
        ref = Ref(self._commit, 0, b"d" * 32)
        commit = Commit(self._commit, ref, self._commit, (), None)
        ids = [id_ for id_, _, _ in rows]
        entries = [with_id(entry, id_) for id_, entry, _ in rows]
        results = [[event] for _, _, event in rows]
        applied = Applied(
            commit,
            ids,
            entries,
            results,
            [[]] * len(ids),
            [],
            [],
            [],
            None,
            {},
            None,
            [],
            firsts or {},
        )
        return self.hear(self.forwarding.applied(applied))


def done(id_: int) -> Event:
    """What the market says of a copy that counts."""
    return Cancelled(id_, "", MARKET, Side.BUY, 100, 1)


def used(id_: int) -> Rejected:
    return Rejected(id_, "", Reason.NONCE_USED)


@pytest.fixture
def follower() -> Follower:
    return Follower()


def test_an_order_goes_to_one_member_and_its_result_comes_from_the_order(
    follower: Follower,
) -> None:
    mine = follower.order()
    assert follower.take("a", mine) is None
    [asked] = follower.wanted()
    assert (asked.member, asked.commands) == (0, [mine])
    assert follower.wanted() == [], "it is asked once"
    id_ = command_id(7, 0)
    assert follower.answer(asked, Queued([id_])) == [("a", Queued([id_]))]
    [(name, last)] = follower.commit((id_, mine, done(id_)))
    assert name == "a"
    assert isinstance(last, Done)
    assert [result.id for result in last.results] == [id_]
    assert follower.forwarding.outstanding == 0
    assert follower.commit((id_, mine, done(id_))) == []


def test_only_signed_orders_are_forwarded_and_so_many(follower: Follower) -> None:
    plain = Submit(0, "ann", MARKET, Side.BUY, 1, 100)
    for entries, code in (((plain,), "not_member"), ((follower.order(), plain), "not_member")):
        refused = follower.take("a", *entries)
        assert refused is not None
        assert refused.code == code
    many = follower.take("a", *(follower.order() for _ in range(13)))
    assert many is not None
    assert many.code == "invalid"
    for _ in range(WAITING_SOURCE_MAX):
        assert follower.take("a", source="1.2.3.4") is None
    one = follower.take("a", source="1.2.3.4")
    assert one is not None
    assert one.code == "too_many_pending"
    for _ in range(WAITING_MAX - WAITING_SOURCE_MAX):
        assert follower.take("a") is None
    full = follower.take("a")
    assert full is not None
    assert full.code == "busy"
    assert len(follower.wanted()) == UNANSWERED_MAX


def test_another_member_is_asked_if_one_dies_and_the_first_copy_counts(follower: Follower) -> None:
    """The member had answered, and may come back: both copies are ordered, one takes effect."""
    mine = follower.order()
    follower.take("a", mine)
    [asked] = follower.wanted()
    first, second = command_id(7, 0), command_id(3, 1)
    follower.answer(asked, Queued([first]))
    [again] = follower.wanted([1, 2])
    assert again.member == 1
    assert follower.answer(again, Queued([second])) == [], "the program has been told"
    told = follower.commit((second, mine, done(second)), (first, mine, used(first)))
    assert [type(reply) for _, reply in told] == [Queued, Done]
    assert told[0][1] == Queued([second]), "the id of the copy that counts"


def test_a_copy_that_is_refused_does_not_hide_the_other_one(follower: Follower) -> None:
    mine = follower.order()
    follower.take("a", mine)
    follower.wanted([0])
    follower.wanted([1])
    one, two = command_id(7, 0), command_id(3, 1)
    late = Rejected(one, "", Reason.TOO_MANY_KEYS)
    assert follower.commit((one, mine, late)) == []
    assert [type(reply) for _, reply in follower.commit((two, mine, done(two)))] == [
        Queued,
        Done,
    ]


def test_a_member_that_does_not_answer_rests(follower: Follower) -> None:
    follower.take("a")
    follower.wanted()
    follower.now_ms += ANSWER_MS
    [again] = follower.wanted()
    assert again.member != 0
    follower.now_ms += ANSWER_MS
    [third] = follower.wanted()
    assert {again.member, third.member} == {1, 2}
    follower.now_ms += ANSWER_MS
    assert follower.wanted() == [], "nobody is left to ask"
    follower.now_ms += REST_MS
    [last] = follower.wanted()
    assert last.member in ALL


def test_a_member_that_takes_no_orders_is_passed_over(follower: Follower) -> None:
    follower.take("a")
    [asked] = follower.wanted()
    assert follower.answer(asked, Refused("stopping", "")) == []
    [again] = follower.wanted()
    assert again.member != 0
    refused = Refused("too_many_orders", "")
    assert follower.answer(again, refused) == [("a", refused)], "what any member would say"
    assert follower.forwarding.outstanding == 0


def test_an_account_goes_on_in_its_order_at_another_member(follower: Follower) -> None:
    orders = [follower.order() for _ in range(UNANSWERED_MAX + 4)]
    for mine in orders:
        follower.take("a", mine)
    taken, *_ = follower.wanted()
    follower.answer(taken, Queued([command_id(1, 0)]))
    sent = []
    while batch := follower.wanted([2]):
        for asked in batch:
            sent += asked.commands
            follower.answer(asked, Queued([command_id(len(sent), 2)]))
    assert sent == orders


def test_the_answer_of_a_member_that_was_left_is_ignored(follower: Follower) -> None:
    follower.take("a")
    [asked] = follower.wanted()
    follower.wanted([1])
    assert follower.answer(asked, Refused("invalid", "")) == []
    assert follower.forwarding.outstanding == 1


def test_a_nonce_that_a_first_copy_has_used_is_no_answer(follower: Follower) -> None:
    """The second member knows that the first copy was ordered; this peer will see it."""
    mine = follower.order()
    follower.take("a", mine)
    follower.wanted([0])
    [again] = follower.wanted([1])
    assert follower.answer(again, Refused("nonce_used", "")) == []
    one = command_id(7, 0)
    assert [type(reply) for _, reply in follower.commit((one, mine, done(one)))] == [
        Queued,
        Done,
    ]


def test_an_order_sent_again_gets_the_result_of_the_first(follower: Follower) -> None:
    """With its client id, under a new signature: the member names the first one's id."""
    first, again = follower.order(), follower.order()
    follower.take("a", first)
    [one] = follower.wanted()
    id_ = command_id(7, 0)
    follower.answer(one, Queued([id_]))
    follower.take("b", again)
    [two] = follower.wanted()
    assert follower.answer(two, Queued([id_], [id_])) == [("b", Queued([id_], [id_]))]
    told = follower.commit((id_, first, done(id_)))
    assert [(name, type(reply)) for name, reply in told] == [("b", Done), ("a", Done)]
    follower.take("c", follower.order())
    [three] = follower.wanted()
    told = follower.answer(three, Queued([id_], [id_]), ordered=True)
    assert [(name, type(reply)) for name, reply in told] == [("c", Queued), ("c", Refused)]


def test_an_order_that_the_order_finds_sent_before_has_lost_its_result(follower: Follower) -> None:
    """ORDER-59. Through another member, under a new signature."""
    again, first, second = follower.order(), command_id(7, 1), command_id(7, 0)
    follower.take("a", again)
    [one] = follower.wanted()
    follower.answer(one, Queued([second]))
    repeated = Rejected(second, again.account, Reason.SENT_BEFORE)
    [(_, lost)] = follower.commit((second, again, repeated), firsts={second: first})
    assert isinstance(lost, Refused)
    assert lost.code == "result_lost"
    assert format_id(first) in lost.reason


def test_a_later_copy_takes_no_result_away(follower: Follower) -> None:
    """Of two orders in a request, one was ordered when the member was lost: both are sent again."""
    both = follower.order(), follower.order()
    follower.take("a", *both)
    [one] = follower.wanted()
    first, second, third = (command_id(n, member) for n, member in ((7, 0), (1, 1), (2, 1)))
    follower.answer(one, Queued([first, command_id(8, 0)]))
    assert follower.commit((first, both[0], done(first)), firsts={first: first}) == []
    [two] = follower.wanted([1])
    follower.answer(two, Queued([second, third]))
    repeated = Rejected(second, both[0].account, Reason.SENT_BEFORE)
    told = follower.commit(
        (second, both[0], repeated), (third, both[1], done(third)), firsts={second: first}
    )
    assert [reply for _, reply in told if isinstance(reply, Queued)] == [Queued([first, third])]
    assert not [reply for _, reply in told if isinstance(reply, Refused)]


class Clock:
    time_ms = 0


def test_what_gets_no_result_is_given_up(follower: Follower) -> None:
    replica = Clock()
    follower.take("a")
    assert follower.hear(follower.forwarding.forget(replica, FORGET_MS - 1)) == []
    [(_, lost)] = follower.hear(follower.forwarding.forget(replica, FORGET_MS))
    assert isinstance(lost, Refused)
    assert lost.code == "result_lost"
    mine = follower.order()
    follower.take("b", mine)
    replica.time_ms = mine.until_ms
    [(_, late)] = follower.hear(follower.forwarding.forget(replica, 1))
    assert isinstance(late, Refused)
    assert late.code == "signature_expired"
    follower.take("c")
    [(name, _)] = follower.hear(follower.forwarding.stop())
    assert name == "c"
    assert not follower.forwarding._by_key
    assert not follower.forwarding._of_source
