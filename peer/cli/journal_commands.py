"""`python -m peer journal`: show, check and export a journal.

Owns the options and the output. Must never write to a journal.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from peer.cli import audit
from peer.cli.audit import Inspection, Placed, block_line, commit_line, newest
from peer.membership import mesh_file
from peer.storage.data_folder import JOURNAL_FILE

_PATH = click.Path(path_type=Path)
_last = click.option("--last", default=20, type=click.IntRange(0), help="How many lines; 0: all.")


@click.group()
@click.argument("data", type=_PATH)
@click.option(
    "--mesh", type=_PATH, help="The mesh file; by default mesh.toml in DATA or beside it."
)
@click.pass_context
def journal(context: click.Context, data: Path, mesh: Path | None) -> None:
    """Read the journal of the peer with the folder DATA, which may be running."""
    if mesh is None:
        places = (data / "mesh.toml", data.parent / "mesh.toml")
        mesh = next((place for place in places if place.exists()), None)
    if mesh is None:
        raise click.UsageError("no mesh.toml in DATA or beside it: name it by --mesh")
    context.obj = Inspection(data / JOURNAL_FILE, mesh_file.load(mesh))


@journal.command()
@_last
@click.pass_obj
def blocks(inspection: Inspection, last: int) -> None:
    """Show the newest blocks, one per line."""
    for line in newest(map(block_line, inspection.blocks()), last):
        click.echo(_block(inspection, line))


def _block(inspection: Inspection, line: dict[str, Any]) -> str:
    name = inspection.name_of(line["author"])
    orders = "?" if line["commands"] is None else len(line["commands"])
    parents = " ".join(f"{author}:{round_}" for round_, author, _ in line["parents"])
    return f"{line['round']:>8} {name:<12} {line['digest'][:8]} {orders:>5} commands  on {parents}"


@journal.command()
@click.pass_obj
def evidence(inspection: Inspection) -> None:
    """Show pairs of blocks that no honest author signs both. Exit status 1 if there are any;
    `export` has them in full, with their signatures."""
    for epoch, pair in inspection.evidence:
        click.echo(f"{inspection.name_of(epoch.numbers[pair.first.author])} signed both")
        for block in pair:
            known = _block(inspection, block_line(Placed(epoch, block)))
            click.echo(known if block.frame else f"{known[:30]} (only its digest is known)")
    if inspection.evidence:
        raise SystemExit(1)
    click.echo("no evidence against any member")


@journal.command()
@_last
@click.pass_obj
def commits(inspection: Inspection, last: int) -> None:
    """Show the newest commits, derived from snapshot and blocks, one per line."""
    lines = (commit_line(commit, replica) for commit, replica in inspection.commits())
    for line in newest(lines, last):
        blocks_ = " ".join(f"{author}:{round_}" for round_, author in line["blocks"])
        click.echo(f"{line['commit']:>8} {line['time_ms']} {line['digest'][:16]}  {blocks_}")


@journal.command()
@click.pass_obj
def verify(inspection: Inspection) -> None:
    """Check pages, signatures and chains, and derive every state digest again. Exit status 1 if
    anything is wrong."""
    found = inspection.verify()
    for problem in found.problems:
        click.echo(problem, err=True)
    click.echo(
        f"{found.blocks} blocks, up to commit {found.commits}, {found.digests} digests compared: "
        + (f"{len(found.problems)} problems" if found.problems else "all is well")
    )
    if found.problems:
        raise SystemExit(1)


@journal.command()
@click.argument("other", type=_PATH)
@click.pass_obj
def compare(inspection: Inspection, other: Path) -> None:
    """Compare with the journal of the peer in the folder OTHER: name the first orders in which the
    two states differ. Status 1 if they do."""
    found = audit.compare(inspection, Inspection(other / JOURNAL_FILE, inspection.config))
    if found is None:
        raise click.ClickException("the two journals have no state after the same commit")
    for text in found.differences:
        click.echo(text)
    if found.differences:
        click.echo(f"after commit {found.commit} the states differ")
        raise SystemExit(1)
    click.echo(f"after commit {found.commit} the states are the same")


@journal.command()
@click.pass_obj
def export(inspection: Inspection) -> None:
    """Export everything as JSON, one object per line: snapshots, blocks, commits, pending,
    trades."""
    _print(inspection.lines())


def _print(lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        click.echo(msgspec.json.encode(line))
