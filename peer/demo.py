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
from pathlib import Path

import click

from engine.orders import Market
from peer import config as mesh_file
from peer.committee import Mode
from peer.config import Member, MeshConfig
from peer.identity import Identity
from peer.runner import KEY_FILE, keygen

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red", "white")
MARKETS = (
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market("ETH-USD", tick="0.01", lot="0.000001"),
)
MESH_PORT, FETCH_PORT, UI_PORT = 3000, 3100, 8080  # plus the peer's number, from 1
STOP_S = 10.0


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


def run(
    folder: Path, config: MeshConfig, only: int | None, grapes: tuple[str, ...], pid: Path
) -> None:
    """Run the members of the demo, or the one numbered `only` (one beyond them follows the mesh),
    in the foreground until Ctrl-C."""
    size = len(config.members)
    numbers = [only] if only else list(range(1, size + 1))
    if only and only > size and not (folder / NAMES[only - 1] / KEY_FILE).exists():
        keygen(folder / NAMES[only - 1])
    if not only:
        pid.parent.mkdir(parents=True, exist_ok=True)
        pid.write_text(f"{os.getpid()}\n")
    peers = [_start(folder, number, grapes) for number in numbers]
    try:
        _announce(numbers, size)
        _wait(peers)
    finally:
        _stop(peers)
        if not only:
            pid.unlink(missing_ok=True)


def _start(folder: Path, number: int, grapes: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    name = NAMES[number - 1]
    command = [sys.executable, "-m", "peer", "run", "--exit-with-parent"]
    command += ["--data", str(folder / name), "--mesh", str(folder / "mesh.toml")]
    command += ["--port", str(MESH_PORT + number), "--fetch-port", str(FETCH_PORT + number)]
    command += ["--ui", f"127.0.0.1:{UI_PORT + number}"]
    for grape in grapes:
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


def _announce(numbers: list[int], size: int) -> None:
    for number in numbers:
        what = "" if number <= size else " (follows only: it is no member of this mesh)"
        url = click.style(f"http://127.0.0.1:{UI_PORT + number}", bold=True)
        click.echo(f"{NAMES[number - 1]:>6}   {url}{what}")
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
