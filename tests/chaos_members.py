"""A real mesh under load whose members change: 1, 3, 5, 3, with kills, until no first one is left,
and a quorum is replaced and lost at once.

    python -m tests.chaos_members --seed 7

Owns the plan and which peers run. The traders, the final checks and what readers may see are those
of `tests.chaos`. The seed does not decide the timing inside the processes.
"""

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from discovery.grapes import running_grapes
from peer.client.endpoint import Endpoint
from peer.consensus.committee import Committee, Mode
from peer.storage import data_folder
from tests.chaos import OPTIONS, SETTLE_S, Chaos, timed_print, trades_of
from tests.support.real_mesh import RealMesh, RealPeer, wait_for
from tests.support.traders import Record, Trader
from tests.support.verdict import Book, faults

CALL_S = 60.0
AWAY_S = 1.0
START_S = 6.0  # from a kill until the peer may speak again: others have 3 s to object (ORDER-25)


class Pause(NamedTuple):
    lasted_s: float
    began_s: float  # monotonic
    whose: str


class Changing(Chaos):
    """A mesh that begins with one member. `mesh.peers` are the peers that should be members."""

    def __init__(self, mesh: RealMesh, seed: int, say: Callable[[str], None]) -> None:
        super().__init__(mesh, seed)
        self._rng = random.Random(seed)
        self._say = say
        self.gone: list[RealPeer] = []
        self._all = list(mesh.peers)
        self._kills: list[tuple[Endpoint, float]] = []  # where, and the monotonic time

    def change(self) -> None:
        """Carry out the plan under load and check the result. Adds to `faults`."""
        self.mesh.start()
        for each in (*self.traders, *self.readers):
            each.start()
        try:
            for number in (2, 3):
                self._add(number)
            self._kill_one()
            for number in (4, 5):
                self._add(number)
            self._kill_one()
            self._lose(1, 6)
            self._kill_one()
            for _ in range(2):
                self._remove(0)
            self._lose(0, 7)
            self._kill_one()
            self._lose_quorum(8, 9)
            self._kill_one()
        finally:
            for each in (*self.traders, *self.readers):
                each.stop_sending() if isinstance(each, Trader) else each.stop()
            for trader in self.traders:
                trader.join()
        self._check()

    # The changes

    def _add(self, number: int) -> None:
        peer, key = self._newcomer(number)
        self._agree("add", peer.folder.name, key)
        self._seat(peer)

    def _lose(self, place: int, number: int) -> None:
        """A member loses its disk, and a new one takes its place; before, if the others are no
        quorum, since nobody could agree to it without the lost one."""
        config, others = self.mesh.config, len(self.mesh.peers) - 1
        is_sudden = others >= Committee(config.id, others + 1, config.mode).quorum
        lost = self._part_with(place)
        peer, key = self._newcomer(number)
        if is_sudden:
            lost.kill()
        voters = () if is_sudden else (lost,)
        self._agree("replace", lost.folder.name, peer.folder.name, key, voters=voters)
        self._seat(peer)
        if not is_sudden:
            self._wait_hand_over()
            lost.kill()

    def _lose_quorum(self, *numbers: int) -> None:
        """One proposal replaces a quorum, which is lost for good as soon as it has signed."""
        lost = [self._part_with(0) for _ in numbers]
        new = [self._newcomer(number) for number in numbers]
        changes = [
            {
                "change": "replace_member",
                "member": old.folder.name,
                "name": peer.folder.name,
                "key": key,
            }
            for old, (peer, key) in zip(lost, new, strict=True)
        ]
        self._agree("propose", json.dumps(changes), voters=lost)
        self._seat(*(peer for peer, _ in new))
        self._wait_hand_over()
        for peer in lost:
            self._say(f"{peer.folder.name} is lost")
            peer.kill()
        time.sleep(AWAY_S)

    def _remove(self, place: int) -> None:
        removed = self._part_with(place)
        self._agree("remove", removed.folder.name)
        self._wait_members()
        self._wait_hand_over()
        removed.stop()

    def _wait_hand_over(self) -> None:
        for peer in self.mesh.peers:
            wait_for("the hand-over", lambda peer=peer: self._is_handed_over(peer), SETTLE_S)

    def _newcomer(self, number: int) -> tuple[RealPeer, str]:
        folder = self.mesh.file.parent / f"peer{number}"
        key = data_folder.create(folder).public.hex()
        peer = RealPeer(folder, self.mesh.file, self.mesh.grapes, options=OPTIONS)
        peer.start()
        self._all.append(peer)
        return peer, key

    def _seat(self, *peers: RealPeer) -> None:
        self.mesh.peers += peers
        self._wait_members()
        for peer in peers:
            trader = Trader(f"t{len(self.traders)}", peer.where, self._rng.getrandbits(32))
            self.traders.append(trader)
            trader.start()

    def _part_with(self, place: int) -> RealPeer:
        """A peer that is to go: its clients stop, and what they sent becomes final."""
        peer = self.mesh.peers.pop(place)
        self.gone.append(peer)
        for trader in self.traders:
            if trader.where == peer.where:
                trader.join()
        accounts = [record.account for record in self.records]
        wait_for(
            "its last orders",
            lambda: not any(peer.client.orders(name).pending for name in accounts),
            SETTLE_S,
        )
        return peer

    def _agree(self, *words: str, voters: Sequence[RealPeer] = ()) -> None:
        """The peers that should be members vote, and others."""
        self._say(" ".join(word if len(word) < 20 else f"{word[:8]}…" for word in words))
        said = self._members(self.mesh.peers[0], *words)
        proposal = said.split()[1].rstrip(":")
        for peer in (*self.mesh.peers[1:], *voters):
            self._members(peer, "approve", proposal, may_fail=True)  # accepted already

    def _members(self, peer: RealPeer, *words: str, may_fail: bool = False) -> str:
        call = [sys.executable, "-m", "peer", "members", str(peer.folder), *words]
        done = subprocess.run(call, capture_output=True, text=True, timeout=CALL_S, check=False)
        assert may_fail or not done.returncode, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def _wait_members(self) -> None:
        names = {peer.folder.name for peer in self.mesh.peers}
        for peer in self.mesh.peers:
            wait_for(
                "the members",
                lambda peer=peer: {m.name for m in peer.mesh_view().members} == names,
                SETTLE_S,
            )

    def _is_handed_over(self, peer: RealPeer) -> bool:
        return "hand-over" not in self._members(peer)

    def _kill_one(self) -> None:
        """Not the one peer at which somebody trades: then no client could tell a pause."""
        busy = {trader.where for trader in self.traders if trader.sends}
        able = [peer for peer in self.mesh.peers if busy - {peer.where}]
        peer = self._rng.choice(able)
        self._say(f"kill {peer.folder.name}")
        self._kills.append((peer.where, time.monotonic()))
        self.kill(peer)
        time.sleep(AWAY_S)
        peer.start()

    # The checks

    def _check(self) -> None:
        self.restart_all()
        books = [self.book(peer) for peer in self.mesh.peers]
        for peer in self.gone:  # its journal has what it traded before its end
            books.append(Book(peer.folder.name, books[0].open, trades_of(peer.folder)))
        self.faults += faults(self.records, books)
        for peer in self.mesh.peers:
            peer.stop()
            self.read_log(peer)
        self.judge_what_was_seen(self._all)

    def pauses(self) -> list[Pause]:
        """The longest times in which no client at any peer had a result."""
        every = [at_s for record in self.records for at_s in answers_of(record)]
        return longest(gaps(every, "all"))

    def pauses_of_one(self) -> list[Pause]:
        """The longest times in which one client, at a peer that was not killed shortly before or
        then, had none."""
        found: list[Pause] = []
        names = {peer.where: peer.folder.name for peer in self._all}
        for trader in self.traders:
            kills = [at_s for where, at_s in self._kills if where == trader.where]
            found += (
                pause
                for pause in gaps(answers_of(trader.record), names[trader.where])
                if not any(-START_S <= at_s - pause.began_s <= pause.lasted_s for at_s in kills)
            )
        return longest(found)


