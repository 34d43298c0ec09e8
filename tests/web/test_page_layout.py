"""The arrangement of the panels: how much is seen at each size; nothing is cut, nothing moves."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.support.browser import MARKS, PHONE, open_mesh, show
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in, wait_for

pytestmark = MARKS

SIZES = [(390, 844), (768, 1024), (1024, 768), (1280, 800), (1366, 768), (1440, 900)]
SIZES += [(1920, 1080), (2560, 1440)]
VIEWS = ("Book", "Chart", "Orders", "Mesh")
CLS_MAX = 0.02
MIDDLE, LEVELS = 67_250, 45
# The sum of the layout shifts since the page was opened: at least the Cumulative Layout Shift.
WATCH_SHIFTS = """
  window.shifted = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
"""
# The classes of the parts that have lit up.
WATCH_LIGHTS = """() => {
  const animate = Element.prototype.animate;
  window.lit = [];
  Element.prototype.animate = function (...how) {
    window.lit.push(this.className);
    return animate.apply(this, how);
  };
}"""
# The parts of the page whose text is cut off, by class and text.
CUT = """() => {
  const parts = ".panel-head, .top, .status, .line-two, .quote, .middle-line, .views, .strip li,"
    + ".level td, .trade td, .fact dd, .choice button, .end, .entry, .drawer .scroll";
  return [...document.querySelectorAll(parts)]
    .filter((part) => part.clientWidth && part.scrollWidth > part.clientWidth + 1)
    .map((part) => `${part.className}: ${part.textContent.trim()}`);
}"""
BEYOND = """() => {
  const page = document.documentElement;
  return page.scrollWidth - page.clientWidth;
}"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Gateway]:
    """A deep book with some trades, and an open order of alice."""
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder), running_gateway(folder) as gateway:
        gateway.wait_ready()
        for step in range(LEVELS):
            away, quantity = 0.31 + step * 0.37, f"{0.008 + step * 37 % 1000 / 300:.3f}"
            gateway.order(**sell(f"{MIDDLE + away:.2f}", quantity, "maker"))
            gateway.order(**buy(f"{MIDDLE - away:.2f}", quantity, "maker"))
        for number in range(LEVELS):
            side = "buy" if number % 3 else "sell"
            gateway.order(side=side, type="market", quantity="0.001", account="taker")
        gateway.order(**buy("67000", "0.5", "alice"))
        yield gateway


@pytest.fixture
def page(context: BrowserContext, market: Gateway) -> Iterator[Page]:
    """The page as alice; at the end there must be no error."""
    wrong: list[str] = []
    page = context.new_page()
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(market.link("alice"))
    expect(page.locator(".level.bid").first).to_be_visible(timeout=15_000)
    yield page
    assert wrong == []


