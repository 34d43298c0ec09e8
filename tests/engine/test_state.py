"""Digests, limits of a configuration, and what is kept after much coming and going."""

import gc
import random
import tracemalloc

import msgspec
import pytest

from engine import (
    CHUNK_SHIFT,
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
    Submit,
    TimeInForce,
)
from tests.support.engine_flow import MARKETS, Flow
from tests.support.engine_states import DATED, ICEBERG, LIMIT, MARKET, OTHER, STOP, after, but

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
