"""`python -m peer run` and `join`: one peer as a process.

Owns their options. Must never assemble a peer: `runner` does.
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from peer.cli import runner
from peer.cli.membership_guide import Intent
from peer.consensus.committer import CHECKPOINT_EVERY
from peer.membership.mesh_file import check_name
from peer.node.snapshots import PACE
from peer.process import lifeline
from peer.storage import data_folder
from peer.storage.data_folder import KEY_FILE, rejoining
from peer.storage.history_pruning import KEEP, KEEP_MIN, Keep
from peer.storage.journal import JournalError, LostJournalError
from web import options as gateway_options

_PATH = click.Path(path_type=Path)
_F = TypeVar("_F", bound=Callable[..., Any])


def repeatable(*names: str, help: str, **more: Any) -> Callable[[_F], _F]:
    return click.option(*names, multiple=True, help=f"{help} Repeatable.", **more)


def _multiple(_context: click.Context, _option: click.Parameter, value: int) -> int:
    if value < CHECKPOINT_EVERY or value % CHECKPOINT_EVERY:
        raise click.BadParameter(f"expected a multiple of {CHECKPOINT_EVERY}, got {value}")
    return value


@click.command()
@click.option("--data", type=_PATH, required=True, help="The peer's folder, made by keygen.")
@click.option("--mesh", type=_PATH, required=True, help="The mesh file.")
@repeatable("--grape", "grapes", help="URL of a Grape, http://host:port.")
@repeatable("--at", "places", help="A member's address, NAME=HOST:PORT.")
@click.option("--trust", default="", help="EPOCH:SEAL that an operator has told you.")
@click.option("--host", default="127.0.0.1", help="Address to listen on for other peers.")
@click.option("--port", default=0, help="Port for subscriptions; 0: any.")
@click.option("--fetch-port", default=0, help="Port for fetching missed blocks; 0: any.")
@click.option("--chain-port", default=0, help="Port where newcomers ask who the members are.")
@repeatable("--chain-at", "chain_places", help="HOST:PORT where any member answers them.")
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
def run(**given: Any) -> None:
    """Run a peer until Ctrl-C. It needs --grape or --at to find other peers."""
    _run(_options(given))


run.params += gateway_options.FORWARDED


def _run(options: runner.Options) -> int:
    """The status with which to end. The error says how to go on without the journal, if it is
    lost."""
    try:
        return runner.run(options)
    except LostJournalError as error:
        data = str(options.data)
        how = rejoining(shlex.quote(data), options_again(sys.argv, data))
        raise JournalError(f"{error}. {how}") from error


def options_again(words: Sequence[str], data: str) -> str:
    """The options of `run` or `join` in a command line, for `join` with this folder. A peer that
    another program started ends with that; the new one must not."""
    start = next((n for n, word in enumerate(words) if word in ("run", "join")), len(words))
    kept: list[str] = []
    before = ""
    for word in words[start + 1 :]:
        is_folder = before == "--data" or word in (data, f"--data={data}")
        if not is_folder and word not in ("--exit-with-parent", "--data"):
            kept.append(word)
        before = word
    return shlex.join(kept)


def _options(given: dict[str, Any]) -> runner.Options:
    """From the options of `run`. If the peer ends with its parent, it does from now on."""
    gateway = gateway_options.forwarded(given)
    if given.pop("exit_with_parent"):
        lifeline.hold()
    keep = Keep(given.pop("keep_trades"), given.pop("keep_events"))
    return runner.Options(keep=keep, gateway=gateway, **given)


@click.command()
@click.argument("data", metavar="FOLDER", type=_PATH)
@click.option("--name", default="", help="Name as a member; by default that of the folder.")
@click.option("--leave", is_flag=True, help="Leave the mesh at the end, by Ctrl-C.")
def join(name: str, leave: bool, **given: Any) -> None:
    """Run a peer that becomes a member once the members approve. Makes a key in FOLDER if there is
    none, says what the members have to do, and how far they are. It follows the mesh at once."""
    folder: Path = given["data"]
    name = name or folder.resolve().name
    try:
        check_name(name)
    except ValueError as error:
        raise click.UsageError(f"--name: {error}") from None
    if not (folder / KEY_FILE).exists():
        data_folder.create(folder)
    options = replace(_options(given), intent=Intent(name, leave))
    if status := _run(options):
        raise SystemExit(status)


join.params += [param for param in run.params if param.name != "data"]
