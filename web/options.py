"""The gateway's command line: its options, and the command that starts one with them.

Owns the flags: `python -m web` has all of them, and a program that starts a gateway has those of
`FORWARDED` as well and passes them on by `command_line`. Must never start anything.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from web.config import Config
from web.serve.tls import context_of


def _option(names: str, text: str) -> click.Option:
    """A field of Config, with its default."""
    declared = names.split()
    default = getattr(Config, declared[-1].lstrip("-").replace("-", "_"))
    several, is_flag = isinstance(default, tuple), isinstance(default, bool)
    return click.Option(declared, default=default, multiple=several, is_flag=is_flag, help=text)


FORWARDED = [  # that a program which starts a gateway has as its own options
    _option("--tls-cert", "PEM file of the certificate chain: serve by TLS. With --tls-key."),
    _option("--tls-key", "PEM file of its private key."),
    _option(
        "--require-api-key",
        "Take signed orders, too, only from callers with an API key or a session. Without it a "
        "signature by the account's own key is enough.",
    ),
]
OPTIONS = [
    click.Option(
        ["--data"],
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        required=True,
        help="The peer's data folder: where its node listens, its journal, its API keys.",
    ),
    _option("--bind", "Address to serve at."),
    _option("--order-timeout", "Seconds until an order is answered as pending."),
    _option("--account-rate", "Orders a second of an account."),
    _option("--address-rate", "Requests a second of an address."),
    _option("--host hosts", "A further host name this gateway answers to; '*' for any. Repeat."),
    _option("--proxy proxies", "A reverse proxy, whose X-Forwarded-For is believed. Repeat."),
    _option("--grape grapes", "URL of a Grape that is told of this gateway. Repeat."),
    _option("--announce", "Name of the service, told to the Grapes."),
    _option("--threads", "Threads for requests."),
    _option("--request-timeout", "Seconds within which a request must arrive."),
    *FORWARDED,
    click.Option(
        ["--exit-with-parent"], is_flag=True, help="Stop when standard input, a pipe, is closed."
    ),
    _option("--log-level", "Of what is logged."),
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
            raise click.UsageError(f"{certificate} with {key} can't be used: {error}") from None


def forwarded(given: dict[str, Any]) -> dict[str, Any]:
    """Take the values of `FORWARDED` out of those of a command. UsageError, as `check`."""
    found = {option.name or "": given.pop(option.name or "") for option in FORWARDED}
    check(found)
    return found


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
