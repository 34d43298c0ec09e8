"""Open orders of key accounts: how much room they have, and who but their owners ends them."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from engine import (
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    Market,
    Reason,
    Rejected,
    Side,
    Submit,
    TimeInForce,
    Trade,
)
from peer import Signer
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit
from peer.consensus.schedule import Schedule
from peer.membership.identity import Identity
from peer.replica.batch import command_id, encode_batch, seq_and_member
from peer.replica.key_orders import KEY_ACCOUNT_ORDERS_MAX, share_of
from peer.replica.refusals import first_refused
from peer.replica.signed import KEY_PREFIX, Entry, Removal, with_id
from peer.replica.state_machine import Replica
from tests.support import engine_flow
from tests.support.epochs import first_epoch
from tests.support.pieces import rebuilt

NOW_MS = 1_800_000_000_000
MESH = b"m" * 16
MEMBERS = 3
COMMITTEE = Committee(MESH, MEMBERS, Mode.CRASH)
SMALL = Market("SMALL", "1", "1", orders_max=24)  # of which a member's keys may have four
LARGE = Market("LARGE", "1", "1")
ENCODE = msgspec.msgpack.Encoder().encode
BOUNDARY = Checkpoint(0, 1, NOW_MS, Schedule(0, (0, 1, 2)), (0,) * 3, (), (), ())


class Trader:
    """Somebody with a key of their own, which anybody can make."""

    def __init__(self) -> None:
        self._signer = Signer(Identity.ephemeral(), MESH.hex(), lambda: NOW_MS)
        self.account = self._signer.account

    def sign(self, command: Command) -> Entry:
        return self._signer.sign(command)

    def buy(self, market: str = "SMALL", **more: Any) -> Entry:
        return self.sign(buy(self.account, market, **more))


def buy(account: str, market: str = "SMALL", **more: Any) -> Submit:
    return Submit(0, account, market, Side.BUY, 5, 100, **more)


class Mesh:
    """What every peer of a mesh makes of its members' blocks; one command a block."""

    def __init__(self, *markets: Market) -> None:
        self.markets = markets or (SMALL, LARGE)
        self.replica = Replica(self.markets, first_epoch(COMMITTEE))
        self.now_ms = NOW_MS

    def next_id(self, member: int) -> int:
        return command_id(self.replica.expected[member], member)

    def apply(self, member: int, *entries: Entry) -> list[list[Any]]:
        """One commit: commands that a member has taken; their events."""
        seq, number = self.replica.expected[member], self.replica.commit + 1
        named = [with_id(entry, command_id(seq + n, member)) for n, entry in enumerate(entries)]
        payload = encode_batch(seq, [ENCODE(entry) for entry in named])
        block = Block(Ref(number, member, b"d" * 32), (), payload)
        results = self.replica.apply(Commit(number, block.ref, self.now_ms, (block,), None)).results
        self.replica.key_orders.check(self.replica.exchange.orders_open())
        return results

    def end_with_a_checkpoint(self) -> None:
        number = self.replica.commit + 1
        checkpoint = BOUNDARY._replace(commit=number, time_ms=self.now_ms)
        self.replica.apply(Commit(number, Ref(number, 0, b"d" * 32), self.now_ms, (), checkpoint))

    def reasons(self, member: int, *entries: Entry) -> list[Reason | None]:
        """Why each was refused."""
        results = self.apply(member, *entries)
        return [e[0].reason if e and type(e[0]) is Rejected else None for e in results]


def test_a_member_has_its_share_of_what_key_accounts_may_have() -> None:
    mesh, share = Mesh(), share_of(SMALL, MEMBERS)
    assert share == 4
    strangers = [Trader() for _ in range(share + 1)]
    full = [None] * share + [Reason.SHARE_FULL]
    assert mesh.reasons(0, *(one.buy() for one in strangers)) == full
    assert mesh.reasons(1, strangers[-1].buy()) == [None], "there is room at another member"
    assert mesh.reasons(0, *[buy("ann")] * 12) == [None] * 12, "whom a member vouches for has more"
    assert mesh.reasons(0, Trader().buy("LARGE")) == [None], "another market has its own room"
    assert mesh.reasons(0, Trader().buy("NONE")) == [Reason.UNKNOWN_MARKET]


