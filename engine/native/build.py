"""Compiles the hot modules with mypyc, checks the heap, and lets the next start use the result.

    python -m engine.native.build            now; says what it does
    python -m engine.native.build --idle     beside other work, at the lowest priority
    python -m engine.native.build --stop     end a build that is going on
    python -m engine.native.build --remove   run plain again

Owns the list of compiled modules and the way from sources to a folder of compiled modules. Must
never be in the way: it works on a copy, and one rename at its end makes the result visible, only if
the heap is whole. Running processes keep what they have. It works in a checkout only.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from engine.native import BUILT, PACKAGES, PLAIN, ROOT, SUFFIX, stamp

# Messages are msgspec structs, which are compiled already; mypyc cannot compile a module with one,
# or with types that are read at run time. Code that mostly reads structs is slower compiled: so the
# replica's own modules are not here.
MODULES = (
    "engine/sorted_keys.py",
    "engine/price_index.py",
    "engine/book_side.py",
    "engine/order_index.py",
    "engine/validation.py",
    "engine/pre_trade_checks.py",
    "engine/book.py",
    "engine/matching.py",
    "engine/fast/fast_path.py",
    "engine/invariants.py",
    "engine/hash_tree.py",
    "engine/rows.py",
    "engine/restore.py",
)
HEADER = "engine/native/trashcan.h"
WORK = Path("build")  # in the checkout, on the same disk
LOCK = WORK / "native.lock"  # held while a build goes on, by the process whose id is in it
COMPILER = Path(".run", "mypyc")  # mypyc, if the environment has none
STEP_S_MAX = 1_800  # of the compiler or the heap checks
END_S_MAX = 20.0  # of a build that is asked to end
SHOWN = 5_000  # characters of what a step said that failed
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", BUILT.name)


class BuildError(Exception):
    """Why nothing was built."""


def missing() -> str:
    """What this machine lacks for compiling; empty if nothing."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(compiler.split()[0]) is None:
        return f"C compiler ({compiler.split()[0]})"
    headers = Path(sysconfig.get_path("include"))
    return "" if (headers / "Python.h").exists() else f"Python.h in {headers}"


def build(root: Path = ROOT) -> str:
    """Compile the sources that are in `root` now. Returns what was done. BuildError if it failed;
    then everything is as it was."""
    if lack := missing():
        raise BuildError(f"no {lack}")
    with _alone(root), tempfile.TemporaryDirectory(prefix="native-", dir=root / WORK) as name:
        work = Path(name)
        for package in PACKAGES:
            shutil.copytree(root / package, work / package, ignore=LEFT_OUT)
        folder = BUILT / stamp(work)
        if (root / folder).is_dir():
            return "compiled already"
        shutil.copy(root / "setup.cfg", work)
        _compile(root, work)
        _gather(work, work / folder)
        _check_heap(root, work)
        _replace(work / folder, root / folder)
    return f"compiled {len(MODULES)} modules: they run from the next start on"


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One build at a time in a checkout. Removes what an earlier one has left that was killed."""
    (root / WORK).mkdir(exist_ok=True)
    with (root / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError("another build is going on") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        for left in (root / WORK).glob("native-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def end_other(root: Path = ROOT) -> None:
    """End a build that is going on in a checkout."""
    if not (root / LOCK).is_file():
        return
    with (root / LOCK).open() as lock:
        until_s = time.monotonic() + END_S_MAX
        while time.monotonic() < until_s:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                lock.seek(0)
                with suppress(ProcessLookupError):
                    if number := lock.read():
                        os.kill(int(number), signal.SIGTERM)
                time.sleep(0.1)
    raise BuildError("another build is going on, and does not end")


def _compile(root: Path, work: Path) -> None:
    """Compile in place, in the copy."""
    flags = f"{os.environ.get('CFLAGS', '')} -include {HEADER}"
    paths = [str(root / COMPILER)] if (root / COMPILER).is_dir() else []
    env = {**os.environ, "CFLAGS": flags.strip(), "PYTHONPATH": os.pathsep.join(paths)}
    _run([sys.executable, "-m", "mypyc", *MODULES], work, env)


def _gather(work: Path, folder: Path) -> None:
    """Move the compiled modules of the copy into the folder where they will be found."""
    for path in [*work.glob(f"*{SUFFIX}"), *work.glob(f"engine/**/*{SUFFIX}")]:
        _move(path, folder / path.relative_to(work))
    for path in work.glob(f"peer/**/*{SUFFIX}"):
        _move(path, folder / path.relative_to(work))


def _move(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    path.rename(place)


def _check_heap(root: Path, work: Path) -> None:
    """Run the heap checks of the checkout with what was compiled in the copy."""
    env = {**os.environ, "PYTHONMALLOC": "debug", "PYTHONPATH": str(root)}
    env.pop(PLAIN, None)
    _run([sys.executable, "-m", "tests.heap", "--compiled"], work, env)


def _run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    """Run a step. If it takes too long or the build is ended, all that it has started ends too."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=STEP_S_MAX)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(str(error)) from None
    if process.returncode:
        said = output.decode(errors="replace")[-SHOWN:]
        raise BuildError(f"{' '.join(command[1:3])} ended with {process.returncode}:\n{said}")


def _replace(new: Path, place: Path) -> None:
    """Show the new folder, and remove those of other sources."""
    place.parent.mkdir(exist_ok=True)
    new.rename(place)
    for other in place.parent.iterdir():
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def remove(root: Path = ROOT) -> None:
    """Remove what was compiled. Running processes keep it."""
    end_other(root)
    shutil.rmtree(root / BUILT, ignore_errors=True)


def provide_compiler(root: Path = ROOT) -> None:
    """Install mypyc in a folder of its own, if this environment has none."""
    if find_spec("mypyc") is not None or (root / COMPILER).is_dir():
        return
    try:
        wanted = requires("p2p-orderbook") or []
    except PackageNotFoundError:
        wanted = []
    needed = [each.partition(";")[0] for each in wanted if each.startswith(("mypy", "setuptools"))]
    if not needed:
        raise BuildError("no mypyc")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    (root / COMPILER.parent).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mypyc-", dir=root / COMPILER.parent) as name:
        place = Path(name, COMPILER.name)
        _run([*pip, "--target", str(place), *needed], root, dict(os.environ))
        place.rename(root / COMPILER)


def _step_back() -> None:
    """Run only when nothing else wants to."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.native.build")
    parser.add_argument("--idle", action="store_true", help="at the lowest priority")
    parser.add_argument("--stop", action="store_true", help="end a build that is going on")
    parser.add_argument("--remove", action="store_true", help="run plain again")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the copy is removed
    try:
        if asked.stop or asked.remove:
            (remove if asked.remove else end_other)()
            return 0
        if asked.idle:
            _step_back()
        provide_compiler()
        print(build())
    except BuildError as error:
        print(f"not compiled: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
