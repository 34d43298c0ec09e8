"""What is around the candles: intervals, lines, full screen, my fills in one mark."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import EVERYWHERE, Place
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell

pytestmark = EVERYWHERE
AXIS_PX = 76
LABEL_PX = 140  # an order's label on the right, with the longest quantity


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("chart")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        gateway.wait_ready()
        for price in ("100", "104", "98", "102"):
            gateway.order(**sell(price, "1", account="bob"))
            gateway.order(**buy(price, "1"))
        yield gateway


@pytest.fixture
def page(web: Gateway, context: BrowserContext) -> Page:
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.add_init_script("localStorage.setItem('orderbook.interval', '14400')")
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(web.link())
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.locator(".ohlc").first).to_contain_text("O 100.00 H 104.00 L 98.00 C 102.00 V 4")
    return page


def newest_candle(page: Page) -> tuple[float, float]:
    """Where the pointer finds the newest candle, from the right."""
    box = page.locator(".chart").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    for x in range(int(box["x"] + box["width"]) - 80, int(box["x"]), -5):
        page.mouse.move(x, y)
        if page.locator(".ohlc").count() > 1:
            return x, y
    raise AssertionError("there is no candle with fills")


def test_the_fills_of_a_candle_are_told_with_their_average(page: Page) -> None:
    page.get_by_role("tab", name="Fills").click()
    expect(page.locator("#orders-table tbody tr")).to_have_count(4)
    newest_candle(page)
    expect(page.locator(".ohlc").nth(1)).to_have_text("Bought 4 at 101.00 in 4 fills")


def test_the_chart_fills_the_screen_and_comes_back(page: Page) -> None:
    charts = page.locator(".charts")
    before = charts.bounding_box()
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("document.fullscreenElement?.classList.contains('charts')")
    assert charts.bounding_box() == {"x": 0, "y": 0, **(page.viewport_size or {})}
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("!document.fullscreenElement")
    assert charts.bounding_box() == before


def test_every_line_is_drawn_and_remembered(page: Page) -> None:
    for label in ("VWAP", "MA 7", "MA 25"):
        button = page.get_by_role("button", name=label, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="MA 25")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("radio", name="4h", exact=True)).to_be_checked()


def test_the_label_of_an_order_hides_no_button(page: Page) -> None:
    for size in ((1280, 800), (1024, 768), (768, 1024)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.wait_for_timeout(200)
        tools = page.locator(".chart-tools").bounding_box()
        scale = page.locator(".chart").bounding_box()
        assert tools is not None
        assert scale is not None
        room = scale["x"] + scale["width"] - AXIS_PX - (tools["x"] + tools["width"])
        assert room >= LABEL_PX, size


def test_a_sound_is_made_only_if_it_is_wanted(web: Gateway, page: Page) -> None:
    page.evaluate(
        """() => {
          window.tones = 0;
          const start = OscillatorNode.prototype.start;
          OscillatorNode.prototype.start = function (...when) {
            window.tones++;
            return start.apply(this, when);
          };
        }"""
    )

    def fill() -> None:
        web.order(**buy("90", "1"))
        expect(page.locator("#orders-table tbody tr")).to_have_count(1)
        web.order(**sell("90", "1"))
        expect(page.locator(".toast").last).to_contain_text(re.compile("Filled"))
        expect(page.locator("#orders-table tbody tr")).to_have_count(0)

    fill()
    assert page.evaluate("tones") == 0
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("radiogroup", name="Sound when an order fills").get_by_role(
        "radio", name="On"
    ).click()
    assert page.evaluate("tones") == 2, "it is heard when it is chosen"
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    fill()
    assert page.evaluate("tones") == 4
