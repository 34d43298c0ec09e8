"""The commit rule on drawn graphs.

GOLDEN_DAGS=rewrite writes the present decisions into the files, for review as a diff.
"""

import os
from pathlib import Path

import pytest

from tests.support.dag_script import play

GOLDEN = Path(__file__).parents[1] / "golden" / "dags"
REWRITE = os.environ.get("GOLDEN_DAGS") == "rewrite"

drawings = sorted(GOLDEN.glob("*.txt"))


def test_there_are_drawings() -> None:
    assert len(drawings) >= 12


@pytest.mark.parametrize("path", drawings, ids=lambda path: path.stem)
def test_drawing(path: Path) -> None:
    played = play(path.read_text())
    if REWRITE:
        path.write_text(played)
    assert played == path.read_text()


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("1  A B\n", "the mode comes first"),
        ("crash 3\n1  A B C\n1  A\n", "A1 is drawn twice"),
        ("crash 3\n1  A B C\n2  A[A]\n", "at least 2 parents stand at round 1"),
        ("crash 3\n1  A B(C)\n", "expected blocks like"),
    ],
)
def test_an_invalid_drawing_is_refused(script: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        play(script)
