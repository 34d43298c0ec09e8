"""ORDER-59: an order whose client id is remembered is not executed, whoever took it."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    Accepted,
    Cancel,
    Command,
    Event,
    Exchange,
    Reason,
    Rejected,
    Side,
    Submit,
)
from peer import Signer
from peer.consensus.block import Block, Ref
from peer.consensus.committer import CHECKPOINT_EVERY, Checkpoint, Commit
from peer.membership.identity import Identity
from peer.replica.batch import command_id, encode_batch
from peer.replica.client_ids import (
    NAMES_ACCOUNT_MAX,
    NAMES_MAX,
    NAMES_PER_CHUNK,
    ClientIds,
    Name,
    digest_of,
)
from peer.replica.signed import Entry, with_id
from peer.replica.snapshot import CLIENT_IDS
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch
from tests.support.pieces import COMMITTEE, MESH, pieces_of, rebuilt
from tests.support.real_mesh import MARKET, MARKETS

ENCODE = msgspec.msgpack.Encoder().encode
NOW_MS = 1_800_000_000_000
TRADER = Signer(Identity(b"t" * 32), MESH.hex(), lambda: NOW_MS)


def buy(client_id: str = "c", account: str = "ann", price: int = 100, **more: Any) -> Submit:
    return Submit(0, account, MARKET, Side.BUY, 5, price, client_id=client_id, **more)


class Mesh:
    """A replica, fed by blocks of all members."""

    def __init__(self, replica: Replica | None = None) -> None:
        self.replica = replica or Replica(MARKETS, first_epoch(COMMITTEE))

    def apply(
        self, *blocks: tuple[int, Sequence[Entry]], is_checkpoint: bool = False
    ) -> dict[int, list[Event]]:
        """One commit of these commands of members, at most one block of each; the events by id."""
        number, seqs = self.replica.commit + 1, list(self.replica.expected)
        made = []
        for member, entries in blocks:
            ids = [command_id(seqs[member] + n, member) for n in range(len(entries))]
            named = [ENCODE(with_id(entry, id_)) for entry, id_ in zip(entries, ids, strict=True)]
            payload = encode_batch(seqs[member], named)
            made.append(Block(Ref(number, member, b"d" * 32), (), payload))
        now_ms = NOW_MS + number
        checkpoint = Checkpoint.first(COMMITTEE)._replace(
            commit=number, next_round=number + 1, time_ms=now_ms
        )
        leader = Ref(number, 0, b"d" * 32)
        end = checkpoint if is_checkpoint else None
        applied = self.replica.apply(Commit(number, leader, now_ms, tuple(made), end))
        self.replica.client_ids.check()
        self.firsts = applied.firsts
        return dict(zip(applied.ids, applied.results, strict=True))

    def reasons(self, *blocks: tuple[int, Sequence[Entry]]) -> list[Reason | None]:
        """Why each was refused."""
        results = self.apply(*blocks).values()
        return [e[0].reason if type(e[0]) is Rejected else None for e in results]


def levels(mesh: Mesh) -> list[tuple[int, int, int]]:
    return mesh.replica.exchange.depth(MARKET, Side.BUY, 10)


# One order of a name


def test_an_order_sent_to_two_members_is_executed_once() -> None:
    """In one commit, and in a later one; each replica can say which one counts."""
    mesh = Mesh()
    first, second = command_id(1, 0), command_id(1, 1)
    result = mesh.apply((0, [buy()]), (1, [buy()]))
    assert [type(event) for event in result[first]] == [Accepted]
    assert result[second] == [Rejected(second, "ann", Reason.SENT_BEFORE)]
    assert mesh.firsts == {first: first, second: first}
    assert mesh.reasons((2, [buy()]), (1, [buy()])) == [Reason.SENT_BEFORE] * 2
    assert set(mesh.firsts.values()) == {first}
    assert levels(mesh) == [(100, 5, 1)]


@pytest.mark.parametrize(
    "change",
    [{"price": 99}, {"quantity": 4}, {"side": Side.SELL}, {"post_only": True}, {"display": 1}],
)
def test_another_order_of_the_same_name_is_refused(change: dict[str, Any]) -> None:
    mesh = Mesh()
    other = msgspec.structs.replace(buy(), **change)
    assert mesh.reasons((0, [buy()]), (1, [other])) == [None, Reason.OTHER_ORDER]
    assert list(mesh.firsts) == [command_id(1, 0)], "it is no repeat of the first"
    assert levels(mesh) == [(100, 5, 1)]


def test_a_name_is_of_one_account_and_an_order_without_one_is_always_new() -> None:
    mesh = Mesh()
    assert (
        mesh.reasons((0, [buy(), buy(account="bob"), buy("d")]), (1, [buy(""), buy("")]))
        == [None] * 5
    )
    assert levels(mesh) == [(100, 25, 5)]


def test_a_rejected_or_finished_order_keeps_its_name() -> None:
    mesh, first = Mesh(), command_id(1, 0)
    assert mesh.reasons((0, [buy(price=0)]), (1, [buy(price=0)])) == [
        Reason.INVALID_PRICE,
        Reason.SENT_BEFORE,
    ]
    assert mesh.reasons((1, [buy("d")])) == [None]
    mesh.apply((1, [Cancel(0, "ann", command_id(2, 1))]))
    assert mesh.reasons((2, [buy("d")])) == [Reason.SENT_BEFORE]
    assert mesh.replica.client_ids.find(buy(price=0)).order == first  # type: ignore[union-attr]


def test_a_name_that_the_market_rejects_is_not_remembered() -> None:
    """Else a member could make the state as large as it likes."""
    mesh, long = Mesh(), "x" * 65
    for _ in range(2):
        assert mesh.reasons((0, [buy(long), buy(account=long)])) == [
            Reason.INVALID_CLIENT_ID,
            Reason.INVALID_ACCOUNT,
        ]
    assert len(mesh.replica.client_ids) == 0


# Orders that their traders sign


def test_the_same_signed_bytes_count_once_and_are_answered_by_the_first() -> None:
    mesh, mine = Mesh(), TRADER.sign(buy(account=TRADER.account))
    assert mesh.reasons((0, [mine]), (1, [mine])) == [None, Reason.SENT_BEFORE]
    assert mesh.firsts[command_id(1, 1)] == command_id(1, 0)
    nameless = TRADER.sign(buy("", account=TRADER.account))
    assert mesh.reasons((0, [nameless]), (1, [nameless])) == [None, Reason.NONCE_USED]


def test_a_repeat_under_a_new_signature_uses_its_nonce() -> None:
    """Else its bytes could be an order once the name is forgotten."""
    mesh = Mesh()
    first, again = (TRADER.sign(buy(account=TRADER.account)) for _ in range(2))
    assert mesh.reasons((0, [first]), (1, [again])) == [None, Reason.SENT_BEFORE]
    mesh.replica.client_ids = ClientIds()
    assert mesh.reasons((2, [again])) == [Reason.NONCE_USED]


def test_without_the_keys_signature_nobody_takes_a_name_or_learns_what_it_stands_for() -> None:
    mesh, mine = Mesh(), buy(account=TRADER.account)
    forged = msgspec.structs.replace(TRADER.sign(mine), signature=bytes(64))
    assert mesh.reasons((0, [mine, forged])) == [Reason.NOT_SIGNED, Reason.BAD_SIGNATURE]
    assert len(mesh.replica.client_ids) == 0
    assert mesh.reasons((1, [TRADER.sign(mine)])) == [None]
    assert mesh.reasons((0, [mine, forged])) == [Reason.NOT_SIGNED, Reason.NONCE_USED]
    assert mesh.firsts == {}


# What is remembered


def test_the_oldest_name_of_an_account_is_forgotten_first() -> None:
    """The limits themselves, in a replica: as many names as one account may have, and one more."""
    mesh = Mesh()
    mesh.apply((1, [buy("other", "bob")]))
    names = [buy(str(n), price=1 + n % 50) for n in range(NAMES_ACCOUNT_MAX + 1)]
    for at in range(0, len(names), 2_000):
        assert set(mesh.reasons((0, names[at : at + 2_000]))) == {None}
    assert len(mesh.replica.client_ids) == NAMES_ACCOUNT_MAX + 1
    again = [names[1], names[0], buy("other", "bob")]
    assert mesh.reasons((2, again)) == [Reason.SENT_BEFORE, None, Reason.SENT_BEFORE]


def test_all_names_together_have_a_limit() -> None:
    ids = ClientIds()
    for n in range(NAMES_MAX + 1):
        order = buy(str(n // 100), f"account {n % 100}")
        assert ids.admit(msgspec.structs.replace(order, id=n + 1)) is None
    ids.check()
    assert len(ids) == NAMES_MAX
    assert ids.find(buy("0", "account 0")) is None
    assert ids.find(buy("0", "account 1")) is not None
    pieces = [ENCODE(names) for _, names in ids.changed_chunks()]
    assert max(map(len, pieces)) < 256 * 1024


def test_a_chunk_of_the_longest_names_fits_a_message() -> None:
    ids, widest = ClientIds(), "\N{GRINNING FACE}" * 62
    for n in range(NAMES_PER_CHUNK):
        order = buy(f"{widest}{n:02}", widest)
        ids.admit(msgspec.structs.replace(order, id=2**53 - 1))
    [(_, names)] = ids.changed_chunks()
    assert len(ENCODE(names)) < 36 * 1024


# Against a plain model

MOST, ACCOUNT_MOST = 7, 3
ACTIONS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 5).map(str), st.integers(1, 2)), max_size=60
)


class Model:
    """The names as one list, searched from end to end."""

    def __init__(self, most: int, account_most: int) -> None:
        self.most, self.account_most = most, account_most
        self.names: list[Submit] = []

    def admit(self, order: Submit) -> tuple[Reason | None, int]:
        """The reason, and the first order."""
        for one in self.names:
            if (one.account, one.client_id) == (order.account, order.client_id):
                same = msgspec.structs.replace(order, id=one.id) == one
                return Reason.SENT_BEFORE if same else Reason.OTHER_ORDER, one.id
        own = [one for one in self.names if one.account == order.account]
        if len(own) == self.account_most:
            self.names.remove(own[0])
        elif len(self.names) == self.most:
            del self.names[0]
        self.names.append(order)
        return None, order.id


@settings(deadline=None)
@given(ACTIONS, st.lists(st.booleans(), min_size=60, max_size=60))
def test_names_are_as_in_the_model_also_after_a_restore(
    actions: list[tuple[str, str, int]], restores: list[bool]
) -> None:
    ids, model = ClientIds((), MOST, ACCOUNT_MOST), Model(MOST, ACCOUNT_MOST)
    pieces: dict[int, list[Name]] = {}
    for n, ((account, client_id, price), restore) in enumerate(
        zip(actions, restores, strict=False)
    ):
        order = msgspec.structs.replace(buy(client_id, account, price), id=n + 1)
        reason, first = model.admit(order)
        assert ids.admit(order) is reason
        assert ids.firsts.get(order.id) == (None if reason is Reason.OTHER_ORDER else first)
        ids.check()
        assert len(ids) == len(model.names)
        for one in model.names:
            found = ids.find(one)
            assert found is not None
            assert (found.order, found.digest) == (one.id, digest_of(one))
        if restore:
            pieces.update(ids.changed_chunks())
            pieces = {number: names for number, names in pieces.items() if names}
            ids = ClientIds(
                (name for names in pieces.values() for name in names), MOST, ACCOUNT_MOST
            )
            assert dict(ids.changed_chunks()) == pieces


@pytest.mark.parametrize("seed", range(6))
def test_a_replica_executes_what_the_model_does_and_so_does_a_restored_one(seed: int) -> None:
    """Three members' blocks of plain orders, some of them of the same names; another engine gets
    only those that the model takes for new."""
    rng, mesh, model = random.Random(seed), Mesh(), Model(NAMES_MAX, NAMES_ACCOUNT_MAX)
    plain, twin = Exchange(MARKETS), Mesh()
    for number in range(1, 2 * CHECKPOINT_EVERY + 1):
        blocks = [(member, [_some(rng) for _ in range(rng.randrange(5))]) for member in range(3)]
        blocks = [block for block in blocks if block[1]]
        is_checkpoint = number % CHECKPOINT_EVERY == 0
        results = mesh.apply(*blocks, is_checkpoint=is_checkpoint)
        assert twin.apply(*blocks, is_checkpoint=is_checkpoint) == results
        plain.advance(NOW_MS + number)
        commands = iter([command for _, commands in blocks for command in commands])
        for id_, events in results.items():
            command = with_id(next(commands), id_)
            reason = model.admit(command)[0] if getattr(command, "client_id", "") else None
            if reason is None:
                assert events == plain.apply(command)  # type: ignore[arg-type]
            else:
                assert events == [Rejected(id_, command.account, reason)]
        assert plain.digest() == mesh.replica.latest().digest
        if is_checkpoint:
            assert pieces_of(twin.replica) == pieces_of(mesh.replica)
            assert any(key >= CLIENT_IDS for key in pieces_of(mesh.replica))
            twin = Mesh(rebuilt(mesh.replica))
            assert twin.replica.attestation() == mesh.replica.attestation()


def _some(rng: random.Random) -> Command:
    if rng.random() < 0.1:
        return Cancel(0, "ann", command_id(rng.randrange(1, 60), rng.randrange(3)))
    name = rng.choice(["", str(rng.randrange(150))])
    account, side = rng.choice(["ann", "bob"]), rng.choice([Side.BUY, Side.SELL])
    same = random.Random(f"{account} {name}")
    price = rng.choice([same.randrange(95, 105), 100]) if name else rng.randrange(95, 105)
    return Submit(0, account, MARKET, Side.BUY if name else side, 5, price, client_id=name)
