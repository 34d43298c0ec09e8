"""A copy of this checkout, as it is after cloning and `make setup`.

Owns the list of its files. A program in the copy must never write into this checkout.
"""

import shutil
import subprocess
from pathlib import Path

from web.bundle import BUILT
from web.vendor import VENDOR

ROOT = Path(__file__).parents[2]


def copied(folder: Path) -> Path:
    """Copy the checkout to `folder`. Files keep their times, so make finds the same work to do."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for prepared in (VENDOR, BUILT):
        shutil.copytree(prepared, folder / prepared.relative_to(ROOT))
    return folder
