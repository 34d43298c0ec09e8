"""Power cuts in the lives of real nodes, and what must be true after each.

    python -m tests.disk.powercut --seeds 100

Owns one campaign: a life is recorded call by call (`shim.py`), at many moments of it the disks are
what a power failure may leave (`image.py`), and the nodes (`world.py`) go on from there. They
must start, have all that was acknowledged and every block that was sent, never contradict what
was told, and agree, though one of them may never come back. One of the disks so left is where the
next life begins, itself recorded.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from peer.consensus.committee import Mode
from peer.membership.identity import IdentityError
from peer.storage.journal import JournalError
from tests.disk.image import MARKS, Disk, Op, read
from tests.disk.shim import Shim
from tests.disk.world import NAMES, Told, World

# Where there is one, a disk in memory: every fsync of a check would wait for the real one.
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
LIVES = 3
TURNS = 250
SETTLE_TURNS = 1_500


class Campaign:
    """Works in `folder`, where what went wrong can be looked at."""

    def __init__(self, folder: Path, shim: Shim, seed: int, cuts: int) -> None:
        self._mode = (Mode.CRASH, Mode.BYZANTINE)[seed % 2]
        self._names = NAMES[self._mode]
        self._folder = folder
        self._shim = shim
        self._rng = random.Random(seed)
        self._cuts = cuts  # in each life
        self.cuts = 0
        self.operations = 0  # on the disk, in all lives
        self.told: list[bytes] = []  # in the life that counts

    def run(self) -> list[str]:
        """What went wrong, if anything."""
        root = self._folder / "life0"
        root.mkdir()
        for life in range(LIVES):
            ops, ended = self._live(root)
            if ended:
                return [f"{root.name} ended: {ended}"]
            self.operations += len(ops)
            next_root = self._folder / f"life{life + 1}"
            if wrong := self._cut_often(root, ops, next_root):
                return wrong
            root = next_root
        return []

    def _live(self, root: Path) -> tuple[list[Op], str]:
        """The record of a life, and why it ended before its time."""
        before, trace = self._folder / f"{root.name}.told", self._folder / f"{root.name}.trace"
        if self.told:
            before.write_bytes(b"".join(line + b"\n" for line in self.told))
        self._start = Disk.of(root, self.told)
        command = [sys.executable, "-m", "tests.disk.world", self._mode, str(root), str(before)]
        command += [str(self._rng.randrange(2**32)), str(TURNS)]
        env = self._shim.environment(root, trace)
        ended = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        ops = list(read(trace.read_bytes()))
        trace.unlink()
        return ops, "" if ended.returncode == 0 else ended.stderr or str(ended.returncode)

    def _cut_often(self, root: Path, ops: list[Op], next_root: Path) -> list[str]:
        """Check what is left at some moments, and leave one of them in `next_root`."""
        disk = self._start
        first = 0 if self.told else _made(ops)
        moments = sorted(self._rng.randint(first, len(ops)) for _ in range(self._cuts))
        last, done = self._rng.choice(moments), 0
        for moment in moments:
            for op in ops[done:moment]:
                disk.do(op)
            done = moment
            wrong, left = self._cut(disk, root, f"{root.name}-cut{moment}")
            if wrong:
                return [f"{left}: {what}" for what in wrong]
            shutil.rmtree(left)
            if moment == last and not next_root.exists():
                disk.write_to(str(root), next_root, self._dark(), self._rng)
                self.told = list(disk.marks)
        return []

    def _dark(self) -> list[str]:
        """Whose disks lose power; the other nodes are killed at the same moment."""
        return self._rng.sample(self._names, self._rng.randint(1, len(self._names)))

    def _cut(self, disk: Disk, root: Path, name: str) -> tuple[list[str], Path]:
        """What is wrong after a cut at this moment, and the folder with what it left."""
        self.cuts += 1
        folder = self._folder / name
        disk.write_to(str(root), folder, self._dark(), self._rng)
        told = Told()
        for line in disk.marks:
            told.add(line.decode())
        try:
            gone = self._rng.choice((None, *range(len(self._names))))
            with World(self._mode, folder, told, self._rng.randrange(2**32), gone) as world:
                return _go_on(world, self._rng), folder
        except (IdentityError, JournalError) as error:
            return [str(error)], folder


def _made(ops: list[Op]) -> int:
    """Where the first thing was told: that keys and journals are there."""
    return next(n for n, op in enumerate(ops) if op.path.endswith(MARKS) and op.data) + 1


def _go_on(world: World, rng: random.Random) -> list[str]:
    """What is wrong when the nodes have gone on until all is ordered."""
    for me in world.present:
        own, sent = world.nodes[me].ledger.consensus.own_newest, world.told.newest(me)
        if own is None or own.round < sent:
            return [f"{world.names[me]} sent a block of round {sent} and forgot it: has {own}"]
    if rng.random() < 0.5:
        world.put_about()
    for me in world.present:
        world.submit(me, 2)
    for _ in range(SETTLE_TURNS):
        world.turn()
        if not world.unsettled():
            return world.check()
    return [world.unsettled()]


def main() -> None:
    """As many campaigns as there are seeds; exits with 1 and what was wrong if anything was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=30, help="in each of the lives of a seed")
    options = parser.parse_args()
    cuts = operations = 0
    for seed in range(options.first, options.first + options.seeds):
        folder = Path(tempfile.mkdtemp(prefix=f"powercut-{seed}-", dir=FAST))
        campaign = Campaign(folder, Shim(folder), seed, options.cuts)
        if wrong := campaign.run():
            sys.exit("\n".join([f"WRONG with seed {seed}; what is left of it: {folder}", *wrong]))
        shutil.rmtree(folder)
        cuts, operations = cuts + campaign.cuts, operations + campaign.operations
        print(
            f"seed {seed}: all is well. So far {cuts} cuts in {operations} operations", flush=True
        )


if __name__ == "__main__":
    main()
