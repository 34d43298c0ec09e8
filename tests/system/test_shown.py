"""The verdict on what peers showed: it finds each fault, and none in consistent records."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from engine import Cancel, Command, Market, Side, Submit
from peer.client.endpoint import Local
from peer.client.programs import Caller, Programs
from peer.client.protocol import (
    AccountUpdate,
    Committed,
    Lost,
    MarketUpdate,
    Orders,
    Refused,
    State,
    Streamed,
    Update,
    topic,
)
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Commit
from peer.node.publisher import Publisher
from peer.replica.batch import command_id, encode_batch
from peer.replica.execution_record import encode
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch
from tests.support.past import united
from tests.support.readers import Answer, Held, Message, Seen
from tests.support.real_mesh import MARKET
from tests.support.shown import Told, faults
from tests.support.traders import Record, Sent
from tests.support.verdict import out_of_order

pack = msgspec.msgpack.encode
change = msgspec.structs.replace
PEERS = ("peer1", "peer2")
ACCOUNTS = ("ann", "bob")


def order(account: str, side: Side, quantity: int, price: int) -> Submit:
    return Submit(0, account, MARKET, side, quantity, price)


COMMITS: list[list[Command]] = [
    [order("ann", Side.SELL, 5, 100), order("bob", Side.SELL, 5, 101)],
    [order("ann", Side.BUY, 2, 99)],
    [],
    [order("bob", Side.BUY, 7, 101), Cancel(0, "ann", command_id(3, 0))],
    [Cancel(0, "ann", command_id(3, 0))],
]  # five commands of member 0 rest, trade and cancel; the sixth is rejected


COMMITTEE = Committee(b"m" * 16, 1, Mode.CRASH)
CALLER = Caller(b"reader", b"1")
TOPICS = [topic("market", MARKET), *(topic("account", name) for name in ACCOUNTS), topic("commit")]


class Wires(Local):
    """Records the messages for a subscribed program, as long as its queue has room."""

    def __init__(self) -> None:
        self.has_room = True
        self.sent: list[bytes] = []
        self._programs = Programs(self._send)

    def _send(self, caller: Caller, body: bytes) -> bool:
        if self.has_room:
            self.sent.append(body)
        return self.has_room


def read(message: Message) -> Any:
    return msgspec.msgpack.decode(message.body, type=Streamed)


class Story:
    """Two peers that showed everything correctly: the n-th commit within second n. A listener reads
    nothing in the `missed` commits."""

    def __init__(self, missed: Sequence[int] = ()) -> None:
        self.journals: dict[str, dict[int, bytes]] = {name: {} for name in PEERS}
        self.seen = [Seen(name, [], [], []) for name in PEERS]
        self.told: dict[str, list[Told]] = {name: [] for name in PEERS}
        wires, replica = Wires(), Replica([Market(MARKET, "1", "1")], first_epoch(COMMITTEE))
        publisher = Publisher(wires, replica)

        def state_of(name: str) -> Streamed | Refused:
            kind, _, rest = name.partition("/")
            if kind == "market":
                return publisher.state(rest, 1_000)
            return publisher.orders(rest, []) if rest else publisher.committed(0)

        wires.subscribe(CALLER, TOPICS, state_of)
        self._look(0, publisher, wires)
        first = 1
        for number, commands in enumerate(COMMITS, 1):
            applied = replica.apply(_commit(number, first, commands))
            first += len(commands)
            publisher.add(applied)
            wires.has_room = number not in missed
            publisher.flush(number)
            for caller, request in wires._programs.starting_again():
                wires.subscribe(caller, request.topics, state_of)
            if applied.record is not None:
                for records in self.journals.values():
                    records[number] = encode(applied.record)
            self.told["peer1"] += (
                Told(number + 0.1, number, 1_000 * number, events) for events in applied.results
            )
            self._look(number, publisher, wires)

    def _look(self, number: int, publisher: Publisher, wires: Wires) -> None:
        state = publisher.state(MARKET, 1_000)
        for one in self.seen:
            one.answers.append(Answer(number + 0.2, number + 0.3, pack(state)))
            one.held.extend(
                Held(account, number, number, publisher.orders(account, []).open)
                for account in ACCOUNTS
            )
            one.feed.extend(Message(number + 0.1, body) for body in wires.sent)
        wires.sent.clear()

    def faults(self) -> str:
        return "\n".join(faults(united(self.journals), self.seen, self.told))

    # The second peer's messages, to be altered

    @property
    def second(self) -> Seen:
        return self.seen[1]

    def alter(self, number: int, **changes: Any) -> None:
        """The answer at a commit."""
        answer = self.second.answers[number]
        state = change(msgspec.msgpack.decode(answer.state, type=State), **changes)
        self.second.answers[number] = answer._replace(state=pack(state))

    def alter_feed(self, kind: type[Update], number: int, how: Callable[[Any], Update]) -> None:
        """The feed's messages of a kind at a commit."""
        for place, message in enumerate(self.second.feed):
            body = read(message)
            if isinstance(body, kind) and body.commit == number:
                self.second.feed[place] = message._replace(body=pack(how(body)))

    def state(self, number: int) -> State:
        return msgspec.msgpack.decode(self.second.answers[number].state, type=State)


