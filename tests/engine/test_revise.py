"""An exchange that becomes another one: only the pieces that differ are given."""

import random

import msgspec
import pytest

from engine import (
    HEAD_KEY,
    Cancel,
    Exchange,
    Market,
    OpenOrder,
    Side,
    SnapshotError,
    Submit,
    rows_of,
)
from engine.book_side import SHARES_COUNTED_MAX
from tests.engine.test_differential import run
from tests.support.engine_flow import MARKETS, Flow
from tests.support.engine_states import DATED, LIMIT, MARKET, OTHER, after, but

decode, encode = msgspec.msgpack.decode, msgspec.msgpack.encode


def difference(before: Exchange, after: Exchange) -> dict[int, bytes]:
    """The pieces in which two exchanges differ, as of the second one."""
    return {key: after.piece(key) for key, _ in after.tree.changes(before.tree)}


def open_orders(exchange: Exchange) -> dict[int, OpenOrder]:
    return {order.id: order for order in exchange.orders_open()}


def become(exchange: Exchange, other: Exchange) -> None:
    """Assert that `exchange` becomes the same as the other, and says what came."""
    had, frozen, old = open_orders(exchange), exchange.freeze(), dict(exchange.pieces())
    changes = difference(exchange, other)
    came = exchange.revise(changes)
    exchange.check()
    assert dict(exchange.pieces()) == dict(other.pieces())
    assert exchange.digest() == other.digest()
    has = open_orders(exchange)
    assert has == open_orders(other)
    ids = set(came.ids)
    assert len(ids) == len(came.ids)
    assert {id_ for id_ in has if had.get(id_) != has[id_]} <= ids <= has.keys()
    rows = [(key, rows_of(key, piece)) for key, piece in came.pieces]
    assert [id_ for _, there in rows for id_ in there] == came.ids, "and no other order"
    for key, there in rows:
        assert there.items() <= rows_of(key, other.piece(key)).items()
    assert {key: frozen.piece(key) for key in changes} == {
        key: old.get(key, b"") for key in changes
    }


@pytest.mark.parametrize("seed", range(25))
def test_after_becoming_another_every_command_has_the_same_events(seed: int) -> None:
    """Forward, as a peer that was away, or into a state of which it shares little."""
    draw = random.Random(seed)
    flow, exchange = Flow(draw.choice), Exchange(MARKETS)
    for _ in range(6):
        run(exchange, [flow.step() for _ in range(draw.randrange(60))])
        late = Exchange.restore(exchange.pieces())
        if draw.random() < 0.3:
            run(late, [flow.step() for _ in range(draw.randrange(60))])
        run(exchange, [flow.step() for _ in range(draw.randrange(60))])
        if draw.random() < 0.5:
            exchange.depth("WIDE", Side.BUY, 9)
        become(late, exchange)
        steps = [flow.step() for _ in range(40)]
        assert run(late, steps) == run(exchange, steps)
        assert late.digest() == exchange.digest()
        late.check()
        for side in Side:
            assert late.depth("WIDE", side, 99) == exchange.depth("WIDE", side, 99)


def test_a_deep_level_keeps_its_shares_and_its_queue() -> None:
    count = 3 * SHARES_COUNTED_MAX
    orders = [but(LIMIT, id=id) for id in range(1, count + 1)]
    exchange, late = after(*orders), after(*orders[::2])
    assert len(exchange.shares("X", Side.BUY, 100)) == count
    become(late, exchange)
    assert late.shares("X", Side.BUY, 100) == exchange.shares("X", Side.BUY, 100)
    taker = Submit(count + 1, "bob", "X", Side.SELL, 10 * count, 100)
    assert late.apply(taker) == exchange.apply(taker)


def test_many_new_levels_and_few_ones_are_found_alike() -> None:
    few = [but(LIMIT, id=id, price=id) for id in range(1, 10)]
    many = [but(LIMIT, id=id, price=id) for id in range(10, 900)]
    late = after(*few)
    for exchange in (after(*few, *many), after(*few, *many, but(LIMIT, id=900, price=900))):
        become(late, exchange)
        assert late.depth("X", Side.BUY, 999) == exchange.depth("X", Side.BUY, 999)
    become(late, after(*few[:1]))
    assert late.depth("X", Side.BUY, 999) == [(1, 10, 1)]


def test_markets_that_came_or_have_other_limits() -> None:
    exchange, late = after(LIMIT), after(LIMIT)
    exchange.change_market(but(MARKET, orders_max=MARKET.orders_max + 1))  # type: ignore[arg-type]
    exchange.add_market(Market("Y", "1", "1"))
    exchange.apply(but(OTHER, market="Y"))
    become(late, exchange)
    assert late.market("X") == exchange.market("X")
    exchange.close_market("X")
    become(late, exchange)
    assert late.markets() == exchange.markets()
    with pytest.raises(
        SnapshotError, match=r"expected the markets \['X', 'Y'\] first, got \['X'\]"
    ):
        late.revise(difference(late, after(LIMIT)))


def test_pieces_that_are_no_state_are_refused() -> None:
    def refused(changes: dict[int, bytes], said: str) -> None:
        with pytest.raises(SnapshotError, match=said):
            after(LIMIT, but(DATED, id=3), but(DATED, id=4, expire_ms=20)).revise(changes)

    state = dict(after(LIMIT).pieces())
    head = decode(state[HEAD_KEY])
    refused({HEAD_KEY: b""}, "expected markets and clock")
    refused(
        {HEAD_KEY: encode([*head[:2], 9, head[3]])}, "order 3: expected none that had to expire"
    )
    refused({HEAD_KEY: encode([*head[:2], -1, head[3]])}, "expected a clock from 0")
    refused({0: state[0] + b"\0"}, "expected orders")
    refused({HEAD_KEY + 1: state[0]}, "expected a key of orders or of the head")
    refused({7: state[0] + b"\0"}, "expected orders")


def test_what_differs_is_all_that_is_touched() -> None:
    """An order that is as it was is the same object, in its place in the queue."""
    orders = [but(LIMIT, id=id, quantity=id) for id in range(1, 40)]
    exchange, late = after(*orders), after(*orders)
    kept = late.orders[2]
    exchange.apply(Cancel(50, "ann", 1))
    exchange.apply(but(LIMIT, id=51))
    become(late, exchange)
    assert late.orders[2] is kept
    assert exchange.ahead(51, 99) == late.ahead(51, 99)
