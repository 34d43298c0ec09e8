"""What an order costs the disk of each of three peers: bytes written, and waits for the disk.

Owns a mesh whose system calls are recorded by `tests/disk/shim.c`; the record is in memory, so it
is no part of the bytes. The bytes are those of all pages and sectors that were written, as the
kernel counts them for each process. The log's files have been written before, as in a peer that has
run for some time: a new one fills the first LOG_SLOTS of them with zeros, once.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from peer.storage.block_log import SLOT_BYTES
from peer.storage.data_folder import JOURNAL_FILE
from tests.bench import open_loop
from tests.bench.measuring import lone_ms, pids, written_bytes
from tests.bench.story.figures import Figure, Story
from tests.bench.story.mesh import PEERS, crossing_order, per_second
from tests.bench.story.plan import LeftOutError, Place, Plan
from tests.disk.image import read
from tests.disk.powercut import FAST
from tests.disk.shim import NoShimError, Shim
from tests.support.real_mesh import RealMesh, held_ports, pairs

DISK = "disk, of an order and peer"
REST_S = 2.0  # after a part, until all of it is written
LOG_SLOTS = 2  # have room for all that is measured


class _Watched:
    """A mesh, and what its peers have done to their disks so far."""

    def __init__(self, mesh: RealMesh, traces: Iterable[Path]) -> None:
        self.mesh = mesh
        self._traces = dict.fromkeys(traces, 0)  # with the size at the last look

    def _new_syncs(self) -> int:
        found: Counter[str] = Counter()
        for trace, seen in self._traces.items():
            with trace.open("rb") as file:
                file.seek(seen)
                data = file.read()
            self._traces[trace] = seen + len(data)
            found.update(op.kind for op in read(data))
        return found["S"]

    def cost(self, story: Story, what: str, trade: Callable[[], int]) -> None:
        """Add what the orders cost of which `trade` tells how many there were."""
        time.sleep(REST_S)
        self._new_syncs()
        before = written_bytes(pids(self.mesh.peers))
        count = PEERS * trade()
        time.sleep(REST_S)
        written = written_bytes(pids(self.mesh.peers)) - before
        story.add(Figure(DISK, f"{what}: bytes", "bytes"), written / count)
        story.add(Figure(DISK, f"{what}: syncs", "syncs"), self._new_syncs() / count)


def disk(plan: Plan, place: Place, story: Story) -> None:
    if FAST is None:
        raise LeftOutError("needs a disk in memory at /dev/shm")
    memory = Path(FAST) / place.folder.name
    memory.mkdir()
    try:
        shim = Shim(memory)
    except NoShimError as why:
        raise LeftOutError(str(why)) from None
    traces = [memory / f"trace{number}" for number in range(PEERS)]
    try:
        with held_ports(2 * PEERS) as ports, RealMesh(place.folder, [], PEERS) as mesh:
            mesh.tell_places(pairs(ports))
            for peer, trace in zip(mesh.peers, traces, strict=True):
                peer.set_environment(shim.environment(peer.folder, trace))
                for slot in range(LOG_SLOTS):
                    log = peer.folder / f"{JOURNAL_FILE}-log{slot}"
                    log.write_bytes(bytes(SLOT_BYTES))
            mesh.start()
            _measure(plan, _Watched(mesh, traces), story)
    finally:
        for file in memory.iterdir():
            file.unlink()
        memory.rmdir()


def _measure(plan: Plan, watched: _Watched, story: Story) -> None:
    peers = watched.mesh.peers
    per_second(peers, plan.orders // 10)  # so that no file grows for the first time

    def lone() -> int:
        return len(lone_ms(peers, plan.lone, crossing_order))

    def bulk() -> int:
        per_second(peers, plan.orders)
        return plan.orders // PEERS * PEERS

    def paced(rate: int, seconds: float) -> Callable[[], int]:
        def trade() -> int:
            flows = open_loop.submit([p.where for p in peers], rate, seconds, crossing_order)
            return sum(len(flow.samples) for flow in flows)

        return trade

    watched.cost(story, "orders one at a time", lone)
    for rate, seconds in plan.disk_rates:
        watched.cost(story, f"{rate:,} orders/s", paced(rate, seconds))
    watched.cost(story, "as many as go", bulk)
