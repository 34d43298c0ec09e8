"""The page in a real browser, with a real node, and with a stand-in that misbehaves."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    BrowserContext,
    Page,
    WebSocketRoute,
    expect,
)

from tests.support.browser import MARKS, choose_market, expect_accessible, open_mesh, place
from tests.support.web_gateway import Gateway, lone_peer, running_gateway, stand_in, wait_for
from tests.support.web_standin import StandInNode

pytestmark = MARKS


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def clear(web: Gateway) -> Gateway:
    for account in ("alice", "bob"):
        web.ask("DELETE", f"/orders?account={account}")
    return web


@pytest.fixture(scope="module")
def shaky(
    tmp_path_factory: pytest.TempPathFactory, libraries: None
) -> Iterator[tuple[Gateway, StandInNode]]:
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder) as node, running_gateway(folder) as gateway:
        yield gateway.wait_ready(), node


@pytest.fixture
def node(shaky: tuple[Gateway, StandInNode]) -> Iterator[StandInNode]:
    yield shaky[1]
    shaky[1].faults.clear()


Open = Callable[..., Page]


@pytest.fixture
def open_page(context: BrowserContext) -> Iterator[Open]:
    """Opens the page of a gateway as alice. At the end there must be no error and no request to
    another host."""
    wrong: list[str] = []

    def opened(gateway: Gateway, account: str = "alice", ready: str = "Live") -> Page:
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: _is_foreign(r.url, gateway) and wrong.append(r.url))
        name = json.dumps(json.dumps(account))
        page.add_init_script(f"localStorage.setItem('orderbook.account', {name})")
        page.goto(gateway.link())
        expect(page.locator(".health")).to_contain_text(ready)
        return page

    yield opened
    assert wrong == []


def _is_foreign(url: str, gateway: Gateway) -> bool:
    return not re.match(rf"(http|ws)://127\.0\.0\.1:{gateway.port}/|data:|blob:", url)


def test_the_page_shows_the_book(clear: Gateway, open_page: Open) -> None:
    clear.order(side="buy", price="99.50", quantity="2", account="bob")
    clear.order(side="sell", price="101.25", quantity="0.5", account="bob")
    page = open_page(clear)
    expect(page.locator(".level.bid")).to_have_count(1)
    expect(page.locator(".level.bid")).to_contain_text("99.50")
    expect(page.locator(".level.ask")).to_contain_text("101.25")
    expect(page.locator(".spread")).to_contain_text("Spread 1.75")
    expect(page.locator(".level.bid .peer-mark")).to_have_text("S")
    expect(page.locator(".level.ask .count")).to_contain_text("taken by solo 0.5 in 1 order")
    expect(page.locator(".health")).to_contain_text("1/1 peers")
    open_mesh(page)
    expect(page.locator(".mesh-facts")).to_contain_text(clear.get("/state")["digest"][:16])


def test_the_header_shows_the_last_day_of_the_chosen_market(
    clear: Gateway, open_page: Open
) -> None:
    for market, prices in (("BTC-USD", ("100", "110")), ("ETH-USD", ("7", "6.30"))):
        for price in prices:
            clear.order(side="sell", price=price, quantity="1", market=market, account="bob")
            clear.order(side="buy", price=price, quantity="1", market=market, account="alice")
    page = open_page(clear)
    day = page.locator(".day")
    ticker = clear.get("/ticker")
    expect(day).to_contain_text(f"{ticker['change_percent']} %")
    choose_market(page, "ETH-USD")
    expect(day).to_contain_text("-10.00 %")
    expect(day).to_contain_text("7.00")
    expect(day).to_contain_text("6.30")
    choose_market(page, "BTC-USD")
    expect(day).to_contain_text(f"{ticker['change_percent']} %")


def test_an_order_lives_its_life_on_the_page(clear: Gateway, open_page: Open) -> None:
    other = open_page(clear, account="bob")
    page = open_page(clear)
    place(page, "buy", "100", "2")
    rows = page.locator("#orders-table tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Open")
    expect(page.locator(".level.bid .own")).to_have_count(1)
    expect(other.locator(".level.bid .own")).to_have_count(0)
    other.bring_to_front()
    other.locator(".level.bid .cell").click()
    expect(other.get_by_role("textbox", name="Price")).to_have_value("100.00")
    place(other, "sell", "100", "0.5")
    for tab in (page, other):
        trade = tab.locator(".trade").first
        expect(trade).to_contain_text("100.00")
        expect(trade).to_contain_text("0.5")
    expect(rows.first).to_contain_text("Partly filled")

    page.bring_to_front()
    page.get_by_role("button", name=re.compile("^Cancel order")).click()
    expect(page.locator(".level.bid")).to_have_count(0)
    expect(rows).to_have_count(0)
    page.get_by_role("tab", name="History").click()
    expect(rows.first).to_contain_text("Cancelled")
    page.get_by_role("tab", name="Fills").click()
    expect(rows.first).to_contain_text("maker")


def test_an_open_order_is_edited_in_its_row(clear: Gateway, open_page: Open) -> None:
    number = clear.order(side="buy", price="100", quantity="2", account="alice")["id"]
    page = open_page(clear)
    price = page.get_by_label(f"Price of order {number}")
    quantity = page.get_by_label(f"Open quantity of order {number}")

    def edit() -> None:
        page.get_by_role("button", name=f"Edit order {number}").click()
        expect(quantity).to_be_focused()

    edit()
    page.keyboard.type("1.5")
    page.keyboard.press("Enter")
    expect(page.locator(".level.bid")).to_contain_text("1.5")
    edit()
    quantity.fill("4")
    price.fill("101.001")
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    price.fill("101")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".level.bid")).to_contain_text("101.00")
    expect(page.locator(".level.bid")).to_contain_text("4")
    edit()
    page.keyboard.press("Escape")
    expect(quantity).to_have_count(0)
    order = clear.get(f"/orders/{number}")
    assert (order["price"], order["remaining"]) == ("101.00", "4.00000000")


def test_an_order_by_keyboard_alone(clear: Gateway, open_page: Open) -> None:
    clear.order(side="sell", price="100", quantity="1", account="bob")
    page = open_page(clear)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("b")
    page.keyboard.type("99.99")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("textbox", name="Price")).to_have_value("100.00")
    page.keyboard.press("Tab")
    page.keyboard.type("0.25")
    page.keyboard.press("Enter")
    expect(page.locator(".trade").first).to_contain_text("0.25")
    expect(page.locator(".toast")).to_contain_text("Filled")


def test_one_click_sends_and_keeps_the_quantity(clear: Gateway, open_page: Open) -> None:
    for price in ("100", "101"):
        clear.order(side="sell", price=price, quantity="1", account="bob")
    page = open_page(clear)
    best = page.locator(".level.ask .cell").last
    page.get_by_label("One click").check()
    best.click()
    expect(page.locator(".toast")).to_contain_text("fill it in first")
    page.get_by_role("textbox", name="Quantity").fill("0.4")
    best.click()
    expect(page.locator(".trade").first).to_contain_text("0.4")
    expect(page.get_by_role("textbox", name="Quantity")).to_have_value("0.4")
    page.keyboard.press("Escape")
    expect(page.get_by_label("One click")).not_to_be_checked()
    best.click()
    expect(page.get_by_role("textbox", name="Price")).to_have_value("100.00")
    expect(page.locator(".level.ask").last).to_contain_text("0.6")


def test_an_error_is_shown_beside_its_field(clear: Gateway, open_page: Open) -> None:
    clear.order(side="sell", price="100", quantity="1", account="bob")
    page = open_page(clear)
    page.get_by_role("textbox", name="Price").fill("100.001")
    page.get_by_role("textbox", name="Quantity").fill("1")
    expect(page.locator(".field.wrong .error")).to_have_text(
        "The price goes in steps of 0.01, such as 100"
    )
    expect(page.locator(".send")).to_be_disabled()
    page.get_by_label("Post-only").check()
    page.get_by_role("textbox", name="Price").fill("100")
    expect(page.locator(".estimate")).to_contain_text("post-only rejects it")
    page.locator(".send").click()
    expect(page.locator(".field.wrong .error")).to_contain_text("would have traded at once")
    page.get_by_role("tab", name="History").click()
    expect(page.locator("#orders-table tbody tr").first).to_contain_text("Rejected")


def test_a_dropped_message_is_made_good(clear: Gateway, open_page: Open, context: Any) -> None:
    dropping = [False]

    def route(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def on_message(text: str | bytes) -> None:
            if dropping[0] and json.loads(text).get("channel") == "book":
                dropping[0] = False
                return
            socket.send(text)

        server.on_message(on_message)

    context.route_web_socket(re.compile("/ws"), route)
    page = open_page(clear)
    clear.order(side="buy", price="90", quantity="1", account="bob")
    expect(page.locator(".level.bid")).to_have_count(1)
    dropping[0] = True
    clear.order(side="buy", price="91", quantity="1", account="bob")
    while dropping[0]:
        page.wait_for_timeout(20)
    clear.order(side="buy", price="92", quantity="1", account="bob")
    expect(page.locator(".level.bid")).to_have_count(3)
    expect(page.locator(".health")).to_have_attribute("title", re.compile("Resyncs so far: 1"))
    expect(page.locator(".health")).to_contain_text("Live")


def test_the_page_survives_its_gateway(tmp_path: Path, open_page: Open, context: Any) -> None:
    with stand_in(tmp_path):
        with running_gateway(tmp_path) as gateway:
            gateway.wait_ready().order(side="buy", price="77", quantity="1")
            page = context.new_page()
            page.goto(gateway.link())
            expect(page.locator(".level.bid")).to_have_count(1)
        expect(page.locator(".health")).to_contain_text("Offline")
        expect(page.locator(".status")).to_contain_text("No connection to this peer")
        bind = ("--bind", f"127.0.0.1:{gateway.port}")
        with running_gateway(tmp_path, *bind) as gateway:
            gateway.wait_ready().order(side="buy", price="78", quantity="1")
            expect(page.locator(".level.bid")).to_have_count(2)
            expect(page.locator(".health")).to_contain_text("Live")
            page.close()


def test_without_a_quorum_the_page_says_so(
    shaky: tuple[Gateway, StandInNode], node: StandInNode, open_page: Open
) -> None:
    page = open_page(shaky[0])
    node.faults.holds = True
    expect(page.locator(".status")).to_contain_text("No quorum. Orders wait, nothing matches.")
    place(page, "buy", "60", "1")
    row = page.locator("#orders-table tbody tr").first
    expect(row).to_contain_text("Pending")
    expect(page.locator(".level.bid")).to_have_count(0)
    node.faults.holds = False
    expect(row).to_contain_text("Open")
    expect(page.locator(".status")).to_contain_text("Live.")


def test_the_page_shows_catching_up_until_it_ends(
    shaky: tuple[Gateway, StandInNode], node: StandInNode, open_page: Open
) -> None:
    page = open_page(shaky[0])
    node.faults.catching_up = "commits 10 to 90"
    expect(page.locator(".status")).to_contain_text("Catching up. commits 10 to 90")
    node.faults.catching_up = ""
    expect(page.locator(".status")).to_contain_text("Live.")


def test_the_page_reports_an_order_whose_result_is_lost(
    shaky: tuple[Gateway, StandInNode], node: StandInNode, open_page: Open
) -> None:
    page = open_page(shaky[0])
    node.faults.loses_results = True
    place(page, "buy", "61", "1")
    expect(page.locator(".level.bid").first).to_contain_text("61.00")
    expect(page.locator(".entry, .toast").filter(has_text="is not known")).not_to_have_count(0)
    expect(page.locator("#orders-table tbody tr").first).to_contain_text("Open")


def test_a_disagreement_is_shown_on_the_page(
    shaky: tuple[Gateway, StandInNode], node: StandInNode, open_page: Open
) -> None:
    page = open_page(shaky[0])
    node.faults.disagrees = True
    expect(page.locator(".status")).to_contain_text("The book of bravo differs")
    expect(page.locator(".mesh-strip")).to_contain_text("DIFFERS")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_axe_finds_no_violation(clear: Gateway, open_page: Open, scheme: Any, width: int) -> None:
    for side, price in (("buy", "99"), ("sell", "101"), ("sell", "99")):
        clear.order(side=side, price=price, quantity="1.5", account="alice")
    page = open_page(clear)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.locator(".ladder")).to_contain_text("101")
    for tab in ("Book", "Chart", "Orders", "Mesh") if width < 700 else ("",):
        if tab:
            page.get_by_role("navigation").get_by_role("button", name=tab).click()
        expect_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_interface_is_readable_offline(
    web: Gateway, context: BrowserContext, scheme: Any
) -> None:
    page, wrong = context.new_page(), []
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("request", lambda r: _is_foreign(r.url, web) and wrong.append(r.url))
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{web.url}/docs")
    expect(page.get_by_role("heading", name="POST /orders", exact=True)).to_be_visible()
    page.get_by_role("link", name="NewOrder").first.click()
    expect(page.get_by_role("heading", name="NewOrder", exact=True)).to_be_in_viewport()
    expect(page.locator("section", has=page.locator("#schema-NewOrder"))).to_contain_text('"gtc"')
    expect_accessible(page)
    assert wrong == []


def test_the_charts_are_drawn(clear: Gateway, open_page: Open) -> None:
    for price in ("100", "102", "99", "101"):
        clear.order(side="sell", price=price, quantity="1", account="bob")
        clear.order(side="buy", price=price, quantity="0.5", account="alice")
    page = open_page(clear)
    for tab in ("Price", "Depth"):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(".chart canvas").first).to_be_visible()
        wait_for("the drawing", lambda: page.evaluate(_COLOURS) > 3)


# How many colours the canvases of the chart show. Reads copies: the browser warns of a canvas that
# is read often.
_COLOURS = """() => {
  const seen = new Set();
  for (const canvas of document.querySelectorAll(".chart canvas")) {
    if (!canvas.width || !canvas.height) continue;
    const { width, height } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const data = copy.getImageData(0, 0, width, height).data;
    const pixels = new Uint32Array(data.buffer);
    for (let i = 0; i < pixels.length; i += 7) if (pixels[i]) seen.add(pixels[i]);
  }
  return seen.size;
}"""
