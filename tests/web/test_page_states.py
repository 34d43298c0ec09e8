"""The page when something is wrong: each problem is shown once, in plain words, and accessible."""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.support.browser import MARKS, PHONE, WIDE, expect_accessible, open_mesh, show

pytestmark = MARKS


@pytest.fixture(params=["light", "dark"])
def page(chromium: Browser, quoted: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = chromium.new_context(viewport=WIDE, color_scheme=request.param)
    page = context.new_page()
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    yield page
    context.close()
    quoted[1].faults.clear()


def test_a_reader_is_told_how_to_trade(quoted: Any, page: Page) -> None:
    gateway, _ = quoted
    page.goto(gateway.url)
    expect(page.locator(".notice")).to_contain_text("To trade, use a key of your own")
    expect(page.locator(".top")).to_contain_text("Read only")
    expect(page.locator(".level.bid")).to_contain_text("99.00")
    expect(page.locator(".send")).to_be_disabled()
    expect_accessible(page)


def test_an_empty_book_says_what_fills_it(quoted: Any, page: Page) -> None:
    gateway, _ = quoted
    page.add_init_script("""localStorage.setItem("orderbook.market", '"ETH-USD"')""")
    page.goto(gateway.url)
    book = page.get_by_role("region", name="Order book")
    expect(book).to_contain_text("No orders yet.")
    expect(book).to_contain_text("make market fills the book")
    expect(page.get_by_role("region", name="Trades")).to_contain_text("make market")
    expect_accessible(page)


def test_no_quorum_is_readable(quoted: Any, page: Page) -> None:
    gateway, node = quoted
    node.faults.holds = True
    page.goto(gateway.link())
    open_mesh(page)
    expect(page.locator(".verdict")).to_contain_text("No quorum")
    expect(page.locator(".verdict")).to_contain_text("1 of 3 alive, 2 needed")
    away = page.get_by_text("Away: ")
    expect(away).to_have_text(
        re.compile(r"bravo since \d\d:\d\d:\d\d; charlie, not heard since this peer's start")
    )
    expect(page.locator(".mesh td .agree.true")).to_have_count(1)  # its own: no other peer is heard
    expect_accessible(page)


def test_many_alarms_of_one_kind_leave_room_for_the_book(quoted: Any, page: Page) -> None:
    gateway, node = quoted
    node.faults.disagrees = True
    node.faults.alarms += [
        f"bravo has another state after commit {n}: {sha256(bytes([n])).hexdigest()}"
        for n in range(9)
    ]
    node.faults.alarms += ["the clock of charlie differs by over 2000 ms"]
    node.faults.alarms += [f"charlie is cut off: an invalid block: {n}" for n in range(3)]
    page.goto(gateway.link())
    expect(page.locator(".status")).to_contain_text("The book of bravo differs")
    expect(page.locator(".level.bid")).to_be_in_viewport()
    page.get_by_role("button", name="3 alarms").click()
    expect(page.locator(".verdict")).to_contain_text("bravo holds another book")
    expect(page.locator(".alarms li")).to_have_count(3)
    expect(page.locator(".alarms li").last).to_contain_text("Trade nowhere.")
    expect(page.locator(".alarms li b")).to_have_text([re.compile("3$"), re.compile("9$")])
    expect_accessible(page)


WRONG: dict[str, dict[str, Any]] = {
    "Live": {},
    "Stale": {"mute": True},
    "Stopped": {"halted": "the disk is full"},
    "Peers disagree": {"disagrees": True},
    "No quorum": {"holds": True},
    "Catching up": {"catching_up": "commits 1 to 9"},
    "Alarm": {"alarms": ("the clock of bravo differs by over 2000 ms",)},
    "Offline": {},
}


@pytest.mark.parametrize("word", WRONG)
def test_every_state_is_accessible_on_every_screen(quoted: Any, page: Page, word: str) -> None:
    gateway, node = quoted
    sockets: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        if sockets and word == "Offline":
            socket.close()
            return
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/ws"), route)
    page.goto(gateway.link())
    expect(page.locator(".health")).to_contain_text("Live")
    expect(page.locator(".level.bid")).to_contain_text("99.00")
    if word == "Offline":
        sockets[0].close()
    for fault, value in WRONG[word].items():
        setattr(node.faults, fault, [*value] if isinstance(value, tuple) else value)
    expect(page.locator(".health")).to_contain_text(word)
    expect_accessible(page)
    page.set_viewport_size(PHONE)
    for view in ("Book", "Chart", "Orders", "Mesh"):
        show(page, view)
        expect_accessible(page)
