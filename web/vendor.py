"""The page's libraries, installed from npm for this gateway to serve.

Owns `static/vendor/`, which is not committed. Must never fetch anything that the lock file does not
pin, and nothing at run time: the page loads nothing from other hosts.
"""

import hashlib
import shutil
from pathlib import Path

from discovery.grapes.nodejs import Say, npm_ci

HERE = Path(__file__).parent
STATIC = HERE / "static"
VENDOR = STATIC / "vendor"
LOCK = HERE / "package-lock.json"
PARTS = HERE / "node_modules" / "parts"
_INTER = "@fontsource-variable/inter"  # the Latin letters, in all weights, with tabular figures
_CHARTS = "lightweight-charts/dist/lightweight-charts"
FILES = {
    "preact.mjs": "preact/dist/preact.mjs",
    "preact-hooks.mjs": "preact/hooks/dist/hooks.mjs",
    "signals.mjs": "@preact/signals/dist/signals.mjs",
    "signals-core.mjs": "@preact/signals-core/dist/signals-core.mjs",
    "htm.mjs": "htm/dist/htm.mjs",
    "lightweight-charts.mjs": f"{_CHARTS}.standalone.production.mjs",
    "uplot.mjs": "uplot/dist/uPlot.esm.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "inter.woff2": f"{_INTER}/files/inter-latin-wght-normal.woff2",
    "LICENSE-preact": "preact/LICENSE",
    "LICENSE-htm": "htm/LICENSE",
    "LICENSE-lightweight-charts": "lightweight-charts/LICENSE",
    "LICENSE-uplot": "uplot/LICENSE",
    "LICENSE-inter": f"{_INTER}/LICENSE",
}


def is_ready() -> bool:
    """Whether the libraries of this lock file are installed."""
    stamp = VENDOR / ".stamp"
    return stamp.is_file() and stamp.read_text() == _wanted()


def prepare(say: Say) -> None:
    """Install and copy the libraries, unless that is done already. Raises NodeError."""
    if is_ready():
        return
    modules = npm_ci(HERE, PARTS, say)
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in FILES.items():
        shutil.copyfile(modules / source, VENDOR / name)
    (VENDOR / ".stamp").write_text(_wanted())


def _wanted() -> str:
    """The content of the stamp for this version's lock file and layout."""
    return hashlib.sha256(LOCK.read_bytes() + repr(FILES).encode()).hexdigest()
