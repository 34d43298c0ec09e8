"""Fixtures for tests of the page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from discovery.grapes.nodejs import npm_ci
from tests.support.browser import WIDE, running_chromium
from web import bundle, vendor


@pytest.fixture(scope="module")
def libraries() -> None:
    bundle.prepare(print)
    npm_ci(vendor.HERE, vendor.PARTS, print)  # axe is not served, only used by tests


@pytest.fixture(scope="module")
def chromium(libraries: None) -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport=WIDE)
    context.set_default_timeout(8_000)
    yield context
    context.close()
