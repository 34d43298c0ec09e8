"""`python -m peer`: make keys and mesh files, run a peer, read its journal, run the demo."""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from discovery.grapes.process import GrapesError
from engine import Market
from peer.cli import demo, runner
from peer.cli.account_commands import accounts
from peer.cli.governance_commands import markets, members
from peer.cli.journal_commands import journal
from peer.cli.key_commands import keys
from peer.cli.market_makers import main as market
from peer.cli.tap import main as tap
from peer.client.connection import ClientError
from peer.consensus.committee import Mode
from peer.consensus.committer import CHECKPOINT_EVERY
from peer.membership import mesh_file
from peer.membership.identity import IdentityError, parse_key
from peer.membership.mesh_file import ConfigError, Member, MeshConfig
from peer.node.snapshots import PACE
from peer.process import lifeline
from peer.replica.feature_level import LEVELS
from peer.storage import data_folder
from peer.storage.history_writer import KEEP, KEEP_MIN, Keep
from peer.storage.journal import JournalError
from peer.version import VERSION
from web import options as gateway_options

GRAPES = ("http://127.0.0.1:30001", "http://127.0.0.1:40001")
_PATH = click.Path(path_type=Path)
_USER_ERRORS = (ClientError, ConfigError, GrapesError, IdentityError, JournalError, sqlite3.Error)
_modes = click.Choice([mode.value for mode in Mode])
_F = TypeVar("_F", bound=Callable[..., Any])


def _repeatable(*names: str, help: str, **more: Any) -> Callable[[_F], _F]:
    return click.option(*names, multiple=True, help=f"{help} Repeatable.", **more)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.version_option(message=f"%(prog)s {VERSION}, feature levels 1 to {LEVELS.highest}")
