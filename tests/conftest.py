"""Fixtures for tests of the page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from discovery.grapes.nodejs import npm_ci
from tests.support.browser import PLACES, WIDE, Place, running_chromium
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in
from tests.support.web_standin import StandInNode
from web import bundle, vendor


@pytest.fixture(scope="session")
def libraries() -> None:
    bundle.prepare(print)
    npm_ci(vendor.HERE, vendor.PARTS, print)  # axe is not served, only used by tests


@pytest.fixture(scope="module")
def quoted(
    tmp_path_factory: pytest.TempPathFactory, libraries: None
) -> Iterator[tuple[Gateway, StandInNode]]:
    """A stand-in's market with a bid of 99, an ask of 100 and a trade."""
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder) as node, running_gateway(folder) as gateway:
        gateway.wait_ready().order(**sell("100", "3"))
        gateway.order(**buy("100", "1"))
        gateway.order(**buy("99", "1"))
        yield gateway, node


@pytest.fixture(scope="session")
def chromium(libraries: None) -> Iterator[Browser]:
    """One for all tests of a worker; each test has a context of its own."""
    with running_chromium() as browser:
        yield browser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `everywhere` runs in all places. A fixture of its module that asks for `place`
    is made anew for each."""
    if "place" in metafunc.fixturenames:
        everywhere = metafunc.definition.get_closest_marker("everywhere")
        metafunc.parametrize(
            "place",
            PLACES if everywhere else PLACES[:1],
            ids=lambda place: place.locale,
            scope="module",
        )


@pytest.fixture
def context(chromium: Browser, place: Place) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport=WIDE, locale=place.locale, timezone_id=place.zone)
    context.set_default_timeout(8_000)
    yield context
    context.close()
