"""Runs the tests of engine, replica and agreement between peers with what mypyc compiles.

    python -m tests.compiled -x

Owns a copy of this folder in which it compiles, and ends with pytest's status there; its options
are those of pytest. Must never leave anything compiled in this folder. Without a C compiler it
skips everything and says so.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.native.build import missing
from tests import heap
from tests.support.checkout import copied

ROOT = Path(__file__).parents[1]
ORDERS = 20_000  # in each of the heap checks
# The tests of what is compiled, and those in which peers apply what a mesh has ordered. Seeded bugs
# are not among them: their copies of the engine are plain.
TESTS = (
    "tests/engine/test_native.py",
    "tests/engine/test_differential.py",
    "tests/engine/test_levels.py",
    "tests/engine/test_pieces.py",
    "tests/engine/test_scripts.py",
    "tests/engine/test_price_index.py",
    "tests/engine/test_lifetime.py",
    "tests/engine/test_rejections.py",
    "tests/engine/test_state.py",
    "tests/engine/test_forged_state.py",
    "tests/replica",
    "tests/system/test_wheel.py",
    "tests/system/test_agreement.py",
    "tests/system/test_encodings.py",
    "tests/system/test_real_mesh.py",
    "tests/storage/test_catchup.py",
    "tests/system/test_chaos.py",
    "tests/node/test_snapshot.py",
)
SHARED = ".run/grenache"  # the Grapes' own parts, installed once


def copy(place: Path) -> None:
    """A checkout, also for the tests that build a wheel of it."""
    copied(place)
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    parts = ROOT / SHARED
    if parts.is_dir():
        (place / SHARED).parent.mkdir()
        (place / SHARED).symlink_to(parts)


def main() -> int:
    if lack := missing():
        print(f"· no {lack}: nothing compiled is tested")
        return 0
    with tempfile.TemporaryDirectory(prefix="compiled-") as folder:
        place = Path(folder) / "copy"
        copy(place)
        print("· compiling", flush=True)
        subprocess.run([sys.executable, "-m", "engine.native.build"], cwd=place, check=True)
        print(f"· heap checks, {ORDERS} orders each", flush=True)
        if found := heap.faults(ORDERS, root=place, compiled=True):
            print(found[-4_000:])
            return 1
        command = [sys.executable, "-m", "pytest", "-n", "3", "--dist", "loadfile"]
        command += ["--no-loadscope-reorder", *TESTS]
        env = {**os.environ, "PYTHONMALLOC": "debug"}  # in all peers that the tests start, too
        return subprocess.run([*command, *sys.argv[1:]], cwd=place, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
