"""The state in pieces: what the tree covers, what it costs, and moments that are kept."""

import gc
import random
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import (
    ACCOUNT_LENGTH_MAX,
    CHUNK_SHIFT,
    CLIENT_ID_LENGTH_MAX,
    HEAD_KEY,
    ID_MAX,
    PIECE_BYTES_MAX,
    TIME_MS_MAX,
    Cancel,
    Command,
    Exchange,
    HashTree,
    Leaf,
    Market,
    OrderType,
    Reduce,
    Side,
    Submit,
    TimeInForce,
    changed_ids,
    ids_of,
    key_of,
    leaf_digest,
    leaf_part,
    rows_of,
)
from engine import pieces as pieces_module
from engine.rows import spliced
from peer.consensus.block import FRAME_BYTES_MAX
from tests.engine.test_differential import Trio, run
from tests.support.engine_flow import MARKETS, Flow

MARKET = Market("X", "1", "1")
STEP = 1 << CHUNK_SHIFT  # between ids of neighbouring pieces


def submit(id: int, price: int = 100) -> Submit:
    return Submit(id, "ann", "X", Side.BUY, 10, price)


def exchange_of(*ids: int) -> Exchange:
    exchange = Exchange([MARKET])
    exchange.apply_batch([submit(id) for id in ids])
    return exchange


def tree_of(pieces: dict[int, bytes]) -> HashTree:
    return HashTree().updated(Leaf(key, leaf_digest(key, piece)) for key, piece in pieces.items())


@pytest.mark.parametrize("seed", range(20))
def test_a_state_rebuilt_from_its_pieces_midway_is_the_same(seed: int) -> None:
    """MATCH-33: at any moment, and again and again: the naive book and the reader never notice."""
    draw = random.Random(5000 + seed)
    flow = Flow(draw.choice)
    trio = Trio()
    for _ in range(150):
        trio.step(flow.step())
        if draw.random() < 0.15:
            before = trio.exchange
            trio.exchange = Exchange.restore(before.pieces())
            assert (
                trio.exchange.digest() == before.digest() == tree_of(dict(before.pieces())).digest
            )
            trio.seen.clear()
            trio.compare()


@pytest.mark.parametrize("seed", range(12))
def test_a_frozen_state_equals_a_copy(seed: int) -> None:
    """Whether or not the tree is asked for while it lasts, and at which moments."""
    draw = random.Random(6000 + seed)
    flow = Flow(draw.choice)
    exchange = Exchange(MARKETS)
    for _ in range(12):
        run(exchange, [flow.step() for _ in range(draw.randrange(30))])
        frozen, copy = exchange.freeze(), dict(exchange.pieces())
        for _ in range(draw.randrange(6)):
            run(exchange, [flow.step() for _ in range(draw.randrange(12))])
            exchange.keep_up(draw.randrange(4))
            if draw.random() < 0.7:
                exchange.digest()
            keys = copy.keys() | dict(exchange.pieces()).keys()
            assert {key: frozen.piece(key) for key in keys} == dict.fromkeys(keys, b"") | copy


