"""`make market` at real peers: it fills every book, survives what peers do, and leaves nothing."""

import functools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from discovery.grapes import running_grapes
from peer.cli.market_makers import OPEN_ORDERS_MAX
from peer.client.protocol import State
from peer.replica.changes import Approve, Change, HaltMarket, Propose, ResumeMarket
from tests.support.real_mesh import MARKET, OTHER_MARKET, RealMesh, RealPeer
from tests.support.real_mesh import wait_for as wait_for_s

PATIENCE_S = 60.0  # on a busy machine
LEVELS = 15
pytestmark = pytest.mark.timeout(300)

wait_for = functools.partial(wait_for_s, timeout_s=PATIENCE_S)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with running_grapes(1) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path_factory.mktemp("market"), urls) as mesh:
            mesh.start()
            yield mesh


class Program:
    """`python -m peer market` for the peers in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log = folder / "market.log"
        self._state = folder / "state"
        command = [sys.executable, "-m", "peer", "market", f"--folder={folder}"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--state={self._state}", *options], stdout=log, stderr=log
            )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM) -> str:
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE_S) == 0, self.said()
        assert not list(self._state.iterdir())
        return self.said()

    def stop(self) -> str:
        """What `make stop` does."""
        command = [sys.executable, "-m", "peer", "demo", "--stop", f"--state={self._state}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert self.process.wait(PATIENCE_S) == 0, self.said()
        return done.stdout


def full(peer: RealPeer, market: str) -> State | None:
    """The market at this peer once it is alive: levels on both sides, and trades."""
    state = peer.state(market)
    is_full = min(len(state.bids), len(state.asks)) >= LEVELS and len(state.trades) >= 3
    return state if is_full else None


def traded(peer: RealPeer, market: str = MARKET, since: int = 0) -> int:
    """The number of the last trade if it is later than `since`, else 0."""
    trades = peer.state(market).trades
    return trades[0].number if trades and trades[0].number > since else 0


def makers_orders(peer: RealPeer) -> int:
    return sum(count for name, count in peer.client.accounts() if name.startswith("maker-"))


def test_it_fills_all_books_and_leaves_nothing(mesh: RealMesh) -> None:
    with Program(mesh.file.parent) as market:
        for peer in mesh.peers:
            for symbol in (MARKET, OTHER_MARKET):
                state = wait_for("a living book", lambda p=peer, s=symbol: full(p, s))
                shares = [share for level in state.bid_shares for share in level]
                assert {member for member, _, _ in shares} == {0, 1, 2}
        assert 0 < makers_orders(mesh.peers[0]) <= OPEN_ORDERS_MAX
        said = market.end()
    assert said.startswith("market: makers and takers trade BTC-USD, ETH-USD through peer1, peer2,")
    assert "orders cancelled" in said.splitlines()[-1]
    state = mesh.agreed()
    assert (state.bids, state.asks) == ([], [])
    assert [makers_orders(peer) for peer in mesh.peers] == [0, 0, 0]


def test_it_goes_on_while_a_peer_is_restarted(mesh: RealMesh) -> None:
    other = mesh.peers[1]
    with Program(mesh.file.parent) as market:
        before = wait_for("a trade", lambda: traded(mesh.peers[0]))
        other.kill()
        wait_for("the note", lambda: "peer2 waits" in market.said())
        before = wait_for("a trade without it", lambda: traded(mesh.peers[0], since=before))
        other.start()
        wait_for("the note", lambda: "peer2 trades again" in market.said())
        wait_for("a trade with it", lambda: taken_by(other, 1, before))
        assert market.stop() == f"stopped the market of process {market.process.pid}\n"
    state = mesh.agreed()
    assert (state.bids, state.asks) == ([], [])


def taken_by(peer: RealPeer, member: int, since: int) -> bool:
    return any(t.taker % 256 == member and t.number > since for t in peer.state().trades)


def decide(mesh: RealMesh, change: Change) -> None:
    """A proposal of the first two members, which are a quorum."""
    [result] = mesh.peers[0].client.govern([Propose(0, (change,))])
    for peer in mesh.peers[:2]:
        peer.client.govern([Approve(0, result.id, 0)])


def test_it_survives_a_halted_market(mesh: RealMesh) -> None:
    first = mesh.peers[0]
    with Program(mesh.file.parent, "--rate=60") as market:
        wait_for("a trade", lambda: traded(first))
        decide(mesh, HaltMarket(MARKET))
        before, elsewhere = traded(first), traded(first, OTHER_MARKET)
        wait_for("a trade elsewhere", lambda: traded(first, OTHER_MARKET, elsewhere + 5))
        assert traded(first) == before
        decide(mesh, ResumeMarket(MARKET))
        wait_for("a trade", lambda: traded(first, MARKET, before))
        market.end(signal.SIGINT)


def test_a_second_market_is_refused(mesh: RealMesh) -> None:
    with Program(mesh.file.parent, f"--market={OTHER_MARKET}") as market:
        wait_for("the first", lambda: "Ctrl-C" in market.said())
        folder = mesh.file.parent
        second = refused(f"--folder={folder}", f"--state={folder / 'other'}")
        assert f"another market trades in {folder} already" in second
        wait_for("a trade", lambda: traded(mesh.peers[0], OTHER_MARKET))
        assert mesh.peers[0].state(MARKET).bids == []
        market.end()


def test_a_market_that_is_not_there_is_refused(mesh: RealMesh) -> None:
    said = refused(f"--folder={mesh.file.parent}", "--market=XYZ")
    assert "no market 'XYZ' in this mesh: there is BTC-USD, ETH-USD" in said


def test_without_a_demo_it_says_how_to_start_one(tmp_path: Path) -> None:
    said = refused(f"--folder={tmp_path}")
    assert "start the demo first, with `make peers`" in said


def test_without_a_running_peer_it_says_how_to_start_them(tmp_path: Path) -> None:
    with RealMesh(tmp_path, []) as mesh:
        said = refused(f"--folder={mesh.file.parent}", f"--state={tmp_path}")
    assert "no peer is ready" in said
    assert "`make peers` starts them" in said


def refused(*options: str) -> str:
    command = [sys.executable, "-m", "peer", "market", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1, done.stdout
    return done.stderr
