"""Fixtures for tests of the page, and the order in which files of tests begin."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from discovery.grapes.nodejs import npm_ci
from tests.support.browser import PLACES, WIDE, Place, running_chromium
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in
from tests.support.web_standin import StandInNode
from web import bundle, vendor

pytest_plugins = ["tests.support.workers"]

# The files that take longest, the longest first. Workers take file after file: if a long one began
# late, the others would wait for it.
LONGEST = (
    "system/test_newcomer.py",
    "system/test_attack.py",
    "system/test_processes.py",
    "system/test_membership.py",
    "system/test_faults.py",
    "web/test_browser.py",
    "system/test_bench.py",
    "storage/test_disk_faults.py",
    "consensus/test_simulation.py",
    "network/test_misbehaviour.py",
    "network/test_bad_helpers.py",
    "system/test_chaos.py",
    "system/test_governed_markets.py",
    "web/test_grenache.py",
    "web/test_page_states.py",
    "web/test_ladder.py",
    "web/test_conditions.py",
    "storage/test_catchup.py",
    "web/test_entry.py",
    "discovery/test_grapes_runner.py",
    "system/test_market_makers.py",
    "system/test_demo.py",
    "web/test_ready.py",
    "web/test_openapi.py",
    "storage/test_powercut.py",
    "web/test_direct.py",
    "web/test_chart_orders.py",
    "web/test_chart_tools.py",
    "system/test_follower.py",
    "system/test_forgery.py",
    "system/test_upgrade.py",
    "web/test_own_key.py",
    "node/test_stopping.py",
    "network/test_silent_links.py",
    "storage/test_disk.py",
    "web/test_finished_orders.py",
    "web/test_two_peers.py",
    "web/test_follower_page.py",
    "system/test_docs_api.py",
    "engine/test_seeded_bugs.py",
)
_RANKS = {name: rank for rank, name in enumerate(LONGEST)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; all else keeps its order."""
    items.sort(
        key=lambda item: _RANKS.get(f"{item.path.parent.name}/{item.path.name}", len(_RANKS))
    )


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
