"""A trade between the pages of two peers of a real mesh: one book, two browsers."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from discovery.grapes import running_grapes
from tests.support.browser import MARKS, WIDE, open_mesh, place
from tests.support.real_mesh import RealMesh
from tests.support.web_gateway import running_gateway

STATE = Path(__file__).parents[2] / ".run"

pytestmark = MARKS


@pytest.fixture
def pages(tmp_path: Path, chromium: Browser) -> Iterator[list[Page]]:
    """The pages of the first two of three peers, each with its own session: ann and ben."""
    with ExitStack() as stack:
        grapes = stack.enter_context(running_grapes(1, STATE))
        urls = [grape.spec.url for grape in grapes]
        mesh = stack.enter_context(RealMesh(tmp_path, urls))
        mesh.start()
        opened = []
        for peer, account in zip(mesh.peers, ("ann", "ben"), strict=False):
            gateway = stack.enter_context(running_gateway(peer.folder)).wait_ready()
            context = chromium.new_context(viewport=WIDE)
            context.set_default_timeout(15_000)
            page = context.new_page()
            page.goto(gateway.link(account))
            expect(page.locator(".health")).to_contain_text("Live", timeout=15_000)
            opened.append(page)
        yield opened


def fact(page: Page, name: str) -> Locator:
    """The value with this name in the mesh view."""
    return page.locator(".mesh-facts div", has_text=name)


def test_a_trade_between_two_pages(pages: list[Page]) -> None:
    ann, ben = pages
    place(ann, "sell", "101.50", "2")
    expect(ben.locator(".level.ask")).to_contain_text("101.50", timeout=15_000)
    place(ben, "buy", "101.50", "0.75")
    for page in pages:
        trade = page.locator(".trade")
        expect(trade).to_have_count(1, timeout=15_000)
        expect(trade).to_contain_text("101.50")
        expect(trade.locator(".amount")).to_have_text("0.750")
        who = "Resting order 1-1, taken by 2-1"
        expect(trade.locator(".who")).to_have_attribute("title", who)
        expect(page.locator(".level.ask")).to_contain_text("1.250")
        verdict = page.locator(".mesh-open")
        same = "All 3 peers hold the same book"
        expect(verdict).to_have_attribute("title", same, timeout=15_000)
    expect(ann.locator("#orders-table")).to_contain_text("Partly filled")
    ben.get_by_role("tab", name="History").click()
    expect(ben.locator("#orders-table")).to_contain_text("Filled")
    for page in pages:
        open_mesh(page)
        expect(page.locator(".verdict strong")).to_have_text(same)
    said = fact(ben, "Digest").get_attribute("title") or ""
    assert re.fullmatch("Of the whole market after commit [0-9]+: [0-9a-f]{64}", said)
    expect(fact(ann, "Digest")).to_have_attribute("title", said)
