"""`python -m peer accounts`: list accounts with open orders, and cancel their orders.

Owns the options and the output. The peer must be running: its node answers, over the local socket.
"""

from pathlib import Path

import click

from engine import CancelAll, Cancelled, Rejected, Side
from peer.cli.governance_commands import propose
from peer.client.change_input import CancelAccount
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoint
from peer.client.rejections import WORDS
from peer.replica.signed import KEY_PREFIX, Removal

_PATH = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
@click.argument("data", type=_PATH)
@click.pass_context
def accounts(context: click.Context, data: Path) -> None:
    """Accounts and their open orders, at the running peer with the folder DATA."""
    context.obj = NodeClient(endpoint(data))
    context.call_on_close(context.obj.close)


@accounts.command("list")
@click.option("--first", default=20, help="How many accounts, those with most orders first.")
@click.pass_obj
def list_(node: NodeClient, first: int) -> None:
    """List the number of open orders of each account, from all peers."""
    for account, orders in node.accounts(first):
        click.echo(f"{orders:>9,}  {account}")


@accounts.command()
@click.argument("account")
@click.option("--market", default="", help="Only in this market.")
@click.option("--side", type=click.Choice(["buy", "sell"]), help="Only on this side.")
@click.option("--propose", "by_vote", is_flag=True, help="By the members: in all markets.")
@click.pass_obj
def cancel(node: NodeClient, account: str, market: str, side: str | None, by_vote: bool) -> None:
    """Cancel all orders of ACCOUNT. If it is a key, only those that came through this peer, unless
    the members approve it (--propose)."""
    if by_vote:
        if market or side:
            raise click.UsageError("--propose is for all orders: leave out --market and --side")
        propose(node, [CancelAccount(account)])
        return
    command = CancelAll(0, account, market, Side[side.upper()] if side else None)
    entry = Removal(command) if account.startswith(KEY_PREFIX) else command
    [result] = node.execute([entry])
    for event in result.events:
        if isinstance(event, Rejected):
            raise click.UsageError(WORDS[event.reason])
    gone = sum(isinstance(event, Cancelled) for event in result.events)
    click.echo(f"{gone:,} orders of {account} cancelled")
