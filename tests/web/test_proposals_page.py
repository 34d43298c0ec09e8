"""Proposals on the page: the operator approves and rejects, a reader only reads."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from engine import Market
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoint
from peer.membership.identity import Identity
from peer.replica.changes import AddMarket, AddMember, CloseMarket, HaltMarket, Propose
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


def test_a_candidate_is_seen_with_what_it_has_shown(peer: Any, page: Page) -> None:
    gateway, node = peer
    key = Identity(bytes([5]) * 32).public.hex()
    node.govern([Propose(0, (AddMember("dave", key),))])
    page.goto(gateway.url)
    open_mesh(page)
    candidates = page.get_by_label("Candidates")
    expect(candidates).to_contain_text(f"dave {key[:16]} by proposal 1-1")
    expect(candidates).to_contain_text("Has not shown the state after commit")
    expect(page.locator(".mesh-facts")).to_contain_text("Epoch0")
    expect_accessible(page)


def test_a_vote_that_fails_is_told_and_what_has_ended_can_be_read(peer: Any, page: Page) -> None:
    gateway, node = peer
    node.govern([Propose(0, (HaltMarket("BTC-USD"),))])
    page.goto(gateway.link())
    open_mesh(page)
    refusal = {"detail": "This peer's node did not answer in time."}
    page.route(
        "**/proposals/*/withdraw", lambda route: route.fulfill(status=504, json=refusal), times=1
    )
    withdraw = page.get_by_label("Open proposals").get_by_role("button", name="Withdraw")
    withdraw.click()
    expect(page.locator(".toast.bad")).to_contain_text("did not answer in time")
    withdraw.click()
    expect(page.get_by_label("Open proposals")).to_have_count(0)
    page.get_by_text("Ended proposals").click()
    expect(page.get_by_label("Ended proposals")).to_contain_text("withdrawn at")
    expect_accessible(page)
