"""Commands from their arrival to their order, without a node around."""

import msgspec
import pytest

from engine import Cancel, Command, Event, Reason, Rejected, Side, Submit
from peer.client.programs import Caller
from peer.client.protocol import COMMANDS_PER_REQUEST_MAX, Done, Refused, Result, format_id
from peer.consensus.block import PAYLOAD_BYTES_MAX, Block, Ref
from peer.node.command_names import ClientId, Taken
from peer.node.named_results import RESULTS_KEPT
from peer.node.shares import PENDING_ACCOUNT_MAX, PENDING_KEYS_MAX, PENDING_SOURCE_MAX
from peer.node.submissions import (
    BLOCK_MS,
    CALLERS_MAX,
    COMMAND_BYTES_MAX,
    PENDING_MAX,
    Acknowledgement,
    Submissions,
)
from peer.replica.batch import COMMANDS_PER_BLOCK_MAX, Batch, command_id
from peer.replica.client_ids import digest_of
from peer.replica.signed import KEY_PREFIX, Entry, Signed
from tests.simulator.levels import NEXT_LEVELS

ME = 2
ANN, BOB = Caller(b"ann", b"1"), Caller(b"bob", b"1")


def order(account: str = "a", **changes: object) -> Submit:
    return msgspec.structs.replace(Submit(0, account, "X", Side.BUY, 1, 1), **changes)


def batch(payload: bytes) -> Batch:
    return msgspec.msgpack.decode(payload, type=Batch)


def acknowledged(taken: Submissions) -> list[Acknowledgement]:
    """What is said once all is stored."""
    taken.save(0, at_once=True)
    return taken.acknowledge(with_commands=True)[1]


def test_commands_get_ids_and_leave_in_order() -> None:
    taken = Submissions(ME)
    assert taken.take(ANN, [order(), order()], 10) is None
    assert taken.take(BOB, [order()], 20) is None
    assert acknowledged(taken) == [
        (ANN, [command_id(1, ME), command_id(2, ME)], []),
        (BOB, [command_id(3, ME)], []),
    ]
    payload = batch(taken.next_payload())
    assert payload.first == 1
    assert [command.id for command in payload.commands] == [command_id(n, ME) for n in (1, 2, 3)]
    assert not taken.waiting
    assert taken.next_payload() == b""
    assert taken.outstanding == 3


def test_each_caller_gets_the_results_of_its_commands() -> None:
    taken = Submissions(ME)
    taken.take(ANN, [order()], 10)
    taken.take(BOB, [order()], 20)
    mine = [command_id(1, ME), command_id(2, ME)]
    ids = [mine[0], command_id(1, ME + 1), mine[1]]
    answers = taken.done(ids, [[], [], []])
    assert {who: [r.id for r in results] for who, (results, _) in answers.items()} == {
        ANN: [mine[0]],
        BOB: [mine[1]],
    }
    assert taken.outstanding == 0


def test_an_order_of_the_same_request_is_referenced_by_its_place() -> None:
    taken = Submissions(ME)
    taken.take(ANN, [order()], 0)
    assert taken.take(ANN, [order(), order(), Cancel(0, "a", -2), Cancel(0, "a", -1)], 0) is None
    *_, second, first = batch(taken.next_payload()).commands
    assert second == Cancel(command_id(4, ME), "a", command_id(3, ME))
    assert first == Cancel(command_id(5, ME), "a", command_id(2, ME))
    refused = taken.take(ANN, [Cancel(0, "a", -1)], 0)
    assert refused == Refused("invalid", "command 1: expected a reference to an earlier command")


