"""Several hosts on one machine: network namespaces on a bridge, each with a checkout and a home.

Owns the namespaces and what runs in them. Must run in a network namespace of its own
(`unshare -rn`), which it changes freely.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.checkout import ROOT, copied
from tests.support.terminal import Terminal

BRIDGE = "owners"
PATIENCE_S = 120.0


def network() -> None:
    """Make the bridge. CalledProcessError without the rights to."""
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("link", "set", BRIDGE, "up")


class Host:
    """A machine of `owner`, at an IPv4 `address` of one network with all others."""

    def __init__(self, folder: Path, owner: str, address: str) -> None:
        self.owner, self.address = owner, address
        self.home = folder / owner
        self._link = f"to-{owner}"
        self._programs: list[subprocess.Popen[bytes]] = []
        self._holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up && echo && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"\n"
        self._connect()
        checkout = copied(self.home / "p2p-orderbook")
        (checkout / ".venv").symlink_to(ROOT / ".venv")
        (checkout / ".run").mkdir()
        (checkout / ".run" / "grenache").symlink_to(ROOT / ".run" / "grenache")
        self.checkout = checkout
        self._environment = {**os.environ, "HOME": str(self.home)}
        self._terminal = Terminal(checkout, self._inside, self._environment, owner)
        self._terminal.type(". .venv/bin/activate")

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", "-t", str(self._holder.pid), "-n", "--"]

    def _connect(self) -> None:
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "out")
        _ip("link", "set", "out", "netns", str(self._holder.pid))
        _ip("link", "set", self._link, "master", BRIDGE, "up")
        inside = [*self._inside, "ip"]
        for of in (f"addr add {self.address}/24 dev out", "link set out up"):
            subprocess.run([*inside, *of.split()], check=True)

    def plug(self, is_in: bool) -> None:
        """Connect the host to the network, or pull its cable."""
        _ip("link", "set", self._link, "up" if is_in else "down")

    def type(self, command: str) -> str:
        """The output of a command. AssertionError if it fails."""
        return self._terminal.type(command)

    def start(self, command: str) -> Callable[[], str]:
        """Run a command in another terminal; returns a function for its output so far."""
        print(f"{self.owner}$ {command}  # in another terminal", flush=True)
        log = self.home / f"log-{len(self._programs)}"
        with log.open("wb") as output:
            script = [*self._inside, "bash", "-c", f". .venv/bin/activate; exec {command}"]
            program = subprocess.Popen(
                script, cwd=self.checkout, env=self._environment, stdout=output, stderr=output
            )
        self._programs.append(program)
        return lambda: re.sub(r"\x1b\[\d*m", "", log.read_text())

    def interrupt(self) -> None:
        """Ctrl-C in the terminal of what was started last."""
        self._programs[-1].send_signal(signal.SIGINT)
        assert self._programs[-1].wait(PATIENCE_S) == 0

    def lose(self) -> None:
        """The host is gone, with its disk."""
        for program in self._programs:
            program.kill()
            program.wait()
        self.plug(False)

    def close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._holder.wait)
            stack.callback(self._holder.kill)
            stack.callback(self._terminal.close)
            stack.callback(self._terminal.type, "make stop")
            for program in self._programs:
                program.terminate()
                stack.callback(program.wait, PATIENCE_S)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
