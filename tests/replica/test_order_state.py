"""The life of an order as the engine's events tell it: whole scripts in, the final words out."""

import random

import pytest
from msgspec.structs import replace

from engine import (
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    Event,
    Market,
    OpenOrder,
    OrderType,
    Reason,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
    Trade,
)
from engine.exchange import Exchange
from peer.client.accounts import FINISHED_MAX, AccountMirror
from peer.client.protocol import AccountUpdate, Done, Orders, PendingUpdate, Queued, Result
from peer.client.rejections import WORDS
from peer.client.units import units_of
from peer.replica.order_state import FINAL, Fill, Outcome, Status, outcome_of, submitted
from web.contract.responses import Order
from web.contract.results import answer_of
from web.market_data.book_mirror import BookMirror
from web.market_data.mirrors import Mirrors
from web.market_data.pending_requests import Submission

MARKET = Market("M", tick="1", lot="1")


def test_every_rejection_has_a_text() -> None:
    assert WORDS.keys() == set(Reason)


class Script:
    """Runs commands, counting their ids from 1."""

    def __init__(self) -> None:
        self.exchange = Exchange([MARKET])
        self.count = 0
        self.events: list[Event] = []

    def run(self, command: Command) -> Outcome:
        self.count += 1
        self.events = self.exchange.apply(_with_id(command, self.count))
        return outcome_of(command, self.count, self.events)

    def submit(self, side: Side, quantity: int, price: int, **more: object) -> Outcome:
        return self.run(Submit(0, "me", "M", side, quantity, price, **more))  # type: ignore[arg-type]


def _with_id(command: Command, number: int) -> Command:
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    return type(command)(**fields | {"id": number})


def _brief(outcome: Outcome) -> tuple[Status, int, int, list[tuple[int, int]]]:
    order = outcome.order
    assert order is not None
    order.check()
    return order.status, order.filled, order.remaining, [(f.price, f.quantity) for f in order.fills]


def test_an_order_that_rests_is_open() -> None:
    assert _brief(Script().submit(Side.BUY, 5, 100)) == (Status.OPEN, 0, 5, [])


def test_an_order_that_trades_at_several_prices_is_filled() -> None:
    script = Script()
    script.submit(Side.SELL, 2, 101)
    script.submit(Side.SELL, 2, 100)
    assert _brief(script.submit(Side.BUY, 3, 105)) == (Status.FILLED, 3, 0, [(100, 2), (101, 1)])


def test_a_limit_order_with_a_rest_is_partly_filled() -> None:
    script = Script()
    script.submit(Side.SELL, 2, 100)
    assert _brief(script.submit(Side.BUY, 5, 100)) == (Status.PARTLY_FILLED, 2, 3, [(100, 2)])


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
def test_an_order_that_cannot_rest_expires(tif: TimeInForce) -> None:
    script = Script()
    script.submit(Side.SELL, 2, 100)
    traded = 2 if tif is TimeInForce.IOC else 0
    brief = _brief(script.submit(Side.BUY, 5, 100, tif=tif))
    assert brief == (Status.EXPIRED, traded, 5 - traded, [(100, 2)] if traded else [])


def test_the_unfilled_rest_of_a_market_order_expires() -> None:
    brief = _brief(Script().submit(Side.BUY, 5, 0, type=OrderType.MARKET))
    assert brief == (Status.EXPIRED, 0, 5, [])


def test_a_rejected_order_carries_its_reason() -> None:
    script = Script()
    script.submit(Side.SELL, 2, 100)
    outcome = script.submit(Side.BUY, 5, 100, post_only=True)
    assert _brief(outcome) == (Status.REJECTED, 0, 5, [])
    assert outcome.reason == Reason.WOULD_CROSS


def test_self_trade_prevention_cancels_the_incoming_order() -> None:
    script = Script()
    script.submit(Side.SELL, 2, 100)
    outcome = script.submit(Side.BUY, 5, 100, self_trade=SelfTrade.CANCEL_INCOMING)
    assert _brief(outcome) == (Status.CANCELLED, 0, 5, [])


def test_the_results_of_a_cancel_and_a_change_contain_the_order() -> None:
    script = Script()
    script.submit(Side.BUY, 5, 100)
    reduced = script.run(Reduce(0, "me", 1, 3))
    assert _brief(reduced) == (Status.OPEN, 0, 3, [])
    script.submit(Side.SELL, 1, 102)
    replaced = script.run(Replace(0, "me", 1, price=102))
    assert replaced.order is not None
    assert (replaced.order.id, replaced.order.price) == (1, 102)
    assert _brief(replaced) == (Status.PARTLY_FILLED, 1, 2, [(102, 1)])
    cancelled = script.run(Cancel(0, "me", 1))
    assert cancelled.order is not None
    assert (cancelled.order.status, cancelled.order.price) == (Status.CANCELLED, 102)
    again = script.run(Cancel(0, "me", 1))
    assert again.reason == Reason.UNKNOWN_ORDER


