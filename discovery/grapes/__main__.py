"""The command line of the background Grapes."""

from pathlib import Path

import click

from discovery.grapes import DHT_PORTS, HTTP_PORTS, STATE, background, linked_specs
from discovery.grapes.nodejs import NodeError
from discovery.grapes.process import GrapesError

_state = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=STATE,
    show_default=True,
    help="Directory of the pid files, the logs and the npm packages.",
)


def _say(message: str) -> None:
    click.echo(f"grapes: {message}")


@click.group()
def main() -> None:
    """Real Grenache Grapes in the background, for the peers of this machine."""


@main.command()
@_state
@click.option(
    "--dht-port",
    "dht_ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    default=DHT_PORTS,
    show_default=True,
    help="UDP port; repeat for each Grape.",
)
@click.option(
    "--http-port",
    "http_ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    default=HTTP_PORTS,
    show_default=True,
    help="HTTP port; repeat for each Grape.",
)
@click.option(
    "--join",
    multiple=True,
    metavar="HOST:PORT",
    help="DHT node of another machine; may be repeated.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="This machine's IPv4 address as other machines see it.",
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    help="IPv4 address on which the HTTP API listens.",
)
def start(
    state: Path,
    dht_ports: tuple[int, ...],
    http_ports: tuple[int, ...],
    join: tuple[str, ...],
    host: str,
    bind: str,
) -> None:
    """Start the Grapes that do not run yet; return when all are ready."""
    try:
        specs = linked_specs(dht_ports, http_ports, join, host, bind)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        background.start(specs, state, _say)
    except (GrapesError, NodeError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_state
def stop(state: Path) -> None:
    """Stop the Grapes that `start` has started, and no other process."""
    try:
        background.stop(state, _say)
    except (GrapesError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_state
def status(state: Path) -> None:
    """List the running Grapes. Exit status 1 if there is none, or one is not ready."""
    conditions = background.status(state)
    for running, condition in conditions:
        _say(f"{running.spec.url} (pid {running.pid}): {condition}")
    if not conditions:
        _say("none started")
    if not conditions or any(condition != "ready" for _, condition in conditions):
        raise SystemExit(1)


main(prog_name="python -m discovery.grapes")
