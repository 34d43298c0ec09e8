"""The browser for tests of the page, and the steps that these tests share."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from web import vendor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
MARKS = [  # of a module that needs the browser
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's `chromium`"),
]


class Place(NamedTuple):
    """Where the person before the browser is: a language and a time zone."""

    locale: str
    zone: str


PLACES = [Place("en-US", "America/St_Johns"), Place("de-DE", "Asia/Kathmandu")]
EVERYWHERE = [*MARKS, pytest.mark.everywhere]  # of a module that runs in all of them
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Only the violations: a whole result names every element of the page several times.
_VIOLATIONS = """async () => {
  const found = await axe.run({ resultTypes: ["violations"] });
  return found.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}"""
_AXE = vendor.PARTS / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def running_chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def expect_accessible(page: Page) -> None:
    """axe finds no violation on the page as it is now."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE.read_text())
    violations = page.evaluate(_VIOLATIONS)
    assert not violations, violations


def choose_market(page: Page, symbol: str) -> None:
    page.get_by_role("button", name="Market").first.click()
    page.get_by_role("dialog", name="Markets").get_by_role("button", name=symbol).click()


def open_mesh(page: Page) -> None:
    """Open the whole view of the mesh on a wide screen."""
    page.get_by_role("button", name="Mesh:").click()
    page.get_by_role("dialog", name="Mesh").wait_for()


def show(page: Page, view: str) -> None:
    """Show a view of a narrow screen."""
    page.get_by_role("navigation", name="Panels").get_by_role("button", name=view).click()


def place(page: Page, side: str, price: str, quantity: str) -> None:
    """Place an order with the form."""
    page.get_by_role("radio", name=side.capitalize(), exact=True).click()
    page.get_by_role("textbox", name="Price").fill(price)
    page.get_by_role("textbox", name="Quantity").fill(quantity)
    page.locator(".send").click()
