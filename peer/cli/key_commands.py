"""`python -m peer keys`: API keys, links and barred accounts of a peer.

Owns the options and the output. The peer may be running: a change takes effect at once.
"""

import time
from pathlib import Path

import click

from web.auth.keys import KEYS_FILE, Keys, Scope

_PATH = click.Path(path_type=Path, exists=True, file_okay=False)
_scopes = click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    default=(Scope.TRADE.value,),
    help="read: see its orders; trade: change them too; admin: all accounts. Repeatable.",
)


@click.group()
@click.argument("data", type=_PATH)
@click.pass_context
def keys(context: click.Context, data: Path) -> None:
    """API keys and links of the peer with the folder DATA."""
    context.obj = Keys(data / KEYS_FILE)
    context.call_on_close(context.obj.close)


@keys.command()
@click.argument("account")
@_scopes
@click.option("--token", help="Accept this API key, made at another peer of yours.")
@click.pass_obj
def create(store: Keys, account: str, scopes: tuple[str, ...], token: str | None) -> None:
    """Print a new API key for ACCOUNT. The peer does not store it, so copy it now."""
    click.echo(store.create(account, scopes, token))


@keys.command()
@click.argument("id_", metavar="ID")
@click.pass_obj
def revoke(store: Keys, id_: str) -> None:
    """Revoke the API key with this ID (the part after p2p_)."""
    if not store.revoke(id_):
        raise click.UsageError(f"there is no key {id_}: `list` shows them")
    click.echo(f"revoked {id_}")


@keys.command("list")
@click.pass_obj
def list_(store: Keys) -> None:
    """List the API keys: id, account, scopes, day of creation."""
    for key in store.list():
        day = time.strftime("%Y-%m-%d", time.gmtime(key.created_ms / 1_000))
        click.echo(f"{key.id}  {key.account:<20} {key.scopes:<12} {day}")


@keys.command()
@click.argument("account")
@_scopes
@click.option("--at", default="http://127.0.0.1:8081", help="URL of the page.")
@click.pass_obj
def link(store: Keys, account: str, scopes: tuple[str, ...], at: str) -> None:
    """Print a link that opens the page for ACCOUNT, once, within a day."""
    click.echo(f"{at}/?token={store.link(account, scopes)}")


@keys.command()
@click.argument("account")
@click.pass_obj
def bar(store: Keys, account: str) -> None:
    """Bar ACCOUNT, a key or any other, from placing and changing orders at this peer."""
    store.bar(account)
    click.echo(f"barred {account}: it may still cancel its orders, and so may you")


@keys.command()
@click.argument("account")
@click.pass_obj
def unbar(store: Keys, account: str) -> None:
    """Let ACCOUNT trade again."""
    if not store.unbar(account):
        raise click.UsageError(f"{account} is not barred: see `barred`")
    click.echo(f"{account} may trade again")


@keys.command()
@click.pass_obj
def barred(store: Keys) -> None:
    """List the accounts that may not trade here."""
    for account in store.barred():
        click.echo(account)
