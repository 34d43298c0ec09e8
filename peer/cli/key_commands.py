"""`python -m peer keys`: who may trade through a peer.

Owns the options and the output. The peer may be running: what is made or revoked counts at once.
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
    help="read: see its orders; trade: change them too; admin: for every account. Repeat.",
)


@click.group()
@click.argument("data", type=_PATH)
@click.pass_context
def keys(context: click.Context, data: Path) -> None:
    """API keys and links of the peer in the folder DATA."""
    context.obj = Keys(data / KEYS_FILE)
    context.call_on_close(context.obj.close)


@keys.command()
@click.argument("account")
@_scopes
@click.option("--token", help="Take this API key, made at another peer of yours, here too.")
@click.pass_obj
def create(store: Keys, account: str, scopes: tuple[str, ...], token: str | None) -> None:
    """Print a new API key for ACCOUNT. It is not kept, and can't be shown again."""
    click.echo(store.create(account, scopes, token))


@keys.command()
@click.argument("id_", metavar="ID")
@click.pass_obj
def revoke(store: Keys, id_: str) -> None:
    """End the API key of this ID (the part after p2p_)."""
    if not store.revoke(id_):
        raise click.UsageError(f"there is no key {id_}: `list` shows them")
    click.echo(f"revoked {id_}")


@keys.command("list")
@click.pass_obj
def list_(store: Keys) -> None:
    """The API keys: id, account, scopes, day of making."""
    for key in store.list():
        day = time.strftime("%Y-%m-%d", time.gmtime(key.created_ms / 1_000))
        click.echo(f"{key.id}  {key.account:<20} {key.scopes:<12} {day}")


@keys.command()
@click.argument("account")
@_scopes
@click.option("--at", default="http://127.0.0.1:8081", help="Where the page is.")
@click.pass_obj
def link(store: Keys, account: str, scopes: tuple[str, ...], at: str) -> None:
    """Print a link that opens the page for ACCOUNT, once, within a day."""
    click.echo(f"{at}/?token={store.link(account, scopes)}")


@keys.command()
@click.argument("account")
@click.pass_obj
def bar(store: Keys, account: str) -> None:
    """Let ACCOUNT, a key or any other, place and change no more orders at this peer."""
    store.bar(account)
    click.echo(f"barred {account}: it may still cancel its orders, and so may you")


@keys.command()
@click.argument("account")
@click.pass_obj
def unbar(store: Keys, account: str) -> None:
    """Let ACCOUNT trade again."""
    if not store.unbar(account):
        raise click.UsageError(f"{account} is not barred: `barred` shows who is")
    click.echo(f"{account} may trade again")


@keys.command()
@click.pass_obj
def barred(store: Keys) -> None:
    """The accounts that may not trade here."""
    for account in store.barred():
        click.echo(account)
