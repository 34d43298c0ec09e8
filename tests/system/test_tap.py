"""The tap's output for a block: words for people, JSON for programs."""

import json

import msgspec
import pytest

from engine import Cancel, CancelAll, Command, Market, OrderType, Reduce, Replace, Side, Submit
from peer.cli.renderers import Filter, Json, Lines
from peer.consensus.block import Block, Ref, genesis
from peer.consensus.committee import Mode
from peer.membership.epochs import Epoch
from peer.membership.mesh_file import Member, MeshConfig
from peer.replica.batch import command_id, encode_batch
from peer.replica.changes import (
    AddMarket,
    Approve,
    CancelAccount,
    Propose,
    RemoveMember,
    Vote,
    Withdraw,
)
from tests.support.epochs import key_of

CONFIG = MeshConfig(
    "m",
    Mode.CRASH,
    0,
    [Member("ann", "aa" * 32), Member("bob", "bb" * 32)],
    [Market("M", "0.5", "1")],
)
PARENTS = tuple(block.ref for block in genesis(CONFIG.committee))


def block(*commands: Command | Vote, first: int = 1) -> Block:
    """Ann's, with ids as her node gives them."""
    named = [
        msgspec.structs.replace(command, id=command_id(seq, 0))
        for seq, command in enumerate(commands, first)
    ]
    payload = encode_batch(first, [msgspec.msgpack.encode(command) for command in named])
    return Block(Ref(1, 0, b"\7" * 32), PARENTS, payload)


def test_commands_are_shown_in_decimals_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Lines(CONFIG, Filter())
    screen.show(
        0,
        block(
            Submit(0, "a", "M", Side.BUY, 7, 3, display=2),
            Submit(0, "a", "M", Side.SELL, 7, 0, OrderType.STOP, stop_price=9),
            Replace(0, "a", command_id(1, 0), price=5),
            Reduce(0, "a", command_id(1, 0), 4),
            Cancel(0, "a", command_id(2, 0)),
            CancelAll(0, "a", "M", Side.SELL),
            Replace(0, "a", command_id(99, 0), 5, 6),
        ),
    )
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith("ann block     round      1  07070707  on ann@0 bob@0")
    assert [" ".join(line.split()) for line in lines] == [
        "1-1 buy 7 M at 1.5 showing 2, limit gtc (a)",
        "1-2 sell 7 M at market from 4.5 on, stop gtc (a)",
        "1-3 replace 1-1: at 2.5 (a)",
        "1-4 reduce 1-1 to 4 (a)",
        "1-5 cancel 1-2 (a)",
        "1-6 cancel all sell M (a)",
        "1-7 replace 1-99: 6 lots at 5 ticks (a)",
    ]


def test_proposals_and_votes_are_shown_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    one = command_id(1, 0)
    changes = AddMarket(Market("N", "0.1", "1")), RemoveMember(1), CancelAccount("\x1b[2Ja")
    votes = Propose(0, changes, force=True), Approve(0, one, 0), Withdraw(0, one)
    Lines(CONFIG, Filter()).show(0, block(*votes))
    _, *lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "1-1 propose to add market N with tick 0.1 and lot 1; remove member bob; "
        "cancel all orders of �[2Ja (force)",
        "1-2 approve 1-1",
        "1-3 withdraw 1-1",
    ]


def test_who_is_against_a_proposal_of_another_does_not_withdraw_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Lines(CONFIG, Filter()).show(0, block(Withdraw(0, command_id(1, 1))))
    assert capsys.readouterr().out.splitlines()[1].split() == ["1-1", "reject", "2-1"]


def test_the_end_of_an_epoch_is_shown_once(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    first = Epoch.first(CONFIG)
    second = first.following({0}, [("cid", key_of(2).public)], 1, 12, 5, b"d" * 32)
    lines, rows = Lines(CONFIG, Filter()), Json(CONFIG, Filter())
    for screen in (lines, rows, Lines(CONFIG, Filter(kinds=frozenset({"cancel"})))):
        for seat, epoch in ((0, first), (1, second), (0, first), (1, second)):
            screen.show(seat, "bad", epoch)
    said = capfdbinary.readouterr().out.decode().splitlines()
    begins = [line for line in said if " epoch " in line]
    assert [" ".join(line.split()[1:]) for line in begins] == [
        "epoch 1 begins after commit 12, with the rules of level 1: bob, cid"
    ]
    found = [json.loads(line) for line in said if line[:1] == "{"]
    [row] = [row for row in found if row["kind"] == "epoch"]
    assert (row["epoch"], row["commit"], row["members"]) == (1, 12, ["bob", "cid"])
    assert row["seal"] == second.seal.hex()


def test_members_cannot_write_control_characters_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Lines(CONFIG, Filter()).show(0, block(Submit(0, "\x1b[2J[red]", "\x07", Side.BUY, 1, 1)))
    out = capsys.readouterr().out
    assert out.splitlines()[1].endswith("buy  1 lots � at 1 ticks, limit gtc  (�[2J[red])")
    assert all(each.isprintable() for line in out.splitlines() for each in line)


def test_json_has_names_and_ids(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    chosen = Filter(kinds=frozenset({"cancel", "submit"}))
    screen = Json(CONFIG, chosen)
    screen.show(0, block(Reduce(0, "a", 256, 1)))
    order = Submit(0, "a", "M", Side.SELL, 1, 3)
    screen.show(0, block(order, Cancel(0, "a", command_id(1, 0)), Reduce(0, "a", 256, 1)))
    (line,) = capfdbinary.readouterr().out.splitlines()
    sent, gone = json.loads(line)["commands"]
    assert (sent["kind"], sent["id"], sent["side"], sent["price"]) == ("submit", "1-1", "sell", 3)
    assert gone == {"kind": "cancel", "id": "1-2", "account": "a", "order": "1-1"}


def test_json_has_votes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    screen = Json(CONFIG, Filter(kinds=frozenset({"propose", "approve"})))
    screen.show(0, block(Propose(0, (RemoveMember(1),)), Approve(0, command_id(1, 0), 4)))
    (line,) = capfdbinary.readouterr().out.splitlines()
    proposal, approval = json.loads(line)["commands"]
    assert (proposal["id"], proposal["changes"]) == ("1-1", ["remove member seat 2"])
    assert approval == {"kind": "approve", "id": "1-2", "proposal": "1-1", "epoch": 4, "level": 1}
