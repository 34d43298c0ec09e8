"""Candles on the page: live from the stream, and older ones on scrolling back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import MARKS
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in

STREAMED = 500  # candles that the stream begins with
OLDER = 30
HOUR_MS = 3_600_000

pytestmark = MARKS


@pytest.fixture
def gateway(tmp_path: Path, libraries: None) -> Iterator[Gateway]:
    """The page with a stand-in whose clock moves a minute with every trade."""
    with stand_in(tmp_path) as node, running_gateway(tmp_path) as gateway:
        gateway.wait_ready().order(**sell("100", "1000"))
        node.time_ms += HOUR_MS - node.time_ms % HOUR_MS  # longer candles begin where it says
        for _ in range(STREAMED + OLDER):
            node.time_ms += 60_000
            gateway.order(**buy("100", "1"))
        yield gateway


@pytest.fixture
def page(gateway: Gateway, context: BrowserContext) -> Page:
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.interval', '60')")
    page.goto(gateway.link())
    return page


def test_older_candles_are_loaded_when_the_chart_is_scrolled_back(
    gateway: Gateway, page: Page
) -> None:
    chart = page.locator(".chart")

    def expect_candles(count: int) -> None:
        expect(chart).to_have_attribute(
            "aria-label", re.compile(f"^{count} candles"), timeout=20_000
        )

    expect_candles(STREAMED)
    gateway.order(**buy("100", "1"))
    expect_candles(STREAMED)
    chart.hover()
    for _ in range(80):
        page.mouse.wheel(0, 400)  # away from it, as a hand does it: each turn is seen
        page.wait_for_timeout(50)
    expect_candles(STREAMED + OLDER)
    page.get_by_role("radio", name="5m", exact=True).click()
    expect_candles((STREAMED + OLDER) // 5 + 1)
