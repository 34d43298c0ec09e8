"""Runs the tests of the engine and of agreement between peers, with the compiled engine.

    python -m tests.compiled -x

Owns a copy of this folder in which it compiles the engine, and ends with pytest's status there; its
options are those of pytest. Must never leave anything compiled in this folder. Without a C compiler
it skips everything and says so.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests import heap

ROOT = Path(__file__).parents[1]
ORDERS = 20_000  # in each of the heap checks
# The engine's own tests, and those in which peers apply what a mesh has ordered. Seeded bugs are
# not among them: their copies of the engine are plain.
TESTS = (
    "tests/engine/test_differential.py",
    "tests/engine/test_levels.py",
    "tests/engine/test_pieces.py",
    "tests/engine/test_scripts.py",
    "tests/engine/test_price_index.py",
    "tests/engine/test_lifetime.py",
    "tests/engine/test_rejections.py",
    "tests/engine/test_state.py",
    "tests/system/test_agreement.py",
    "tests/storage/test_catchup.py",
    "tests/system/test_chaos.py",
    "tests/node/test_snapshot.py",
)
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.so", "build", "node_modules", "*.egg-info"
)
SHARED = ".run/grenache"  # the Grapes' own parts, installed once


def missing() -> str:
    """What this machine lacks for compiling; empty if nothing."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(compiler.split()[0]) is None:
        return f"C compiler ({compiler.split()[0]})"
    headers = Path(sysconfig.get_path("include"))
    return "" if (headers / "Python.h").exists() else f"Python.h in {headers}"


def copy(place: Path) -> None:
    shutil.copytree(ROOT, place, ignore=LEFT_OUT)
    parts = ROOT / SHARED
    if parts.is_dir():
        (place / SHARED).parent.mkdir()
        (place / SHARED).symlink_to(parts)


def main() -> int:
    if lack := missing():
        print(f"· no {lack}: the compiled engine is not tested")
        return 0
    with tempfile.TemporaryDirectory(prefix="compiled-") as folder:
        place = Path(folder) / "copy"
        copy(place)
        where = f"VENV={sys.prefix}"
        subprocess.run(["make", "--no-print-directory", where, "compile"], cwd=place, check=True)
        print(f"· heap checks, {ORDERS} orders each", flush=True)
        if found := heap.faults(ORDERS, root=place, compiled=True):
            print(found[-4_000:])
            return 1
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", *TESTS]
        env = {**os.environ, "PYTHONMALLOC": "debug"}  # in all peers that the tests start, too
        return subprocess.run([*command, *sys.argv[1:]], cwd=place, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
