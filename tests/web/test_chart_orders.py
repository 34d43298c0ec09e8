"""The price chart as a place to trade: my orders are lines on it, which can be dragged."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import EVERYWHERE, Place
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell, wait_for

pytestmark = EVERYWHERE


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("chart")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        gateway.wait_ready()
        for price in ("100", "104", "98", "102"):
            gateway.order(**sell(price, "1", account="bob"))
            gateway.order(**buy(price, "1", account="bob"))
        yield gateway


@pytest.fixture
def page(web: Gateway, context: BrowserContext) -> Page:
    web.ask("DELETE", "/orders?account=alice")
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(web.link())
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.locator(".ohlc")).to_contain_text("C 102.00")
    return page


def line_at(page: Page) -> tuple[float, float]:
    """Where the pointer finds an order's line on the chart."""
    chart = page.locator(".chart")
    box = chart.bounding_box()
    assert box is not None
    x = box["x"] + box["width"] / 3
    for y in range(int(box["y"]) + 4, int(box["y"] + box["height"]) - 30, 3):
        page.mouse.move(x, y)
        if chart.evaluate("(element) => element.style.cursor") == "ns-resize":
            return x, y
    raise AssertionError("there is no line on the chart")


def test_an_order_is_dragged_to_another_price(web: Gateway, page: Page) -> None:
    number = web.order(**buy("100", "2"))["id"]
    expect(page.locator("#orders-table tbody tr")).to_have_count(1)
    x, y = line_at(page)
    page.mouse.down()
    page.mouse.move(x, y + 20, steps=4)
    assert web.get(f"/orders/{number}")["price"] == "100.00", "nothing is sent before the release"
    page.mouse.up()
    moved = wait_for("it", lambda: (p := web.get(f"/orders/{number}")["price"]) != "100.00" and p)
    assert 90 < float(moved) < 100
    expect(page.locator("#orders-table tbody tr")).to_contain_text(moved)


def test_a_drag_that_would_trade_is_asked_first(web: Gateway, page: Page) -> None:
    web.order(**sell("100.5", "1", account="bob"))
    number = web.order(**buy("100", "2"))["id"]
    expect(page.locator("#orders-table tbody tr")).to_have_count(1)
    x, y = line_at(page)
    page.mouse.down()
    page.mouse.move(x, y - 40, steps=4)
    page.mouse.up()
    expect(page.get_by_role("dialog")).to_contain_text("It would trade at once.")
    page.get_by_role("button", name="Back").click()
    assert web.get(f"/orders/{number}")["price"] == "100.00"
    web.ask("DELETE", "/orders?account=bob")


def test_a_click_on_the_chart_sets_the_price(web: Gateway, page: Page) -> None:
    box = page.locator(".chart").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    price = page.get_by_role("textbox", name="Price")
    wait_for("the price", lambda: price.input_value() != "")
    assert 90 < float(price.input_value()) < 110


def test_lines_over_the_candles_are_chosen_and_remembered(web: Gateway, page: Page) -> None:
    for label in ("VWAP", "MA 7", "MA 25"):
        page.get_by_role("button", name=label, exact=True).click()
    page.get_by_role("radio", name="4h", exact=True).click()
    expect(page.locator(".ohlc")).to_contain_text("O 100.00 H 104.00 L 98.00")
    page.reload()
    expect(page.get_by_role("button", name="VWAP")).to_have_attribute("aria-pressed", "true")
