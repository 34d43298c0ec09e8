"""`python -m web`: run the gateway of one peer."""

import sys
from pathlib import Path
from typing import Any

import click

from peer.client.endpoint import endpoint
from peer.process import lifeline
from peer.process.descriptors import raise_limit
from peer.storage.data_folder import JOURNAL_FILE
from web import options, vendor
from web.auth.keys import KEYS_FILE
from web.bundle import Bundled
from web.config import Config
from web.server import Server


@click.command(
    params=[*options.OPTIONS],
    context_settings={"auto_envvar_prefix": "ORDERBOOK_WEB", "show_default": True},
)
def main(data: Path, exit_with_parent: bool, **given: Any) -> None:
    """Serve a peer's book: the page, the HTTP interface and the streams."""
    if exit_with_parent:
        try:
            lifeline.hold()
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    options.check(given)
    _check_page(given["source"])
    try:
        limit = raise_limit()
    except OSError as error:
        raise click.ClickException(str(error)) from None
    journal = data / JOURNAL_FILE
    config = Config(
        node=endpoint(data).address,
        keys=str(data / KEYS_FILE),
        history=str(journal) if journal.exists() else "",
        **given,
    )
    sys.exit(Server(config, limit).run())


def _check_page(source: bool) -> None:
    """Say what of the page has not been prepared. The gateway serves without it."""
    if not source and Bundled().get() is not None:
        return
    if not vendor.is_ready():
        text = "the page's libraries are missing; `python -m web.bundle` installs them"
    elif not source:
        text = (
            "the page's bundle is missing or older than its sources, which are served in its place;"
            " `python -m web.bundle` makes it"
        )
    else:
        return
    click.echo(f"web: {text}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m web")
