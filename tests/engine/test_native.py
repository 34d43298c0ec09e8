"""Compiled modules run only if they are of the sources that are here; a build shows all or none."""

import ast
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from engine import native
from engine.native import BUILT, PLAIN, SUFFIX, build, stamp
from engine.native.build import MODULES, WORK, BuildError
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
SAYS = "import engine._queue as it; from engine import why_plain as w; print(it.__file__); print(w)"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Sources, and beside them an extension module of Python as if it were compiled from them."""
    (tmp_path / "engine" / "native").mkdir(parents=True)
    (tmp_path / "peer" / "replica").mkdir(parents=True)
    shutil.copy(str(native.__file__), tmp_path / "engine" / "native" / "__init__.py")
    (tmp_path / "engine" / "native" / "a.h").write_text("/* */")
    (tmp_path / "engine" / "__init__.py").write_text("from engine.native import why_plain\n")
    for name in ("engine/_queue.py", "engine/other.py", "peer/__init__.py", "peer/replica/one.py"):
        (tmp_path / name).write_text("VALUE = 1\n")
    (tmp_path / "setup.cfg").write_text("")
    return tmp_path


def compiled(checkout: Path) -> Path:
    """The file that is found as `engine._queue` from now on."""
    found = find_spec("_queue")
    if found is None or found.origin is None or not found.origin.endswith(SUFFIX):
        pytest.skip("this Python has no extension module in a file")
    place = checkout / BUILT / stamp(checkout) / "engine" / f"_queue{SUFFIX}"
    place.parent.mkdir(parents=True)
    shutil.copy(found.origin, place)
    return place


def used(checkout: Path, **environment: str) -> tuple[str, str]:
    """The file that a new process imports, and why it is the plain one."""
    clean = {k: v for k, v in os.environ.items() if k not in (PLAIN, "PYTHONPATH")}
    command = [sys.executable, "-c", SAYS]
    env = {**clean, **environment}
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, why = done.stdout.split("\n")[:2]
    return str(Path(file).relative_to(checkout)), why


SOURCE = str(Path("engine", "_queue.py"))


def test_modules_compiled_from_these_sources_are_used(checkout: Path) -> None:
    assert used(checkout) == (SOURCE, "nothing is compiled")
    place = compiled(checkout)
    assert used(checkout) == (str(place.relative_to(checkout)), "")
    assert used(checkout, **{PLAIN: "1"}) == (SOURCE, f"{PLAIN} is set")


def edit(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text("VALUE = 2\n")


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("the module itself", edit("engine/_queue.py")),
    ("another module of the engine", edit("engine/other.py")),
    ("a module of the peer", edit("peer/replica/one.py")),
    ("a new module", edit("peer/replica/two.py")),
    ("the header of the C code", edit("engine/native/a.h")),
    ("a module removed", lambda root: (root / "engine/other.py").unlink()),
    ("a module renamed", lambda r: (r / "engine/other.py").rename(r / "engine/others.py")),
    (
        "the same size and time, other content",
        lambda root: as_old_as(root / "engine/other.py", lambda p: p.write_text("VALUE = 3\n")),
    ),
    ("content moved from one module to another", lambda root: swap(root)),
]


def as_old_as(path: Path, change: Callable[[Path], object]) -> None:
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(root: Path) -> None:
    (root / "engine/other.py").write_text("")
    (root / "peer/replica/one.py").write_text("VALUE = 1\nVALUE = 1\n")


@pytest.mark.parametrize("change", [each for _, each in CHANGES], ids=[name for name, _ in CHANGES])
def test_after_any_change_of_a_source_nothing_compiled_runs(
    checkout: Path, change: Callable[[Path], object]
) -> None:
    place = compiled(checkout)
    change(checkout)
    file, why = used(checkout)
    assert file == SOURCE
    assert why.startswith("the sources have changed")
    assert place.exists()


def test_a_source_that_is_as_before_again_runs_compiled_again(checkout: Path) -> None:
    place = compiled(checkout)
    edit("engine/other.py")(checkout)
    assert used(checkout)[0] == SOURCE
    (checkout / "engine/other.py").write_text("VALUE = 1\n")
    assert used(checkout)[0] == str(place.relative_to(checkout))


def test_modules_for_another_python_are_not_used(checkout: Path) -> None:
    place = compiled(checkout)
    place.rename(place.with_name("_queue.cpython-399-some-machine.so"))
    assert used(checkout)[0] == SOURCE


def test_code_that_this_machine_cannot_load_is_not_used(checkout: Path) -> None:
    place = compiled(checkout)
    (place.parents[1] / f"1234{native.GROUP}{SUFFIX}").write_bytes(b"no code")
    file, why = used(checkout)
    assert file == SOURCE
    assert why.startswith("what was compiled cannot be loaded: ")


def test_a_module_compiled_beside_its_source_is_never_used_in_silence(checkout: Path) -> None:
    place = compiled(checkout)
    shutil.move(place, checkout / "engine" / place.name)
    done = subprocess.run(
        [sys.executable, "-c", SAYS], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode
    assert "may be of other sources: remove it, or run make slow" in done.stderr


def test_what_is_compiled_is_found_before_anything_of_it_is_imported() -> None:
    """Else the plain modules would run, and nothing would say so."""
    for first in ("engine", "engine.book", "engine.fast.fast_path", "peer", "peer.replica.batch"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys, {first}; print(*sys.modules)"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        came = [name for name in done.stdout.split() if name.startswith(native.PACKAGES)]
        assert {*came[: came.index("engine.native")]} <= {"engine", "peer"}


def test_every_compiled_module_exists_and_defines_no_message() -> None:
    """mypyc makes an ordinary class of a msgspec struct, with other behaviour, and gives a class no
    type hints at run time; and says nothing."""
    for name in MODULES:
        assert "get_type_hints" not in (ROOT / name).read_text(), name
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.ClassDef):
                assert not node.keywords, f"{name}: {node.name}"
                assert "Struct" not in " ".join(map(ast.unparse, node.bases)), name


# Building


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Steps that only note the folders in which they ran."""
    ran: list[Path] = []

    def compile_(root: Path, work: Path) -> None:
        ran.append(work)
        (work / "engine" / f"_queue{SUFFIX}").write_text("code")
        (work / f"1{native.GROUP}{SUFFIX}").write_text("code")

    monkeypatch.setattr(build, "missing", lambda: "")
    monkeypatch.setattr(build, "_compile", compile_)
    monkeypatch.setattr(build, "_check_heap", lambda root, work: None)
    return ran


