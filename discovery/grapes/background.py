"""Grapes that outlive the command that started them: start, stop, status.

Owns the pid files and logs in the state directory: one pair per Grape, named by its HTTP port. Must
never end a process unless a pid file proves that this module started it.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from discovery.grape import Grape, GrapeError
from discovery.grapes import process
from discovery.grapes.nodejs import Say, exclusive
from discovery.grapes.parts import grape_program
from discovery.grapes.process import PROBE_NAME, GrapeProcess, GrapesError, GrapeSpec


class Running(msgspec.Struct, frozen=True):
    """The content of a pid file."""

    pid: int
    born: str
    spec: GrapeSpec


def start(specs: Sequence[GrapeSpec], state: Path, say: Say) -> None:
    """Start the Grapes that do not run yet; return when all take announcements.

    If one does not start, this call ends those it has started. Raises GrapesError, PortTakenError
    or NodeError.
    """
    state.mkdir(parents=True, exist_ok=True)
    with exclusive(state / ".lock"):
        _start(specs, state, say)


def stop(state: Path, say: Say) -> None:
    """End every Grape started here. Raises GrapesError if one does not end."""
    if not state.is_dir():
        return
    with exclusive(state / ".lock"):
        for path, running in _recorded(state):
            if process.end(running.pid, running.born):
                say(f"stopped the Grape on {running.spec.url} (pid {running.pid})")
            path.unlink(missing_ok=True)


def status(state: Path) -> list[tuple[Running, str]]:
    """The Grapes started here, each with "ready", "not ready: why" or "ended"."""
    return [(running, _condition(running)) for _, running in _recorded(state)]


def _start(specs: Sequence[GrapeSpec], state: Path, say: Say) -> None:
    missing = [spec for spec in specs if not _runs_already(spec, state, say)]
    if not missing:
        return
    program = grape_program(state, say)
    grapes = [
        GrapeProcess(spec, program, state / f"grape-{spec.http_port}.log") for spec in missing
    ]
    try:
        process.start_all(grapes, lambda grape: _record(state, grape))
    except BaseException:
        for spec in missing:
            _pid_file(state, spec).unlink(missing_ok=True)
        raise
    for grape in grapes:
        grape.release()
        say(f"{grape.spec.url} is ready (DHT on UDP {grape.spec.dht_port}, log {grape.log})")


def _runs_already(spec: GrapeSpec, state: Path, say: Say) -> bool:
    path = _pid_file(state, spec)
    running = _read(path)
    if running is None or process.birth(running.pid) != running.born:
        return False
    if running.spec != spec:
        raise GrapesError(
            f"the Grape on {running.spec.url} runs already, but with other options "
            f"({running.spec}). Stop it first."
        )
    say(f"{spec.url} runs already (pid {running.pid})")
    return True


def _condition(running: Running) -> str:
    if process.birth(running.pid) != running.born:
        return "ended"
    try:
        Grape([running.spec.url]).lookup(PROBE_NAME)
    except GrapeError as error:
        return f"not ready: {error}"
    return "ready"


def _record(state: Path, grape: GrapeProcess) -> None:
    born = process.birth(grape.pid)
    if born is not None:  # else it has ended, and await_ready() reports that
        running = Running(grape.pid, born, grape.spec)
        _pid_file(state, grape.spec).write_bytes(msgspec.json.encode(running))


def _recorded(state: Path) -> list[tuple[Path, Running]]:
    found = ((path, _read(path)) for path in sorted(state.glob("grape-*.pid")))
    return [(path, running) for path, running in found if running is not None]


def _read(path: Path) -> Running | None:
    """A pid file, or None if there is none or a crash cut it off."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _pid_file(state: Path, spec: GrapeSpec) -> Path:
    return state / f"grape-{spec.http_port}.pid"