def _commit(number: int, first: int, commands: list[Command]) -> Commit:
    numbered = [change(c, id=command_id(n, 0)) for n, c in enumerate(commands, first)]
    payload = encode_batch(first, [pack(command) for command in numbered]) if commands else b""
    block = Block(Ref(number, 0, bytes([number]) * 32), (), payload)
    return Commit(number, block.ref, 1_000 * number, (block,), None)


def test_consistent_records_have_no_faults() -> None:
    story = Story()
    assert story.faults() == ""
    assert len(story.state(4).trades) == 2
    assert [held.open for held in story.second.held if held.account == "ann"][2] != []


def test_peers_may_be_at_different_commits_and_a_late_answer_may_be_old() -> None:
    """The second peer is far behind; and questions that overlap prove nothing about the order."""
    story = Story()
    del story.second.answers[3:]
    first = story.seen[0].answers
    first[2] = first[2]._replace(shown_s=9.0)
    first[3] = first[3]._replace(asked_s=0.0, shown_s=9.0)
    assert story.faults() == ""


def goes_back(story: Story) -> None:
    answers = story.second.answers
    answers[5] = answers[5]._replace(state=answers[3].state)


def goes_back_after_a_result(story: Story) -> None:
    """Its trader got the last commit before a reader asked and got the previous one."""
    last = story.told["peer1"][-1]
    story.told["peer2"].append(last._replace(at_s=4.15))
    story.second.feed.clear()


def goes_back_after_the_feed(story: Story) -> None:
    feed = story.second.feed
    feed[-1] = feed[-1]._replace(shown_s=4.15)


def feed_goes_back(story: Story) -> None:
    story.second.feed.append(story.second.feed[0])


def time_goes_back(story: Story) -> None:
    story.alter(5, time_ms=3_999)


def loses_a_trade(story: Story) -> None:
    story.alter(5, trades=story.state(5).trades[1:])


def has_another_digest(story: Story) -> None:
    story.alter(3, digest=b"another")


def feeds_another_digest(story: Story) -> None:
    story.alter_feed(Committed, 3, lambda body: change(body, digest=b"another"))


def has_another_time(story: Story) -> None:
    story.alter(4, time_ms=4_001)


def tells_another_time(story: Story) -> None:
    story.told["peer1"][-1] = story.told["peer1"][-1]._replace(time_ms=5_001)


def shows_a_level_too_many(story: Story) -> None:
    story.alter(2, bids=[(99, 2, 1), (98, 1, 1)])


def shows_a_level_too_few(story: Story) -> None:
    story.alter(2, asks=[])


def shows_what_comes_next(story: Story) -> None:
    """The book of commit 4 with the number of commit 3."""
    story.alter(3, bids=story.state(4).bids, asks=story.state(4).asks)


def feeds_a_level_that_is_not(story: Story) -> None:
    story.alter_feed(MarketUpdate, 2, lambda body: change(body, bids=[(99, 3, 1)]))


def alters_a_trade(story: Story) -> None:
    trades = story.state(4).trades
    story.alter(4, trades=[change(trades[0], price=1), *trades[1:]])


def invents_a_trade(story: Story) -> None:
    trades = story.state(4).trades
    story.alter(4, trades=[change(trades[0], number=3), *trades])


def feeds_a_trade_too_early(story: Story) -> None:
    trades = story.state(4).trades
    story.alter_feed(MarketUpdate, 2, lambda body: change(body, trades=trades))


def holds_what_it_does_not(story: Story) -> None:
    held = story.second.held
    held[-1] = held[-1]._replace(open=held[2].open)


def holds_other_quantities(story: Story) -> None:
    held = story.second.held
    held[2] = held[2]._replace(open=[change(held[2].open[0], remaining=4)])


def drops_half_of_the_events(story: Story) -> None:
    """The first event of a commit is missing, though no message is."""
    story.alter_feed(AccountUpdate, 4, lambda body: change(body, events=body.events[1:]))


def tells_events_that_were_not(story: Story) -> None:
    one = story.told["peer1"][3]
    story.told["peer1"][3] = one._replace(events=one.events[:-1])