def built(checkout: Path) -> dict[str, list[str]]:
    """The files in each folder of compiled modules."""
    folders = list((checkout / BUILT).iterdir()) if (checkout / BUILT).exists() else []
    return {each.name: sorted(p.name for p in each.rglob(f"*{SUFFIX}")) for each in folders}


FILES = [f"1{native.GROUP}{SUFFIX}", f"_queue{SUFFIX}"]


def test_a_build_is_of_the_sources_now_and_replaces_that_of_others(
    checkout: Path, compiler: list[Path]
) -> None:
    build.build(checkout)
    assert built(checkout) == {stamp(checkout): FILES}
    assert build.build(checkout) == "compiled already"
    assert len(compiler) == 1
    edit("engine/other.py")(checkout)
    build.build(checkout)
    assert built(checkout) == {stamp(checkout): FILES}
    assert not list((checkout / WORK).glob("native-*"))
    assert not list((checkout / "engine").glob("*.so"))


@pytest.mark.parametrize("step", ["_compile", "_check_heap"])
def test_a_build_that_fails_leaves_all_as_it_was(
    checkout: Path, compiler: list[Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    build.build(checkout)
    before = built(checkout)
    edit("engine/other.py")(checkout)

    def fail(root: Path, work: Path) -> None:
        raise BuildError("the heap is broken")

    monkeypatch.setattr(build, step, fail)
    with pytest.raises(BuildError, match="the heap is broken"):
        build.build(checkout)
    assert built(checkout) == before
    assert stamp(checkout) not in before
    assert not list((checkout / WORK).glob("native-*"))


def test_a_source_edited_during_a_build_is_not_taken_for_compiled(
    checkout: Path, compiler: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_check_heap", lambda root, work: edit("engine/other.py")(checkout))
    build.build(checkout)
    assert stamp(checkout) not in built(checkout)


def test_one_build_at_a_time_and_the_next_clears_what_a_killed_one_left(
    checkout: Path, compiler: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = checkout / WORK / "native-1"
    left.mkdir(parents=True)
    began, go_on = threading.Event(), threading.Event()

    def check(root: Path, work: Path) -> None:
        began.set()
        assert go_on.wait(20)

    monkeypatch.setattr(build, "_check_heap", check)
    first = threading.Thread(target=build.build, args=(checkout,))
    first.start()
    try:
        assert began.wait(20)
        assert not left.exists()
        with pytest.raises(BuildError, match="another build is going on"):
            build.build(checkout)
    finally:
        go_on.set()
        first.join()
    assert built(checkout) == {stamp(checkout): FILES}


def test_removing_ends_a_build_that_is_going_on(checkout: Path) -> None:
    code = (
        "import signal, sys, time; from pathlib import Path; from engine.native import build\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        f"with build._alone(Path({str(checkout)!r})): print('builds', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "builds\n"
        (checkout / BUILT / "1").mkdir(parents=True)
        build.remove(checkout)
        assert other.wait(20) == 1
    assert not built(checkout)
    build.remove(checkout)


def test_a_failed_step_says_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('it broke'); raise SystemExit(3)"]
    with pytest.raises(BuildError, match=r"ended with 3:\nit broke"):
        build._run(command, tmp_path, dict(os.environ))


def test_a_step_ends_with_all_it_has_started(tmp_path: Path) -> None:
    """A compiler under a compiler's wrapper, for example."""
    code = (
        "import os, signal, sys; from pathlib import Path; from engine.native import build\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        f"build._run(['sh', '-c', 'sleep 60 & echo $! > pid; wait'], Path({str(tmp_path)!r}), "
        "dict(os.environ))"
    )
    pid = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as other:
        wait_for("the step", lambda: pid.exists() and pid.read_text().endswith("\n"))
        other.terminate()
        assert other.wait(20) == 1
    wait_for("its end", lambda: has_ended(int(pid.read_text())))


def has_ended(pid: int) -> bool:
    """Also if nobody asks for its status, as for an orphan where the first process does not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_without_a_compiler_nothing_is_built(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BuildError, match=r"no C compiler \(no-such-compiler\)"):
        build.build(checkout)
    assert not (checkout / BUILT).exists()


def test_a_build_beside_other_work_runs_only_when_nothing_else_wants_to() -> None:
    code = (
        "import os; from engine.native.build import _step_back; _step_back()\n"
        "print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "19 True\n"
