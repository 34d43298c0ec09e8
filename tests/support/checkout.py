"""A copy of this checkout, as somebody has it who has just cloned it and run `make setup`.

Owns what belongs to one. Must never be a way into this one: what is made in the copy stays there.
"""

import shutil
import subprocess
from pathlib import Path

from web.vendor import VENDOR

ROOT = Path(__file__).parents[2]


def copied(folder: Path) -> Path:
    """The copy, at `folder`. Its files are as old as here, so make finds the same to do."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(VENDOR, folder / VENDOR.relative_to(ROOT))
    return folder
