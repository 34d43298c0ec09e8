"""`python -m peer`: make keys and mesh files, run a peer, read its journal, run the demo."""

import logging
import sqlite3
import time
from pathlib import Path
from typing import Literal

import click

from discovery.grapes.process import GrapesError
from engine import Market
from peer.cli import demo
from peer.cli.account_commands import accounts
from peer.cli.governance_commands import markets, members
from peer.cli.journal_commands import journal
from peer.cli.key_commands import keys
from peer.cli.market_makers import main as market
from peer.cli.run_commands import join, repeatable, run
from peer.cli.tap import main as tap
from peer.client.connection import ClientError
from peer.consensus.committee import Mode
from peer.membership import mesh_file
from peer.membership.identity import IdentityError, parse_key
from peer.membership.mesh_file import ConfigError, Member, MeshConfig
from peer.replica.feature_level import LEVELS
from peer.storage import data_folder
from peer.storage.journal import JournalError
from peer.version import VERSION

GRAPES = ("http://127.0.0.1:30001", "http://127.0.0.1:40001")
_PATH = click.Path(path_type=Path)
_USER_ERRORS = (ClientError, ConfigError, GrapesError, IdentityError, JournalError, sqlite3.Error)
_modes = click.Choice([mode.value for mode in Mode])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.version_option(message=f"%(prog)s {VERSION}, feature levels 1 to {LEVELS.highest}")
def main(verbose: bool) -> None:
    """A peer of a p2p-orderbook mesh.

    To set up a mesh: every member runs `keygen` once and shares its public key. One of them
    makes the mesh file with `mesh` and gives it to all. Then every member runs `run`. Others
    become members later by `join`. A member whose journal is lost runs `put-aside` and `join`.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


main.add_command(accounts)
main.add_command(join)
main.add_command(journal)
main.add_command(keys)
main.add_command(market, "market")
main.add_command(markets)
main.add_command(members)
main.add_command(run)
main.add_command(tap, "tap")


@main.command()
@click.argument("data", type=_PATH)
def keygen(data: Path) -> None:
    """Make a new peer in the folder DATA: a key and an empty journal. Prints the public key."""
    click.echo(data_folder.create(data).public.hex())


@main.command()
@click.argument("data", type=_PATH)
def put_aside(data: Path) -> None:
    """Move the key and the journal of the folder DATA to a folder of their own in it. For a journal
    that is damaged, lost or an old copy: its key must never sign anything again. Then `join` makes
    a new key, and the members replace the old one."""
    if (aside := data_folder.put_aside(data)) is None:
        raise ConfigError(f"there is neither a key nor a journal in {data}")
    click.echo(f"the key and its journal are in {aside} now: never use them again")
    how = "with the options of before, makes a new key and says what the members have to do"
    click.echo(f"`python -m peer join {data}`, {how}")


@main.command()
@click.argument("file", type=_PATH)
@click.option("--name", default="mesh", help="The mesh's name.")
@click.option("--mode", type=_modes, default=Mode.CRASH.value, help="Faults to tolerate.")
@repeatable("--member", "members", required=True, help="NAME=PUBLIC_KEY.")
@repeatable("--market", "markets", required=True, help="SYMBOL:TICK:LOT.")
@repeatable("--observer", "observers", help="A public key that may listen.")
@click.option(
    "--admission",
    type=click.Choice(["vote", "open"]),
    default="vote",
    help="open: everybody may listen, and whoever asks is a member. In crash mode any of these can "
    "halt all: only in a trusted network.",
)
def mesh(
    file: Path,
    name: str,
    mode: str,
    members: tuple[str, ...],
    markets: tuple[str, ...],
    observers: tuple[str, ...],
    admission: Literal["vote", "open"],
) -> None:
    """Make the mesh file FILE. All members must use the same file."""
    if file.exists():
        raise ConfigError(f"{file} exists: a mesh file is never overwritten")
    now_ms = time.time_ns() // 1_000_000
    found = [_member(text) for text in members]
    traded = [_market(text) for text in markets]
    listen: list[str] | Literal["any"] = "any" if admission == "open" else list(observers)
    config = MeshConfig(name, Mode(mode), now_ms, found, traded, listen, admission)
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


@main.command("demo")
@click.option("--folder", type=_PATH, default=Path(".demo"), help="Keys, journals, mesh file.")
@click.option("--peers", type=click.IntRange(1, len(demo.NAMES)), default=3, help="How many peers.")
@click.option("--mode", type=_modes, default=Mode.CRASH.value, help="Faults to tolerate.")
@click.option("--only", type=click.IntRange(1, len(demo.NAMES)), help="Run only this peer.")
@repeatable("--grape", "grapes", default=GRAPES, help="URL of a Grape.")
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
