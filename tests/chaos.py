"""Real peers under load that are killed, paused and cut off, and the checks afterwards.

    python -m tests.chaos --minutes 10 --seed 7
    python -m tests.chaos --minutes 10 --seed 8 --mode byzantine --peers 4

Owns the plan, which follows from a seed, and its execution. In the first half of the time the peers
find each other through real Grapes, in the second half through a network that can be cut. The seed
does not decide the timing inside the processes. Not covered: power failure (kill -9 keeps the data
that the kernel has) and broken disks, see tests/disk and tests/storage/test_disk.py.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from discovery.grapes import running_grapes
from peer.client.connection import NoAnswerError
from peer.client.signer import Signer
from peer.consensus.committee import Mode
from peer.membership.identity import Identity
from peer.storage.data_folder import JOURNAL_FILE
from tests.support import shown
from tests.support.cuttable import CuttableNetwork, cuttable_mesh
from tests.support.journal_history import stored_records, stored_trades
from tests.support.past import united
from tests.support.readers import Reader
from tests.support.real_mesh import RealMesh, RealPeer, wait_for
from tests.support.traders import Record, Trader
from tests.support.verdict import Book, Row, faults, out_of_order

PEERS = 3
TRADERS_PER_PEER = 2
OPTIONS = ("--snapshot-every=64",)
BAD_WORDS = ("ALARM", "Traceback", "ERROR")
TRUE_WORDS = ("commands wait for over",)  # a slow machine may need so long after a kill
SETTLE_S = 60.0
LOG_SHOWN = 3_000  # characters


@dataclass(frozen=True)
class Act:
    """A fault of a peer."""

    kind: str  # kill, kill_all, pause, pause_and_kill, cut
    peer: int
    lasts_s: float
    gap_s: float  # until the next one
    lose: bool = False  # whether what a cut holds up is lost


KINDS = ("kill", "pause", "cut", "kill_all", "kill", "pause_and_kill", "cut")


def plan(seed: int, seconds: float, network: bool, peers: int = PEERS) -> list[Act]:
    """Acts that fill `seconds`, all listed kinds equally often; the same for the same seed."""
    rng = random.Random(seed)
    acts: list[Act] = []
    deck: list[str] = []
    left_s = seconds
    while left_s > 0:
        if not deck:
            deck = [kind for kind in KINDS if network or kind != "cut"]
            rng.shuffle(deck)
        lasts_s = round(rng.choice((0.1, 0.5, 1.0, 2.5)) * rng.uniform(0.5, 1.5), 2)
        act = Act(
            deck.pop(), rng.randrange(peers), lasts_s, rng.choice((0.3, 1.5)), rng.random() < 0.5
        )
        acts.append(act)
        left_s -= act.lasts_s + act.gap_s
    return acts


class Chaos:
    """A running mesh with its traders."""

    def __init__(self, mesh: RealMesh, seed: int, network: CuttableNetwork | None = None) -> None:
        self.mesh = mesh
        self.network = network
        self.faults: list[str] = []
        amount = len(mesh.peers) * TRADERS_PER_PEER
        self.traders = [self._trader(n, seed * 1_000 + n) for n in range(amount)]
        accounts = [record.account for record in self.records]
        self.readers = [Reader(peer.folder.name, peer.where, accounts, seed) for peer in mesh.peers]

    def _trader(self, n: int, seed: int) -> Trader:
        """Trader `n`, at the peers in turn. The first one at each peer signs its commands."""
        peers = self.mesh.peers
        where = peers[n % len(peers)].where
        if n >= len(peers):
            return Trader(f"t{n}", where, seed)
        signer = Signer(Identity.ephemeral(), self.mesh.config.id.hex())
        return Trader(signer.account, where, seed, signer)

    @property
    def records(self) -> list[Record]:
        return [trader.record for trader in self.traders]

    def run(self, acts: list[Act], say: Callable[[str], None]) -> None:
        """Carry out the plan under load and check the result. Adds to `faults`."""
        self.mesh.start()
        for each in (*self.traders, *self.readers):
            each.start()
        try:
            self._suffer(acts, say)
        finally:
            for reader in self.readers:
                reader.stop()
        self.judge_what_was_seen(self.mesh.peers)

    def _suffer(self, acts: list[Act], say: Callable[[str], None]) -> None:
        try:
            for act in acts:
                say(f"{act.kind} {act.peer + 1} for {act.lasts_s} s")
                self._act(act)
                time.sleep(act.gap_s)
        finally:
            for trader in self.traders:
                trader.stop_sending()
            for trader in self.traders:
                trader.join()
        self.restart_all()
        self.faults += faults(self.records, [self.book(peer) for peer in self.mesh.peers])
        for peer in self.mesh.peers:
            peer.stop()
            self.read_log(peer)

    def restart_all(self) -> None:
        """Kill and start all peers once all commands are ordered. The state must stay."""
        digest = self.settle()
        for peer in self.mesh.peers:
            self.kill(peer)
        for peer in self.mesh.peers:
            peer.start()
        if self.settle() != digest:
            self.faults.append("a restart of all peers changed the state")

    def judge_what_was_seen(self, peers: Sequence[RealPeer]) -> None:
        """Check the journals of all these peers after they have stopped."""
        names = [peer.folder.name for peer in peers]
        journals = [stored_records(peer.folder / JOURNAL_FILE) for peer in peers]
        past = united(dict(zip(names, journals, strict=True)))
        told: dict[str, list[shown.Told]] = {name: [] for name in names}
        at = {peer.where: peer.folder.name for peer in peers}
        for trader in self.traders:
            told[at[trader.where]] += (
                shown.Told(one.answered_s, one.commit, one.time_ms, one.events)
                for one in trader.record.sent.values()
                if one.events is not None
            )
        self.faults += shown.faults(past, [reader.seen for reader in self.readers], told)
        self.faults += out_of_order(self.records, past.commits)

    def _act(self, act: Act) -> None:
        peers, peer = self.mesh.peers, self.mesh.peers[act.peer]
        match act.kind:
            case "kill":
                self._down([peer], act.lasts_s)
            case "kill_all":
                self._down(peers, act.lasts_s)
            case "pause":
                with _paused(peer):
                    time.sleep(act.lasts_s)
            case "pause_and_kill":
                with _paused(peer):
                    self._down([peers[act.peer - 1]], act.lasts_s)
            case "cut":
                assert self.network is not None
                self.network.cut(act.peer)
                time.sleep(act.lasts_s)
                self.network.heal(act.peer, act.lose)

    def _down(self, peers: list[RealPeer], seconds: float) -> None:
        for peer in peers:
            self.kill(peer)
        time.sleep(seconds)
        for peer in peers:
            peer.start()

    def kill(self, peer: RealPeer) -> None:
        assert peer.process is not None
        if peer.process.poll() is not None:
            self.faults.append(f"{peer.folder.name} ended by itself")
        peer.kill()
        self.read_log(peer)

    def read_log(self, peer: RealPeer) -> None:
        lines = peer.log().splitlines(keepends=True)
        log = "".join(line for line in lines if not any(word in line for word in TRUE_WORDS))
        found = [log.find(word) for word in BAD_WORDS if word in log]
        if found:
            self.faults.append(f"{peer.folder.name} says: {log[min(found) :][:LOG_SHOWN]}")

    def settle(self) -> bytes:
        """Wait until all commands are ordered and all peers are at one commit; returns its
        digest."""
        wait_for("the last orders", self._all_ordered, SETTLE_S)
        return self.mesh.agreed().digest

    def _all_ordered(self) -> bool:
        """Whether all peers answer, and have no pending commands."""
        accounts = [record.account for record in self.records]
        try:
            asked = [peer.client.orders(name) for peer in self.mesh.peers for name in accounts]
        except NoAnswerError:  # a peer that has just been started, on a busy machine
            return False
        return not any(orders.pending for orders in asked)

    def book(self, peer: RealPeer) -> Book:
        orders = [peer.client.orders(record.account).open for record in self.records]
        newest = peer.state().trades
        number = newest[0].number if newest else 0

        def rows() -> list[Row] | None:
            found = trades_of(peer.folder)
            return found if not number or (found and found[-1].number == number) else None

        trades = wait_for("trades in the journal", rows) if number else []
        return Book(peer.folder.name, [order for part in orders for order in part], trades)

    def report(self) -> str:
        counts: Counter[str] = Counter()
        for record in self.records:
            counts.update(record.counts())
            refused = (one.refused for one in record.sent.values() if one.refused)
            counts.update(f"refused as {code}" for code in refused)
        counts["states seen"] = sum(len(reader.seen.answers) for reader in self.readers)
        counts["messages seen"] = sum(len(reader.seen.feed) for reader in self.readers)
        return ", ".join(f"{count} {what}" for what, count in counts.items())


@contextlib.contextmanager
def _paused(peer: RealPeer) -> Iterator[None]:
    assert peer.process is not None
    peer.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        peer.process.send_signal(signal.SIGCONT)


def trades_of(folder: Path) -> list[Row]:
    """The trades in the journal of a peer."""
    found = stored_trades(folder / JOURNAL_FILE)
    return [Row(t.number, t.price, t.quantity, t.side, t.maker, t.taker) for t in found]


@contextlib.contextmanager
def found_by_grapes(
    folder: Path, seed: int, peers: int = PEERS, mode: Mode = Mode.CRASH
) -> Iterator[Chaos]:
    """Peers that find each other through real Grapes."""
    with running_grapes() as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(folder, urls, peers, mode, options=OPTIONS) as mesh:
            yield Chaos(mesh, seed)


@contextlib.contextmanager
def on_a_cuttable_network(
    folder: Path, seed: int, peers: int = PEERS, mode: Mode = Mode.CRASH
) -> Iterator[Chaos]:
    """Peers that reach each other only through proxies."""
    with cuttable_mesh(folder, peers, mode, options=OPTIONS) as (mesh, network):
        yield Chaos(mesh, seed, network)


def main() -> None:
    """Run half of the time in each setting; exits with 1 and the faults if there are any."""
    parser = argparse.ArgumentParser(description="Chaos with real processes.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--mode", type=Mode, choices=list(Mode), default=Mode.CRASH)
    options = parser.parse_args()
    for setting in (found_by_grapes, on_a_cuttable_network):
        what = f"{options.peers} peers in {options.mode} mode, seed {options.seed}"
        print(f"{setting.__name__}: {what}", flush=True)
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        print(f"journals and logs, kept if anything is wrong: {folder}", flush=True)
        with setting(folder, options.seed, options.peers, options.mode) as chaos:
            network = chaos.network is not None
            acts = plan(options.seed, options.minutes * 30, network, options.peers)
            chaos.run(acts, timed_print(time.monotonic()))
            print(chaos.report(), flush=True)
        if chaos.faults:
            sys.exit("\n".join(["WRONG:", *chaos.faults[:50]]))
        shutil.rmtree(folder)


def timed_print(start_s: float) -> Callable[[str], None]:
    return lambda text: print(f"  {time.monotonic() - start_s:6.1f} s {text}", flush=True)


if __name__ == "__main__":
    main()
