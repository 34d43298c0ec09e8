"""The TCP connections of a process, from the kernel (Linux only)."""

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from tests.support.real_mesh import RealPeer

_ESTABLISHED = "01"  # in /proc/net/tcp

Ends = tuple[int, int]


def connections(pid: int, ports: Collection[int]) -> set[Ends]:
    """Local and remote port of all connections to `ports`. The same pair seen again is the same
    connection, since a new one has another local port."""
    folder = Path(f"/proc/{pid}")
    files, found = set(), set()
    for file in (folder / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            files.add(os.readlink(file))
    for line in (folder / "net" / "tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = fields = line.split()
        ends = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
        if state == _ESTABLISHED and ends[1] in ports and f"socket:[{fields[9]}]" in files:
            found.add(ends)
    return found


def links_of(peers: Sequence[RealPeer], ports: Collection[int]) -> list[set[Ends]]:
    """For each peer, its connections to `ports`, over which it hears the others."""
    return [connections(peer.process.pid, ports) for peer in peers if peer.process is not None]
