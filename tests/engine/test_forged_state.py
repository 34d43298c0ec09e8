"""Pieces that no exchange has made are refused, and the words say what is wrong with them."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine import (
    CHUNK_SHIFT,
    HEAD_KEY,
    ID_MAX,
    KIND_SHIFT,
    Command,
    Exchange,
    OrderType,
    Side,
    SnapshotError,
    rows_of,
)
from engine.pieces import STATE_VERSION
from tests.support.engine_states import LIMIT, OTHER, STOP, after, but
from tests.support.rows import FIELDS, beyond, packed, unpacked

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


Change = Callable[[list[Any]], object]


def refused(pieces: dict[int, bytes], said: str = "") -> None:
    with pytest.raises(SnapshotError, match=said):
        Exchange.restore(pieces.items())


def test_every_changed_or_missing_byte_is_noticed() -> None:
    """It is refused, or it is another state: then the digest is another one."""
    exchange = after(LIMIT, STOP)
    pieces = dict(exchange.pieces())
    for key, piece in pieces.items():
        changed = [piece[:at] for at in range(len(piece))] + [piece + b"\0"]
        changed += [
            piece[:at] + bytes([piece[at] ^ 1 << bit]) + piece[at + 1 :]
            for at in range(len(piece))
            for bit in (0, 4, 7)
        ]
        for each in changed:
            try:
                other = Exchange.restore((pieces | {key: each}).items())
            except SnapshotError:
                continue
            other.check()
            assert other.digest() != exchange.digest()
            assert dict(other.pieces()) == pieces | {key: each}


def forged(change: Change, *commands: Command | int) -> dict[int, bytes]:
    """Pieces with one thing changed in the rows of the first one. `change` gets their fields."""
    pieces = dict(after(*commands).pieces())
    ids, rows = zip(*unpacked(0, pieces[0]), strict=True)
    change(rows := list(rows))
    return pieces | {0: packed(zip(ids, rows, strict=True))}


def forged_head(change: Change, *commands: Command) -> dict[int, bytes]:
    pieces = dict(after(*commands).pieces())
    head = decode(pieces[HEAD_KEY])
    change(head)
    return pieces | {HEAD_KEY: encode(head)}


def setting(field: str, value: object, at: int = 0) -> Change:
    def change(rows: list[Any]) -> None:
        rows[at][FIELDS.index(field)] = value

    return change


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("expected orders: .*length >= 1", setting("account", "")),
        ("expected orders: .*length <= 64", setting("client_id", "c" * 65)),
        ("INVALID_PRICE", setting("price", 0)),
        ("expected orders: .*>= 1", setting("quantity", 0)),
        ("INVALID_EXPIRY", setting("terms", [0, 3, False, 0, 0, 0, 0])),
        ("INVALID_DISPLAY", setting("terms", [0, 0, False, 0, -1, 0, 0])),
        ("a market from 0 to 0, got 1", setting("market", 1)),
        ("expected orders: .*>= 0", setting("market", -1)),
        ("can rest", setting("terms", [0, 1, False, 0, 0, 0, 0])),
        ("no terms for a plain order", setting("terms", [0, 0, False, 0, 0, 0, 0])),
        ("INVALID_PRICE", setting("terms", [1, 0, False, 0, 0, 0, 0])),
        ("expected orders: .*>= 1", setting("remaining", 0)),
        ("open quantity", setting("remaining", 11)),
        ("open quantity", setting("quantity", 2**62)),
        ("expected orders: .*>= 0", setting("hidden", -1)),
        ("less hidden than open", setting("hidden", 10)),
        ("display quantity", setting("hidden", 5)),
        ("display quantity", setting("terms", [0, 0, False, 0, 1, 0, 0])),
        ("expected orders: .*>= 0", setting("behind", -1)),
        ("expected orders: .*<= 9007199254740991", setting("behind", 2**53)),
        ("expected orders:", setting("side", 2)),
        ("expected orders:", setting("price", "100")),
        ("expected orders:", lambda rows: rows[0].pop()),
        ("expected orders:", lambda rows: rows[0].append(0)),
    ],
)
def test_a_forged_order_is_refused(said: str, change: Change) -> None:
    refused(forged(change, LIMIT), said)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        (
            f"expected state version {STATE_VERSION}, got {STATE_VERSION + 1}",
            lambda head: head.__setitem__(0, STATE_VERSION + 1),
        ),
        ("expected one book for each of 1 markets, got 0", lambda head: head[3].clear()),
        ("expected at least one market", lambda head: (head[1].clear(), head[3].clear())),
        ("got 'X' twice", lambda head: (head[1].append(head[1][0]), head[3].append(head[3][0]))),
        ("expected markets and clock:", lambda head: head.append(0)),
        ("expected markets and clock:", lambda head: head.__setitem__(2, "now")),
        ("expected a clock from 0", lambda head: head.__setitem__(2, -1)),
        ("expected a last price from 0", lambda head: head[3][0].__setitem__(1, -1)),
        ("expected a last price from 0", lambda head: head[3][0].__setitem__(1, 10**12 + 1)),
    ],
)
def test_a_forged_head_is_refused(said: str, change: Change) -> None:
    refused(forged_head(change, LIMIT), said)


def test_pieces_under_wrong_keys_or_none_are_refused() -> None:
    pieces = dict(after(LIMIT).pieces())
    piece, zero = pieces[0], packed([(0, unpacked(0, pieces[0])[0][1])])
    refused({}, "expected a piece with markets and clock, got none")
    refused({HEAD_KEY: b""}, "expected markets and clock:")
    refused(pieces | {2 << KIND_SHIFT: piece}, "expected a key of orders or of the head, got 2305")
    refused(pieces | {HEAD_KEY + 1: piece}, "expected a key of orders or of the head")
    refused(pieces | {ID_MAX + 1 >> CHUNK_SHIFT: piece}, "piece .*: expected ascending ids")
    refused(pieces | {-1: piece}, "expected a key of orders or of the head, got -1")
    refused(pieces | {0: zero}, r"expected ascending ids from 1 to 3855, .*, got \[0\]")
    refused(pieces | {0: beyond(piece)}, r"expected ascending ids from 1 to 3855, .*, got \[4096\]")
    with pytest.raises(SnapshotError, match="expected each key once, got 0 twice"):
        Exchange.restore([*pieces.items(), (0, piece)])


def test_an_order_in_the_piece_of_other_members_is_refused() -> None:
    """Whole pieces would fit no message, and one state would have several forms."""
    near, far = (LIMIT, msgspec.structs.replace(LIMIT, id=16))
    pieces = dict(after(near, far).pieces())
    (_, near_piece), (key, far_piece), _ = sorted(pieces.items())
    assert rows_of(0, near_piece).keys() == {1}
    assert rows_of(key, far_piece).keys() == {16}
    both = packed([*unpacked(0, near_piece), *unpacked(key, far_piece)])
    refused({0: both, HEAD_KEY: pieces[HEAD_KEY]}, "of neighbouring sources")
    refused({key: near_piece, HEAD_KEY: pieces[HEAD_KEY]}, "of neighbouring sources")
    refused({16 * key: far_piece, HEAD_KEY: pieces[HEAD_KEY]}, "of neighbouring sources")


def test_orders_that_do_not_ascend_are_refused() -> None:
    pieces = dict(after(LIMIT, OTHER).pieces())
    piece = pieces[0]
    assert piece[:6] == bytes((2, 0, 1, 0, 2, 0))  # two rows, of the orders 1 and 2
    for lows in ((1, 0, 1, 0), (2, 0, 1, 0)):
        refused(pieces | {0: piece[:2] + bytes(lows) + piece[6:]}, "expected ascending ids")


def test_a_second_encoding_of_the_same_is_refused() -> None:
    pieces = dict(after(LIMIT).pieces())
    head = pieces[HEAD_KEY]
    assert head[0] & 0xF0 == 0x90  # an array of fewer than 16: its length can be written longer
    wide = b"\xdc\0" + bytes([head[0] & 15]) + head[1:]
    refused(pieces | {HEAD_KEY: wide}, "canonical encoding")
    piece = pieces[0]
    row = b"\xdc\0\x0a" + piece[7:]
    refused(pieces | {0: piece[:4] + len(row).to_bytes(2, "little") + row}, "canonical encoding")
    refused(pieces | {0: piece + b"\0"}, "expected orders:")
    refused(pieces | {0: b"\0\0"}, "canonical encoding")
    refused(pieces | {0: b""}, "canonical encoding")
    refused(pieces | {0: b"\2\0\1\0"}, "expected an index of 8 bytes, got 2")


def test_a_crossed_book_is_refused() -> None:
    crossed = setting("price", 100, at=1)
    refused(forged(crossed, LIMIT, but(OTHER, side=Side.SELL, price=101)), "crossed")


def test_two_orders_with_one_priority_are_refused() -> None:
    refused(
        forged(setting("behind", 1), LIMIT, OTHER),
        "order .: expected a priority of its own, got that of order .",
    )


def test_a_waiting_stop_has_no_hidden_quantity() -> None:
    iceberg = but(LIMIT, type=OrderType.STOP_LIMIT, stop_price=110, display=9)
    refused(forged(setting("hidden", 1), iceberg), "less hidden than open")


def test_a_stop_that_should_have_triggered_is_refused() -> None:
    reached = setting("terms", [2, 0, False, 100, 0, 0, 0])
    traded = (but(LIMIT, id=8), but(LIMIT, id=9, side=Side.SELL))
    refused(forged(reached, *traded, STOP), "stop")


@pytest.mark.parametrize("limit", ["orders_max", "orders_per_account_max"])
def test_limits_hold_for_pieces_too(limit: str) -> None:
    def lower(head: list[Any]) -> None:
        head[1][0][limit] = 1

    refused(forged_head(lower, LIMIT, OTHER), "at most 1 open orders")
