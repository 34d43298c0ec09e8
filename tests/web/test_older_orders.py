"""The page's history goes back beyond the orders in its stream, page by page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from tests.support.browser import MARKS
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway

COUNT = 330  # more than a connection tells (200) and the page keeps of it (300)

pytestmark = MARKS


@pytest.fixture
def web(tmp_path: Path, libraries: None) -> Iterator[Gateway]:
    with lone_peer(tmp_path) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


def place_unfillable(web: Gateway) -> list[str]:
    """Place `count` orders of alice that end at once; returns their ids, newest first."""
    ids: list[str] = []
    for start in range(0, COUNT, 100):
        orders = [buy("50", str(n + 1), tif="fok") for n in range(start, min(start + 100, COUNT))]
        answer = web.ask("POST", "/orders", {"orders": orders})
        assert answer.status == 200, answer.body
        ids += [order["id"] for order in answer.json["results"]]
    return ids[::-1]


def put_off(route: Route) -> None:
    """Too many clients ask about the past; the page retries by itself."""
    body = '{"status": 503, "detail": "Too many ask."}'
    route.fulfill(status=503, headers={"Retry-After": "0.1"}, body=body)


def test_every_finished_order_can_be_reached(web: Gateway, context: BrowserContext) -> None:
    ids = place_unfillable(web)
    page = context.new_page()
    page.add_init_script("localStorage.setItem('orderbook.account', '\"alice\"')")
    page.goto(web.link())
    busy = iter([True, True])
    page.route(
        re.compile(r"/orders\?"),
        lambda route: put_off(route) if next(busy, False) else route.continue_(),
    )
    page.get_by_role("tab", name="History").click()
    rows = page.locator("#orders-table tbody tr")
    older = page.get_by_role("button", name="Older")
    for shown in (100, 200, 300, COUNT):
        expect(rows).to_have_count(shown)
        if shown < COUNT:
            older.click()
    expect(older).to_have_count(0)
    seen = rows.locator(".id > span:last-child").all_inner_texts()
    assert seen == ids
