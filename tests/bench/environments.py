"""Environments for programs that are compared: each its own packages, in a Python that they accept.

Owns `.run/bench-envs`. Must never touch the environment that runs it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = Path(__file__).parents[2] / ".run" / "bench-envs"
PYTHONS = (sys.executable, "python3.13", "python3.12", "python3.11")


class NoPlaceError(Exception):
    """Packages that cannot be installed here; says why."""


def python_for(packages: tuple[str, ...], pythons: tuple[str, ...]) -> Path:
    """The Python of an environment that has `packages`; this one if there are none. It is made when
    first needed, with this Python, those of PYTHONS or the further `pythons`. NoPlaceError."""
    if not packages:
        return Path(sys.executable)
    home = ENVIRONMENTS / packages[0]
    python = home / "bin" / "python"
    reason = "no Python found"
    candidates = filter(None, map(shutil.which, (*pythons, *PYTHONS)))
    for candidate in () if (home / "ready").exists() else candidates:
        shutil.rmtree(home, ignore_errors=True)
        reason = _install(candidate, home, packages)
        if not reason:
            (home / "ready").touch()
            break
    if not (home / "ready").exists():
        raise NoPlaceError(reason)
    return python


def _install(candidate: str, home: Path, packages: tuple[str, ...]) -> str:
    """Make an environment of `packages`. Returns what went wrong, empty if nothing did."""
    quiet = ["--quiet", "--disable-pip-version-check"]
    for command in (
        [candidate, "-m", "venv", str(home)],
        [str(home / "bin" / "python"), "-m", "pip", "install", *quiet, *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it gave no reason"]
            return next((line for line in lines if "Requires-Python" in line), lines[-1])
    return ""
