"""Rules broken on purpose, and what notices.

Owns the list. Each mutation is applied to a copy of the modules in a temporary folder, never to the
working tree, and the simulator is run there until it fails. A mutation that survives its seeds is
an error: either the simulator is too kind or the rule is not needed.

`python -m tests.mutations` runs all of them, `python -m tests.mutations NAME ...` some.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("peer", "engine", "discovery", "tests/simulator")
SECONDS_MAX = 600
_VERDICT = re.compile(r"^(?:graph )?\w+-\d+-\d+ (?:Diverged|NoProgress)[^\n]*", re.M)

_BROKEN = re.compile(r"(?:Attribute|Name)Error: .*")  # no rule, just a name that is not there


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which must stand in the file once, by `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    name: str
    breaks: str  # what ought to go wrong
    within: int  # seeds or graphs until it is caught
    trial: str  # arguments of the simulator
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Outcome:
    caught: bool
    how: str
    seconds: float


def edit(file: str, old: str, new: str) -> Edit:
    return Edit(f"peer/{file}.py", old, new)


CRASH_RUNS = "--mode crash --n 3,5,4,7"
BYZANTINE_RUNS = "--mode byzantine --n 4,5,7"
CRASH_GRAPHS = "--mode crash --n 3,4,5,6,7"
BYZANTINE_GRAPHS = "--mode byzantine --n 4,4,5,7"


def mutated(mutation: Mutation) -> dict[str, str]:
    """The files it changes, with the change in them. ValueError if it does not fit the code."""
    texts: dict[str, str] = {}
    for change in mutation.edits:
        text = texts.get(change.file) or (ROOT / change.file).read_text()
        found = text.count(change.old)
        if found != 1:
            raise ValueError(f"{mutation.name}: {change.file} has {found} times {change.old!r}")
        texts[change.file] = text.replace(change.old, change.new)
    return texts


def apply(mutation: Mutation, folder: Path) -> None:
    """A copy of what the simulator needs, with the mutation in it."""
    for name in COPIED:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    (folder / "tests/__init__.py").touch()
    for file, text in mutated(mutation).items():
        (folder / file).write_text(text)


def hunt(mutation: Mutation) -> Outcome:
    """Run the mutated modules until the simulator fails."""
    amount = "--graphs" if "graphs" in mutation.trial.split() else "--seeds"
    trial = [word for word in mutation.trial.split() if word != "graphs"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        apply(mutation, folder)
        command = [sys.executable, "-m", "tests.simulator", "--first", amount]
        started = time.monotonic()
        try:
            done = subprocess.run(
                [*command, str(mutation.within), *trial],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(False, f"no verdict in {SECONDS_MAX} s", SECONDS_MAX)
    seconds = time.monotonic() - started
    if error := _BROKEN.search(done.stdout):
        raise RuntimeError(
            f"{mutation.name}: the simulator does not fit the code: {error.group(0)}"
        )
    if verdict := _VERDICT.search(done.stdout):
        return Outcome(True, verdict.group(0)[:110], seconds)
    if done.returncode:
        raise RuntimeError(f"{mutation.name}: the simulator itself failed: {done.stderr[-500:]}")
    return Outcome(False, f"not in {mutation.within} {amount[2:]}", seconds)