def main(verbose: bool) -> None:
    """A peer of a p2p-orderbook mesh.

    To set up a mesh: every member runs `keygen` once and shares its public key. One of them
    makes the mesh file with `mesh` and gives it to all. Then every member runs `run`.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


main.add_command(accounts)
main.add_command(journal)
main.add_command(keys)
main.add_command(market, "market")
main.add_command(markets)
main.add_command(members)
main.add_command(tap, "tap")


@main.command()
@click.argument("data", type=_PATH)
def keygen(data: Path) -> None:
    """Make a new peer in the folder DATA: a key and an empty journal. Prints the public key."""
    click.echo(data_folder.create(data).public.hex())


@main.command()
@click.argument("file", type=_PATH)
@click.option("--name", default="mesh", help="The mesh's name.")
@click.option("--mode", type=_modes, default=Mode.CRASH.value, help="Faults to tolerate.")
@_repeatable("--member", "members", required=True, help="NAME=PUBLIC_KEY.")
@_repeatable("--market", "markets", required=True, help="SYMBOL:TICK:LOT.")
@_repeatable("--observer", "observers", help="A public key that may listen.")
def mesh(
    file: Path,
    name: str,
    mode: str,
    members: tuple[str, ...],
    markets: tuple[str, ...],
    observers: tuple[str, ...],
) -> None:
    """Make the mesh file FILE. All members must use the same file."""
    if file.exists():
        raise ConfigError(f"{file} exists: a mesh file is never overwritten")
    now_ms = time.time_ns() // 1_000_000
    found = [_member(text) for text in members]
    traded = [_market(text) for text in markets]
    config = MeshConfig(name, Mode(mode), now_ms, found, traded, list(observers))
    mesh_file.check(config)
    mesh_file.write(config, file)
    click.echo(
        f"{file}: mesh {config.id.hex()}, {len(found)} members, quorum {config.committee.quorum}"
    )


def _member(text: str) -> Member:
    name, _, key = text.partition("=")
    return Member(name, parse_key(key, f"--member {name}").hex())


def _market(text: str) -> Market:
    if text.count(":") != 2:
        raise ConfigError(
            f"--market is SYMBOL:TICK:LOT, such as BTC-USD:0.01:0.00000001, not {text}"
        )
    symbol, tick, lot = text.split(":")
    return Market(symbol, tick, lot)


def _multiple(_context: click.Context, _option: click.Parameter, value: int) -> int:
    if value < CHECKPOINT_EVERY or value % CHECKPOINT_EVERY:
        raise click.BadParameter(f"expected a multiple of {CHECKPOINT_EVERY}, got {value}")
    return value


@main.command()
@click.option("--data", type=_PATH, required=True, help="The peer's folder, made by keygen.")
@click.option("--mesh", type=_PATH, required=True, help="The mesh file.")
@_repeatable("--grape", "grapes", help="URL of a Grape, http://host:port.")
@_repeatable("--at", "places", help="A member's address, NAME=HOST:PORT.")
@click.option("--trust", default="", help="EPOCH:SEAL that an operator has told you.")
@click.option("--host", default="127.0.0.1", help="Address to listen on for other peers.")
@click.option("--port", default=0, help="Port for subscriptions; 0: any.")
@click.option("--fetch-port", default=0, help="Port for fetching missed blocks; 0: any.")
@click.option("--chain-port", default=0, help="Port where newcomers ask who the members are.")
@_repeatable("--chain-at", "chain_places", help="HOST:PORT where any member answers them.")
@click.option("--ui", default="", help="HOST:PORT of the page; without it there is no page.")
@click.option(
    "--snapshot-every",
    default=PACE.commits,
    callback=_multiple,
    help=f"Commits between two snapshots, a multiple of {CHECKPOINT_EVERY}.",
)
@click.option(
    "--keep-trades",
    default=KEEP.trades,
    type=click.IntRange(KEEP_MIN),
    help="Trades per market that the journal keeps; older ones are deleted.",
)
@click.option(
    "--keep-events",
    default=KEEP.events,
    type=click.IntRange(KEEP_MIN),
    help="The same for events of orders: taken, traded, changed, ended.",
)
@click.option("--exit-with-parent", is_flag=True, help="Stop when standard input, a pipe, closes.")
def run(exit_with_parent: bool, keep_trades: int, keep_events: int, **given: Any) -> None:
    """Run a peer until Ctrl-C. It needs --grape or --at to find other peers."""
    gateway = gateway_options.forwarded(given)
    if exit_with_parent:
        lifeline.hold()
    keep = Keep(keep_trades, keep_events)
    runner.run(runner.Options(keep=keep, gateway=gateway, **given))


run.params += gateway_options.FORWARDED


@main.command("demo")
@click.option("--folder", type=_PATH, default=Path(".demo"), help="Keys, journals, mesh file.")
@click.option("--peers", type=click.IntRange(1, len(demo.NAMES)), default=3, help="How many peers.")
@click.option("--mode", type=_modes, default=Mode.CRASH.value, help="Faults to tolerate.")
@click.option("--only", type=click.IntRange(1, len(demo.NAMES)), help="Run only this peer.")
@_repeatable("--grape", "grapes", default=GRAPES, help="URL of a Grape.")
@click.option("--mesh-port", default=demo.Ports().mesh, help="Of the first peer; others follow.")
@click.option("--fetch-port", default=demo.Ports().fetch, help="The same for this port.")
@click.option("--ui-port", default=demo.Ports().ui, help="The same for this port.")
@click.option("--state", type=_PATH, default=Path(".run"), help="Folder of the pid file.")
@click.option("--stop", is_flag=True, help="End all demos with a pid file there.")
def demo_(
    folder: Path,
    peers: int,
    mode: str,
    only: int | None,
    grapes: tuple[str, ...],
    mesh_port: int,
    fetch_port: int,
    ui_port: int,
    state: Path,
    stop: bool,
) -> None:
    """Run a mesh of peers on this machine. The first run makes their keys."""
    if stop:
        demo.stop(state)
        return
    is_new = not (folder / "mesh.toml").exists()
    config = demo.prepare(folder, peers, Mode(mode))
    ports = demo.Ports(mesh_port, fetch_port, ui_port)
    if not demo.run(demo.Demo(folder, config, grapes, ports, state, is_new), only):
        raise SystemExit(1)


def entry() -> None:
    """Run the command line. Errors that a user can fix are shown without a traceback."""
    try:
        main.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (*_USER_ERRORS, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    except click.Abort:
        raise SystemExit(130) from None