def test_orders_that_cannot_rest_use_no_share_and_closed_orders_release_theirs() -> None:
    mesh, one = Mesh(), Trader()
    ids = [events[0].id for events in mesh.apply(0, *(one.buy() for _ in range(4)))]
    assert mesh.reasons(0, one.buy(tif=TimeInForce.IOC)) == [None]
    assert mesh.reasons(0, one.sign(Cancel(0, one.account, ids[0])), one.buy(), one.buy()) == [
        None,
        None,
        Reason.SHARE_FULL,
    ]
    [[_, trade]] = mesh.apply(1, Submit(0, "ann", "SMALL", Side.SELL, 5, 100))
    assert type(trade) is Trade
    assert mesh.reasons(0, one.buy(), one.buy()) == [None, Reason.SHARE_FULL]


def test_one_key_account_has_a_small_share() -> None:
    mesh, one, other = Mesh(), Trader(), Trader()
    orders = [one.buy("LARGE") for _ in range(KEY_ACCOUNT_ORDERS_MAX)]
    assert set(mesh.reasons(0, *orders)) == {None}
    for member in range(MEMBERS):
        assert mesh.reasons(member, one.buy("LARGE")) == [Reason.TOO_MANY_ORDERS]
    assert mesh.reasons(0, other.buy("LARGE"), one.buy("SMALL")) == [None, None]


def test_a_member_refuses_a_command_before_it_enters_a_block() -> None:
    mesh, one = Mesh(), Trader()
    mesh.apply(0, *(one.buy() for _ in range(4)))
    entry = one.buy()
    judges = mesh.replica.signers, mesh.replica.key_orders
    refused = first_refused(*judges, [buy("ann"), entry], NOW_MS, 0, lambda _: False)
    assert refused == (1, Reason.SHARE_FULL)
    assert first_refused(*judges, [entry], NOW_MS, 1, lambda _: False) is None
    assert first_refused(*judges, [entry], NOW_MS, 0, lambda _: True) is None, "taken before"


def flow_of(seed: int, count: int) -> tuple[Mesh, list[Trader]]:
    """A mesh after random commands of two key accounts and a plain one, counted after each."""
    rng, mesh = random.Random(seed), Mesh(*engine_flow.MARKETS)
    flow = engine_flow.Flow(rng.choice)
    traders = {"ann": Trader(), "bob": Trader()}
    ids: dict[int, int] = {}
    for _ in range(count):
        step = flow.step()
        member = rng.randrange(MEMBERS)
        if isinstance(step, int):
            mesh.now_ms = max(NOW_MS + step, mesh.now_ms)
            continue
        ids[step.id] = mesh.next_id(member)
        trader = traders.get(step.account)
        changes: dict[str, Any] = {"account": trader.account} if trader else {}
        if getattr(step, "expire_ms", 0) > 0:
            changes["expire_ms"] = min(NOW_MS + step.expire_ms, 2**53)
        if (order := getattr(step, "order", None)) is not None:
            changes["order"] = ids.get(order, 0)
        command = msgspec.structs.replace(step, **changes)
        removal = isinstance(command, Cancel | CancelAll) and trader and rng.random() < 0.5
        entry: Entry = Removal(command) if removal else command  # type: ignore[arg-type]
        mesh.apply(member, trader.sign(command) if trader and not removal else entry)
    return mesh, list(traders.values())


@pytest.mark.parametrize("seed", range(6))
def test_key_orders_are_counted_through_all_events(seed: int) -> None:
    mesh, traders = flow_of(seed, 600)
    open_ = [order for one in traders for order in mesh.replica.exchange.open_orders(one.account)]
    assert open_, "nothing was left to count"
    mesh.end_with_a_checkpoint()
    restored = rebuilt(mesh.replica, COMMITTEE)
    restored.key_orders.check(mesh.replica.exchange.orders_open())


