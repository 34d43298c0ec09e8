"""Run all attacks, or those named, one line each; status 1 if one of them did harm."""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from tests.attack import ATTACKS


def run(name: str, folder: Path, long: bool) -> str:
    """Carry out one attack; AssertionError if it did harm."""
    line: str = importlib.import_module(f"tests.attack.{name}").attack(folder, long)
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description="Attacks against real processes.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ATTACKS)}; all without any")
    parser.add_argument("--short", action="store_true", help="as in the tests: seconds each")
    options = parser.parse_args()
    harmed = 0
    for name in options.names or ATTACKS:
        if name not in ATTACKS:
            parser.error(f"expected one of {', '.join(ATTACKS)}, got {name!r:.60}")
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="attack-", ignore_cleanup_errors=True) as folder:
            try:
                mark, line = "held", run(name, Path(folder), not options.short)
            except AssertionError as error:
                mark, line, harmed = "HARMED", str(error), harmed + 1
        print(f"{mark:6} {name:20} {time.monotonic() - began_s:5.0f} s  {line}", flush=True)
    return bool(harmed)


if __name__ == "__main__":
    sys.exit(main())