def writes_another_record(story: Story) -> None:
    story.journals["peer2"][4] = story.journals["peer2"][2]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (goes_back, "peer2 went back: commit 3 after 5"),
        (goes_back_after_a_result, "peer2 went back: commit 4 after 5"),
        (goes_back_after_the_feed, "peer2 went back: commit 4 after 5"),
        (feed_goes_back, "the feed of peer2 went back: commit 0 after 5"),
        (time_goes_back, "peer2 went back: time_ms 3999 after 5000"),
        (loses_a_trade, "peer2 went back: trade 1 after 2"),
        (has_another_digest, "peer2 showed another digest at commit 3"),
        (feeds_another_digest, "peer2 showed another digest at commit 3"),
        (has_another_time, "peer2 showed another time of commit 4"),
        (tells_another_time, "peer1 told another time of commit 5"),
        (shows_a_level_too_many, "peer2 at commit 2 showed BUY"),
        (shows_a_level_too_few, "peer2 at commit 2 showed SELL"),
        (shows_what_comes_next, "peer2 at commit 3 showed"),
        (feeds_a_level_that_is_not, "peer2 at commit 2 showed BUY [(99, 3, 1)]"),
        (alters_a_trade, "peer2 at commit 4 showed MarketTrade"),
        (invents_a_trade, "which did not happen up to there"),
        (feeds_a_trade_too_early, "peer2 at commit 2 showed MarketTrade"),
        (holds_what_it_does_not, "peer2 showed orders that bob did not have from commit 5 to 5"),
        (holds_other_quantities, "peer2 showed orders that ann did not have from commit 1 to 1"),
        (drops_half_of_the_events, "peer2 showed at commit 4"),
        (tells_events_that_were_not, "but commit 4 did no such thing"),
        (writes_another_record, "peer2 has another record of commit 4 than peer1"),
    ],
)
def test_what_is_wrong_is_seen(spoil: Callable[[Story], None], said: str) -> None:
    story = Story()
    spoil(story)
    assert said in story.faults()


def test_orders_shown_between_two_commits_may_be_those_of_either() -> None:
    story = Story()
    held = story.second.held
    held[2] = held[2]._replace(first_commit=0, last_commit=4)
    assert story.faults() == ""


def misses_an_update(story: Story) -> None:
    updates = (one for one in story.second.feed if isinstance(read(one), AccountUpdate))
    story.second.feed.remove(
        next(one for one in updates if (read(one).account, read(one).commit) == ("ann", 4))
    )


def begins_with_other_orders(story: Story) -> None:
    feed = story.second.feed
    place = max(n for n, one in enumerate(feed) if isinstance(read(one), Orders))
    feed[place] = feed[place]._replace(body=pack(change(read(feed[place]), open=[])))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (misses_an_update, "the feed of peer2 lacks 1 updates of ann"),
        (begins_with_other_orders, "the feed of peer2 began at commit 3 with [] of bob"),
    ],
)
def test_a_listener_that_missed_messages_starts_again(
    spoil: Callable[[Story], None], said: str
) -> None:
    story = Story(missed=[2])
    assert [type(read(one)) for one in story.second.feed].count(Lost) == 1
    assert story.faults() == ""
    spoil(story)
    assert said in story.faults()


# The order in real time


def sent(sent_s: float, answered_s: float, commit: int, id_: int = 0) -> Sent:
    command = order("ann", Side.BUY, 1, 1)
    if not answered_s:
        return Sent(command, id_, sent_s=sent_s)
    return Sent(command, id_, events=[], sent_s=sent_s, answered_s=answered_s, commit=commit)


def disorder(*commands: Sent, commits: dict[int, int] | None = None) -> list[str]:
    """Each command by another trader."""
    records = [Record(str(n), {1: one}) for n, one in enumerate(commands)]
    return list(out_of_order(records, commits or {}))


def test_a_command_sent_after_an_answer_is_in_a_later_commit() -> None:
    assert disorder(sent(1, 2, 7), sent(3, 4, 8)) == []
    assert disorder(sent(1, 2, 7), sent(1.5, 4, 7), sent(1.5, 4, 2)) == [], "at once: any order"
    assert len(disorder(sent(1, 2, 7), sent(3, 4, 7))) == 1
    assert len(disorder(sent(3, 4, 6), sent(1, 2, 7))) == 1


def test_an_unanswered_order_is_found_in_the_journals() -> None:
    assert disorder(sent(1, 2, 7), sent(3, 0, 0, id_=512), commits={512: 8}) == []
    assert len(disorder(sent(1, 2, 7), sent(3, 0, 0, id_=512), commits={512: 7})) == 1
    assert disorder(sent(1, 2, 7), sent(3, 0, 0, id_=512)) == [], "its commit is unknown"


def test_a_hundred_thousand_commands_are_compared() -> None:
    """All with each other: a comparison of pairs would never end."""
    many = [sent(n, n + 5.5, n + 1) for n in range(100_000)]
    assert disorder(*many) == []
    many[70_000].commit = 69_990
    assert len(disorder(*many)) == 1