# Removal


def removed(events: Sequence[Any]) -> list[int]:
    assert all(type(event) is Cancelled and event.reason is Reason.REMOVED for event in events)
    return [event.id for event in events]


def test_a_member_can_cancel_only_orders_that_it_accepted() -> None:
    mesh, one = Mesh(), Trader()
    [[mine]] = mesh.apply(0, one.buy())
    [[others]] = mesh.apply(1, one.buy())
    assert mesh.reasons(0, Removal(Cancel(0, one.account, others.id))) == [Reason.NOT_TAKEN_HERE]
    assert mesh.reasons(0, Removal(Cancel(0, Trader().account, mine.id))) == [Reason.NOT_OWNER]
    assert mesh.reasons(0, Removal(Cancel(0, one.account, 256 * 99))) == [Reason.UNKNOWN_ORDER]
    assert mesh.reasons(0, Cancel(0, one.account, mine.id)) == [Reason.NOT_SIGNED]
    [events] = mesh.apply(0, Removal(Cancel(0, one.account, mine.id)))
    assert removed(events) == [mine.id]
    assert [order.id for order in mesh.replica.exchange.open_orders(one.account)] == [others.id]


def test_a_member_can_cancel_all_orders_that_it_accepted() -> None:
    mesh, one = Mesh(), Trader()
    sell = Submit(0, one.account, "LARGE", Side.SELL, 5, 200)
    results = mesh.apply(0, one.buy(), one.buy("LARGE"), one.sign(sell))
    ids = [accepted.id for [accepted] in results]
    [[others]] = mesh.apply(1, one.buy("LARGE"))
    [[left]] = mesh.apply(0, Trader().buy())
    [events] = mesh.apply(0, Removal(CancelAll(0, one.account, "LARGE", Side.BUY)))
    assert removed(events) == [ids[1]]
    [events] = mesh.apply(0, Removal(CancelAll(0, one.account)))
    assert removed(events) == [ids[0], ids[2]]
    open_ = sorted(order.id for order in mesh.replica.exchange.orders_open())
    assert open_ == sorted([others.id, left.id])
    assert mesh.reasons(0, Removal(CancelAll(0, one.account, "NONE"))) == [Reason.UNKNOWN_MARKET]
    assert mesh.apply(0, Removal(CancelAll(0, one.account))) == [[]]


def test_a_signed_cancel_has_no_removal_reason() -> None:
    mesh, one = Mesh(), Trader()
    [[accepted], [cancelled]] = mesh.apply(
        0, one.buy(), one.sign(Cancel(0, one.account, mesh.next_id(0)))
    )
    assert type(accepted) is Accepted
    assert cancelled.reason is None


@pytest.mark.parametrize(
    "command",
    [
        Cancel(256, "ann", 256),  # a plain account's order is cancelled as such
        Submit(256, KEY_PREFIX + "x", "SMALL", Side.BUY, 1, 1),
    ],
)
def test_an_invalid_removal_is_not_a_command(command: Command) -> None:
    """Whatever else a lying member puts into its block, no peer takes it for one."""
    mesh = Mesh()
    payload = encode_batch(1, [ENCODE([17, command]), ENCODE(KEY_PREFIX)])
    only = encode_batch(1, [ENCODE([17, command])])
    for content in (payload, only):
        block = Block(Ref(mesh.replica.commit + 1, 0, b"d" * 32), (), content)
        commit = Commit(mesh.replica.commit + 1, block.ref, NOW_MS, (block,), None)
        assert mesh.replica.apply(commit).ids == []
    assert mesh.replica.invalid_payloads == 2


def test_a_removal_keeps_its_member() -> None:
    """Its id is the member's: the block's author can be no other, or the block is none of ids."""
    entry = with_id(Removal(Cancel(0, KEY_PREFIX + "x", 256)), command_id(7, 2))
    assert seq_and_member(entry.id) == (7, 2)
    assert msgspec.msgpack.decode(ENCODE(entry), type=Entry) == entry