def test_cancel_all_lists_the_cancelled_orders() -> None:
    script = Script()
    script.submit(Side.BUY, 5, 100)
    script.submit(Side.SELL, 5, 101)
    outcome = script.run(CancelAll(0, "me"))
    assert (outcome.order, outcome.cancelled) == (None, [1, 2])


def test_a_withdrawn_order_is_cancelled_not_rejected() -> None:
    """The node runs a cancel of nothing in its place."""
    command = Submit(0, "me", "M", Side.BUY, 5, 100)
    outcome = outcome_of(command, 7, [Rejected(7, "me", Reason.UNKNOWN_ORDER)])
    assert _brief(outcome) == (Status.CANCELLED, 0, 5, [])
    assert outcome.reason is None


def test_events_of_others_change_nothing() -> None:
    order = submitted(Submit(0, "me", "M", Side.BUY, 5, 100), 7)
    assert not order.apply(Trade("M", Side.BUY, 100, 1, 1, 2, "a", "b", 0, 0))
    assert not order.apply(Cancelled(8, "me", "M", Side.BUY, 100, 5))
    assert order.status == Status.PENDING


def test_an_order_may_be_maker_after_it_was_taker() -> None:
    order = submitted(Submit(0, "me", "M", Side.BUY, 5, 100), 7)
    order.apply(Trade("M", Side.BUY, 99, 2, 1, 7, "a", "me", 0, 3))
    order.apply(Trade("M", Side.SELL, 100, 3, 7, 9, "me", "b", 0, 0))
    assert order.fills == [Fill(99, 2, False), Fill(100, 3, True)]
    assert order.status == Status.FILLED


# The orders of an account


def _random_command(rng: random.Random, account: str, ids: int) -> Command:
    side, kind = rng.choice(list(Side)), rng.random()
    if kind < 0.7:
        return Submit(
            0,
            account,
            "M",
            side,
            rng.randint(1, 20),
            rng.randint(90, 110),
            tif=rng.choice(list(TimeInForce)[:3]),
            post_only=rng.random() < 0.1,
            display=rng.choice([0, 0, 0, 2]),
            self_trade=rng.choice(list(SelfTrade)),
        )
    order = rng.randint(1, max(1, ids))
    if kind < 0.8:
        return Reduce(0, account, order, rng.randint(1, 10))
    if kind < 0.9:
        return Replace(0, account, order, rng.randint(90, 110), rng.choice([0, 5]))
    return Cancel(0, account, order) if kind < 0.98 else CancelAll(0, account)


@pytest.mark.parametrize("seed", range(5))
def test_the_mirror_always_holds_what_the_engine_holds(seed: int) -> None:
    """Random commands of two accounts; some updates are lost, and the orders come instead."""
    rng = random.Random(seed)
    script = Script()
    mirror = AccountMirror("a")
    mirror.take(Orders("a", 0, [], []))
    for seq in range(1, 600):
        script.run(_random_command(rng, rng.choice("ab"), script.count))
        if rng.random() < 0.97:
            mirror.take(AccountUpdate("a", seq, seq, seq, script.events))
        else:
            mirror.take(Orders("a", seq, script.exchange.open_orders("a"), []))
        _compare(mirror, script)
        mirror.check()


def _compare(mirror: AccountMirror, script: Script) -> None:
    theirs = {order.id: order for order in script.exchange.open_orders("a")}
    assert mirror.open.keys() == theirs.keys()
    for number, order in mirror.open.items():
        assert (order.remaining, order.price) == (theirs[number].remaining, theirs[number].price)


def test_pending_orders_are_shown_until_they_are_ordered_or_withdrawn() -> None:
    mirror, command = AccountMirror("a"), Submit(0, "a", "M", Side.BUY, 1, 1)
    mirror.take(Orders("a", 0, [], [(5, replace(command, id=5))]))
    assert [order.status for order in mirror.open.values()] == [Status.PENDING]
    news = PendingUpdate("a", 1, 7_000, [(n, replace(command, id=n)) for n in (5, 6)], [])
    assert [(order.id, order.time_ms) for order in mirror.take(news)] == [(6, 7_000)]
    assert [order.id for order in mirror.take(PendingUpdate("a", 2, 0, [], [6]))] == [6]
    rejected = AccountUpdate("a", 3, 1, 8_000, [Rejected(5, "a", Reason.BOOK_FULL)])
    assert [order.id for order in mirror.take(rejected)] == [5]
    assert mirror.open == {}
    assert [order.status for order in mirror.finished.values()] == [
        Status.CANCELLED,
        Status.REJECTED,
    ]
    mirror.check()


