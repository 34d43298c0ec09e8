"""What the benchmarks measure with: the machine, percentiles, processor time, orders one at a time.

Owns no process and prints nothing. Every benchmark takes these from here.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from engine import Command, Side
from peer.client.protocol import Result
from tests.support.real_mesh import RealPeer, order

PAUSE_S = 0.02  # between two orders of which each is alone


def machine() -> str:
    """One line: processor, cores, system, Python and the load of the last minute."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of all are no greater than. ValueError if there
    are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("expected at least one value")
    return ordered[max(-int(-len(ordered) * percent // 100) - 1, 0)]


def processor_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes have used, in user and kernel mode (Linux)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def written_bytes(pids: Iterable[int]) -> int:
    """Of all pages that these processes have made the kernel write to disks (Linux)."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return total


def resident_mib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def pids(peers: Iterable[RealPeer]) -> list[int]:
    """Of the peers that have been started."""
    return [peer.process.pid for peer in peers if peer.process is not None]


def small_order(number: int) -> Command:
    """It rests among the others of its kind, and never trades."""
    return order("lone", Side.BUY, 1 + number % 50, 1)


def lone_ms(
    peers: Sequence[RealPeer],
    count: int,
    make: Callable[[int], Command] = small_order,
    hear: Callable[[list[Result]], None] = lambda _: None,
) -> list[float]:
    """Submit to final result of one order at a time, at each peer in turn; `hear` gets the
    results."""
    waits_ms = []
    for n in range(count):
        command = make(n)
        began_s = time.monotonic()
        results = peers[n % len(peers)].client.execute([command])
        waits_ms.append((time.monotonic() - began_s) * 1000)
        hear(results)
        time.sleep(PAUSE_S)
    return waits_ms
