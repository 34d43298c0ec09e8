"""The tree in the README matches the folders, and its rules hold."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

from tests.conftest import LONGEST

ROOT = Path(__file__).parents[2]
PACKAGES = ("engine", "discovery", "peer", "web")
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
WRITTEN_OUT = "engine/fast"  # one loop without calls: see there
PAGE = "web/static"


def named() -> list[str]:
    """The folders in the README's picture, in its order."""
    [picture] = re.findall(r"(?:^    \S.*\n|^      .*\n)+", section(), re.MULTILINE)
    folders: list[str] = []
    above: list[str] = []
    for line in picture.splitlines():
        name, *words = line.split()
        assert words, f"what is {name}?"
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        above = [*above[:depth], name.strip("/")]
        folders.append("/".join(above))
    return folders


def section() -> str:
    return (ROOT / "README.md").read_text().partition("## Where things are")[2]


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "node_modules" not in path.parts:
                yield path.relative_to(ROOT)


def folder_of(module: str, folders: list[str]) -> str | None:
    """The innermost of the folders that contain a dotted name."""
    path = module.replace(".", "/")
    found = [folder for folder in folders if f"{path}/".startswith(f"{folder}/")]
    return max(found, key=len, default=None)


def test_every_folder_is_named_and_none_is_missing() -> None:
    there = {str(path.parent) for path in modules()} | {f"{PAGE}/css", f"{PAGE}/js", PAGE}
    mirrored = {Path(folder).name for folder in there}
    tests = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/*.py")}
    there |= {folder for folder in tests if Path(folder).name not in mirrored}
    assert {*named()} == there | {"tests", "tests/golden"}


def test_a_folder_imports_only_what_stands_above_it() -> None:
    folders = named()
    for path in modules():
        own = folder_of(str(path.parent), folders)
        assert own is not None
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                used = folder_of(node.module, folders)
                if used is None or used.startswith(own) or own.startswith(used):
                    continue
                assert folders.index(used) < folders.index(own), f"{path} imports {node.module}"


def test_one_name_is_one_module_and_shadows_none() -> None:
    names = Counter(path.stem for path in modules() if not path.stem.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []
    assert names.keys() & sys.stdlib_module_names == set()


def test_no_file_and_no_function_has_two_subjects() -> None:
    for path in modules():
        text = (ROOT / path).read_text()
        assert text.count("\n") <= LINES_MAX, path
        if str(path.parent) == WRITTEN_OUT:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= FUNCTION_LINES_MAX, f"{path}: {node.name}"


def test_the_way_of_an_order_is_that_of_the_code() -> None:
    """Every function on the path in CONTRIBUTING.md exists."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `([a-z_/]+)` \| (`.*`) \|", text, re.MULTILINE)
    assert len(rows) > 10
    for folder, functions in rows:
        package = folder.replace("/", ".")
        for name in re.findall(r"`([^`]+)`", functions):
            assert callable(resolve_name(f"{package}.{name}")), name


def test_the_test_files_that_begin_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
