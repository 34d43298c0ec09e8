"""The files of the page: compressed once, checked for changes at every request.

Owns `static/`: which type a file has, its compressed copy, and which modules a page needs, so that
a browser asks for all of them at once. Must never serve anything outside its folder.
"""

import gzip
import json
import re
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from flask import Response, request
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
PLAIN = "text/plain; charset=utf-8"
PACKED_ALREADY = {".woff2"}
STYLES = "page.css"  # all style sheets of the page in one answer
SHEETS = [
    "base",
    "layout",
    "header",
    "book",
    "charts",
    "entry",
    "orders",
    "tools",
    "mesh",
    "overlays",
]
STYLES_IN_ORDER = ["vendor/uplot.css", *(f"css/{sheet}.css" for sheet in SHEETS)]
PRELOADS = "<!-- modules -->"  # replaced by links to the modules that the page imports
_IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "([^"]+)"', re.MULTILINE)
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_MODULE = re.compile(r'<script type="module" src="([^"]+)">')


@dataclass(frozen=True)
class _File:
    stamp: tuple[tuple[int, int], ...]  # time and size of the files it was made from
    body: bytes
    packed: bytes | None  # by gzip; None: it would not be smaller
    tag: str


class PageFiles:
    """The files below `folder`, as responses. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: dict[str, _File] = {}  # bounded by the number of files in the folder

    def answer(self, name: str) -> Response:
        """A file or the style sheets. Raises NotFound."""
        parts = STYLES_IN_ORDER if name == STYLES else [name]
        file = self._file(name, [self._path(part) for part in parts])
        packs = file.packed is not None and request.accept_encodings["gzip"] > 0
        response = Response(
            file.packed if packs else file.body,
            content_type=TYPES.get(Path(name).suffix, PLAIN),
        )
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = "no-cache"  # it is kept, and asked about every time
        if packs:
            response.headers["Content-Encoding"] = "gzip"
        response.set_etag(file.tag + ("-gzip" if packs else ""))
        response.make_conditional(request)
        return response

    def page(self, name: str) -> Response:
        """An HTML page, with links to all modules that it imports."""
        text = self._path(name).read_text()
        links = "\n    ".join(
            f'<link rel="modulepreload" href="{module}">' for module in self._modules(text)
        )
        return Response(text.replace(PRELOADS, links), content_type=TYPES[".html"])

    def _path(self, name: str) -> Path:
        found = safe_join(str(self._folder), name)
        if found is None or not Path(found).is_file():
            raise NotFound
        return Path(found)

    def _file(self, name: str, paths: list[Path]) -> _File:
        stamp = tuple((of.st_mtime_ns, of.st_size) for of in (path.stat() for path in paths))
        with self._lock:
            kept = self._kept.get(name)
        if kept is None or kept.stamp != stamp:
            body = b"".join(path.read_bytes() for path in paths)
            packed = None if paths[0].suffix in PACKED_ALREADY else gzip.compress(body, mtime=0)
            if packed is not None and len(packed) >= len(body):
                packed = None
            kept = _File(stamp, body, packed, sha256(body).hexdigest()[:32])
            with self._lock:
                self._kept[name] = kept
        return kept

    def _modules(self, page: str) -> list[str]:
        """The addresses of all modules that the page's first module imports, and of the modules
        that these import; not what they load later."""
        mapped = _IMPORT_MAP.search(page)
        known: dict[str, str] = json.loads(mapped[1])["imports"] if mapped else {}
        waiting, found = _MODULE.findall(page), list[str]()
        for module in waiting:
            path = self._folder / module.removeprefix("/static/")
            if not path.is_file():
                continue  # the browser reports it
            found.append(module)
            base = module.rpartition("/")[0]
            for wanted in _IMPORT.findall(path.read_text()):
                address = known.get(wanted) or f"{base}/{wanted.removeprefix('./')}"
                if address not in waiting:
                    waiting.append(address)
        return found
