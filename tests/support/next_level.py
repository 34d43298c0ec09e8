"""A program that knows one more feature level than the product:
`python -m tests.support.next_level run`.

The product has no option for this: tests pass levels to its runner.
"""

import logging
from pathlib import Path

import click

from peer.cli.runner import Options, run
from peer.process import lifeline
from tests.simulator.levels import NEXT_LEVELS


@click.group()
def main() -> None:
    """A peer that knows level 2."""


@main.command("run")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--mesh", type=click.Path(path_type=Path), required=True)
@click.option("--grape", "grapes", multiple=True)
@click.option("--at", "places", multiple=True)
@click.option("--port", default=0)
@click.option("--fetch-port", default=0)
@click.option("--exit-with-parent", is_flag=True)
def run_(
    data: Path,
    mesh: Path,
    grapes: tuple[str, ...],
    places: tuple[str, ...],
    port: int,
    fetch_port: int,
    exit_with_parent: bool,
) -> None:
    logging.basicConfig(level=logging.INFO)
    if exit_with_parent:
        lifeline.hold()
    options = Options(data, mesh, grapes, places, port=port, fetch_port=fetch_port)
    run(options, levels=NEXT_LEVELS)


if __name__ == "__main__":
    main(prog_name="python -m tests.support.next_level")
