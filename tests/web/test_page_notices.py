"""What the page tells by itself: fills of resting orders, also in a hidden tab. Its settings."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from engine import Market
from tests.support.browser import EVERYWHERE, Place, choose_market, expect_accessible
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell

pytestmark = EVERYWHERE
TINY = "0.000000000001"
MARKETS = (
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market(
        "TINY-X", tick=TINY, lot=TINY, quantity_max=2**53 - 1, price_max=2**53 - 1, orders_max=900
    ),
)


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, libraries: None, place: Place
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("notices")
    with lone_peer(folder, MARKETS) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def page(web: Gateway, context: BrowserContext) -> Page:
    for account in ("alice", "bob"):
        web.ask("DELETE", f"/orders?account={account}")
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(web.link())
    expect(page.locator(".health")).to_contain_text("Live")
    return page


def test_a_fill_of_a_resting_order_is_told_with_its_real_price(web: Gateway, page: Page) -> None:
    number = web.order(**buy("100", "2"))["id"]
    expect(page.locator("#orders-table tbody tr")).to_have_count(1)
    web.order(**sell("90", "0.5"))
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Partly filled")
    expect(toast).to_contain_text(f"Bought 0.5 at 100.00, 1.5 stays open. Order {number}.")
    expect(page).to_have_title(re.compile(r"^100\.00 BTC-USD"))


_HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_fill_in_a_background_tab_waits_to_be_seen(web: Gateway, page: Page) -> None:
    web.order(**buy("100", "2"))
    expect(page.locator("#orders-table tbody tr")).to_have_count(1)
    page.evaluate(_HIDE, True)
    web.order(**sell("100", "2"))
    expect(page).to_have_title(re.compile(r"^● 100\.00"))
    page.wait_for_timeout(5_500)
    expect(page.locator(".toast")).to_contain_text("Filled")
    page.evaluate(_HIDE, False)
    expect(page).to_have_title(re.compile(r"^100\.00"))
    expect(page.locator(".toast")).to_have_count(0, timeout=15_000)


def test_keys_can_be_changed_and_are_remembered(web: Gateway, page: Page) -> None:
    page.keyboard.press(",")
    dialog = page.get_by_role("dialog")
    page.get_by_text("Keys", exact=True).click()
    expect_accessible(page)
    dialog.get_by_role("button", name="Key for: Sell").click()
    page.keyboard.press("b")
    expect(dialog.get_by_role("button", name="Key for: Sell").locator("kbd")).to_have_text("B")
    expect(dialog.get_by_role("button", name="Key for: Buy").locator("kbd")).to_have_text("S")
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("b")
    expect(page.get_by_role("radio", name="Sell")).to_be_checked()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator(".health")).to_contain_text("Live")
    page.keyboard.press("s")
    expect(page.get_by_role("radio", name="Buy")).to_be_checked()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Mark the newest order")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_other_colours_are_readable(web: Gateway, page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    web.order(**buy("100", "2"))
    web.order(**sell("110", "2"))
    page.keyboard.press(",")
    page.get_by_role("radio", name="Blue and orange").click()
    page.get_by_role("radio", name="Compact").click()
    page.keyboard.press("Escape")
    expect(page.locator("html")).to_have_attribute("data-palette", "blue")
    expect(page.locator("#orders-table tbody tr")).to_have_count(1)
    expect_accessible(page)


def test_a_market_of_tiny_steps_and_huge_sizes_keeps_its_columns(web: Gateway, page: Page) -> None:
    most = f"{2**53 - 1:d}"
    size = f"{most[:-12]}.{most[-12:]}"
    for _ in range(3):
        web.order(**sell(TINY, size, account="alice", market="TINY-X"))
    web.order(**buy(TINY, TINY, account="bob", market="TINY-X"))
    choose_market(page, "TINY-X")
    row = page.locator("#orders-table tbody tr").first
    expect(row).to_contain_text(TINY)
    level = page.locator(".level.ask")
    expect(level).to_contain_text(TINY)
    expect(level).not_to_contain_text("NaN")
    expect(level).not_to_contain_text("e+")
    page.get_by_role("tab", name="Fills").click()
    expect(row).to_contain_text(TINY)
    page.get_by_role("tab", name="Positions").click()
    expect(row).to_contain_text(f"\N{MINUS SIGN}{TINY}")


def test_a_table_is_saved_as_csv(web: Gateway, page: Page) -> None:
    web.order(**buy("100", "2"))
    expect(page.locator("#orders-table tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    text = download.value.path().read_text()
    head, row = text.splitlines()[:2]
    assert head.startswith("Time,Order,Side,Type,Price")
    assert ",buy,limit,100.00," in row
    assert download.value.suggested_filename == "orderbook-alice-BTC-USD-open.csv"
