"""How long a restart takes, and how much memory a peer needs, as history grows.

    python -m tests.bench.durability --commands 10000000 --step 510000
    python -m tests.bench.durability --commands 300000 --snapshot-every 1024000

Owns three real peers under synthetic flow: limit and market orders that cross often, so that the
book stays about the same size. Prints a line for every step: commands so far; of this step the
rate, the processor time of a peer that is never restarted (other work on the machine changes the
rate, but hardly that) and the machine's load; resident memory of each peer; size of the first
one's journal, and how long that one took to recover after kill -9.
"""

import argparse
import os
import random
import re
import tempfile
import time
from pathlib import Path

from discovery.grapes import running_grapes
from engine import CancelAll, Command
from tests import heap
from tests.bench.measuring import pids, processor_s, resident_mib
from tests.support.real_mesh import RealMesh, RealPeer, random_orders, submit_at_once, wait_for

PER_REQUEST = 500
PART = 5_000  # commands a peer under way at once
RECOVERED = re.compile(r"recovered up to commit (\d+), with (\d+) blocks, in ([\d.]+) s")


def flow(rng: random.Random) -> list[Command]:
    """Orders, and in the end a cancel of what is left of everybody's."""
    return [*random_orders(rng, "a", PART - 1), CancelAll(0, "a")]


def journal_mb(peer: RealPeer) -> int:
    files = peer.folder.glob("journal.db*")
    return sum(file.stat().st_size for file in files) // 2**20


def restart(peer: RealPeer, mesh: RealMesh) -> tuple[int, int, float]:
    """kill -9 and start: the commit it came to, from how many blocks, in seconds."""
    peer.kill()
    peer.start()
    found = wait_for("recovery", lambda: RECOVERED.search(peer.log()), 600)
    mesh.wait_quorum([peer])
    mesh.agreed()
    return int(found[1]), int(found[2]), float(found[3])


def run(commands: int, step: int, snapshot_every: int, folder: Path) -> None:
    rng = random.Random(1)
    with running_grapes() as grapes:
        urls = [grape.spec.url for grape in grapes]
        options = [f"--snapshot-every={snapshot_every}"]
        with RealMesh(folder, urls, options=options) as mesh:
            mesh.start()
            done = 0
            while done < commands:
                before, used_s, busy_s = done, processor_s(pids(mesh.peers[-1:])), 0.0
                for _ in range(max(step // (3 * PART), 1)):
                    flows = [(p.client, flow(rng)) for p in mesh.peers]
                    started_s = time.monotonic()
                    submit_at_once(flows, PER_REQUEST)
                    busy_s += time.monotonic() - started_s
                    done += 3 * PART
                used_us = (processor_s(pids(mesh.peers[-1:])) - used_s) * 1e6 / (done - before)
                open_ = sum(count for *_, count in (lambda s: s.bids + s.asks)(mesh.agreed()))
                memory = " ".join(str(resident_mib(pid)) for pid in pids(mesh.peers))
                size = journal_mb(mesh.peers[0])
                commit, blocks, seconds = restart(mesh.peers[0], mesh)
                print(
                    f"{done:>9} commands {(done - before) / busy_s:>7.0f}/s, {used_us:.1f} us of a"
                    f" processor each, load {os.getloadavg()[0]:.1f}  {open_} open"
                    f"  RSS {memory} MiB  journal {size} MiB"
                    f"  restart at commit {commit}: {blocks} blocks, {seconds} s",
                    flush=True,
                )


def main() -> None:
    heap.refuse_if_broken()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--step", type=int, default=100_000)
    parser.add_argument("--snapshot-every", type=int, default=1_024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="durability-") as folder:
        run(options.commands, options.step, options.snapshot_every, Path(folder))


if __name__ == "__main__":
    main()