def test_a_request_over_a_limit_is_refused_completely() -> None:
    taken = Submissions(ME)
    assert taken.take(ANN, [], 0) is not None
    assert taken.take(ANN, [order()] * (COMMANDS_PER_REQUEST_MAX + 1), 0) is not None
    long = taken.take(ANN, [order(), order(client_id="x" * COMMAND_BYTES_MAX)], 0)
    assert long is not None
    assert "expected a command of at most 1024 bytes" in long.reason
    assert taken.outstanding == 0
    for _ in range(PENDING_MAX // COMMANDS_PER_REQUEST_MAX):
        assert taken.take(ANN, [order()] * COMMANDS_PER_REQUEST_MAX, 0) is None
    busy = taken.take(ANN, [order()], 0)
    assert busy is not None
    assert busy.code == "busy"
    assert taken.outstanding == PENDING_MAX


def flood(taken: Submissions, source: str, entry: Entry, count: int) -> str:
    """How the last so many commands from a source are answered."""
    refused = None
    for first in range(0, count, COMMANDS_PER_REQUEST_MAX):
        some = min(count - first, COMMANDS_PER_REQUEST_MAX)
        refused = taken.take(ANN, [entry] * some, 0, source=source)
    return refused.code if refused else ""


def signed(account: str) -> Signed:
    return Signed(order(KEY_PREFIX + account), 1, 2, b"s" * 64)


def test_one_source_fills_only_its_own_share_with_any_accounts() -> None:
    taken = Submissions(ME)
    for n in range(2):
        assert flood(taken, "here", order(f"a{n}"), PENDING_SOURCE_MAX // 2) == ""
    assert flood(taken, "here", order("b"), 1) == "too_many_pending"
    assert flood(taken, "there", order("b"), 1) == ""
    assert flood(taken, "", order("b"), 1) == "", "a program on this machine has no share"
    taken.done([command_id(1, ME)], [[]])
    assert flood(taken, "here", order("b"), 1) == "", "what is ordered makes room"


def test_one_account_fills_only_its_own_share_from_any_source() -> None:
    taken = Submissions(ME)
    for n in range(2):
        assert flood(taken, f"there{n}", order("a"), PENDING_ACCOUNT_MAX // 2) == ""
    refused = taken.take(ANN, [order("a")], 0, source="elsewhere")
    words = "2000 commands of a wait to be ordered already: try again later"
    assert refused == Refused("too_many_pending", words)
    assert flood(taken, "elsewhere", order("b"), 1) == ""


def test_key_accounts_leave_room_for_plain_accounts() -> None:
    taken = Submissions(ME)
    for n in range(PENDING_KEYS_MAX // PENDING_SOURCE_MAX):
        assert flood(taken, f"there{n}", signed(f"k{n}"), PENDING_SOURCE_MAX) == ""
    assert flood(taken, "elsewhere", signed("new"), 1) == "too_many_pending"
    assert flood(taken, "elsewhere", order("a"), 1) == ""
    taken.skip(expected=10**6)
    assert not taken._shares.held
    assert flood(taken, "elsewhere", signed("new"), 1) == ""


@pytest.mark.parametrize("size", [1, COMMAND_BYTES_MAX - 100])
def test_payloads_stay_within_their_limits_and_lose_nothing(size: int) -> None:
    taken = Submissions(ME)
    for _ in range(5):
        taken.take(ANN, [order("x" * size)] * COMMANDS_PER_REQUEST_MAX, 0)
    commands: list[Command] = []
    while payload := taken.next_payload():
        assert len(payload) <= PAYLOAD_BYTES_MAX
        part = batch(payload)
        assert part.first == len(commands) + 1
        assert len(part.commands) <= COMMANDS_PER_BLOCK_MAX
        commands += part.commands
    assert len(commands) == 5 * COMMANDS_PER_REQUEST_MAX


def test_only_new_commands_in_no_block_are_unsaved() -> None:
    taken = Submissions(ME)
    taken.take(ANN, [order()], 0)
    assert [seq for seq, _ in taken.unsaved] == [1]
    taken.save(0, at_once=True)
    assert taken.unsaved == []
    taken.take(ANN, [order()], 0)
    assert [seq for seq, _ in taken.unsaved] == [2]
    taken.next_payload()
    assert taken.unsaved == []
    assert taken.first_waiting == 3


def test_a_command_waits_for_its_block_before_it_is_stored_on_its_own() -> None:
    taken = Submissions(ME)
    assert taken.save_ms is None
    taken.take(ANN, [order()], 10)
    taken.take(BOB, [order()], 20)
    assert taken.save_ms == 10 + BLOCK_MS
    assert taken.save(10 + BLOCK_MS - 1, at_once=False) == []
    assert taken.acknowledge(with_commands=True) == ([], []), "it is durable nowhere"
    batch(taken.next_payload())
    assert (taken.save_ms, taken.save(21, at_once=False)) == (None, [])
    assert [told.caller for told in taken.acknowledge(with_commands=True)[1]] == [ANN, BOB]
    taken.take(ANN, [order()], 30)
    assert [seq for seq, _ in taken.save(30 + BLOCK_MS, at_once=False)] == [3]
    commands, [told] = taken.acknowledge(with_commands=True)
    assert ([command.id for command in commands], told.caller) == (told.ids, ANN)


def test_commands_that_have_lost_their_block_are_stored_at_once() -> None:
    """A caller was told that they are durable, and the block may be pruned."""
    taken = Submissions(ME)
    taken.take(ANN, [order()], 10)
    taken.next_payload()
    taken.save(10, at_once=False)
    taken.take(ANN, [order()], 10)
    taken.requeue(1)
    assert taken.save_ms == 0
    assert [seq for seq, _ in taken.save(10, at_once=False)] == [1, 2]


def test_an_order_that_is_sent_again_is_acknowledged_before_its_result() -> None:
    taken, mine = Submissions(ME), order(client_id="c")
    taken.take(ANN, [order()], 10)
    known = {ClientId("a", "c"): Taken(command_id(9, ME + 1), digest_of(mine))}
    taken.take(BOB, [mine], 10, known)
    assert [who for who, _ in taken.known_results()] == [BOB]
    taken.save(10, at_once=False)
    assert [told.caller for told in taken.acknowledge(with_commands=True)[1]] == [ANN, BOB]


def test_who_was_told_nothing_when_the_disk_fails_is_known() -> None:
    taken = Submissions(ME)
    taken.take(ANN, [order()], 10)
    taken.save(10, at_once=True)
    taken.acknowledge(with_commands=True)
    taken.take(BOB, [order()], 10)
    assert taken.lose() == [BOB]
    assert taken.lose() == []


def test_a_withdrawn_command_leaves_its_number_to_a_cancel_of_nothing() -> None:
    taken = Submissions(ME)
    taken.take(ANN, [order()], 0)
    taken.next_payload()
    taken.take(ANN, [order(), order("b")], 0)
    ids = [command_id(n, ME) for n in (1, 2, 3)]
    assert list(taken.withdraw("a", ids)) == [2]
    assert batch(taken.next_payload()).commands == [
        Cancel(ids[1], "a", 0),
        order("b", id=ids[2]),
    ]


def test_a_restart_continues_where_the_journal_ends() -> None:
    before = Submissions(ME)
    before.take(ANN, [order()] * 3, 0)
    blocks = [batch(before.next_payload())]
    before.take(ANN, [order()] * 2, 0)
    pending = before.unsaved

    after = Submissions(ME)
    after.restore(blocks, pending, expected=3)
    assert after.outstanding == 3, "seq 3 in a block, 4 and 5 in none"
    assert batch(after.next_payload()).first == 4
    after.take(ANN, [order()], 0)
    assert acknowledged(after) == [(ANN, [command_id(6, ME)], [])]
    after.requeue(3)
    assert [seq for seq, _ in after.unsaved] == [3, 4, 5, 6], "its block may be pruned"
    assert batch(after.next_payload()).first == 3
    events: list[Event] = [Rejected(0, "", 0)]  # type: ignore[arg-type]
    assert after.done([command_id(3, ME)], [events]) == {}, "nobody waits any more"


def test_an_order_with_a_client_id_is_accepted_once() -> None:
    taken = Submissions(ME)
    mine = order(client_id="c")
    known = {ClientId("a", "c"): Taken(command_id(1, ME), digest_of(mine))}
    twice = taken.take(ANN, [mine, order(), mine], 0)
    assert twice == Refused("invalid", "expected different client ids, got 'c' twice")
    taken.take(ANN, [mine, order("b", client_id="c")], 0)
    taken.take(ANN, [mine], 0)
    assert acknowledged(taken) == [
        (ANN, [command_id(1, ME), command_id(2, ME)], []),
        (ANN, [command_id(1, ME)], [command_id(1, ME)]),
    ]
    assert len(batch(taken.next_payload()).commands) == 2
    taken.take(BOB, [order(), mine, Cancel(0, "a", -2), Cancel(0, "a", -1)], 0, known)
    ids = [command_id(n, ME) for n in (3, 1, 4, 5)]
    assert acknowledged(taken) == [(BOB, ids, [command_id(1, ME)])]
    assert [c.order for c in batch(taken.next_payload()).commands[1:]] == [
        command_id(1, ME),
        command_id(3, ME),
    ]
    first = command_id(1, ME)
    answers = taken.done([first], [[]], 7, 8, firsts={first: first})
    assert {who: results for who, (results, _) in answers.items()} == {
        ANN: [Result(command_id(1, ME), [])],
        BOB: [Result(command_id(1, ME), [])],
    }
    taken.take(BOB, [mine], 0, known)
    assert not taken.waiting
    assert acknowledged(taken) == [(BOB, [command_id(1, ME)], [command_id(1, ME)])]
    assert taken.known_results() == [(BOB, Done(7, 8, [Result(command_id(1, ME), [])]))]
    assert taken.known_results() == []


def test_a_client_id_stands_for_one_order() -> None:
    taken = Submissions(ME)
    mine, other = order(client_id="c"), order(client_id="c", quantity=99)
    taken.take(ANN, [mine], 0)
    again = {ClientId("a", "c"): Taken(command_id(1, ME), digest_of(mine))}
    for _ in range(2):  # while it waits, and when it is done
        refused = taken.take(BOB, [order(), other], 0, again)
        assert isinstance(refused, Refused)
        assert refused.code == "other_order"
        assert taken.take(BOB, [mine], 0, again) is None
        if taken.outstanding:
            taken.done([command_id(1, ME)], [[]])
    assert taken.outstanding == 0, "nothing was taken with what was refused"


def test_a_client_id_stands_for_one_order_even_if_its_result_is_lost() -> None:
    taken, mine = Submissions(ME), order(client_id="c")
    again = {ClientId("a", "c"): Taken(command_id(1, ME), digest_of(mine))}  # of the state
    taken.restore([], [], 2)
    other = taken.take(ANN, [order(client_id="c", quantity=99)], 0, again)
    assert isinstance(other, Refused)
    assert other.code == "other_order"
    assert taken.take(BOB, [mine, order("b", client_id="c")], 0, again) is None
    assert [taken.waits(ClientId(account, "c")) for account in "ab"] == [False, True]
    ((caller, lost),) = taken.known_results()
    assert isinstance(lost, Refused)
    assert (caller, lost.code) == (BOB, "result_lost")


def test_waiting_callers_get_the_result_and_callers_over_the_limit_an_error() -> None:
    taken, mine = Submissions(ME), order(client_id="c")
    callers = [Caller(b"page", bytes([n])) for n in range(CALLERS_MAX + 4)]
    again = {ClientId("a", "c"): Taken(command_id(1, ME), digest_of(mine))}
    said = [taken.take(callers[0], [mine], 0)]
    said += [taken.take(caller, [mine], 0, again) for caller in callers[1:]]
    assert said == [None] * len(callers), "a refusal would say that it was not taken"
    assert [told.caller for told in acknowledged(taken)] == callers
    lost = {who: isinstance(what, Refused) and what.code for who, what in taken.known_results()}
    assert lost == dict.fromkeys(callers[CALLERS_MAX:], "result_lost")
    assert taken.take(callers[0], [mine], 0, again) is None, "it waits already"
    assert taken.known_results() == []
    answers = taken.done([command_id(1, ME)], [[]])
    assert list(answers) == callers[:CALLERS_MAX]


def test_an_accepted_order_needs_no_room_when_it_is_sent_again() -> None:
    taken, mine = Submissions(ME), order(client_id="c")
    again = {ClientId("a", "c"): Taken(command_id(1, ME), digest_of(mine))}
    assert taken.take(ANN, [mine], 0, source="here") is None
    while taken.take(ANN, [order("b")], 0, source="here") is None:
        pass
    refused = taken.take(BOB, [order()], 0, source="here")
    assert isinstance(refused, Refused)
    assert refused.code == "too_many_pending"
    assert taken.take(BOB, [mine], 0, again, source="here") is None
    mixed = taken.take(BOB, [mine, order()], 0, again, source="here")
    assert isinstance(mixed, Refused), "for what is new there is none"


def test_the_result_of_an_old_order_is_not_known() -> None:
    taken = Submissions(ME)
    for n in range(RESULTS_KEPT + 1):
        taken.take(ANN, [order(client_id=str(n))], 0)
        first = command_id(n + 1, ME)
        taken.done([first], [[]], firsts={first: first})
    for n in range(2):
        again = order(client_id=str(n))
        name = {ClientId("a", str(n)): Taken(command_id(n + 1, ME), digest_of(again))}
        taken.take(BOB, [again], 0, name)
    (_, lost), (_, known) = taken.known_results()
    assert isinstance(lost, Refused)
    assert lost.code == "result_lost"
    assert isinstance(known, Done)


def test_a_withdrawn_order_frees_its_client_id() -> None:
    taken = Submissions(ME)
    taken.take(ANN, [order(client_id="c")], 0)
    assert list(taken.withdraw("a", [command_id(1, ME)])) == [1]
    assert not taken.waits(ClientId("a", "c"))
    taken.take(ANN, [order(client_id="c", quantity=99)], 0)
    assert taken.waits(ClientId("a", "c"))


def test_the_order_tells_that_another_member_had_the_order_first() -> None:
    """ORDER-59. Those who wait are answered by the first one, whoever took it."""
    taken, mine = Submissions(ME), order(client_id="c")
    theirs, ours = command_id(9, ME + 1), command_id(1, ME)
    for caller in (ANN, BOB):
        taken.take(caller, [mine], 0)
    taken.next_payload()
    assert len(acknowledged(taken)) == 2
    events: list[Event] = [Rejected(theirs, "a", Reason.BOOK_FULL)]
    repeated: list[Event] = [Rejected(ours, "a", Reason.SENT_BEFORE)]
    firsts = {theirs: theirs, ours: theirs}
    assert taken.done([theirs], [events], 7, 70, [[3]], firsts) == {}
    assert taken.done([ours], [repeated], 8, 80, [[]], firsts) == {}
    answer = Done(7, 70, [Result(ours, events, [3], theirs)])
    assert taken.known_results() == [(ANN, answer), (BOB, answer)]
    known = {ClientId("a", "c"): Taken(theirs, digest_of(mine))}
    assert taken.take(BOB, [mine], 0, known) is None
    assert acknowledged(taken) == [(BOB, [theirs], [theirs])]
    assert taken.known_results() == [(BOB, Done(7, 70, [Result(theirs, events, [3])]))]
    assert taken.outstanding == 0


def test_the_answer_names_the_first_order_if_its_result_is_lost() -> None:
    taken, theirs, ours = Submissions(ME), command_id(9, ME + 1), command_id(1, ME)
    taken.take(ANN, [order(client_id="c")], 0)
    taken.done([ours], [[Rejected(ours, "a", Reason.SENT_BEFORE)]], firsts={ours: theirs})
    [(_, lost)] = taken.known_results()
    assert isinstance(lost, Refused)
    assert lost.code == "result_lost"
    assert format_id(theirs) in lost.reason


def test_waiting_commands_are_encoded_again_at_a_new_level() -> None:
    """ORDER-52."""
    taken = Submissions(ME)
    assert taken.take(ANN, [order()], 0) is None
    taken.requeue(1)
    level = NEXT_LEVELS.of(2)
    taken.follow(level)
    [(_, data)] = taken.unsaved
    assert data == level.write_command(level.read_command(data))
    block = Block(Ref(1, ME, b"d" * 32), (), taken.next_payload())
    assert len(level.read(block).commands) == 1
