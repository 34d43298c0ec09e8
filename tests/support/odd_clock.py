"""A peer whose clock shows what a file says, for tests of time:
`python -m tests.support.odd_clock run`.

A file in the peer's folder, if it is there, holds by how many milliseconds the clock is ahead, how
fast it goes, in thousandths, and since when. The product has no switch for this: a clock is handed
to its runner.
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
    """Of the peer in `folder`, from now on."""
    new = folder / f"{FILE}.new"
    new.write_text(f"{ahead_ms} {rate} {_now_ms()}")
    new.replace(folder / FILE)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def wall_ms(file: Path) -> int:
    """What the clock shows that `file` is about."""
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
