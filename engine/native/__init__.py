"""Finds the modules that mypyc has compiled, if they were compiled from the sources that are here.

Owns the stamp, and where compiled modules are. Must never use one whose sources have changed since:
they are not beside their sources, where Python would prefer them whatever the sources say, but in a
folder named after a digest of all sources. So after any change they are not found, and everything
runs as plain Python. Must never build, and imports nothing of the engine, because it comes first.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGES = ("engine", "peer")  # a compiled module may depend on any module of these
PLAIN = "ORDERBOOK_PLAIN"  # set in the environment: do not use compiled modules
ROOT = Path(__file__).parents[2]
BUILT = Path("engine", "native", "built")
GROUP = "__mypyc"  # ends the name of the one module that holds the code of all
SUFFIX = EXTENSION_SUFFIXES[0]  # names the Python, its version and the machine
_SOURCES = (".py", ".h")


def stamp(root: Path = ROOT) -> str:
    """A digest of all sources of `PACKAGES` in a folder, and of this kind of Python: hex."""
    digest = blake2b(SUFFIX.encode(), digest_size=16)
    for package in PACKAGES:
        for folder, folders, files in os.walk(root / package):
            folders.sort()
            for file in sorted(files):
                if file.endswith(_SOURCES):
                    path = Path(folder, file)
                    text = path.read_bytes()
                    head = f"\n{path.relative_to(root).as_posix()} {len(text)}\n"
                    digest.update(head.encode() + text)
    return digest.hexdigest()


class CompiledFinder(MetaPathFinder):
    """Finds the modules compiled in a folder, each under its path in it."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Path] = {}
        for path in sorted(folder.rglob(f"*{SUFFIX}")):
            name = path.relative_to(folder).as_posix().removesuffix(SUFFIX)
            self.files[name.replace("/", ".")] = path

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        file = self.files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)

    def load_code(self) -> None:
        """Load the module that the others need. ImportError if this machine cannot."""
        for name in self.files:
            if name.endswith(GROUP):
                import_module(name)


def install(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> str:
    """Find compiled modules from now on. Returns why this process runs plain; empty if it does not.
    Without a build this costs nothing, else a few milliseconds for the stamp. ImportError if there
    are modules that were compiled beside their sources, as earlier versions did."""
    for beside in (root / "engine").glob(f"*{SUFFIX}"):
        raise ImportError(f"{beside} may be of other sources: remove it, or run make slow")
    if environment.get(PLAIN):
        return f"{PLAIN} is set"
    built = root / BUILT
    if not built.is_dir() or not any(built.iterdir()):
        return "nothing is compiled"
    finder = CompiledFinder(built / stamp(root))
    if not finder.files:
        return "the sources have changed since they were compiled, or it was for another Python"
    if early := finder.files.keys() & sys.modules.keys():
        raise ImportError(f"{', '.join(sorted(early))} came before engine.native")
    sys.meta_path.insert(0, finder)
    try:
        finder.load_code()
    except ImportError as error:
        sys.meta_path.remove(finder)
        return f"what was compiled cannot be loaded: {error}"
    return ""


why_plain = install()
