"""What the documents show is what happens."""

import doctest
from pathlib import Path

import pytest

from peer.demo import MARKETS
from tests.web_gateway import lone_peer
from web.openapi import OPERATIONS

README = Path(__file__).parents[1] / "README.md"
API = README.parent / "docs" / "api.md"


@pytest.mark.parametrize(("document", "least"), [(README, 5), (API, 15)], ids=["README", "api"])
def test_the_python_example_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Path, least: int
) -> None:
    text = document.read_text()
    example = doctest.DocTestParser().get_doctest(text, {}, document.name, str(document), 0)
    assert len(example.examples) >= least
    said: list[str] = []
    with lone_peer(tmp_path, MARKETS):
        (tmp_path / ".demo").mkdir()
        (tmp_path / ".demo" / "alice").symlink_to(tmp_path / "solo")
        monkeypatch.chdir(tmp_path)
        failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert failed == 0, "".join(said)


def test_every_operation_of_the_api_is_in_its_document() -> None:
    text = API.read_text()
    named = {f"{each.method.upper()} {each.path}" for each in OPERATIONS} - {"GET /", "POST /"}
    assert {name for name in named if name not in text} == set()
