"""The pages of two peers of a real mesh: one book, two browsers, and the vote of two operators."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from discovery.grapes import running_grapes
from tests.support.browser import MARKS, WIDE, expect_accessible, open_mesh, place
from tests.support.real_mesh import RealMesh
from tests.support.web_gateway import running_gateway

STATE = Path(__file__).parents[2] / ".run"

pytestmark = MARKS


class Opened(NamedTuple):
    """Three peers, and the pages of the first two, each with its own session: ann and ben."""

    mesh: RealMesh
    pages: list[Page]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Opened]:
    with ExitStack() as stack:
        grapes = stack.enter_context(running_grapes(1, STATE))
        urls = [grape.spec.url for grape in grapes]
        mesh = stack.enter_context(RealMesh(tmp_path_factory.mktemp("mesh"), urls))
        mesh.start()
        pages = []
        for peer, account in zip(mesh.peers, ("ann", "ben"), strict=False):
            gateway = stack.enter_context(running_gateway(peer.folder)).wait_ready()
            context = chromium.new_context(viewport=WIDE)
            context.set_default_timeout(15_000)
            page = context.new_page()
            page.goto(gateway.link(account))
            expect(page.locator(".health")).to_contain_text("Live", timeout=15_000)
            pages.append(page)
        yield Opened(mesh, pages)


def fact(page: Page, name: str) -> Locator:
    """The value with this name in the mesh view."""
    return page.locator(".mesh-facts div", has_text=name)


def test_a_trade_between_two_pages(opened: Opened) -> None:
    ann, ben = pages = opened.pages
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
    for page in pages:
        page.keyboard.press("Escape")


def test_two_operators_remove_a_member_that_was_killed(opened: Opened) -> None:
    """Comes last: afterwards the mesh has two members."""
    ann, ben = opened.pages
    open_mesh(ann)
    expect(ann.locator(".away")).to_have_count(0)
    opened.mesh.peers[2].kill()
    name = opened.mesh.peers[2].folder.name
    away = ann.locator(".drawer .away")
    expect(away).to_contain_text(f"Away: {name} since", timeout=15_000)
    remove = away.get_by_role("button", name=f"Propose to remove {name}")

    remove.click()
    question = ann.get_by_role("dialog", name=f"Propose to remove {name}?")
    expect(question).to_contain_text("2 members remain, and none of them may fail.")
    expect(question).to_contain_text(f"The key of {name} can never be a member's again")
    expect_accessible(ann)
    question.get_by_role("button", name="Back").click()
    expect(ann.get_by_label("Open proposals")).to_have_count(0)

    remove.click()
    question.get_by_role("button", name="Propose it").click()
    expect(ann.locator(".toast").last).to_contain_text("1 of 2 needed")
    expect(remove).to_have_count(0)  # it is proposed already
    open_mesh(ben)
    expect(ben.get_by_label("Open proposals")).to_contain_text(f"remove member {name}")
    expect(ben.locator(".away").get_by_role("button")).to_have_count(0)
    ben.get_by_role("button", name="Approve").click()
    for page in opened.pages:
        expect(page.locator(".drawer tbody tr")).to_have_count(2, timeout=15_000)
        expect(page.locator(".away")).to_have_count(0)
        expect(fact(page, "Quorum")).to_contain_text("2 of 2")
