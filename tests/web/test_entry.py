"""The order form in the browser: it never locks, takes what is pasted, and asks when in doubt."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import EVERYWHERE, Place, choose_market, expect_accessible, place
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell

pytestmark = EVERYWHERE


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("entry")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def page(web: Gateway, context: BrowserContext) -> Page:
    for account in ("alice", "bob"):
        web.ask("DELETE", f"/orders?account={account}")
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.goto(web.link())
    expect(page.locator(".health")).to_contain_text("Live")
    return page


def test_a_refusal_never_keeps_the_order_from_being_sent_again(web: Gateway, page: Page) -> None:
    offer = web.order(**sell("100", "1"))["id"]
    page.get_by_label("Post-only").check()
    place(page, "buy", "100", "1")
    error = page.locator(".field.wrong .error")
    expect(error).to_contain_text("would have traded at once")
    web.ask("DELETE", f"/order/{offer}?account=bob")
    expect(page.locator(".level.ask")).to_have_count(0)
    page.locator(".send").click()
    expect(page.locator("#orders-table tbody tr").first).to_contain_text("Open")
    expect(error).to_have_count(0)


def test_any_cause_of_a_refusal_takes_it_away(web: Gateway, page: Page) -> None:
    web.order(**sell("100", "1"))
    page.get_by_label("Post-only").check()
    place(page, "buy", "100", "1")
    error = page.locator(".entry .error")
    expect(error).to_have_count(1)
    page.get_by_label("Post-only").uncheck()
    expect(error).to_have_count(0)


def test_hidden_fields_hold_no_error_and_are_not_sent(web: Gateway, page: Page) -> None:
    page.get_by_role("textbox", name="Show at a time").fill("x")
    expect(page.locator(".field.wrong .error")).to_contain_text("The shown quantity")
    page.get_by_role("radio", name="IOC").click()
    expect(page.locator(".field.wrong")).to_have_count(0)
    place(page, "buy", "50", "1")
    expect(page.locator(".toast")).to_contain_text("Expired")


def test_another_market_clears_prices_and_quantities(web: Gateway, page: Page) -> None:
    page.get_by_role("textbox", name="Price").fill("67000")
    page.get_by_role("textbox", name="Quantity").fill("3")
    choose_market(page, "ETH-USD")
    expect(page.locator(".send")).to_have_text(re.compile("Buy ETH"))
    expect(page.get_by_role("textbox", name="Price")).to_have_value("")
    expect(page.get_by_role("textbox", name="Quantity")).to_have_value("")
    choose_market(page, "BTC-USD")


def test_the_form_takes_what_the_page_prints(web: Gateway, page: Page) -> None:
    place(page, "buy", "1,067.50", "0,25")
    order = page.locator("#orders-table tbody tr").first
    expect(order).to_contain_text("1,067.50")
    expect(order).to_contain_text("0.25")
    page.get_by_role("textbox", name="Price").fill("1 067\u202f000,5")
    page.get_by_role("textbox", name="Quantity").focus()
    expect(page.get_by_role("textbox", name="Price")).to_have_value("1067000.5")


def test_the_form_tells_before_what_the_order_would_do(web: Gateway, page: Page) -> None:
    web.order(**sell("100", "1"))
    web.order(**sell("102", "1"))
    page.get_by_role("textbox", name="Price").fill("102")
    page.get_by_role("textbox", name="Quantity").fill("3")
    estimate = page.locator(".estimate")
    expect(estimate).to_contain_text("Total 304.00 USD")
    expect(estimate).to_contain_text("Trades at once 2 BTC")
    expect(estimate).to_contain_text("Average price 101.00")
    expect(estimate).to_contain_text("Slippage 1.00 %")
    expect(estimate).to_contain_text("Rests in the book 1 BTC")
    page.locator(".send").click()
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Bought 2 at 101.00 on average. 1 rests.")


def test_a_fat_finger_is_asked_first(web: Gateway, page: Page) -> None:
    web.order(**sell("100", "1"))
    web.order(**sell("110", "1"))
    place(page, "buy", "1000", "2")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Buy 2 at 1,000.00 USD")
    expect(dialog).to_contain_text("5.00 % worse than the best price")
    expect(dialog).to_contain_text("900.00 % worse than the best price, 100.00")
    expect_accessible(page)
    page.get_by_role("button", name="Back").click()
    expect(dialog).to_be_hidden()
    assert web.get("/orders?account=alice")["orders"] == []
    expect(page.get_by_role("textbox", name="Price")).to_have_value("1000")
    page.locator(".send").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.locator(".send").click()
    page.get_by_role("button", name="Send it").click()
    expect(page.locator(".toast")).to_contain_text("Bought 2 at 105.00")
    web.order(**buy("90", "1"))


def test_tab_reaches_a_group_of_options_once(page: Page) -> None:
    page.get_by_role("radio", name="Buy").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Sell")).to_be_focused()
    expect(page.get_by_role("radio", name="Sell")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="Limit", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Price")).to_be_focused()
