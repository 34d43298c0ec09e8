"""Pieces, digests, limits of a configuration, and what is kept after much coming and going."""

import gc
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine import (
    CHUNK_SHIFT,
    HEAD_KEY,
    ID_MAX,
    KIND_SHIFT,
    Cancel,
    Command,
    Exchange,
    Halt,
    Market,
    MarketError,
    OrderType,
    Reduce,
    Replace,
    SelfTrade,
    Side,
    SnapshotError,
    Submit,
    TimeInForce,
    rows_of,
)
from tests.support.engine_flow import MARKETS, Flow
from tests.support.rows import FIELDS, beyond, packed, unpacked

MARKET = Market("X", "0.01", "0.001")

LIMIT = Submit(1, "ann", "X", Side.BUY, 10, 100)
ICEBERG = Submit(1, "ann", "X", Side.BUY, 10, 100, display=3)
STOP = Submit(1, "ann", "X", Side.BUY, 10, 0, OrderType.STOP, stop_price=110)
DATED = Submit(1, "ann", "X", Side.BUY, 10, 100, tif=TimeInForce.GTD, expire_ms=9)


def after(
    *commands: Command | int, market: Market = MARKET, exchange_class: type[Exchange] = Exchange
) -> Exchange:
    exchange = exchange_class([market])
    for command in commands:
        if isinstance(command, int):
            exchange.advance(command)
        else:
            exchange.apply(command)
    return exchange


def but(command: Command, **fields: object) -> Command:
    changed: Command = msgspec.structs.replace(command, **fields)
    return changed


OTHER = but(LIMIT, id=2)
DIFFERENT: dict[str, tuple[list[Command | int], list[Command | int]]] = {
    "an order": ([LIMIT], []),
    "clock": ([1], [2]),
    "id": ([LIMIT], [but(LIMIT, id=2)]),
    "account": ([LIMIT], [but(LIMIT, account="bob")]),
    "side": ([LIMIT], [but(LIMIT, side=Side.SELL)]),
    "price": ([LIMIT], [but(LIMIT, price=101)]),
    "quantity": ([LIMIT], [but(LIMIT, quantity=11)]),
    "client_id": ([LIMIT], [but(LIMIT, client_id="mine")]),
    "post_only": ([LIMIT], [but(LIMIT, post_only=True)]),
    "self_trade": ([LIMIT], [but(LIMIT, self_trade=SelfTrade.DECREMENT)]),
    "display": ([ICEBERG], [but(ICEBERG, display=4)]),
    "expiry": ([DATED], [but(DATED, expire_ms=10)]),
    "open quantity": ([LIMIT], [LIMIT, Reduce(5, "ann", 1, 9)]),
    "quantity as accepted": ([but(LIMIT, quantity=9)], [LIMIT, Reduce(5, "ann", 1, 9)]),
    "quantity as replaced": (
        [LIMIT, Reduce(5, "ann", 1, 9)],
        [LIMIT, Replace(5, "ann", 1, 100, 9)],
    ),
    "queue": ([LIMIT, OTHER], [OTHER, LIMIT]),
    "queue of stops": ([STOP, but(STOP, id=2)], [but(STOP, id=2), STOP]),
    "stop price": ([STOP], [but(STOP, stop_price=111)]),
    "stop or stop-limit": ([STOP], [but(STOP, type=OrderType.STOP_LIMIT, price=100)]),
    "time in force of a stop": ([STOP], [but(STOP, tif=TimeInForce.FOK)]),
    "hidden part": (
        [ICEBERG, but(LIMIT, id=2, side=Side.SELL, quantity=2)],
        [but(ICEBERG, quantity=8)],
    ),
    "halt": ([], [Halt(5, "op", "X")]),
    "last trade": (
        [LIMIT, but(OTHER, side=Side.SELL)],
        [but(LIMIT, price=99), but(OTHER, side=Side.SELL, price=99)],
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_different_states_have_different_digests(what: str) -> None:
    one, other = (after(*commands) for commands in DIFFERENT[what])
    assert one.digest() != other.digest()
    assert one.digest() == after(*DIFFERENT[what][0]).digest()
    for exchange in (one, other):
        restored = Exchange.restore(exchange.pieces())
        assert restored.digest() == exchange.digest()
        restored.check()


def test_the_digest_covers_the_configuration() -> None:
    changes = {
        "symbol": "Y",
        "tick": "0.1",
        "lot": "1",
        "quantity_min": 2,
        "quantity_max": 99,
        "price_max": 99,
        "price_band_percent": 1,
        "orders_per_account_max": 9,
        "orders_max": 9,
        "iceberg_slices_max": 9,
    }
    assert set(changes) == set(Market.__struct_fields__)
    digests = {after().digest()}
    for field, value in changes.items():
        digests.add(after(market=msgspec.structs.replace(MARKET, **{field: value})).digest())
    assert len(digests) == 1 + len(changes)


def test_the_same_state_has_the_same_digest_again() -> None:
    exchange = after(LIMIT, 5)
    before = exchange.digest()
    exchange.apply(OTHER)
    assert exchange.digest() != before
    exchange.apply(Cancel(3, "ann", 2))
    assert exchange.digest() == before


# Pieces that are no state

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
        ("expected state version 4, got 5", lambda head: head.__setitem__(0, 5)),
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


# Configurations


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("symbol", {"symbol": ""}),
        ("symbol", {"symbol": "s" * 33}),
        ("tick", {"tick": "0"}),
        ("tick", {"tick": "0.00"}),
        ("tick", {"tick": "-1"}),
        ("tick", {"tick": "1e3"}),
        ("lot", {"lot": ""}),
        ("lot", {"lot": "1."}),
        ("quantity_min", {"quantity_min": 0}),
        ("quantity_min", {"quantity_min": 2, "quantity_max": 1}),
        ("quantity_max", {"quantity_max": 2**53}),
        ("price_max", {"price_max": 0}),
        ("price_band_percent", {"price_band_percent": -1}),
        ("orders_per_account_max", {"orders_per_account_max": 0}),
        ("orders_max", {"orders_max": 0}),
        ("iceberg_slices_max", {"iceberg_slices_max": 0}),
        ("times orders_max", {"quantity_max": 2**53 - 1, "orders_max": 1025}),
    ],
)
def test_an_invalid_market_is_refused(said: str, fields: dict[str, object]) -> None:
    with pytest.raises(MarketError, match=said):
        Exchange([msgspec.structs.replace(MARKET, **fields)])


