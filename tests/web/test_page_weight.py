"""What a first visit loads, as the browser counts it. `-s` prints the figures."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Route, expect

from tests.support.browser import MARKS, WIDE
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in

pytestmark = MARKS

REQUESTS_MAX = 20  # with everything that the page asks of the API, and its WebSocket
BYTES_MAX = 200_000  # of heads and bodies, as they came
AGAIN_BYTES_MAX = 20_000  # of the visit after it
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder), running_gateway(folder) as gateway:
        gateway.wait_ready()
        for price in range(1, 20):
            gateway.order(**buy(str(price), "1"))
            gateway.order(**sell(str(40 + price), "1"))
        gateway.order(**buy("41", "0.5"))
        yield gateway


class Loads:
    """The requests of a page and the bytes that came for them."""

    def __init__(self, session: CDPSession) -> None:
        self._asked: dict[str, str] = {}
        self._came: dict[str, float] = {}
        session.on("Network.requestWillBeSent", self._ask)
        session.on("Network.webSocketCreated", self._open)
        session.on("Network.loadingFinished", self._come)
        session.send("Network.enable")

    def _ask(self, event: dict[str, Any]) -> None:
        self._asked[event["requestId"]] = event["request"]["url"]

    def _open(self, event: dict[str, Any]) -> None:
        self._asked[event["requestId"]] = event["url"]

    def _come(self, event: dict[str, Any]) -> None:
        self._came[event["requestId"]] = event["encodedDataLength"]

    def take(self) -> list[tuple[int, str]]:
        """The bytes and the address of each request since the last call."""
        found = [(int(self._came.get(key, 0)), url) for key, url in self._asked.items()]
        self._asked.clear()
        return sorted(found, reverse=True)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_first_visit_asks_little_and_the_next_one_less(
    market: Gateway, chromium: Browser, size: Any
) -> None:
    context = chromium.new_context(viewport=size)
    page = context.new_page()
    loads = Loads(context.new_cdp_session(page))

    def visit() -> list[tuple[int, str]]:
        page.goto(market.url)
        expect(page.locator(".health")).to_contain_text("Live")
        if size is WIDE:
            expect(page.locator(".chart canvas").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        return loads.take()

    first, again = visit(), visit()
    context.close()
    for loaded in (first, again):
        print(f"{len(loaded)} requests, {sum(count for count, _ in loaded)} bytes:")
        print(*(f"{count:8} {url}" for count, url in loaded), sep="\n")
    assert 5 < len(first) < REQUESTS_MAX
    assert 50_000 < sum(count for count, _ in first) < BYTES_MAX
    assert sum(count for count, _ in again) < AGAIN_BYTES_MAX
    for _, url in first:
        assert url.partition("://")[2].startswith(f"127.0.0.1:{market.port}/")
    assert not [url for _, url in first if url.endswith(".map")]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_page_whose_files_are_gone_is_loaded_anew(
    market: Gateway, chromium: Browser, is_gone: bool
) -> None:
    """The peer was updated while the page was open; or the connection failed once."""
    context = chromium.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto(market.url)
    expect(page.locator(".health")).to_contain_text("Live")
    page.evaluate("window.isOld = true")
    page.route("**/built/depthchart-*", lambda route: route.abort(), times=1)

    def answer(route: Route) -> None:
        if is_gone and route.request.method == "HEAD":
            route.fulfill(status=404)
        else:
            route.continue_()

    page.route("**/built/main-*", answer)
    with page.expect_event("request", lambda asked: asked.method == "HEAD"):
        page.get_by_role("tab", name="Depth").click()
    if is_gone:
        page.wait_for_function("window.isOld === undefined")
    expect(page.locator(".health")).to_contain_text("Live")
    assert page.evaluate("window.isOld === true") is not is_gone
    context.close()
