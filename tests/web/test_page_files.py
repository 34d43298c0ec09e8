"""The files of the page as a browser gets them: compressed, kept, and all asked for at once."""

import gzip
import re
from collections.abc import Iterator

import pytest

from tests.support.web_gateway import Gateway, running_gateway, stand_in
from web import vendor
from web.app import STATIC

PACKED = {"Accept-Encoding": "gzip, deflate, br"}
BYTES_MAX = 300_000  # of everything that a first visit loads, compressed


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    vendor.prepare(print)
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder), running_gateway(folder) as gateway:
        yield gateway.wait_ready()


def preloaded(web: Gateway) -> list[str]:
    page = web.ask("GET", "/").body.decode()
    return re.findall(r'<link rel="modulepreload" href="([^"]+)">', page)


def test_a_file_is_compressed_if_the_client_can_read_that(web: Gateway) -> None:
    plain = web.ask("GET", "/static/js/app.js")
    packed = web.ask("GET", "/static/js/app.js", headers=PACKED)
    assert plain.body == (STATIC / "js" / "app.js").read_bytes()
    assert plain.headers["Content-Encoding"] is None
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    for answer in (plain, packed):
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    font = web.ask("GET", "/static/vendor/inter.woff2", headers=PACKED)
    assert font.headers["Content-Encoding"] is None
    assert font.headers["Content-Type"] == "font/woff2"


def test_a_file_that_the_browser_has_is_not_sent_again(web: Gateway) -> None:
    for path in ("/static/js/app.js", "/static/page.css", "/static/vendor/inter.woff2"):
        first = web.ask("GET", path, headers=PACKED)
        known = PACKED | {"If-None-Match": first.headers["ETag"]}
        again = web.ask("GET", path, headers=known)
        assert (again.status, again.body) == (304, b"")
        assert first.headers["Cache-Control"] == "no-cache"


def test_the_style_sheets_come_in_one_answer(web: Gateway) -> None:
    sheets = web.ask("GET", "/static/page.css").body.decode()
    for name in (STATIC / "css").glob("*.css"):
        assert (name.read_text() in sheets) == (name.name != "docs.css"), name


@pytest.mark.parametrize(
    "path", ["/static/", "/static/js", "/static/../app.py", "/static/%2e%2e/app.py", "/static/x.js"]
)
def test_nothing_else_is_served(web: Gateway, path: str) -> None:
    assert web.ask("GET", path).status == 404


def test_the_page_asks_for_all_its_modules_at_once(web: Gateway) -> None:
    links = preloaded(web)
    assert links[0] == "/static/js/main.js"
    assert {"/static/js/store.js", "/static/vendor/preact.mjs"} < set(links)
    assert len(links) == len(set(links))
    for later in ("/static/js/pricechart.js", "/static/vendor/uplot.mjs"):
        assert later not in links, "the page works before it has come"
    for link in links:
        assert web.ask("GET", link).status == 200


def test_a_first_visit_loads_little(web: Gateway) -> None:
    later = ["/static/js/pricechart.js", "/static/js/candles.js", "/static/js/early.js"]
    later += ["/static/vendor/lightweight-charts.mjs", "/static/vendor/inter.woff2"]
    paths = ["/", "/static/page.css", "/static/icon.svg", *preloaded(web), *later]
    sizes = {path: len(web.ask("GET", path, headers=PACKED).body) for path in set(paths)}
    assert sum(sizes.values()) < BYTES_MAX, sorted(sizes.items(), key=lambda of: -of[1])[:10]
