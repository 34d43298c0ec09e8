"""The engine's scripts: commands in, whole event list out, compared with what was agreed on.

ENGINE_GOLDEN=rewrite writes what the engine says now into the files, for review as a diff.
"""

import doctest
import os
import re
from pathlib import Path

import pytest

import engine
from tests.support.engine_script import play

DOCUMENT = Path(__file__).parents[2] / "docs" / "engine.md"
GOLDEN = Path(__file__).parents[1] / "golden" / "engine"
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


def test_the_examples_in_the_document_are_true() -> None:
    text = DOCUMENT.read_text()
    examples = re.compile(r"(?<=```text\n)(.*?)(?=```)", re.DOTALL)
    played = examples.sub(lambda match: play(match[0]), text)
    if REWRITE:
        DOCUMENT.write_text(played)
    assert len(examples.findall(text)) > 10
    assert played == DOCUMENT.read_text()


def test_the_example_in_the_package_is_true() -> None:
    result = doctest.testmod(engine)
    assert result.attempted > 5
    assert result.failed == 0
