"""`python -m peer members` and `markets`: who takes part, what is traded, and changes of both.

Owns the options and the output. The peer must be running: its node answers, over the local socket.
A change is a proposal in the name of the peer's member, which the others approve.
"""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from engine import Rejected
from peer.cli.member_listing import advice, ended_text, listing
from peer.client import change_input
from peer.client.change_input import Known, Wanted, change_of
from peer.client.change_words import Markets, change_text
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoint
from peer.client.protocol import Proposals, format_id, parse_id
from peer.client.rejections import WORDS
from peer.client.units import AmountError, parse_amount, units_of
from peer.consensus.committee import Mode
from peer.replica.changes import AddMember, Approve, Change, Propose, RemoveMember, Vote, Withdraw
from peer.replica.governance import PROPOSALS_OPEN_MAX

LOOK_S = 0.25  # between two looks at how far a change is
_PATH = click.Path(path_type=Path, exists=True, file_okay=False)
_F = TypeVar("_F", bound=Callable[..., Any])
_wanted = msgspec.json.Decoder(list[Wanted])


def _connect(context: click.Context, data: Path, default: click.Command) -> None:
    """Connect to the node; without a command, list."""
    context.obj = NodeClient(endpoint(data))
    context.call_on_close(context.obj.close)
    if context.invoked_subcommand is None:
        context.invoke(default)


@click.group(invoke_without_command=True)
@click.argument("data", type=_PATH)
@click.pass_context
def members(context: click.Context, data: Path) -> None:
    """Members and proposals, at the running peer with the folder DATA. Lists them by default."""
    _connect(context, data, list_members)


