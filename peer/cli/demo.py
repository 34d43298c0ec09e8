"""A demo: three peers on this machine, `make peers`, and guests that join them, `make peer N=4`.

Owns the demo's keys and mesh file, its ports, and the processes that it starts; shows their logs
together. A real mesh must never need it: `python -m peer run` is enough.

A process manager such as honcho would not make it smaller: honcho ends all processes when one ends,
and does not give them the pipe that tells a peer when this program ends.
"""

import contextlib
import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click

from engine import Market
from peer.cli import pid_file
from peer.cli.membership_guide import REMOVED_STATUS
from peer.consensus.committee import Mode
from peer.membership import mesh_file
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.process.lifeline import on_end
from peer.storage.data_folder import KEY_FILE, create, discard
from web.auth.keys import KEYS_FILE, Keys, Scope

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red", "white")
BAND_PERCENT = 20  # no order that far from the last trade: it would be a mistake
MARKETS = (
    Market("BTC-USD", tick="0.01", lot="0.00000001", price_band_percent=BAND_PERCENT),
    Market("ETH-USD", tick="0.01", lot="0.000001", price_band_percent=BAND_PERCENT),
)
WATCH_S = 0.2  # between two looks at the processes
STOP_S = 15.0  # a guest leaves before it stops


class Ports(NamedTuple):
    """The ports of the first peer; those of the others follow."""

    mesh: int = 3001
    fetch: int = 3101
    ui: int = 8081


@dataclass(frozen=True)
class Demo:
    """The folder, mesh, Grapes and ports of a demo."""

    folder: Path
    config: MeshConfig
    grapes: tuple[str, ...]
    ports: Ports
    state: Path  # folder of its pid file
    is_new: bool = False  # nobody has traded there yet


def prepare(folder: Path, size: int, mode: Mode) -> MeshConfig:
    """The demo mesh in `folder`. Makes keys, journals and the mesh file if there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another demo may be starting
        path = folder / "mesh.toml"
        return mesh_file.load(path) if path.exists() else _make(folder, path, size, mode)


def _make(folder: Path, path: Path, size: int, mode: Mode) -> MeshConfig:
    click.echo(f"Making keys and a mesh file for {size} peers in {folder}/ ...")
    keys = []
    for data in (folder / name for name in NAMES[:size]):
        made = Identity.load(data / KEY_FILE) if (data / KEY_FILE).exists() else create(data)
        keys.append(made.public.hex())
    members = [Member(name, key) for name, key in zip(NAMES, keys, strict=False)]
    now_ms = time.time_ns() // 1_000_000
    config = MeshConfig("demo", mode, now_ms, members, list(MARKETS), "any", "open")
    mesh_file.write(config, path)
    return config


def run(demo: Demo, only: int | None) -> bool:
    """Run the founders in the foreground until Ctrl-C, or only the peer numbered `only`; beyond the
    founders it is a guest. False if all ended by themselves."""
    stopping = threading.Event()
    on_end(stopping.set)
    if only and _is_guest(demo, only):
        return _run_guest(demo, only, stopping)
    numbers = [only] if only else list(range(1, len(demo.config.members) + 1))
    peers: list[subprocess.Popen[bytes]] = []
    with pid_file.recorded(demo.state, "demo"):
        try:
            peers.extend(_start(demo, number) for number in numbers)
            _announce(demo, numbers)
            while not stopping.wait(WATCH_S) and any(peer.poll() is None for peer in peers):
                pass
        finally:
            _stop(peers)
    return stopping.is_set()


def _is_guest(demo: Demo, number: int) -> bool:
    return number > len(demo.config.members)


def _run_guest(demo: Demo, number: int, stopping: threading.Event) -> bool:
    """Run a peer that joins the mesh, and leaves it at the end. A key that was a member's is of no
    use any more: then the guest gets another one."""
    folder = demo.folder / NAMES[number - 1]
    with pid_file.recorded(demo.state, "guest"):
        folder.mkdir(mode=0o700, exist_ok=True)
        guest = _start(demo, number)
        try:
            _announce(demo, [number])
            while not stopping.wait(WATCH_S):
                if guest.poll() == REMOVED_STATUS:
                    discard(folder)
                    guest = _start(demo, number)
                elif guest.poll() is not None:
                    return False
        finally:
            _stop([guest])
            if guest.returncode == 0:  # it has left, or never was a member
                discard(folder)
    return True


def stop(state: Path) -> None:
    """End the market and the demos with a pid file in `state`: the market first, because it cancels
    its orders at the peers, and guests before those that let them go."""
    for pid in pid_file.stop(state, "market"):
        click.echo(f"stopped the market of process {pid}")
    for pid in pid_file.stop(state, "guest"):
        click.echo(f"stopped the guest of process {pid}")
    for pid in pid_file.stop(state, "demo"):
        click.echo(f"stopped the peers of process {pid}")


def _start(demo: Demo, number: int) -> "subprocess.Popen[bytes]":
    name = NAMES[number - 1]
    mesh, fetch, ui = (first + number - 1 for first in demo.ports)
    folder, is_guest = str(demo.folder / name), _is_guest(demo, number)
    command = [sys.executable, "-u", "-m", "peer", "join" if is_guest else "run"]
    command += ["--exit-with-parent", *(["--leave", folder] if is_guest else ["--data", folder])]
    command += ["--mesh", str(demo.folder / "mesh.toml")]
    command += ["--port", str(mesh), "--fetch-port", str(fetch), "--ui", f"127.0.0.1:{ui}"]
    for grape in demo.grapes:
        command += ["--grape", grape]
    # The peer gets a session of its own: Ctrl-C reaches only this process, which then stops the
    # peers. If this process dies without stopping them, standard input tells them.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    threading.Thread(target=_show, args=(process, number), daemon=True).start()
    return process


def _show(process: "subprocess.Popen[bytes]", number: int) -> None:
    label = click.style(f"{NAMES[number - 1]:>6} | ", fg=COLOURS[(number - 1) % len(COLOURS)])
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(OSError):  # the terminal has closed; a peer must not wait for it
            click.echo(label + line.decode(errors="replace").rstrip())


def _announce(demo: Demo, numbers: list[int]) -> None:
    for number in numbers:
        keys = Keys(demo.folder / NAMES[number - 1] / KEYS_FILE)
        token = keys.link(NAMES[number - 1], [Scope.ADMIN])
        keys.close()
        url = f"http://127.0.0.1:{demo.ports.ui + number - 1}/?token={token}"
        click.echo(f"{NAMES[number - 1]:>6}   {click.style(url, bold=True)}")
    click.echo("         Each link opens the page for trading, once. Without it you can only read.")
    leaves = any(_is_guest(demo, number) for number in numbers)
    click.echo("         Ctrl-C leaves the mesh." if leaves else "         Ctrl-C stops.")
    if demo.is_new:
        click.echo("         The book is empty: `make market`, in a second terminal, fills it.")


def _stop(peers: "Sequence[subprocess.Popen[bytes]]") -> None:
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
