"""The page's open orders are the book's: none is dropped, and what is cancelled is seen first."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import EVERYWHERE, Place
from tests.support.javascript import Scripts, running_scripts
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell

pytestmark = EVERYWHERE


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    with running_scripts() as scripts:
        yield scripts


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("orders")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def page(web: Gateway, context: BrowserContext) -> Page:
    web.ask("DELETE", "/orders?account=alice")
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.goto(web.link())
    expect(page.locator(".health")).to_contain_text("Live")
    return page


ROWS = "#orders-table tbody tr"


def test_open_orders_stay_while_hundreds_end(web: Gateway, page: Page) -> None:
    stay = [web.order(**buy("40", str(n + 1)))["id"] for n in range(6)]
    expect(page.locator(ROWS)).to_have_count(6)
    for _ in range(4):
        orders = [buy("50", "1", tif="fok") for _ in range(100)]
        assert web.ask("POST", "/orders", {"orders": orders}).status == 200
    page.get_by_role("tab", name="History").click()
    expect(page.locator(ROWS)).to_have_count(100)
    page.get_by_role("tab", name="Open (6)").click()
    expect(page.locator(ROWS)).to_have_count(6)
    shown = page.locator(f"{ROWS} .id > span:last-child").all_inner_texts()
    assert shown == stay[::-1]
    page.get_by_role("button", name="Cancel all (6)").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator(ROWS)).to_have_count(0)
    assert web.get("/orders?account=alice")["orders"] == []


def test_a_key_cancels_only_what_is_seen_and_marked_first(web: Gateway, page: Page) -> None:
    mine = [web.order(**buy("40", str(n + 1)))["id"] for n in range(2)]
    other = web.order(**buy("7", "1", market="ETH-USD"))["id"]
    expect(page.get_by_role("tab", name="Open (2)")).to_be_visible()
    expect(page.get_by_role("radio", name="BTC-USD 2")).to_be_checked()
    expect(page.get_by_role("radio", name="All markets 3")).to_be_visible()
    page.get_by_role("tab", name="History").click()
    page.keyboard.press("x")
    marked = page.locator(f"{ROWS}.marked")
    expect(marked).to_contain_text(mine[1])
    expect(page.locator(".hint")).to_contain_text(mine[1])
    page.keyboard.press("ArrowDown")
    expect(marked).to_contain_text(mine[0])
    page.keyboard.press("Escape")
    expect(marked).to_have_count(0)
    page.keyboard.press("x")
    page.keyboard.press("x")
    expect(page.locator(ROWS)).to_have_count(1)
    page.keyboard.press("x")
    page.keyboard.press("x")
    expect(page.locator(ROWS)).to_have_count(0)
    for _ in range(3):
        page.keyboard.press("x")
    left = [order["id"] for order in web.get("/orders?account=alice")["orders"]]
    assert left == [other], "the order of a market that is not shown stays"
    page.get_by_role("radio", name="All markets").click()
    expect(page.locator(ROWS)).to_contain_text("ETH-USD")
    page.keyboard.press("x")
    page.keyboard.press("x")
    expect(page.locator(ROWS)).to_have_count(0)


def test_cancel_all_takes_the_orders_in_the_table_and_no_others(web: Gateway, page: Page) -> None:
    web.order(**buy("40", "1"))
    web.order(**sell("60", "1", account="alice"))
    web.order(**sell("9", "1", account="alice", market="ETH-USD"))
    page.get_by_label("Only buy or sell").select_option("sell")
    expect(page.locator(ROWS)).to_have_count(1)
    page.keyboard.press("Shift+X")
    asking = page.get_by_role("alertdialog")
    expect(asking).to_contain_text("Cancel 1 sell orders of BTC-USD?")
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_have_count(0)
    left = web.get("/orders?account=alice")["orders"]
    assert sorted((o["market"], o["side"]) for o in left) == [
        ("BTC-USD", "buy"),
        ("ETH-USD", "sell"),
    ]


def test_an_order_of_another_market_is_edited_in_its_own_steps(web: Gateway, page: Page) -> None:
    number = web.order(**buy("40", "2", market="ETH-USD"))["id"]
    page.get_by_role("radio", name="All markets").click()
    page.get_by_role("button", name=f"Edit order {number}").click()
    page.get_by_label(f"Price of order {number}").fill("1,041.5")
    page.get_by_label(f"Open quantity of order {number}").fill("0,5")
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_contain_text("1,041.50")
    order = web.get(f"/orders/{number}")
    assert (order["market"], order["price"], order["remaining"]) == ("ETH-USD", "1041.50", "0.500")


def test_terms_and_averages_are_in_the_tables(web: Gateway, page: Page) -> None:
    later_ms = 4_000_000_000_000
    web.order(**buy("40", "5", display="1", tif="gtd", expire=later_ms))
    web.order(**buy("90", "1", type="stop_limit", stop_price="88"))
    table = page.locator("#orders-table")
    for head in ("Stop", "Shown", "Expires"):
        expect(table.get_by_role("columnheader", name=head)).to_be_visible()
    expect(table.locator("tbody tr").first).to_contain_text("88.00")
    expect(table.locator("tbody tr").last).to_contain_text("2096-10-02")
    for price in ("41", "42"):
        web.order(**sell(price, "1"))
    web.order(**buy("42", "2"))
    page.get_by_role("tab", name="History").click()
    expect(table.locator("tbody tr").first).to_contain_text("41.50")
    page.get_by_role("tab", name="Fills").click()
    expect(table.locator("tbody tr")).to_have_count(2)
    number = web.get("/trades?limit=1")["trades"][0]["number"]
    expect(table.locator("tbody tr").first).to_contain_text(str(number))


@pytest.mark.parametrize("seed", range(5))
def test_the_kept_orders_are_those_of_the_messages(scripts: Scripts, seed: int) -> None:
    """Random snapshots and deltas: the open orders are those last told, the ended ones limited."""
    rng = random.Random(seed)
    known: Any = {"open": [], "ended": []}
    open_: dict[str, str] = {}
    for step in range(300):
        if rng.random() < 0.1:
            message = {"type": "snapshot", "finished": []}
            message["orders"] = [_order(id_, step, status) for id_, status in open_.items()]
        else:
            ids = [f"{rng.randint(1, 3)}-{step}", *rng.sample(sorted(open_), min(3, len(open_)))]
            orders = [_order(id_, step, rng.choice(_STATES)) for id_ in ids]
            message = {"type": "delta", "orders": orders}
            for order in orders:
                open_.pop(order["id"], None)
                if order["status"] in ("open", "partly_filled", "pending"):
                    open_[order["id"]] = order["status"]
        known = scripts.run(_MERGE, known, message)
        assert {id_: order["status"] for id_, order in known["open"]} == open_
        assert len(known["ended"]) <= 300
        assert not {id_ for id_, _ in known["open"]} & {id_ for id_, _ in known["ended"]}


_MERGE = """async (load, { open, ended }, message) => {
  const { mergeOrders } = await load("lifecycle");
  return mergeOrders({ open: new Map(open), ended: new Map(ended) }, message);
}"""
_STATES = ["open", "open", "open", "pending", "partly_filled", "filled", "cancelled", "expired"]


def _order(id_: str, step: int, status: str) -> dict[str, Any]:
    return {"id": id_, "status": status, "time": 1_000 + step, "fills": []}
