"""The documents agree with the code."""

import ast
import doctest
import re
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest

from peer.cli.demo import MARKETS
from tests.attack import ATTACKS
from tests.mutations.__main__ import MUTATIONS
from tests.support.web_gateway import lone_peer
from web.app import OPERATIONS

README = Path(__file__).parents[2] / "README.md"
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


def test_every_row_of_the_threat_table_names_tests_that_exist() -> None:
    text = (API.parent / "security.md").read_text()
    rows = [line for line in text.partition("\n\n## ")[0].splitlines() if line.startswith("| ")]
    assert len(rows) > 15
    for row in rows[1:]:  # below the head
        _, _, _, stops, _, tests, _ = (cell.strip() for cell in row.split("|"))
        named = re.findall(r"`(test_\w+)::(test_\w+)`", tests)
        assert named or stops == "nothing", row
        for file, test in named:
            assert test in functions_of(file), f"{file} has no {test}"


def test_the_table_of_limits_matches_the_code_and_names_tests() -> None:
    text = (API.parent / "security.md").read_text()
    section = text.partition("## What each can use up\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert test in functions_of(file), f"{file} has no {test}"
    figures = re.findall(r"([\d,.]+) \(`((?:web|peer)\.[\w.]+)`\)", section)
    assert len(figures) > 20
    for figure, name in figures:
        assert float(figure.replace(",", "")) == resolve_name(name), name


def test_every_fault_names_what_reproduces_it_or_says_that_no_test_does() -> None:
    text = (API.parent / "robustness.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith("| what was wrong |")]
    assert len(faults) > 60
    targets = set(re.findall(r"^([a-z-]+):", (README.parent / "Makefile").read_text(), re.M))
    for row in faults:
        wrong, hit, mended, shown = (cell.strip() for cell in row.strip("|").split(" | "))
        assert wrong, row
        assert hit, row
        assert mended == "*open*" or re.fullmatch(r"`[0-9a-f]{7,}`(, `[0-9a-f]{7,}`)*", mended), row
        for name in re.findall(r"`([^`]*)`", shown) or [shown]:
            assert is_there(name, targets), f"{name}: {row}"


def is_there(name: str, targets: set[str]) -> bool:
    """Whether the reproduction of a fault exists: a test, a target, or a module to run."""
    if found := re.fullmatch(r"(test_\w+)::(test_\w+)", name):
        return found[2] in functions_of(found[1])
    if found := re.fullmatch(r'make ([a-z-]+)(?: ARGS="(.*)")?', name):
        known = {mutation.name for mutation in MUTATIONS}
        given = found[2] or ""
        broken = re.findall("'([^']*)'", given) if found[1] == "mutations" else []
        attacks = given.split() if found[1] == "attack" else []
        return found[1] in targets and known.issuperset(broken) and {*ATTACKS} >= {*attacks}
    if found := re.fullmatch(r"python -m ([\w.]+)", name):
        return find_spec(found[1]) is not None
    return name == "*no test*"


def functions_of(module: str) -> set[str]:
    paths = list(Path(__file__).parents[1].glob(f"*/{module}.py"))
    tree = ast.parse("".join(path.read_text() for path in paths))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
