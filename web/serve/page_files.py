"""The files of the page: compressed once, checked for changes at every request.

Owns `static/`: which type a file has, its compressed copies, and what a page asks for at once. A
page loads the bundle if that is current, else the sources. Must never serve anything outside its
folder.
"""

import base64
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

from web.bundle import Bundle, Bundled

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
ADDRESS = "/static/"  # of the folder
BUILT = "built/"  # the bundle's files in it
FOR_EVER = "public, max-age=31536000, immutable"  # of a file whose name changes with its content
PRELOADS = "<!-- modules -->"  # replaced by links to the modules that the page imports
_IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "([^"]+)"', re.MULTILINE)
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_MODULE = re.compile(r'<script type="module" src="([^"]+)">')
_NAMED = re.compile(r'(?<==")/static/([^"]+)')


@dataclass(frozen=True)
class _File:
    stamp: tuple[int, int]  # time and size
    bodies: dict[str, bytes]  # by content encoding, the best first; "" has it as it is
    tag: str


class PageFiles:
    """The files below `folder`, as responses. Without `bundled` the pages load the sources.
    Thread-safe."""

    def __init__(self, folder: Path, bundled: Bundled | None) -> None:
        self._folder = folder
        self._bundled = bundled
        self._lock = threading.Lock()
        self._kept: dict[str, _File] = {}  # bounded by the number of files in the folder

    def answer(self, name: str) -> Response:
        """A file. Raises NotFound."""
        file = self._file(name)
        accepted = request.accept_encodings
        encoding = next(name for name in file.bodies if not name or accepted[name] > 0)
        response = Response(file.bodies[encoding], content_type=TYPES.get(Path(name).suffix, PLAIN))
        headers = response.headers
        headers["Vary"] = "Accept-Encoding"
        is_built = name.startswith(BUILT)
        headers["Cache-Control"] = FOR_EVER if is_built else "no-cache"  # kept, but asked about
        if encoding:
            headers["Content-Encoding"] = encoding
        response.set_etag(f"{file.tag}-{encoding}" if encoding else file.tag)
        response.make_conditional(request)
        return response

    def page(self, name: str) -> Response:
        """An HTML page, with links to all modules that it imports, and the policy that it needs."""
        source = self._path(name).read_text()
        bundle = self._bundled.get() if self._bundled else None
        if bundle is not None:
            text, modules = _bundled(source, bundle)
        else:
            text, modules = source, self._modules(source)
        links = (f'<link rel="modulepreload" href="{module}">' for module in modules)
        text = text.replace(PRELOADS, "\n    ".join(links))
        response = Response(text, content_type=TYPES[".html"])
        response.headers["Content-Security-Policy"] = content_policy(text)
        return response

    def _path(self, name: str) -> Path:
        found = safe_join(str(self._folder), name)
        if found is None or not Path(found).is_file():
            raise NotFound
        return Path(found)

    def _file(self, name: str) -> _File:
        path = self._path(name)
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        with self._lock:
            kept = self._kept.get(name)
        if kept is None or kept.stamp != stamp:
            body = path.read_bytes()
            kept = _File(stamp, _encoded(path, body), sha256(body).hexdigest()[:32])
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
            path = self._folder / module.removeprefix(ADDRESS)
            if not path.is_file():
                continue  # the browser reports it
            found.append(module)
            base = module.rpartition("/")[0]
            for wanted in _IMPORT.findall(path.read_text()):
                address = known.get(wanted) or f"{base}/{wanted.removeprefix('./')}"
                if address not in waiting:
                    waiting.append(address)
        return found


def _encoded(path: Path, body: bytes) -> dict[str, bytes]:
    """The content of a file by content encoding, the smallest first. Only the bundle has copies by
    brotli: that is slow at its best."""
    found = {"": body}
    if path.suffix not in PACKED_ALREADY:
        found["gzip"] = gzip.compress(body, mtime=0)
        by_brotli = path.with_name(f"{path.name}.br")
        if by_brotli.is_file():
            found["br"] = by_brotli.read_bytes()
    return dict(sorted(found.items(), key=lambda item: len(item[1])))


def _bundled(page: str, bundle: Bundle) -> tuple[str, list[str]]:
    """A page that loads the files of the bundle, and the addresses of its modules."""
    names = [module.removeprefix(ADDRESS) for module in _MODULE.findall(page)]
    files = [file for name in names for file in (bundle.files[name], *bundle.imports[name])]

    def built(name: str) -> str:
        return f"{ADDRESS}{BUILT}{bundle.files[name]}" if name in bundle.files else ADDRESS + name

    text = _NAMED.sub(lambda found: built(found[1]), _IMPORT_MAP.sub("", page))
    return text, [f"{ADDRESS}{BUILT}{file}" for file in files]


def content_policy(page: str) -> str:
    """A policy that runs only scripts of this peer. The one inline script that a page may have, the
    import map, is allowed by its hash."""
    hashes = "".join(
        f" 'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
        for text in _IMPORT_MAP.findall(page)
    )
    return (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
