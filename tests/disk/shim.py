"""Programs between which and their disk stands `shim.c`.

Owns compiling it, once a folder, and the environment that loads it. Needs Linux and a C compiler.
"""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
COMPILER = os.environ.get("CC", "cc")


class NoShimError(Exception):
    """It cannot be had here; says why."""


class Shim:
    """The compiled shim, in `folder`."""

    def __init__(self, folder: Path) -> None:
        if sys.platform != "linux" or shutil.which(COMPILER) is None:
            raise NoShimError("needs Linux and a C compiler (cc, or CC=...)")
        self.library = folder / "shim.so"
        command = [COMPILER, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
        command += ["-o", str(self.library), str(SOURCE), "-ldl", "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoShimError(f"does not compile: {done.stderr}")

    def environment(
        self, root: Path, trace: Path | None = None, fault: Path | None = None
    ) -> dict[str, str]:
        """What to run a program with, so that its use of `root` goes through the shim."""
        env = os.environ | {"LD_PRELOAD": str(self.library), "DISK_ROOT": f"{root}/"}
        if trace is not None:
            env["DISK_TRACE"] = str(trace)
        if fault is not None:
            env["DISK_FAULT"] = str(fault)
        return env


def break_disk(
    fault: Path, ops: str, error: int = errno.EIO, end: str = "*", skip: int = 0
) -> None:
    """From now on these operations (see `shim.c`) fail on files whose paths end so, but for the
    first `skip`; until `fault` is removed."""
    new = fault.with_suffix(".new")
    new.write_text(f"{ops} {error} {end} {skip}")
    new.replace(fault)


def slow_disk(fault: Path, ms: int) -> None:
    """From now on each sync takes so much longer, until `fault` is removed."""
    break_disk(fault, "d", ms)