def answers_of(record: Record) -> list[float]:
    """The monotonic times at which results came."""
    return [one.answered_s for one in record.sent.values() if one.answered_s]


def gaps(times_s: Sequence[float], whose: str) -> list[Pause]:
    pairs = itertools.pairwise(sorted(times_s))
    return [Pause(after - before, before, whose) for before, after in pairs]


def longest(pauses: Sequence[Pause]) -> list[Pause]:
    return sorted(pauses, reverse=True)[:5]


def main() -> None:
    parser = argparse.ArgumentParser(description="Chaos with members that change.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", type=Mode, choices=list(Mode), default=Mode.CRASH)
    parser.add_argument("--keep", action="store_true", help="Keep journals and logs.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"journals and logs, kept if anything is wrong: {folder}", flush=True)
    began_s = time.monotonic()
    with running_grapes() as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(folder, urls, 1, options.mode, options=OPTIONS, observers="any") as mesh:
            chaos = Changing(mesh, options.seed, timed_print(began_s))
            try:
                chaos.change()
            finally:
                for peer in chaos.gone:
                    peer.close()
            print(chaos.report())
            for whose, found in (
                ("all clients", chaos.pauses()),
                ("one client", chaos.pauses_of_one()),
            ):
                said = [
                    f"{one.lasted_s:.2f} s at {one.began_s - began_s:.1f} s ({one.whose})"
                    for one in found
                ]
                print(f"longest pauses of {whose}:", ", ".join(said))
    if chaos.faults:
        sys.exit("\n".join(["WRONG:", *chaos.faults[:50]]))
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
