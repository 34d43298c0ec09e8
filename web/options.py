"""The options of the gateway's command line, and the command that starts a gateway with them.

Owns the flags. `python -m web` has all of them. A program that starts a gateway also has those in
`FORWARDED`, and passes them on by `command_line`. Must never start anything.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from web.config import Config
from web.serve.tls import context_of


def _option(names: str, text: str) -> click.Option:
    """An option for a field of Config, with the field's default."""
    declared = names.split()
    default = getattr(Config, declared[-1].lstrip("-").replace("-", "_"))
    several, is_flag = isinstance(default, tuple), isinstance(default, bool)
    return click.Option(declared, default=default, multiple=several, is_flag=is_flag, help=text)


FORWARDED = [  # a program that starts a gateway has these too
    _option("--tls-cert", "PEM file of the certificate chain: serve TLS. Needs --tls-key."),
    _option("--tls-key", "PEM file of the certificate's private key."),
    _option(
        "--require-api-key",
        "Take signed orders only from callers with an API key or a session. Without this option a "
        "signature by the account's own key is enough.",
    ),
]
OPTIONS = [
    click.Option(
        ["--data"],
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        required=True,
        help="The peer's data folder, with its local socket, journal and API keys.",
    ),
    _option("--bind", "HOST:PORT to listen on."),
    _option("--order-timeout", "Seconds until a command is answered as pending."),
    _option("--account-rate", "Commands a second per account."),
    _option("--address-rate", "Requests a second per address."),
    _option("--host hosts", "Another host name for this gateway; '*' for any. Repeatable."),
    _option("--proxy proxies", "Address of a trusted reverse proxy. Repeatable."),
    _option("--grape grapes", "URL of a Grape to announce this gateway to. Repeatable."),
    _option("--announce", "Service name to announce to the Grapes."),
    _option("--threads", "Threads for requests."),
    _option("--request-timeout", "Seconds within which a request must arrive."),
    *FORWARDED,
    click.Option(
        ["--exit-with-parent"], is_flag=True, help="Stop when standard input, a pipe, closes."
    ),
    _option("--source", "Let the page load its single sources, not the bundle of them."),
    _option("--log-level", "Lowest level to log."),
]


def check(given: Mapping[str, Any]) -> None:
    """UsageError if these values of options can't work together."""
    certificate, key = given["tls_cert"], given["tls_key"]
    if bool(certificate) != bool(key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if bool(given.get("grapes")) != bool(given.get("announce")):
        raise click.UsageError("--grape and --announce go together")
    if certificate and given.get("announce"):
        raise click.UsageError("--announce needs plain HTTP: Grenache clients do not speak TLS")
    if certificate:
        try:
            context_of(certificate, key)
        except OSError as error:
            raise click.UsageError(f"{certificate} with {key} can't be used: {error}") from None


def forwarded(given: dict[str, Any]) -> dict[str, Any]:
    """Remove the values of `FORWARDED` from `given` and return them. UsageError, as `check`."""
    found = {option.name or "": given.pop(option.name or "") for option in FORWARDED}
    check(found)
    return found


def command_line(**given: Any) -> list[str]:
    """The command that starts a gateway with these values of options, by name."""
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
