"""Proposals on the page: the operator approves and rejects, a reader only reads."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from engine import Market
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoint
from peer.replica.changes import AddMarket, CloseMarket, HaltMarket, Propose
from tests.support.browser import MARKS, WIDE, choose_market, expect_accessible, open_mesh
from tests.support.web_gateway import Gateway, lone_peer, running_gateway

pytestmark = MARKS
NEW = "SOL-USD"


@pytest.fixture
def peer(
    tmp_path_factory: pytest.TempPathFactory, libraries: None
) -> Iterator[tuple[Gateway, NodeClient]]:
    folder = tmp_path_factory.mktemp("proposals")
    with (
        lone_peer(folder) as data,
        running_gateway(data) as gateway,
        NodeClient(endpoint(data), timeout_s=20) as node,
    ):
        yield gateway.wait_ready(), node


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport=WIDE)
    yield context.new_page()
    context.close()


def test_the_operator_approves_and_the_market_is_there_at_once(peer: Any, page: Page) -> None:
    gateway, node = peer
    page.goto(gateway.link())
    open_mesh(page)
    node.govern([Propose(0, (AddMarket(Market(NEW, "0.01", "0.001")),))])
    proposals = page.get_by_label("Open proposals")
    expect(proposals).to_contain_text(f"solo: add market {NEW}")
    expect(proposals).to_contain_text("waiting for approval: 0 of 1 needed")
    expect_accessible(page)
    proposals.get_by_role("button", name="Approve").click()
    expect(page.locator(".toast")).to_contain_text("done")
    expect(proposals).to_have_count(0)
    page.keyboard.press("Escape")
    choose_market(page, NEW)
    gateway.ask("POST", "/proposals", {"changes": [{"change": "halt_market", "symbol": NEW}]})
    page.get_by_role("button", name="Market").first.click()
    markets = page.get_by_role("dialog", name="Markets")
    expect(markets.get_by_role("button", name=NEW)).to_contain_text("halted")


def test_a_reader_sees_proposals_without_buttons(peer: Any, page: Page) -> None:
    gateway, node = peer
    node.govern([Propose(0, (HaltMarket("BTC-USD"),)), Propose(0, (CloseMarket("BTC-USD"),))])
    page.goto(gateway.url)
    open_mesh(page)
    proposals = page.get_by_label("Open proposals")
    expect(proposals.locator("li")).to_have_count(2)
    expect(proposals.get_by_role("button")).to_have_count(0)
    page.goto(gateway.link())
    open_mesh(page)
    proposals.get_by_role("button", name="Withdraw").first.click()
    expect(proposals.locator("li")).to_have_count(1)
