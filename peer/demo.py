"""Three peers on this machine, for trying things out: `make peers`.

Owns the demo's keys and mesh file, its ports, and the processes it starts; shows their logs
together. Must never be needed for a real mesh: `python -m peer run` is all that one takes.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click

from engine.orders import Market
from peer import config as mesh_file
from peer.committee import Mode
from peer.config import Member, MeshConfig
from peer.identity import Identity
from peer.keys import KEYS_FILE, Keys, Scope
from peer.runner import KEY_FILE, keygen

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red", "white")
MARKETS = (
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market("ETH-USD", tick="0.01", lot="0.000001"),
)
STOP_S = 10.0


class Ports(NamedTuple):
    """Of the first peer; the others' follow."""

    mesh: int = 3001
    fetch: int = 3101
    ui: int = 8081


@dataclass(frozen=True)
class Demo:
    """Where the demo is and how it meets."""

    folder: Path
    config: MeshConfig
    grapes: tuple[str, ...]
    ports: Ports
    pid_file: Path


def prepare(folder: Path, size: int, mode: Mode) -> MeshConfig:
    """The demo mesh of `folder`, made if there is none yet: keys, journals and the mesh file."""
    path = folder / "mesh.toml"
    if path.exists():
        return mesh_file.load(path)
    click.echo(f"Making keys and a mesh file for {size} peers in {folder}/ ...")
    folder.mkdir(parents=True, exist_ok=True)
    keys = []
    for name in NAMES[:size]:
        there = (folder / name / KEY_FILE).exists()
        identity = Identity.load(folder / name / KEY_FILE) if there else keygen(folder / name)
        keys.append(identity.public.hex())
    members = [Member(name, key) for name, key in zip(NAMES, keys, strict=False)]
    now_ms = time.time_ns() // 1_000_000
    config = MeshConfig("demo", mode, now_ms, members, list(MARKETS), observers="any")
    mesh_file.write(config, path)
    return config


def run(demo: Demo, only: int | None) -> None:
    """Run the members of the demo, or the one numbered `only` (one beyond them follows the mesh),
    in the foreground until Ctrl-C."""
    size = len(demo.config.members)
    numbers = [only] if only else list(range(1, size + 1))
    if only and only > size and not (demo.folder / NAMES[only - 1] / KEY_FILE).exists():
        keygen(demo.folder / NAMES[only - 1])
    if not only:
        demo.pid_file.parent.mkdir(parents=True, exist_ok=True)
        demo.pid_file.write_text(f"{os.getpid()}\n")
    peers = [_start(demo, number) for number in numbers]
    try:
        _announce(demo, numbers)
        _wait(peers)
    finally:
        _stop(peers)
        if not only:
            demo.pid_file.unlink(missing_ok=True)


def _start(demo: Demo, number: int) -> "subprocess.Popen[bytes]":
    name = NAMES[number - 1]
    mesh, fetch, ui = (first + number - 1 for first in demo.ports)
    command = [sys.executable, "-m", "peer", "run", "--exit-with-parent"]
    command += ["--data", str(demo.folder / name), "--mesh", str(demo.folder / "mesh.toml")]
    command += ["--port", str(mesh), "--fetch-port", str(fetch), "--ui", f"127.0.0.1:{ui}"]
    for grape in demo.grapes:
        command += ["--grape", grape]
    # A session of its own: Ctrl-C reaches only this process, which then stops the peers in turn.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    threading.Thread(target=_show, args=(process, number), daemon=True).start()
    return process


def _show(process: "subprocess.Popen[bytes]", number: int) -> None:
    label = click.style(f"{NAMES[number - 1]:>6} | ", fg=COLOURS[(number - 1) % len(COLOURS)])
    assert process.stdout is not None
    for line in process.stdout:
        click.echo(label + line.decode(errors="replace").rstrip())


def _announce(demo: Demo, numbers: list[int]) -> None:
    for number in numbers:
        member = number <= len(demo.config.members)
        what = "" if member else " (follows only: it is no member of this mesh)"
        keys = Keys(demo.folder / NAMES[number - 1] / KEYS_FILE)
        token = keys.link(NAMES[number - 1], [Scope.ADMIN])
        keys.close()
        url = f"http://127.0.0.1:{demo.ports.ui + number - 1}/?token={token}"
        click.echo(f"{NAMES[number - 1]:>6}   {click.style(url, bold=True)}{what}")
    click.echo("         Each link opens the page once, to trade. Without it the page can be read.")
    click.echo("         Ctrl-C stops.")


def _wait(peers: "list[subprocess.Popen[bytes]]") -> None:
    """Until a signal says so, or no peer is left."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.2) and any(peer.poll() is None for peer in peers):
        pass


def _stop(peers: "list[subprocess.Popen[bytes]]") -> None:
    for peer in peers:
        if peer.poll() is None:
            peer.terminate()
    deadline_s = time.monotonic() + STOP_S
    for peer in peers:
        try:
            peer.wait(max(deadline_s - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            peer.kill()
            peer.wait()
