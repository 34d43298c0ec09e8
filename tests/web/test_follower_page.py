"""The page and the API of a peer that is no member: it says what it is, and offers only what it can
do."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import MARKS, PHONE, WIDE, expect_accessible, open_mesh, place, show
from tests.support.web_gateway import Gateway, buy, running_gateway, stand_in, wait_for
from tests.support.web_standin import StandInNode

pytestmark = MARKS
Followed = tuple[Gateway, StandInNode]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Followed]:
    folder = tmp_path_factory.mktemp("follower")
    with stand_in(folder, follows=True) as node, running_gateway(folder) as gateway:
        yield gateway.wait_ready(), node


@pytest.fixture(params=["light", "dark"])
def page(chromium: Browser, followed: Followed, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = chromium.new_context(viewport=WIDE, color_scheme=request.param)
    page = context.new_page()
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    yield page
    context.close()
    followed[1].faults.clear()


def expect_said(page: Page) -> Any:
    """The mesh view says what the peer is; the section."""
    said = page.get_by_role("region", name="This peer")
    expect(said).to_contain_text("It is no member: it has no seat and no vote.")
    expect(said).to_contain_text("It shows what alpha, bravo and charlie order.")
    expect(said).to_contain_text("forwards orders that are signed by their account's own key")
    expect(said).to_contain_text("It refuses all others: no member could tell who has sent them.")
    return said


def test_a_wide_page_says_that_the_peer_only_follows(followed: Followed, page: Page) -> None:
    gateway, node = followed
    page.goto(gateway.link())
    expect(page.locator(".status")).to_contain_text("follows the mesh and is no member")
    expect(page.locator(".top")).to_contain_text("Follower")
    expect(page.locator(".notice")).to_contain_text("signed by a key of your own")
    expect(page.locator(".send")).to_be_disabled()  # though the operator's session may trade
    open_mesh(page)
    said = expect_said(page)
    expect(said).to_contain_text(re.compile("It shows commit [0-9]+, the newest that it has heard"))
    expect(page.locator(".verdict")).to_contain_text("2 of 3 members hold the book of this peer")
    node.faults.behind = 1_234
    expect(said).to_contain_text("1,234 commits behind the newest that it has heard of")
    expect_accessible(page)


def test_a_narrow_page_says_it_too(followed: Followed, page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto(followed[0].url)
    expect(page.locator(".notice")).to_contain_text("This peer follows the mesh")
    expect_accessible(page)
    show(page, "Mesh")
    expect_said(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect_accessible(page)


def test_a_key_of_its_own_trades_through_a_follower(followed: Followed, page: Page) -> None:
    gateway, _ = followed
    page.goto(gateway.url)
    page.get_by_role("button", name="Use this browser's key").click()
    page.get_by_role("button", name="Use my own key").click()
    expect(page.locator(".notice")).to_have_count(0)
    place(page, "buy", "100", "2")
    expect(page.locator("#orders-table tbody tr")).to_contain_text("Open")
    page.locator("#orders-table").get_by_role("button", name="Cancel order").click()
    expect(page.locator("#orders-table tbody tr")).to_have_count(0)


def test_without_a_quorum_it_does_not_speak_for_the_members(followed: Followed, page: Page) -> None:
    followed[1].faults.holds = True
    page.goto(followed[0].url)
    expect(page.locator(".status")).to_contain_text("hears 1 of 3 members, and needs 2")
    expect(page.locator(".status")).not_to_contain_text("nothing matches")


def test_a_follower_offers_no_vote(followed: Followed, page: Page) -> None:
    page.goto(followed[0].link())
    open_mesh(page)
    expect(page.locator(".away")).to_contain_text("charlie")
    expect(page.locator(".drawer").get_by_role("button")).to_have_count(1)  # to close it


def test_the_api_says_the_same(followed: Followed) -> None:
    gateway, node = followed
    answer = gateway.ask("POST", "/order", buy("100", "1"))
    assert (answer.status, answer.json["type"]) == (503, "urn:p2p-orderbook:not_member")
    assert gateway.ask("GET", "/readyz").json == {"status": "follower"}
    node.faults.behind = 7
    view = wait_for("the distance", lambda: v if (v := gateway.get("/mesh"))["behind"] else None)
    assert (view["role"], view["peer"], view["behind"]) == ("follower", node.name, 7)
    assert not any(peer["self"] for peer in view["peers"])
    node.faults.clear()
