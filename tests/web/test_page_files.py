"""The files of the page as a browser gets them: few, compressed, kept, and never older than their
sources."""

import gzip
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.support.web_gateway import Gateway, running_gateway, stand_in
from web.bundle import BUILT, Bundled
from web.serve.page_files import PageFiles
from web.vendor import STATIC

PACKED = {"Accept-Encoding": "gzip, deflate"}
BEST = {"Accept-Encoding": "gzip, deflate, br, zstd"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder), running_gateway(folder) as gateway:
        yield gateway.wait_ready()


@pytest.fixture(scope="module")
def singly(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Gateway]:
    """A gateway that serves the sources."""
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder), running_gateway(folder, "--source") as gateway:
        yield gateway.wait_ready()


def named(web: Gateway, path: str = "/") -> list[str]:
    """The files that a page names."""
    return re.findall(r'(?:href|src)="(/static/[^"]+)"', web.ask("GET", path).body.decode())


def preloaded(web: Gateway) -> list[str]:
    page = web.ask("GET", "/").body.decode()
    return re.findall(r'<link rel="modulepreload" href="([^"]+)">', page)


def test_a_file_is_compressed_if_the_client_can_read_that(web: Gateway) -> None:
    plain = web.ask("GET", "/static/js/app.js")
    packed = web.ask("GET", "/static/js/app.js", headers=BEST)
    assert plain.body == (STATIC / "js" / "app.js").read_bytes()
    assert plain.headers["Content-Encoding"] is None
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    for answer in (plain, packed):
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    font = web.ask("GET", "/static/vendor/inter.woff2", headers=BEST)
    assert font.headers["Content-Encoding"] is None
    assert font.headers["Content-Type"] == "font/woff2"


def test_the_bundle_is_also_compressed_by_brotli(web: Gateway) -> None:
    for path in (name for name in named(web) if name.endswith((".js", ".css"))):
        plain, packed, best = (web.ask("GET", path, headers=of) for of in ({}, PACKED, BEST))
        assert gzip.decompress(packed.body) == plain.body
        assert best.headers["Content-Encoding"] == "br"
        assert len(best.body) < len(packed.body) < len(plain.body)
        assert best.body == (BUILT / f"{Path(path).name}.br").read_bytes()
        assert best.headers["Content-Type"] == plain.headers["Content-Type"]
        refused = web.ask("GET", path, headers={"Accept-Encoding": "br;q=0, gzip"})
        assert refused.headers["Content-Encoding"] == "gzip"


def test_a_file_that_the_browser_has_is_not_sent_again(web: Gateway) -> None:
    for path in ("/static/js/app.js", "/static/css/page.css", "/static/icon.svg"):
        first = web.ask("GET", path, headers=PACKED)
        known = PACKED | {"If-None-Match": first.headers["ETag"]}
        again = web.ask("GET", path, headers=known)
        assert (again.status, again.body) == (304, b"")
        assert first.headers["Cache-Control"] == "no-cache"


def test_the_browser_asks_for_a_file_of_the_bundle_only_once(web: Gateway) -> None:
    built = [*named(web), *named(web, "/docs")]
    built.remove("/static/icon.svg")
    built.remove("/static/icon.svg")
    assert len(built) >= 8
    for path in built:
        assert re.search(r"^/static/built/[a-z]+-[A-Z0-9]{8}\.(js|css|woff2)$", path)
        assert "immutable" in web.ask("GET", path).headers["Cache-Control"]


def test_the_bundle_names_its_sources_for_a_debugger(web: Gateway) -> None:
    [main] = (path for path in preloaded(web) if "/main-" in path)
    where = re.search(rb"//# sourceMappingURL=(\S+)$", web.ask("GET", main).body.strip())
    assert where is not None
    found = web.get(f"/static/built/{where[1].decode()}")
    at = found["sources"].index("../js/main.js")
    assert found["sourcesContent"][at] == (STATIC / "js" / "main.js").read_text()


def test_all_style_sheets_are_in_the_bundle(web: Gateway) -> None:
    for page, entry in (("/", "page"), ("/docs", "docs")):
        [sheet] = (path for path in named(web, page) if path.endswith(".css"))
        sources = set(web.get(f"{sheet}.map")["sources"])
        names = {path.name for path in (STATIC / "css").glob("*.css")}
        wanted = names - {"docs.css", "page.css"} if entry == "page" else {"docs.css", "base.css"}
        found = {Path(source).name for source in sources if source.startswith("../css/")}
        assert found == wanted


@pytest.mark.parametrize(
    "path", ["/static/", "/static/js", "/static/../app.py", "/static/%2e%2e/app.py", "/static/x.js"]
)
def test_nothing_else_is_served(web: Gateway, path: str) -> None:
    assert web.ask("GET", path).status == 404


@pytest.mark.parametrize("form", ["web", "singly"])
def test_the_page_asks_for_all_its_modules_at_once(
    form: str, request: pytest.FixtureRequest
) -> None:
    web: Gateway = request.getfixturevalue(form)
    links = preloaded(web)
    assert len(links) == len(set(links))
    for later in ("pricechart", "uplot", "depthchart"):
        assert not [link for link in links if later in link], "the page works before it has come"
    for link in links:
        assert web.ask("GET", link).status == 200
    if form == "singly":
        assert links[0] == "/static/js/main.js"
        assert {"/static/js/store.js", "/static/vendor/preact.mjs"} < set(links)


def test_only_the_page_of_single_sources_may_run_an_inline_script(
    web: Gateway, singly: Gateway
) -> None:
    policies = {
        gateway.ask("GET", path).headers["Content-Security-Policy"]
        for gateway, path in ((web, "/"), (web, "/docs"), (web, "/state"), (singly, "/state"))
    }
    [strict] = policies
    assert "script-src 'self';" in strict
    mapped = singly.ask("GET", "/")
    inline = re.findall(r"<script(?! src)[^>]*>", mapped.body.decode())
    assert inline[0] == '<script type="importmap">'
    assert all(" src=" in script for script in inline[1:])
    assert mapped.headers["Content-Security-Policy"].count("'sha256-") == 1


def test_a_changed_source_is_served_and_not_the_older_bundle(
    tmp_path: Path, libraries: None
) -> None:
    static = Path(shutil.copytree(STATIC, tmp_path / "static"))
    bundled, source = Bundled(static), static / "js" / "format.js"
    files, text = PageFiles(static, bundled), source.read_bytes()

    def page() -> str:
        with Flask("web").test_request_context("/"):
            return files.page("index.html").get_data(as_text=True)

    assert "/static/built/main-" in page()
    source.write_bytes(text.replace(b";", b" ", 1))
    assert bundled.get() is None
    assert 'src="/static/js/main.js"' in page()
    assert "/static/built/" not in page()
    source.write_bytes(text)
    assert "/static/built/main-" in page()
    source.unlink()
    assert "/static/built/" not in page()
    source.write_bytes(text)
    (static / "built" / "bundle.json").write_text("{}")
    assert "/static/built/" not in page()