def test_an_update_that_does_not_follow_the_last_one_is_never_applied() -> None:
    mirror, update = AccountMirror("a"), AccountUpdate("a", 5, 5, 5, [])
    with pytest.raises(AssertionError):
        mirror.take(update)
    for seq in (3, 5, 6):
        mirror.take(Orders("a", seq, [], []))
        with pytest.raises(AssertionError):
            mirror.take(update)


def test_the_number_of_finished_orders_is_bounded() -> None:
    mirror = AccountMirror("a")
    mirror.take(Orders("a", 0, [], []))
    for number in range(1, FINISHED_MAX + 50):
        command = Submit(number, "a", "M", Side.BUY, 1, 1)
        mirror.take(PendingUpdate("a", number, 0, [(number, command)], [number]))
    assert len(mirror.finished) == FINISHED_MAX
    assert all(order.status in FINAL for order in mirror.finished.values())


def _open(number: int, market: str) -> OpenOrder:
    """An order of alice of which 4 of 10 are filled."""
    kind = OrderType.LIMIT, TimeInForce.GTC
    return OpenOrder(number, "alice", market, Side.BUY, 100, 6, 10, *kind, 0, 0, 0, "")


def test_a_change_is_applied_to_what_the_mirror_knows() -> None:
    mirror, known = AccountMirror("alice"), _open(7, "BTC-USD")
    mirror.take(Orders("alice", 0, [known], []))
    place = ("BTC-USD", Side.BUY)
    (after,) = mirror.take(AccountUpdate("alice", 1, 1, 1, [Reduced(7, "alice", *place, 100, 2)]))
    assert (after.status, after.quantity, after.remaining) == (Status.PARTLY_FILLED, 6, 2)
    after.check()
    mirror.take(Orders("alice", 1, [known], []))
    moved = [
        Replaced(7, "alice", *place, 101, 5),
        Trade("BTC-USD", Side.BUY, 101, 3, 6, 7, "bob", "alice", 0, 2),
    ]
    (after,) = mirror.take(AccountUpdate("alice", 2, 2, 2, moved))
    told = (after.price, after.filled, after.quantity, after.fills)
    assert told == (101, 7, 9, [Fill(101, 3, maker=False)])
    after.check()


def test_the_answer_to_a_change_contains_the_whole_order() -> None:
    known = _open(7, "M")
    reduced: list[Event] = [Reduced(7, "alice", "M", Side.BUY, 100, 2)]
    submission = Submission([Reduce(0, "alice", 7, 2)])
    mirrors, alice = Mirrors(), AccountMirror("alice")
    mirrors.books["M"] = BookMirror(units_of(MARKET))
    mirrors.accounts["alice"] = alice
    alice.take(Orders("alice", 0, [known], []))
    alice.take(AccountUpdate("alice", 1, 5, 50, reduced))  # the node tells this first
    submission.note(Queued([9]))
    submission.note(Done(5, 50, [Result(9, reduced)]))
    told = answer_of(submission, mirrors)
    assert isinstance(told, Order)
    assert (told.filled, told.remaining, told.quantity) == ("4", "2", "6")


def test_a_repeat_is_answered_with_the_first_order() -> None:
    """ORDER-59. The node has told the second one's id before the order told which one counts."""
    mine = Submit(0, "alice", "M", Side.BUY, 5, 100, client_id="c")
    nothing = (OrderType.LIMIT, TimeInForce.GTC, 0, 0, 0, "c")
    events: list[Event] = [Accepted(256, "alice", "M", Side.BUY, 5, 100, *nothing)]
    submission, mirrors = Submission([mine]), Mirrors()
    mirrors.books["M"] = BookMirror(units_of(MARKET))
    submission.note(Queued([513]))
    pending = answer_of(submission, mirrors)
    assert isinstance(pending, Order)
    assert (pending.id, pending.status) == ("2-2", Status.PENDING)
    [outcome] = submission.note(Done(5, 50, [Result(513, events, [], 256)]))
    assert outcome.id == 513, "the command's"
    assert submission.is_complete
    told = answer_of(submission, mirrors)
    assert isinstance(told, Order)
    assert (told.id, told.status, told.commit, told.time) == ("1-1", Status.OPEN, 5, 50)
