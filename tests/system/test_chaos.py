"""A short run of chaos (`make chaos` is the long one), and tests of its verdict."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest

from engine import Accepted, Cancel, Cancelled, OpenOrder, OrderType, Side, Submit, Trade
from engine import TimeInForce as Tif
from tests.chaos import KINDS, Chaos, found_by_grapes, on_a_cuttable_network, plan
from tests.support.real_mesh import MARKET
from tests.support.traders import Record, Sent
from tests.support.verdict import Book, Row, faults

SECONDS = 11.0
Setting = Callable[[Path, int], AbstractContextManager[Chaos]]


@pytest.mark.parametrize(("setting", "seed"), [(found_by_grapes, 1), (on_a_cuttable_network, 2)])
def test_nothing_acknowledged_is_lost_or_done_twice(
    tmp_path: Path, setting: Setting, seed: int
) -> None:
    """ORDER-34 to ORDER-36."""
    with setting(tmp_path, seed) as chaos:
        chaos.run(plan(seed, SECONDS, chaos.network is not None), print)
        assert chaos.faults == []
        acknowledged = sum(record.counts()["acknowledged"] for record in chaos.records)
        assert acknowledged > 500, chaos.report()


def test_a_seed_decides_the_plan_and_it_has_every_kind_of_fault() -> None:
    acts = plan(3, 60, network=True)
    assert acts == plan(3, 60, network=True)
    assert {act.kind for act in acts} == set(KINDS)
    assert sum(act.lasts_s + act.gap_s for act in acts) >= 60


def limit(number: int, side: Side, quantity: int = 5, price: int = 100) -> Submit:
    return Submit(0, "a", MARKET, side, quantity, price, client_id=f"a/{number}")


def resting(id_: int, order: Submit, remaining: int) -> OpenOrder:
    fixed = (OrderType.LIMIT, Tif.GTC, 0, 0, 0)
    rest = (order.side, order.price, remaining, order.quantity, *fixed, order.client_id)
    return OpenOrder(id_, "a", MARKET, *rest)


def told(id_: int, order: Submit, *trades: Trade) -> list[Accepted | Trade]:
    fixed = (OrderType.LIMIT, Tif.GTC, 0, 0, 0, order.client_id)
    return [Accepted(id_, "a", MARKET, order.side, order.quantity, order.price, *fixed), *trades]


SELL, BUY, GONE = limit(1, Side.SELL), limit(2, Side.BUY, 3), limit(3, Side.BUY, 4, 90)
TRADE = Trade(MARKET, Side.BUY, 100, 3, 256, 512, "a", "a", 2, 0)


def true_record() -> Record:
    """A sell, a buy that takes 3 of it, and a buy that is cancelled."""
    cancelled = Cancelled(768, "a", MARKET, Side.BUY, 90, 4)
    return Record(
        "a",
        {
            1: Sent(SELL, 256, events=list(told(256, SELL))),
            2: Sent(BUY, 512, events=list(told(512, BUY, TRADE))),
            3: Sent(GONE, 768, events=list(told(768, GONE))),
            4: Sent(Cancel(0, "a", 768), 1024, events=[cancelled]),
            5: Sent(limit(5, Side.BUY), refused="busy"),
        },
    )


def true_books() -> list[Book]:
    trades = [Row(1, 100, 3, 0, 256, 512)]
    return [Book(f"peer{n}", [resting(256, SELL, 2)], list(trades)) for n in (1, 2)]


def test_the_verdict_finds_no_fault_in_consistent_records() -> None:
    assert faults([true_record()], true_books()) == []


def wrong_books() -> dict[str, list[Book]]:
    wrong = {what: true_books() for what in ("lost", "other", "twice", "trade twice", "gone")}
    replace = msgspec.structs.replace
    for book in wrong["lost"]:
        book.open.clear()
    wrong["other"][1].open.clear()
    for book in wrong["twice"]:
        book.open.append(replace(book.open[0], id=1280))
    for book in wrong["trade twice"]:
        book.trades.append(book.trades[0]._replace(number=2))
    for book in wrong["gone"]:
        book.trades[0] = book.trades[0]._replace(number=2)
    return wrong


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("lost", "was acknowledged as 256: filled 3, open 0"),
        ("other", "peer2 has other open orders than peer1"),
        ("twice", "is no client's"),
        ("trade twice", "was told the trades"),
        ("gone", "there are trades that no peer has"),
    ],
)
def test_the_verdict_sees_what_is_wrong_with_a_book(what: str, said: str) -> None:
    assert said in "\n".join(faults([true_record()], wrong_books()[what]))


def test_the_verdict_sees_an_order_without_any_answer() -> None:
    record = true_record()
    record.sent[5].refused = ""
    assert "a/5 was never acknowledged" in faults([record], true_books())[0]


def test_the_verdict_sees_a_refused_order_that_was_taken() -> None:
    record = true_record()
    record.sent[1].refused = "busy"
    assert "both acknowledged and refused" in faults([record], true_books())[0]
