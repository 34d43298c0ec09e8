"""The rules that the docs name, `ORDER-7` or `MATCH-3`, and the tests that prove them: one list.

A rule is stated once, as an item of a list or in a row of a table of its document. A test names the
rules that it proves in its docstring, a script in its comment.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATED = re.compile(r"(?:^- |\| )`([A-Z]+-\d+)`(?: \||\s\S)", re.M)
DOCS = list((ROOT / "docs").glob("*.md"))
CODE = [path for name in ("engine", "peer") for path in (ROOT / name).rglob("*.py")]
TESTS = [
    *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)),
    *(ROOT / "tests" / "golden").rglob("*.txt"),
]


def stated() -> Counter[str]:
    return Counter(name for path in DOCS for name in STATED.findall(path.read_text()))


def named(paths: Iterable[Path]) -> set[str]:
    """The names in these files that have the prefix of a rule."""
    prefixes = "|".join({name.partition("-")[0] for name in stated()})
    name = re.compile(rf"\b(?:{prefixes})-\d+\b")
    return {found for path in paths for found in name.findall(path.read_text())}


def test_every_rule_is_stated_once_and_they_are_counted_without_a_gap() -> None:
    rules = stated()
    assert set(rules.values()) == {1}
    numbers: dict[str, list[int]] = {}
    for prefix, _, number in (name.partition("-") for name in rules):
        numbers.setdefault(prefix, []).append(int(number))
    assert "ORDER" in numbers
    for prefix, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), prefix


def test_every_rule_is_proven_by_a_test_that_names_it() -> None:
    assert sorted(stated().keys() - named(TESTS)) == []


@pytest.mark.parametrize("where", [DOCS, CODE, TESTS], ids=["docs", "code", "tests"])
def test_every_named_rule_exists(where: list[Path]) -> None:
    assert sorted(named(where) - stated().keys()) == []
