"""The gateway's command line: its options, and the command that starts one with them.

Owns the flags: `python -m web` has all of them, and what starts a gateway takes those of
`FORWARDED` as its own and passes them on by `command_line`. Must never start anything.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from web.config import Config
from web.serve.tls import context_of

# What whoever starts a gateway has to choose as well.
FORWARDED = [
    click.Option(
        ["--tls-cert"],
        default=Config.tls_cert,
        help="PEM file of the certificate chain: serve the page by TLS. With --tls-key.",
    ),
    click.Option(["--tls-key"], default=Config.tls_key, help="PEM file of its private key."),
    click.Option(
        ["--require-api-key"],
        is_flag=True,
        help="Take signed orders, too, only from those with an API key or a session. Without it "
        "anybody may trade who signs with a key of their own.",
    ),
]
OPTIONS = [
    click.Option(
        ["--data"],
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        required=True,
        help="The peer's data folder: where its node listens, its journal, its API keys.",
    ),
    click.Option(["--bind"], default=Config.bind, help="Address to serve at."),
    click.Option(
        ["--order-timeout"],
        default=Config.order_timeout,
        help="Seconds an order is waited for before it is answered as pending.",
    ),
    click.Option(
        ["--account-rate"], default=Config.account_rate, help="Orders a second of an account."
    ),
    click.Option(
        ["--address-rate"], default=Config.address_rate, help="Requests a second of an address."
    ),
    click.Option(
        ["--host", "hosts"],
        multiple=True,
        help="A further host name this gateway answers to; '*' for any. May be repeated.",
    ),
    click.Option(
        ["--proxy", "proxies"],
        multiple=True,
        help="Address of a reverse proxy, whose X-Forwarded-For is believed. May be repeated.",
    ),
    click.Option(
        ["--grape", "grapes"],
        multiple=True,
        help="URL of a Grape that is told of this gateway. May be repeated.",
    ),
    click.Option(
        ["--announce"], default=Config.announce, help="Name of the service, told to the Grapes."
    ),
    click.Option(["--threads"], default=Config.threads, help="Threads for requests."),
    click.Option(
        ["--request-timeout"],
        default=Config.request_timeout,
        help="Seconds within which a request must arrive.",
    ),
    *FORWARDED,
    click.Option(
        ["--exit-with-parent"], is_flag=True, help="Stop when standard input, a pipe, is closed."
    ),
    click.Option(["--log-level"], default="warning"),
]


def check(given: Mapping[str, Any]) -> None:
    """UsageError if a gateway can't do with these values of its options."""
    certificate, key = given["tls_cert"], given["tls_key"]
    if bool(certificate) != bool(key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if bool(given.get("grapes")) != bool(given.get("announce")):
        raise click.UsageError("--grape and --announce go together")
    if certificate and given.get("announce"):
        raise click.UsageError("--announce is for plain HTTP: it is all Grenache's clients speak")
    if certificate:
        try:
            context_of(certificate, key)
        except OSError as error:
            raise click.UsageError(f"{certificate} with {key} is no use: {error}") from None


def command_line(**given: Any) -> list[str]:
    """The command that starts a gateway with these values of its options, by their names."""
    words = [sys.executable, "-m", "web"]
    for option in OPTIONS:
        value = given.pop(option.name or "", None)
        if value is True:
            words += option.opts
        elif value:
            for each in value if option.multiple else [value]:
                words += [option.opts[0], str(each)]
    assert not given, f"no options of a gateway: {given}"
    return words
