"""The ladder of the book: what an order would meet, what stands before mine."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.support.browser import EVERYWHERE, Place, expect_accessible
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell

pytestmark = EVERYWHERE


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("ladder")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def page(web: Gateway, context: BrowserContext) -> Page:
    """Alice's page, with bids of 1 at 100, 3 at 99 and 1 at 98, and an ask of 2 at 101."""
    for account in ("alice", "bob", "carol"):
        web.ask("DELETE", f"/orders?account={account}")
    for order in (buy("100", "1"), buy("99", "3"), buy("98", "1"), sell("101", "2")):
        web.order(**order | {"account": "bob"})
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(web.link())
    expect(page.locator(".level.bid")).to_have_count(3)
    return page


def hint(page: Page) -> Locator:
    return page.get_by_role("tooltip")


def test_the_pointer_on_a_level_shows_sum_average_and_value_to_there(page: Page) -> None:
    page.locator(".level.bid").nth(1).hover()
    expect(hint(page)).to_contain_text("To here4 BTC")
    expect(hint(page)).to_contain_text("Average99.25")
    expect(hint(page)).to_contain_text("Value397.00 USD")
    expect_accessible(page)
    page.locator(".level.ask").first.hover()
    expect(hint(page)).to_contain_text("Value202.00 USD")
    page.locator(".tape").hover()
    expect(hint(page)).to_have_count(0)


def test_the_sum_follows_the_book_below_a_pointer_that_rests(web: Gateway, page: Page) -> None:
    page.locator(".level.bid").nth(1).hover()
    expect(hint(page)).to_contain_text("To here4 BTC")
    web.order(**buy("100", "1", "carol"))
    expect(hint(page)).to_contain_text("To here5 BTC")


def test_merged_levels_are_summed_at_their_own_prices(page: Page) -> None:
    page.locator(".grouping select").select_option(label="100")
    page.locator(".level.bid").nth(1).hover()
    expect(hint(page)).to_contain_text("Average99.00")


def test_the_keyboard_shows_the_same(page: Page) -> None:
    page.locator(".level.bid .cell").first.focus()
    page.keyboard.press("ArrowDown")
    expect(hint(page)).to_contain_text("To here4 BTC")
    expect(page.locator(".level.bid .cell").nth(1)).to_have_attribute(
        "aria-describedby", "level-hint"
    )


def test_what_stands_before_my_order_is_told_and_shrinks(web: Gateway, page: Page) -> None:
    web.order(**buy("99", "0.5", "alice"))
    row = page.locator(".level.bid.mine")
    expect(row.locator(".cell")).to_contain_text("behind 3 in 1 order")
    row.hover()
    expect(hint(page)).to_contain_text("My 0.5, behind 3 in 1 order")
    ahead = page.locator("#orders-table td.ahead")
    expect(ahead).to_have_text("3")
    web.order(**sell("99", "3", "carol"))  # 1 at 100 and 2 at 99
    expect(ahead).to_have_text("1")
    web.order(**sell("99", "1", "carol"))
    expect(row.locator(".cell")).to_contain_text("first in the queue")


def test_the_heavier_side_is_seen(web: Gateway, page: Page) -> None:
    seen = page.locator(".imbalance")
    expect(seen).to_contain_text(re.compile(r"71 % of the quantity in the \d+ best levels a side"))
    web.order(**sell("102", "3", "carol"))
    expect(seen).to_contain_text("50 % of the quantity")


def test_the_best_prices_are_one_button_or_key_away(web: Gateway, page: Page) -> None:
    price = page.get_by_role("textbox", name="Price")
    page.get_by_role("button", name="The best bid").click()
    expect(price).to_have_value("100.00")
    page.get_by_role("button", name="The best ask").click()
    expect(price).to_have_value("101.00")
    page.keyboard.press("[")
    expect(price).to_have_value("100.00")
    page.get_by_role("radio", name="Market", exact=True).click()
    expect(page.get_by_role("button", name="The best bid")).to_have_count(0)
    web.ask("DELETE", "/orders?account=bob")
    page.get_by_role("radio", name="Limit", exact=True).click()
    expect(page.get_by_role("button", name="The best ask")).to_be_disabled()


def test_one_side_is_cancelled_after_it_was_shown(web: Gateway, page: Page) -> None:
    for order in (buy("97", "1"), buy("96", "1"), sell("105", "1")):
        web.order(**order | {"account": "alice"})
    rows = page.locator("#orders-table tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Cancel buys (2)").click()
    expect(rows).to_have_count(2)
    expect(page.get_by_role("alertdialog")).to_contain_text("Cancel 2 buy orders of BTC-USD?")
    page.keyboard.press("Escape")
    expect(rows).to_have_count(3)
    page.locator("body").press("Shift+S")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Yes").click()
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="Sell")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel buys")).to_have_count(0)
    assert len(web.get("/orders?account=alice")["orders"]) == 2