@pytest.mark.parametrize("seed", range(6))
def test_work_done_early_changes_no_piece(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """MATCH-32: whatever part was done, and when."""
    draw = random.Random(seed)
    for name in ("ORDERS_MAX", "LEAVES_MAX"):
        monkeypatch.setattr(pieces_module, name, draw.choice((1, 10, 10**9)))
    early, late = Exchange(MARKETS), Exchange(MARKETS)
    flow = Flow(draw.choice)
    for _ in range(60):
        steps = [flow.step() for _ in range(draw.randrange(20))]
        run(early, steps)
        run(late, steps)
        early.keep_up(draw.randrange(4))
        early.check()
        if draw.random() < 0.3:
            assert dict(early.pieces()) == dict(late.pieces())
            assert early.digest() == late.digest() == tree_of(dict(late.pieces())).digest


def test_little_is_left_for_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders all over a large state change, for many commits. At no time is more than a bounded
    number of pieces changed or hashed, and what is left at the end does not grow with the number of
    commits."""
    exchange = exchange_of(*(n * STEP + 1 for n in range(6_000)))
    exchange.digest()
    done = {"spliced": 0, "leaves": 0}
    real = pieces_module.spliced

    def counted(piece: bytes, changes: Sequence[tuple[int, bytes]]) -> bytes:
        done["spliced"] += 1
        return real(piece, changes)

    monkeypatch.setattr(pieces_module, "spliced", counted)
    commits = [range(start, 6_000, 60) for start in range(60)]
    most = spliced_before = 0
    for left, changed in zip(reversed(range(1, 61)), commits, strict=True):
        exchange.apply_batch([Reduce(0, "ann", n * STEP + 1, 5) for n in changed])
        exchange.keep_up(left)
        most = max(most, done["spliced"] - spliced_before)
        spliced_before = done["spliced"]
        assert len(exchange._pieces._leaves) <= pieces_module.LEAVES_MAX + most
    left_over = len(exchange._pieces._leaves)
    exchange.digest()
    assert done["spliced"] == 6_000  # each once: all of them in time
    assert done["spliced"] - spliced_before == 0
    assert 0 < most <= 1_000
    assert left_over <= 1_000


def test_frozen_states_are_independent_until_they_are_closed() -> None:
    exchange = exchange_of(1)
    first = exchange.freeze()
    exchange.apply(Reduce(2, "ann", 1, 5))
    second = exchange.freeze()
    exchange.apply(Reduce(3, "ann", 1, 4))
    exchange.digest()
    assert [rows_of(0, one.piece(0))[1].remaining for one in (first, second)] == [10, 5]
    assert (first.kept, second.kept) == (1, 1)
    first.close()
    with pytest.raises(AssertionError, match="closed"):
        first.piece(0)
    assert rows_of(0, second.piece(0))[1].remaining == 5
    second.close()
    exchange.apply(Reduce(4, "ann", 1, 3))
    assert rows_of(0, dict(exchange.pieces())[0])[1].remaining == 3
    assert (first.kept, second.kept) == (0, 0)


def test_a_released_frozen_state_costs_nothing_and_keeps_no_exchange() -> None:
    gc.disable()
    try:
        exchange = exchange_of(1)
        exchange.freeze()
        exchange.digest()
        assert exchange._pieces._frozen == []
        frozen = exchange.freeze()
        pieces = dict(exchange.pieces())
        del exchange
        assert {key: frozen.piece(key) for key in pieces} == pieces
    finally:
        gc.enable()


def test_a_piece_is_that_of_the_last_tree() -> None:
    exchange = exchange_of(1, STEP)
    assert exchange.piece(0) == exchange.piece(HEAD_KEY) == b""
    tree = exchange.tree
    pieces = {key: exchange.piece(key) for key, _ in tree}
    assert pieces.keys() == {0, 1, HEAD_KEY}
    assert tree_of(pieces).digest == tree.digest
    exchange.apply(Cancel(2, "ann", STEP))
    exchange.changes("X")
    assert {key: exchange.piece(key) for key in pieces} == pieces
    assert [leaf.key for leaf in exchange.tree.changes(tree)] == [1]
    assert exchange.piece(1) == b""


@pytest.mark.parametrize("asked", ["tree", "changes", "depth"])
def test_a_commit_changes_the_pieces_of_its_orders_alone(asked: str) -> None:
    """Whatever was asked in between, only these are encoded again."""
    exchange = exchange_of(*range(1, 40 * STEP, STEP // 4))
    tree = exchange.tree
    commands: list[Command] = [Reduce(9, "ann", 5 * STEP + 1, 3), Cancel(9, "ann", 7 * STEP + 1)]
    for command in [*commands, submit(41 * STEP), submit(50 * STEP), Cancel(9, "ann", 50 * STEP)]:
        exchange.apply(command)
        if asked == "tree":
            exchange.digest()
        elif asked == "changes":
            exchange.changes("X")
        else:
            exchange.depth("X", Side.BUY, 5)
    assert [leaf.key for leaf in exchange.tree.changes(tree)] == [5, 7, 41]
    exchange.check()


def test_an_order_that_arrives_and_leaves_between_two_queries_leaves_no_trace() -> None:
    exchange = exchange_of(1)
    tree = exchange.tree
    exchange.apply_batch([submit(STEP), Cancel(9, "ann", STEP)])
    assert not exchange._pieces.stale
    assert exchange.tree.digest == tree.digest


def test_the_clock_changes_the_head_alone() -> None:
    exchange = exchange_of(1)
    tree = exchange.tree
    exchange.advance(5)
    assert [leaf.key for leaf in exchange.tree.changes(tree)] == [HEAD_KEY]


LOWS = st.integers(0, STEP - 1)
ROWS = st.dictionaries(LOWS, st.binary(min_size=1, max_size=300), max_size=30)


@given(ROWS, st.lists(st.dictionaries(LOWS, st.binary(max_size=300), max_size=8), max_size=4))
def test_a_piece_depends_on_its_rows_alone(
    rows: dict[int, bytes], changes: list[dict[int, bytes]]
) -> None:
    """However they came into it, and however often one changed; an empty row is none."""
    piece = spliced(b"", sorted(rows.items()))
    for change in changes:
        piece = spliced(piece, sorted((7 * STEP + low, row) for low, row in change.items()))
        rows = {low: row for low, row in (rows | change).items() if row}
        assert piece == spliced(b"", sorted(rows.items()))
    lows = b"".join(low.to_bytes(2, "little") for low in sorted(rows))
    lengths = b"".join(len(rows[low]).to_bytes(2, "little") for low in sorted(rows))
    body = b"".join(rows[low] for low in sorted(rows))
    assert piece == (len(rows).to_bytes(2, "little") + lows + lengths + body if rows else b"")


def test_rows_contain_all_fields_of_an_order() -> None:
    exchange = Exchange([MARKET, Market("Y", "1", "1")])
    exchange.apply(Submit(STEP + 7, "ann", "Y", Side.SELL, 10, 100, display=3, client_id="c"))
    exchange.apply(Submit(STEP + 2, "bob", "Y", Side.SELL, 4, 100))
    exchange.apply(Submit(STEP + 9, "bob", "Y", Side.BUY, 3, 100))
    first, second = rows_of(1, dict(exchange.pieces())[1]).items()
    assert (first[0], *first[1][:9]) == (STEP + 2, "bob", 1, Side.SELL, 100, 4, 4, 0, 6, "")
    assert (second[0], *second[1][:9]) == (STEP + 7, "ann", 1, Side.SELL, 100, 10, 7, 4, 2, "c")
    assert first[1].terms is None
    assert second[1].terms is not None
    assert second[1].terms.display == 3
    assert rows_of(1, b"") == {}


def test_the_largest_piece_fits_a_message() -> None:
    """Orders of all sources there can be, with the longest of everything."""
    terms = (OrderType.STOP_LIMIT, TimeInForce.GTD, True, 10**12, 10**12, 3, TIME_MS_MAX)
    name = "\N{GRINNING FACE}" * ACCOUNT_LENGTH_MAX
    client_id = "\N{GRINNING FACE}" * CLIENT_ID_LENGTH_MAX
    row = msgspec.msgpack.encode(
        (name, 2**16, 1, 10**12, ID_MAX, ID_MAX, ID_MAX, ID_MAX, client_id, terms)
    )
    pieces: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for id in range(ID_MAX - STEP + 1, ID_MAX + 1):
        first, last = ids_of(key_of(id))
        assert first <= id <= last
        pieces[key_of(id)].append((id, row))
    longest = max(len(spliced(b"", rows)) for rows in pieces.values())
    assert longest <= PIECE_BYTES_MAX
    assert PIECE_BYTES_MAX + len(leaf_part(0, b"")) <= FRAME_BYTES_MAX


@pytest.mark.parametrize("seed", range(20))
def test_few_changes_give_the_same_piece_as_many(seed: int) -> None:
    draw = random.Random(seed)
    rows: dict[int, bytes] = {}
    piece = b""
    for _ in range(200):
        ids = sorted(draw.sample(range(40), draw.choice((1, 1, 2, 3, 4, 20))))
        changes = [(id, draw.choice((b"", bytes(draw.randrange(1, 300))))) for id in ids]
        piece = spliced(piece, changes)
        rows.update(changes)
        assert piece == spliced(b"", [(id, row) for id, row in sorted(rows.items()) if row])


def test_orders_that_changed_between_two_versions_of_a_piece_are_found() -> None:
    exchange = exchange_of(1, 2, 3, 5)
    before = dict(exchange.pieces())[0]
    exchange.apply_batch([submit(4), Reduce(0, "ann", 2, 5), Cancel(0, "ann", 3)])
    after = dict(exchange.pieces())[0]
    assert changed_ids(0, before, after) == [2, 4]
    assert changed_ids(0, after, before) == [2, 3]
    assert changed_ids(0, after, after) == changed_ids(0, after, b"") == []
    key = key_of(STEP + 17)
    assert changed_ids(key, b"", dict(exchange_of(STEP + 17).pieces())[key]) == [STEP + 17]
