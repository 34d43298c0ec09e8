"""A worker of a test run that crashes or hangs."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
pytest_plugins = ["tests.support.workers"]

import tests.support.workers as workers
workers.TEARDOWN_S_MAX = 1
"""
FILES = 8
CRASH = """
import os, pathlib
first = pathlib.Path("first")
def test_before(): pass
def test_crash():
    if not first.exists():
        first.touch()
        os._exit(1)
def test_after(): pass
"""
HANG = """
import time, pytest
@pytest.fixture
def slow():
    yield
    time.sleep(60)
def test_hang(slow): pass
"""


def run(folder: Path, name: str, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    for number in range(FILES):
        (folder / f"test_{number}.py").write_text("def test_one(): pass\n")
    (folder / name).write_text(text)
    options = [
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        "--max-worker-restart",
        "2",
    ]
    options += [
        "-p",
        "no:schemathesis",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_a_crash_of_a_worker_fails_one_test_and_the_others_run(tmp_path: Path) -> None:
    done = run(tmp_path, "test_9.py", CRASH)
    assert done.returncode == 1, done.stdout
    assert f"1 failed, {FILES + 3} passed" in done.stdout
    assert "\ntest_9.py::test_crash: worker 'gw" in done.stdout


def test_a_teardown_that_hangs_ends_the_worker_and_fails_its_test(tmp_path: Path) -> None:
    done = run(tmp_path, "test_9.py", HANG)
    assert done.returncode == 1, done.stdout
    assert "test_9.py::test_hang: worker 'gw" in done.stdout
