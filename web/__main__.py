"""`python -m web`: serve one peer's book to browsers."""

import sys

import click

from peer.process import lifeline
from peer.process.descriptors import raise_limit
from web import vendor
from web.config import ORDER_TIMEOUT_SECONDS, THREADS, Config
from web.serve.tls import context_of
from web.server import Server


@click.command(context_settings={"auto_envvar_prefix": "ORDERBOOK_WEB"})
@click.option("--node", required=True, help="ZeroMQ address of the node's commands and queries.")
@click.option("--feed", required=True, help="ZeroMQ address of the node's feed.")
@click.option("--bind", default="127.0.0.1:8081", show_default=True, help="Address to serve at.")
@click.option(
    "--order-timeout",
    default=ORDER_TIMEOUT_SECONDS,
    show_default=True,
    help="Seconds an order is waited for before it is answered as pending.",
)
@click.option("--keys", default="", help="The peer's keys.db: who may trade. Without: nobody.")
@click.option("--account-rate", default=Config.account_rate, help="Orders a second of an account.")
@click.option(
    "--address-rate", default=Config.address_rate, help="Requests a second of an address."
)
@click.option(
    "--strangers/--no-strangers",
    default=Config.strangers,
    show_default=True,
    help="Whether anybody may trade who signs orders with a key of their own.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="A further host name this gateway answers to; '*' for any. May be repeated.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    help="Address of a reverse proxy, whose X-Forwarded-For is believed. May be repeated.",
)
@click.option(
    "--grape",
    "grapes",
    multiple=True,
    help="URL of a Grape that is told of this gateway. May be repeated.",
)
@click.option("--announce", default="", help="Name of the Grenache service, told to the Grapes.")
@click.option("--history", default="", help="The node's journal: trades and candles of the past.")
@click.option("--threads", default=THREADS, show_default=True, help="Threads for requests.")
@click.option(
    "--request-timeout",
    default=Config.request_timeout,
    show_default=True,
    help="Seconds within which a request must arrive.",
)
@click.option("--tls-cert", default="", help="PEM file of the certificate chain: serve by TLS.")
@click.option("--tls-key", default="", help="PEM file of its private key.")
@click.option(
    "--exit-with-parent", is_flag=True, help="Stop when standard input, a pipe, is closed."
)
@click.option("--log-level", default="warning", show_default=True)
def main(
    node: str,
    feed: str,
    bind: str,
    order_timeout: float,
    keys: str,
    account_rate: float,
    address_rate: float,
    strangers: bool,
    hosts: tuple[str, ...],
    proxies: tuple[str, ...],
    grapes: tuple[str, ...],
    announce: str,
    history: str,
    threads: int,
    request_timeout: float,
    tls_cert: str,
    tls_key: str,
    exit_with_parent: bool,
    log_level: str,
) -> None:
    """Serve a peer's book: the page, the HTTP interface and the streams."""
    if exit_with_parent:
        try:
            lifeline.hold()
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if bool(grapes) != bool(announce):
        raise click.UsageError("--grape and --announce go together")
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if tls_cert and announce:
        raise click.UsageError("--announce is for plain HTTP: it is all Grenache's clients speak")
    if tls_cert:
        try:
            context_of(tls_cert, tls_key)
        except OSError as error:
            raise click.UsageError(f"{tls_cert} with {tls_key} is no use: {error}") from None
    if not vendor.is_ready():
        text = "web: the page's libraries are missing; `python -m web.vendor` installs them"
        click.echo(text, err=True)
    try:
        limit = raise_limit()
    except OSError as error:
        raise click.ClickException(str(error)) from None
    server = Server(
        Config(
            node=node,
            feed=feed,
            bind=bind,
            order_timeout=order_timeout,
            keys=keys,
            account_rate=account_rate,
            address_rate=address_rate,
            strangers=strangers,
            hosts=hosts,
            proxies=proxies,
            grapes=grapes,
            announce=announce,
            history=history,
            threads=threads,
            request_timeout=request_timeout,
            log_level=log_level,
            tls_certificate=tls_cert,
            tls_key=tls_key,
        ),
        limit,
    )
    sys.exit(server.run())


if __name__ == "__main__":
    main(prog_name="python -m web")