def test_an_invalid_set_of_markets_is_refused() -> None:
    with pytest.raises(MarketError, match="got 'X' twice"):
        Exchange([MARKET, MARKET])
    with pytest.raises(MarketError, match="expected at least one market"):
        Exchange([])


def test_level_totals_fit_64_bits() -> None:
    """A level can hold at most what msgpack has integers for."""
    market = msgspec.structs.replace(MARKET, quantity_max=2**53 - 1, orders_max=1024)
    exchange = Exchange([market])
    for id in range(1, 1025):
        exchange.apply(but(LIMIT, id=id, quantity=2**53 - 1))
    ((_, quantity, orders),) = exchange.depth("X", Side.BUY, 1)
    assert orders == 1024
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(quantity)) == quantity


# Questions


def test_queries_about_unknown_markets_and_orders() -> None:
    exchange = after()
    assert exchange.order(1) is None
    assert exchange.open_orders("ann") == []
    assert exchange.open_orders("ann", "Y") == []
    assert exchange.depth("X", Side.BUY, 10) == []
    assert exchange.changes("X") == []
    assert exchange.next_expiry() is None
    with pytest.raises(KeyError):
        exchange.depth("Y", Side.BUY, 10)
    with pytest.raises(KeyError):
        exchange.changes("Y")


def test_depth_is_cut_and_best_first() -> None:
    exchange = after(*(but(LIMIT, id=id, price=100 - id) for id in range(1, 6)))
    assert exchange.depth("X", Side.BUY, 2) == [(99, 10, 1), (98, 10, 1)]
    assert exchange.depth("X", Side.BUY, 0) == []
    assert exchange.depth("X", Side.BUY, -1) == []


def test_the_next_expiry() -> None:
    exchange = after(DATED, but(DATED, id=2, expire_ms=7))
    assert exchange.next_expiry() == 7
    assert exchange.time_ms == 0
    exchange.advance(7)
    assert exchange.next_expiry() == 9
    exchange.apply(Cancel(5, "ann", 1))
    assert exchange.next_expiry() is None
    assert exchange.time_ms == 7


# What is left behind


@pytest.mark.parametrize("step", [1, 256, 1 << CHUNK_SHIFT])
def test_no_dictionary_holds_most_of_the_open_orders(step: int) -> None:
    """Ids in a row, of one member, and of one order a piece. A large one would stop a command."""
    count = 50_000
    exchange = Exchange([MARKET])
    orders = [Submit(step * n, "ann", "X", Side.BUY, 1, 100) for n in range(1, count + 1)]
    exchange.apply_batch(orders)
    exchange.apply_batch([Cancel(0, "ann", order.id) for order in orders[::2]])
    for one in (exchange, Exchange.restore(exchange.pieces())):
        assert len(one.orders) == count // 2
        assert max(map(len, one.orders.parts)) <= max(1 << CHUNK_SHIFT, count // 100)
        one.check()


def test_no_memory_is_kept_for_closed_orders() -> None:
    """Twelve thousand orders of as many accounts come and go, after a first four thousand."""
    exchange = Exchange([MARKET])

    def churn(start: int) -> None:
        draw = random.Random(start)
        for id in range(start, start + 4_000):
            side = draw.choice((Side.BUY, Side.SELL))
            price = draw.randrange(90, 111)
            exchange.apply(
                Submit(
                    id,
                    f"account {id}",
                    "X",
                    side,
                    draw.randrange(1, 9),
                    price,
                    tif=TimeInForce.GTD,
                    expire_ms=id + 50,
                    client_id=f"order {id}",
                )
            )
            exchange.advance(id)
            exchange.changes("X")
            exchange.digest()
        exchange.advance(start + 20_000)

    churn(1)
    gc.collect()
    tracemalloc.start()
    for start in (30_001, 60_001, 90_001):
        churn(start)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    book = exchange.books["X"]
    assert len(exchange.ledger.orders) == 0
    assert list(exchange.ledger.expiries) == []
    assert book.accounts == {}
    assert book.open == 0
    assert all(
        not book_side.levels and not book_side.keys for book_side in (*book.sides, *book.stops)
    )
    assert kept < 100_000  # bytes


def test_no_memory_is_kept_for_a_dropped_exchange() -> None:
    exchange = after(*(but(LIMIT, id=id, price=id % 7 + 1) for id in range(1, 5_001)))
    pieces = dict(exchange.pieces())
    Exchange.restore(pieces.items())
    gc.collect()
    tracemalloc.start()
    for _ in range(3):
        Exchange.restore(pieces.items())
    exchange.advance(1)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000  # bytes
    exchange.check()


def test_the_same_flow_twice_is_the_same_to_the_byte() -> None:
    states = []
    for _ in range(2):
        draw = random.Random(7)
        flow = Flow(draw.choice)
        exchange = Exchange(MARKETS)
        for _ in range(500):
            step = flow.step()
            exchange.advance(step) if isinstance(step, int) else exchange.apply(step)
        states.append((dict(exchange.pieces()), exchange.digest()))
    assert states[0] == states[1]
