"""The engine's scripts: commands in, whole event list out, compared with what was agreed on.

ENGINE_GOLDEN=rewrite writes what the engine says now into the files, for review as a diff.
"""

import os
from pathlib import Path

import pytest

from tests.engine_script import play

GOLDEN = Path(__file__).parent / "golden" / "engine"
REWRITE = os.environ.get("ENGINE_GOLDEN") == "rewrite"

scripts = sorted(GOLDEN.glob("*.txt"))


def test_there_are_scripts() -> None:
    assert len(scripts) > 10


@pytest.mark.parametrize("path", scripts, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    text = path.read_text()
    played = play(text)
    if REWRITE:
        path.write_text(played)
    assert played == path.read_text()