def resize(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(200)  # the layout follows in the next frames


def box(part: Locator) -> dict[str, float]:
    found = part.bounding_box()
    assert found is not None
    return dict(found)


@pytest.mark.parametrize(
    ("width", "height", "levels"), [(1366, 768, 14), (1440, 900, 16), (1920, 1080, 20)]
)
def test_the_book_has_many_levels(page: Page, width: int, height: int, levels: int) -> None:
    resize(page, width, height)
    for side in ("ask", "bid"):
        shown = page.locator(f".level.{side}")
        expect(shown.nth(levels - 1)).to_be_in_viewport(ratio=1)


def test_the_chart_has_half_of_the_width(page: Page) -> None:
    for width, height in SIZES:
        if width < 1280:
            continue
        resize(page, width, height)
        charts, orders = box(page.locator(".charts")), box(page.locator(".orders"))
        assert charts["width"] >= width / 2
        assert orders["x"] == charts["x"]
        assert orders["y"] > charts["y"] + charts["height"]
        for full in (".ladder", ".tape"):
            assert box(page.locator(full))["height"] > height - 80


def test_nothing_is_cut_at_any_size(page: Page) -> None:
    for width, height in SIZES:
        resize(page, width, height)
        for view in VIEWS if width < 700 else ("",):
            if view:
                show(page, view)
            assert page.evaluate(BEYOND) == 0, (width, view)
            assert page.evaluate(CUT) == [], (width, view)


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_the_page_does_not_move_while_it_loads(
    chromium: Browser, market: Gateway, width: int, height: int, reads: bool
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.add_init_script(WATCH_SHIFTS)
    page.goto(market.url if reads else market.link("alice"))
    expect(page.locator(".level.bid").first).to_be_visible(timeout=15_000)
    expect(page.locator(".notice")).to_have_count(1 if reads else 0)
    page.wait_for_timeout(1_000)  # whatever comes late
    assert page.evaluate("shifted") <= CLS_MAX
    context.close()


def test_a_panel_is_resized_by_dragging_and_keeps_its_size(page: Page, market: Gateway) -> None:
    ladder = page.locator(".ladder")
    before = box(ladder)["width"]
    line = page.get_by_role("separator", name="Width of the order book")
    at = box(line)
    page.mouse.move(at["x"] + 2, at["y"] + 200)
    page.mouse.down()
    page.mouse.move(at["x"] - 58, at["y"] + 200, steps=4)
    page.mouse.up()
    assert box(ladder)["width"] == before + 60
    page.reload()
    expect(page.locator(".level.bid").first).to_be_visible(timeout=15_000)
    assert box(ladder)["width"] == before + 60
    line.dblclick()
    assert box(ladder)["width"] == before


def test_a_panel_is_resized_by_the_keyboard_within_limits(page: Page) -> None:
    line = page.get_by_role("separator", name="Height of the orders")
    orders = page.locator(".orders")
    before = box(orders)["height"]
    line.focus()
    page.keyboard.press("ArrowUp")
    assert box(orders)["height"] == before + 16
    for _ in range(60):
        page.keyboard.press("ArrowDown")
    assert box(orders)["height"] == int(line.get_attribute("aria-valuemin") or 0)
    expect(line).to_have_attribute("aria-valuenow", line.get_attribute("aria-valuemin") or "")
    page.keyboard.press("Enter")
    assert box(orders)["height"] == before


def test_the_trades_are_a_tab_of_the_book_on_a_smaller_screen(page: Page) -> None:
    resize(page, 1024, 768)
    expect(page.locator(".tape")).to_have_count(0)
    page.get_by_role("radio", name="Trades").click()
    expect(page.locator(".trade").first).to_be_visible()
    expect(page.locator(".ladder")).to_have_count(0)


def test_a_group_of_options_is_one_stop_of_the_tab_key(page: Page) -> None:
    chosen = page.get_by_role("radio", name="5s")
    chosen.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="1m")).to_be_focused()
    expect(page.get_by_role("radio", name="1m")).to_have_attribute("aria-checked", "true")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radiogroup", name="Candle interval").locator(":focus")).to_have_count(
        0
    )


def test_the_depth_chart_is_left_without_an_error(page: Page) -> None:
    for _ in range(2):
        for tab in ("Depth", "Price"):
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(200)


def test_a_phone_has_the_best_prices_and_the_day_in_every_view(page: Page) -> None:
    resize(page, **PHONE)
    for view in VIEWS:
        show(page, view)
        for part in (".quote.bid", ".quote.ask", ".line-two .day"):
            expect(page.locator(part)).to_be_in_viewport(ratio=1)
    show(page, "Orders")
    expect(page.get_by_role("button", name=re.compile("^Cancel order"))).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Keyboard help").click()
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_a_tap_on_a_price_is_felt(page: Page) -> None:
    resize(page, **PHONE)
    page.evaluate(WATCH_LIGHTS)
    level = page.locator(".level.bid .cell").first
    price = level.inner_text().strip()
    level.click()
    wait_for("the light", lambda: {"price", "input"} <= set(page.evaluate("lit")))
    field = page.get_by_role("textbox", name="Price")
    assert field.input_value() == price.replace(",", "")
    show(page, "Chart")
    page.locator(".quote.ask").click()
    expect(page.get_by_role("radio", name="Buy")).to_have_attribute("aria-checked", "true")
    assert field.input_value() != price.replace(",", "")


def test_the_strip_opens_the_whole_mesh(page: Page) -> None:
    strip = page.locator(".strip li")
    expect(strip).to_have_count(3)
    expect(strip.first).to_contain_text("alpha")
    open_mesh(page)
    dialog: Any = page.get_by_role("dialog", name="Mesh")
    expect(dialog.locator(".pulse")).to_have_count(3)
    for said in ("Digest", "Round", "Final in", "2 of 3 alive, 2 needed"):
        expect(dialog).to_contain_text(said)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