@members.command("list")
@click.pass_obj
def list_members(node: NodeClient) -> None:
    """List the members, who is away, and the proposals with what each still needs."""
    for line in listing(node.proposals(), node.mesh(), time.time_ns() // 1_000_000):
        click.echo(line)


def _vote(node: NodeClient, votes: Sequence[Vote]) -> int:
    """Send votes. Returns the id of the first one's command. UsageError if one does not count."""
    results = node.govern(votes)
    for result in results:
        for event in result.events:
            if isinstance(event, Rejected):
                raise click.UsageError(WORDS[event.reason])
    return results[0].id


def _vote_on(node: NodeClient, proposal: str, vote: Callable[[int, int], Vote]) -> None:
    """Vote on a proposal: `vote` is given its id and the epoch. If it is over, say how it ended."""
    number, found = parse_id(proposal), node.proposals()
    for ended in found.ended:
        if ended.id == number:
            raise click.ClickException(f"proposal {proposal} is over: {ended_text(ended)}")
    _vote(node, [vote(number, found.epoch)])
    _report(node, number)


def _report(node: NodeClient, number: int) -> None:
    """Say what has become of a proposal."""
    found = node.proposals()
    name = format_id(number)
    for proposal in found.open:
        if proposal.id == number:
            click.echo(f"proposal {name}: {proposal.state}")
            return
    for ended in found.ended:
        if ended.id == number:
            click.echo(f"proposal {name}: {ended_text(ended)}")
            return
    click.echo(f"proposal {name}: over")


def propose(
    node: NodeClient, wanted: Sequence[Wanted], force: bool = False, unsealed: bool = False
) -> int:
    """Make a proposal and approve it. Returns its id. UsageError if it is impossible, or if another
    member's needs only this one's approval. Says what the mesh may lose then."""
    view = node.proposals()
    markets = {market.symbol: market for market in node.markets().markets}
    known = Known(markets, view.members)
    changes = tuple(change_of(each, known) for each in wanted)
    if not (force or unsealed):
        _check_new(view, changes, node.markets().peer, markets)
    vote = Propose(0, changes, force, unsealed)
    number = _vote(node, [vote, Approve(0, -1, view.epoch)])
    _report(node, number)
    size = len(view.members)
    more = sum(isinstance(each, AddMember) for each in changes)
    fewer = sum(isinstance(each, RemoveMember) for each in changes)
    if said := advice(Mode(node.mesh().mode), size, size + more - fewer):
        click.echo(said)
    return number


def _check_new(found: Proposals, changes: Sequence[Change], me: str, markets: Markets) -> None:
    """UsageError if the same is proposed already: two halves of the votes accept neither. A member
    that leaves needs a proposal of its own."""
    names = {member.seat: member.name for member in found.members}
    texts = [change_text(change, names.__getitem__, markets) for change in changes]
    leaves = texts == [f"remove member {me}"]
    for one in found.open:
        if one.changes == texts and not (leaves and one.proposer != me):
            name = format_id(one.id)
            how = "" if me in one.approvals else f": approve {name}"
            raise click.UsageError(f"proposal {name} by {one.proposer} has the same changes{how}")


_force = click.option("--force", is_flag=True, help="Even if too few new members are present.")
_unsealed = click.option(
    "--unsealed", is_flag=True, help="Even if the last epoch's end is not certified yet."
)


@members.command("propose")
@click.argument("changes")
@_force
@_unsealed
@click.pass_obj
def propose_(node: NodeClient, changes: str, force: bool, unsealed: bool) -> None:
    """Propose CHANGES, a JSON array as in `POST /proposals`: accepted all together, or not."""
    try:
        wanted = _wanted.decode(changes)
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.UsageError(f"expected a JSON array of changes: {error}") from None
    propose(node, wanted, force, unsealed)


@members.command()
@click.argument("name")
@click.argument("key")
@_force
@_unsealed
@click.pass_obj
def add(node: NodeClient, name: str, key: str, force: bool, unsealed: bool) -> None:
    """Propose a new member with this NAME and public KEY."""
    propose(node, [change_input.AddMember(name, key)], force, unsealed)


@members.command()
@click.argument("member")
@_force
@_unsealed
@click.pass_obj
def remove(node: NodeClient, member: str, force: bool, unsealed: bool) -> None:
    """Propose to remove a MEMBER."""
    propose(node, [change_input.RemoveMember(member)], force, unsealed)
    _say_until_when(member)


@members.command()
@click.argument("member")
@click.argument("name")
@click.argument("key")
@_force
@_unsealed
@click.pass_obj
def replace(
    node: NodeClient, member: str, name: str, key: str, force: bool, unsealed: bool
) -> None:
    """Propose to replace a MEMBER by a new one with this NAME and public KEY."""
    propose(node, [change_input.ReplaceMember(member, name, key)], force, unsealed)
    _say_until_when(member)


def _say_until_when(member: str) -> None:
    """ORDER-46: it signs the end of its epoch."""
    until = "until `members` shows the epoch after it as sealed; then delete its key"
    click.echo(f"if the peer of {member} still runs, keep it running {until}")


@members.command()
@_force
@_unsealed
@click.pass_obj
def leave(node: NodeClient, force: bool, unsealed: bool) -> None:
    """Let this peer's member leave, which needs no approval. Waits until the peer may be switched
    off."""
    name, before = node.markets().peer, node.proposals()
    seat = next((one.seat for one in before.members if one.name == name), None)
    if seat is None:
        raise click.ClickException("this peer is no member")
    number = _leave(node, name, force, unsealed)
    said = ""
    while not (found := node.proposals()).sealed or _is_member(seat, found):
        text = _leaving(node, seat, name, number, found)
        if text != said:
            click.echo(text)
            said = text
        time.sleep(LOOK_S)
    click.echo(f"{name} has left: this peer may be switched off, and its key deleted")


def _leave(node: NodeClient, name: str, force: bool, unsealed: bool) -> int:
    """The proposal of this peer's member to leave: the one that is open, or a new one. If there is
    no room for it, the oldest one goes: all of them end with the seat."""
    mine = [one for one in node.proposals().open if one.proposer == name]
    same = [one.id for one in mine if one.changes == [f"remove member {name}"]]
    if same and not (force or unsealed):
        return same[0]
    if len(mine) >= PROPOSALS_OPEN_MAX:
        _vote(node, [Withdraw(0, mine[0].id)])
    return propose(node, [change_input.RemoveMember(name)], force, unsealed)


def _is_member(seat: int, found: Proposals) -> bool:
    """By its seat: another member may have the name by now."""
    return seat in (member.seat for member in found.members)


def _leaving(node: NodeClient, seat: int, name: str, number: int, found: Proposals) -> str:
    """What a member that leaves waits for. Approvals begin anew in each epoch."""
    if not _is_member(seat, found):
        return "keep this peer running: the others have not certified the end of the epoch yet"
    for proposal in found.open:
        if proposal.id == number:
            if name not in proposal.approvals:
                _vote(node, [Approve(0, number, found.epoch)])
            return f"{name} is a member: {proposal.state}"
    if any(each.id == number and each.outcome != "done" for each in found.ended):
        raise click.ClickException(f"{name} stays: its proposal has ended otherwise")
    return f"{name} is a member"


@members.command()
@click.argument("level", type=int)
@_force
@_unsealed
@click.pass_obj
def activate(node: NodeClient, level: int, force: bool, unsealed: bool) -> None:
    """Propose to follow the rules of a feature LEVEL."""
    propose(node, [change_input.Activate(level)], force, unsealed)


@members.command()
@click.argument("proposal")
@click.pass_obj
def approve(node: NodeClient, proposal: str) -> None:
    """Approve a PROPOSAL, such as 1-17, for this peer's member."""
    _vote_on(node, proposal, lambda number, epoch: Approve(0, number, epoch))


@members.command()
@click.argument("proposal")
@click.pass_obj
def withdraw(node: NodeClient, proposal: str) -> None:
    """Withdraw a PROPOSAL of this peer's member."""
    _vote_on(node, proposal, lambda number, _: Withdraw(0, number))


@members.command()
@click.argument("proposal")
@click.pass_obj
def reject(node: NodeClient, proposal: str) -> None:
    """Be against a PROPOSAL. It is over once too few members are left to approve it."""
    _vote_on(node, proposal, lambda number, _: Withdraw(0, number))


@click.group(invoke_without_command=True)
@click.argument("data", type=_PATH)
@click.pass_context
def markets(context: click.Context, data: Path) -> None:
    """Markets, at the running peer with the folder DATA. Lists them by default. The other commands
    make proposals; the other members approve them by `members DATA approve ID`."""
    _connect(context, data, list_markets)


@markets.command("list")
@click.pass_obj
def list_markets(node: NodeClient) -> None:
    """List all markets with their limits, closed ones included."""
    found = node.markets()
    for market, status in zip(found.markets, found.statuses, strict=True):
        units = units_of(market)
        quantity, price = units.quantity.text, units.price.text
        limits = [
            f"quantity {quantity(market.quantity_min)} to {quantity(market.quantity_max)}",
            f"price up to {price(market.price_max)}",
            *([f"band {market.price_band_percent} %"] if market.price_band_percent else []),
        ]
        size = f"tick {market.tick}, lot {market.lot}"
        click.echo(f"{market.symbol:<12} {status.name.lower():<7} {size}, {', '.join(limits)}")


def _amount(_context: click.Context, _option: click.Parameter, value: str | None) -> Decimal | None:
    try:
        return None if value is None else parse_amount(value)
    except AmountError as error:
        raise click.BadParameter(str(error)) from None


def _limits(command: _F) -> _F:
    """The options for the limits of a market."""
    for name, what in (
        ("quantity-min", "Smallest quantity of an order."),
        ("quantity-max", "Largest quantity of an order."),
        ("price-max", "Highest price."),
    ):
        command = click.option(f"--{name}", callback=_amount, help=what)(command)
    for name, what in (
        ("price-band-percent", "How far from the last trade a price may be; 0: any."),
        ("orders-per-account-max", "Open orders of an account."),
        ("orders-max", "Open orders of all accounts."),
        ("iceberg-slices-max", "Slices of an iceberg order."),
    ):
        command = click.option(f"--{name}", type=int, help=what)(command)
    return command


@markets.command("add")
@click.argument("symbol")
@click.option("--tick", required=True, help="Step of prices, such as 0.01.")
@click.option("--lot", required=True, help="Step of quantities, such as 0.001.")
@_limits
@click.pass_obj
def add_market(node: NodeClient, /, symbol: str, tick: str, lot: str, **limits: Any) -> None:
    """Propose a new market SYMBOL."""
    propose(node, [change_input.AddMarket(symbol=symbol, tick=tick, lot=lot, **limits)])


@markets.command("change")
@click.argument("symbol")
@_limits
@click.pass_obj
def change_market(node: NodeClient, /, symbol: str, **limits: Any) -> None:
    """Propose new limits for a market. All but --quantity-min and --price-band-percent may only
    grow."""
    propose(node, [change_input.ChangeMarket(symbol=symbol, **limits)])


@markets.command()
@click.argument("symbol")
@click.pass_obj
def halt(node: NodeClient, symbol: str) -> None:
    """Propose to halt a market: nothing trades, orders may be cancelled."""
    propose(node, [change_input.HaltMarket(symbol)])


@markets.command()
@click.argument("symbol")
@click.pass_obj
def resume(node: NodeClient, symbol: str) -> None:
    """Propose to resume a halted market."""
    propose(node, [change_input.ResumeMarket(symbol)])


@markets.command()
@click.argument("symbol")
@click.pass_obj
def close(node: NodeClient, symbol: str) -> None:
    """Propose to close a market for good: all its orders are cancelled."""
    propose(node, [change_input.CloseMarket(symbol)])
