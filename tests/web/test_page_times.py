"""The page in two time zones and two languages: its times and numbers are the same everywhere."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import EVERYWHERE, Place
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell

pytestmark = EVERYWHERE


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("times")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        gateway.wait_ready()
        gateway.order(**sell("67234.5", "2", account="bob"))
        gateway.order(**buy("67234.5", "1.5", account="alice"))
        yield gateway


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    return page


def clock(ms: int, zone: str) -> str:
    where = UTC if zone == "UTC" else ZoneInfo(zone)
    return datetime.fromtimestamp(ms / 1000, where).strftime("%H:%M:%S")


def test_all_times_are_of_one_zone(web: Gateway, page: Page, place: Place) -> None:
    page.goto(web.link())
    (trade,) = web.get("/trades?limit=1")["trades"]
    here, utc = clock(trade["time"], place.zone), clock(trade["time"], "UTC")
    assert here != utc
    row = page.locator(".trade").first
    expect(row).to_contain_text(here)
    expect(row).to_contain_text("67,234.50")
    page.get_by_role("tab", name="Fills").click()
    fill = page.locator("#orders-table tbody tr").first
    expect(fill).to_contain_text(here)
    page.keyboard.press(",")
    page.get_by_role("radio", name="UTC").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(row).to_contain_text(utc)
    expect(fill).to_contain_text(utc)
    expect(fill.locator(".time span")).to_have_attribute("title", re.compile(r"UTC$"))
    expect(fill).to_contain_text("100,851.75")
    page.get_by_role("tab", name="History").click()
    expect(page.locator("#orders-table tbody tr").first).to_contain_text("67,234.50")


def test_numbers_are_typed_and_shown_alike_in_every_language(web: Gateway, page: Page) -> None:
    page.goto(web.link())
    expect(page.locator(".level.ask")).to_contain_text("67,234.50")
    expect(page).to_have_title(re.compile(r"^67,234\.50 BTC-USD"))
    page.get_by_role("textbox", name="Price").fill("60.000,25")
    page.get_by_role("textbox", name="Quantity").fill("0,5")
    expect(page.locator(".estimate")).to_contain_text("30,000.13 USD")
