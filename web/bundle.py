"""`python -m web.bundle`: make a few files of the page's many, for this gateway to serve.

Owns `static/built/`, which is not committed: modules and style sheets bundled by esbuild, each with
a source map and a copy compressed by brotli, and the list of what they were made of. A bundle is
served only while these sources are unchanged: who edits one never sees an older page. Must never
bundle in a gateway: that only reads, and needs no Node.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from discovery.grapes.nodejs import NodeError, Say, exclusive, find_node, npm_ci
from web import vendor
from web.vendor import STATIC

BUILT = STATIC / "built"
LIST = "bundle.json"  # in it, a Bundle; written last
ENTRIES = ["js/main.js", "js/early.js", "js/docs.js", "css/page.css", "css/docs.css"]
OPTIONS = [
    "--bundle",
    "--splitting",  # what is imported later is a file of its own
    "--format=esm",
    "--target=es2022",
    "--minify",
    "--sourcemap",
    "--legal-comments=eof",
    "--loader:.woff2=file",
    *(f"--{kind}-names=[name]-[hash]" for kind in ("entry", "chunk", "asset")),
]
ESBUILD_S_MAX = 120
# Copies each file of the command line, as small as brotli can make it.
_COMPRESS = """
const { readFileSync, writeFileSync } = require("node:fs");
const { brotliCompressSync } = require("node:zlib");
for (const name of process.argv.slice(1)) {
  writeFileSync(`${name}.br`, brotliCompressSync(readFileSync(name)));
}
"""


class Bundle(msgspec.Struct, frozen=True):
    """Sources are named by their paths in `static/`, files by their names in `static/built/`."""

    recipe: str  # of the options and packages that made it
    sources: dict[str, str]  # and the SHA-256 of each
    files: dict[str, str]  # by the source that a page names
    imports: dict[str, list[str]]  # files that the file of a module imports at once, by its source
    all_files: list[str]


class Bundled:
    """The bundle of the page files in `static`, while it is current. Thread-safe."""

    def __init__(self, static: Path = STATIC) -> None:
        self._static = static
        self._lock = threading.Lock()
        self._seen: list[tuple[Path, tuple[int, int]]] = []  # files it depends on, as they were
        self._bundle: Bundle | None = None

    def get(self) -> Bundle | None:
        """None if there is no bundle, or if a source has changed since it was made."""
        with self._lock:
            if not self._seen or any(_stamp(path) != stamp for path, stamp in self._seen):
                self._look()
            return self._bundle

    def _look(self) -> None:
        of_list = self._static / "built" / LIST
        seen = [(of_list, _stamp(of_list))]
        found = _read(of_list)
        if found is not None:
            paths = [self._static / name for name in found.sources]
            seen += [(path, _stamp(path)) for path in paths]
            if found.recipe != _recipe() or found.sources != _digests(self._static, found.sources):
                found = None
        self._seen, self._bundle = seen, found


def prepare(say: Say) -> None:
    """Install the page's libraries and bundle the page, unless that is done. Raises NodeError."""
    vendor.prepare(say)
    if Bundled().get() is None:
        with exclusive(vendor.PARTS / ".bundling"):
            if Bundled().get() is None:
                say("bundling the page")
                _build(say)


def _build(say: Say) -> None:
    node, modules = find_node(say).node, npm_ci(vendor.HERE, vendor.PARTS, say)
    with tempfile.TemporaryDirectory(dir=STATIC, prefix=".building-") as name:
        folder = Path(name)
        esbuild = [*node, str(modules / "esbuild" / "bin" / "esbuild"), *ENTRIES, *OPTIONS]
        made = folder / "made.json"
        _run([*esbuild, f"--outdir={folder}", f"--metafile={made}"], modules)
        described = msgspec.json.decode(made.read_bytes())
        made.unlink()
        texts = [str(path) for path in folder.iterdir() if path.suffix in (".js", ".css")]
        _run([*node, "--eval", _COMPRESS, *texts], modules)
        all_files = sorted(path.name for path in folder.iterdir())
        _put(_bundle(described, all_files), folder)


def _run(command: list[str], modules: Path) -> None:
    """Run a program in `static/` that imports packages from `modules`. Raises NodeError."""
    done = subprocess.run(
        command,
        cwd=STATIC,
        env={**os.environ, "NODE_PATH": str(modules)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ESBUILD_S_MAX,
    )
    if done.returncode:
        raise NodeError(f"the page cannot be bundled:\n{done.stderr}")


def _bundle(made: dict[str, dict[str, Any]], all_files: list[str]) -> Bundle:
    """The bundle that esbuild describes by its inputs and outputs, as paths from `static/`."""
    outputs, files, imports = made["outputs"], dict[str, str](), dict[str, list[str]]()
    for path, output in outputs.items():
        source = output.get("entryPoint")
        if path.endswith(".woff2"):
            [source] = output["inputs"]
        if source is not None:
            files[source] = Path(path).name
            imports[source] = _imports(outputs, path)
    sources = [name for name in made["inputs"] if not name.startswith("..")]
    return Bundle(_recipe(), _digests(STATIC, sources), files, imports, all_files)


def _imports(outputs: dict[str, Any], path: str) -> list[str]:
    """The names of the files without which a module cannot start, those it imports first."""
    waiting, found = [path], list[str]()
    for module in waiting:
        for needed in outputs[module]["imports"]:
            if needed["kind"] == "import-statement" and needed["path"] not in waiting:
                waiting.append(needed["path"])
                found.append(Path(needed["path"]).name)
    return found


def _put(bundle: Bundle, folder: Path) -> None:
    """Let the files in `folder` be the bundle. Those of the bundle before stay once more: an open
    page may still ask for them."""
    BUILT.mkdir(exist_ok=True)
    before = _read(BUILT / LIST)
    kept = {LIST, *bundle.all_files, *(before.all_files if before else ())}
    for name in bundle.all_files:
        (folder / name).replace(BUILT / name)
    (folder / LIST).write_bytes(msgspec.json.encode(bundle))
    (folder / LIST).replace(BUILT / LIST)
    for path in BUILT.iterdir():
        if path.name not in kept:
            path.unlink()


def _read(path: Path) -> Bundle | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bundle)
    except (OSError, msgspec.MsgspecError):
        return None


def _recipe() -> str:
    """A value that changes with the options and with the packages."""
    return hashlib.sha256(vendor.LOCK.read_bytes() + repr((ENTRIES, OPTIONS)).encode()).hexdigest()


def _digests(static: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file; empty for one that is missing."""
    paths = {name: static / name for name in names}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for name, path in paths.items()
    }


def _stamp(path: Path) -> tuple[int, int]:
    """A value that changes with the file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def main() -> None:
    try:
        prepare(lambda text: print(text, file=sys.stderr))
    except NodeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
