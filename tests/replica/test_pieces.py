"""The whole state of a replica in pieces: they make the same state again, or none."""

import random

import msgspec
import pytest

from peer.consensus.committer import CHECKPOINT_EVERY
from peer.replica.nonces import bucket_of
from peer.replica.snapshot import CLIENT_IDS, HEAD, SEATS, TRADES, InvalidSnapshotError
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch
from tests.support.pieces import COMMITTEE, Life, pieces_of, rebuilt

ENCODE = msgspec.msgpack.Encoder().encode


def grown() -> Replica:
    life = Life(3)
    for _ in range(CHECKPOINT_EVERY):
        life.commit()
    return life.replica


@pytest.fixture(scope="module")
def replica() -> Replica:
    return grown()


def test_pieces_make_the_same_state_with_the_same_future() -> None:
    """ORDER-40."""
    life, again = Life(4), Life(4)
    for _ in range(3 * CHECKPOINT_EVERY):
        commit, _ = life.commit()
        if commit.number > CHECKPOINT_EVERY:
            again.replica.apply(commit)
            assert again.replica.latest() == life.replica.latest()
        if commit.checkpoint is not None:
            again.replica = rebuilt(life.replica)
            again.replica.exchange.check()
            assert pieces_of(again.replica) == pieces_of(life.replica)
            assert again.replica.attestation() == life.replica.attestation()
            assert again.replica.trades == life.replica.trades


def test_a_piece_is_that_of_the_checkpoint_until_the_next(replica: Replica) -> None:
    keys = [key for key, _ in replica.tree]
    assert HEAD in keys
    assert TRADES + 0 in keys
    assert TRADES + 1 not in keys, "nothing was traded there"
    assert keys == sorted(keys)
    assert all(replica.piece(key) for key in keys)
    assert replica.piece(SEATS) == b""


def changes() -> list[tuple[str, dict[int, bytes]]]:
    head = msgspec.msgpack.decode(pieces_of(grown())[HEAD])
    seats = [("ed25519:a", 5, 0), ("ed25519:b", 6, 1)]
    buckets = [bucket_of(name) for name, *_ in seats]
    names = [
        (number, "a", client_id, 256, bytes(16))
        for number, client_id in ((0, "c"), (0, "d"), (1, "c"), (2, "e"))
    ]
    return [
        ("no head", {HEAD: b""}),
        ("noise", {HEAD: b"\xc1"}),
        ("another kind", {HEAD: ENCODE([1, 2])}),
        ("too few members", {HEAD: ENCODE([head[0], head[1][:-1], head[2]])}),
        ("too many markets", {HEAD: ENCODE([head[0], head[1], [*head[2], 0]])}),
        ("a number in more bytes than it needs", {HEAD: long_number(head)}),
        ("trades of no market", {TRADES + 2: ENCODE([[1, 1, 1, 1, 0, 256, 512]])}),
        ("no trades", {TRADES: ENCODE([])}),
        ("text that is none", {TRADES: b"\xa1\xff"}),
        ("another bucket", {SEATS + buckets[0] + 1: ENCODE(seats[:1])}),
        ("no seats", {SEATS + 1: ENCODE([])}),
        ("a seat twice", {SEATS + buckets[0]: ENCODE([seats[0], seats[0]])}),
        ("another kind of piece", {6 << 60: b"x"}),
        ("a kind of piece that there is not", {8 << 60: b"x"}),
        ("a name in another chunk", {CLIENT_IDS + 1: ENCODE(names[:1])}),
        ("a name twice", {CLIENT_IDS: ENCODE([names[0], names[2]])}),
        ("two names of one number", {CLIENT_IDS: ENCODE(names[:2])}),
        ("names in another order", {CLIENT_IDS: ENCODE([names[3], names[0]])}),
        ("no name", {CLIENT_IDS: ENCODE([[0, "a", "", 256, bytes(16)]])}),
        ("a name of no order", {CLIENT_IDS: ENCODE([[0, "a", "c", 0, bytes(16)]])}),
        ("a short digest", {CLIENT_IDS: ENCODE([[0, "a", "c", 256, bytes(15)]])}),
        ("no names", {CLIENT_IDS: ENCODE([])}),
        ("values inside values without end", {TRADES: b"\x91" * 5_000 + b"\xc0"}),
        ("no exchange", {1 << 60: b""}),
    ]


def long_number(head: list[object]) -> bytes:
    """The head with the first author's next number as 8 bytes."""
    whole = ENCODE(head)
    [expected, *_] = head[1]  # type: ignore[misc]
    short = ENCODE(head[1])
    long = short[:1] + b"\xcf" + expected.to_bytes(8, "big") + short[1 + len(ENCODE(expected)) :]
    assert whole.count(short) == 1
    return whole.replace(short, long)


@pytest.mark.parametrize(("what", "change"), changes())
def test_pieces_that_no_replica_can_have_are_refused(
    replica: Replica, what: str, change: dict[int, bytes]
) -> None:
    pieces = {key: piece for key, piece in (pieces_of(replica) | change).items() if piece}
    with pytest.raises(InvalidSnapshotError):
        Replica.restore(first_epoch(COMMITTEE), pieces)


def test_a_missing_or_random_piece_gives_another_state_or_an_error(replica: Replica) -> None:
    rng, whole = random.Random(1), pieces_of(replica)
    for _ in range(200):
        key = rng.choice(list(whole))
        data = bytearray(whole[key])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        changed = whole | {key: bytes(data)}
        if rng.random() < 0.3:
            del changed[key]
        try:
            other = Replica.restore(first_epoch(COMMITTEE), changed)
        except InvalidSnapshotError:
            continue
        assert other.tree.digest != replica.tree.digest
