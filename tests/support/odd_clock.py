"""A peer whose clock a file controls, for tests of time: `python -m tests.support.odd_clock run`.

The optional file is in the peer's folder. It has the milliseconds by which the clock is ahead, its
speed in thousandths, and the time since when it has this speed. The product has no option for this:
tests pass a clock to its runner.
"""

import logging
import time
from pathlib import Path

import click

from peer.cli.runner import Options, run
from peer.node.timers import Clock
from peer.process import lifeline

FILE = "odd_clock"
RIGHT_RATE = 1_000


def set_clock(folder: Path, ahead_ms: int = 0, rate: int = RIGHT_RATE) -> None:
    """Set the clock of the peer in `folder` from now on."""
    new = folder / f"{FILE}.new"
    new.write_text(f"{ahead_ms} {rate} {_now_ms()}")
    new.replace(folder / FILE)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def wall_ms(file: Path) -> int:
    """The time on the clock that `file` controls."""
    now_ms = _now_ms()
    if not file.exists():
        return now_ms
    ahead_ms, rate, since_ms = map(int, file.read_text().split())
    return since_ms + ahead_ms + (now_ms - since_ms) * rate // RIGHT_RATE


@click.group()
def main() -> None:
    """A peer whose clock can be set."""


@main.command("run")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--mesh", type=click.Path(path_type=Path), required=True)
@click.option("--grape", "grapes", multiple=True)
@click.option("--exit-with-parent", is_flag=True)
def run_(data: Path, mesh: Path, grapes: tuple[str, ...], exit_with_parent: bool) -> None:
    logging.basicConfig(level=logging.INFO)
    if exit_with_parent:
        lifeline.hold()
    options = Options(data, mesh, grapes)
    run(options, clock=Clock(wall_ms=lambda: wall_ms(data / FILE)))


if __name__ == "__main__":
    main(prog_name="python -m tests.support.odd_clock")
