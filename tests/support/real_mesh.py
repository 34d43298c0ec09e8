"""A real mesh for tests: peers as processes, found through real Grapes, on free ports."""

import contextlib
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from engine import Command, Market, OrderType, Side, Submit, TimeInForce
from peer.client import protocol
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoint
from peer.client.protocol import Done, Execute, Queued, Refused, Result, State
from peer.consensus.committee import Mode
from peer.membership import mesh_file
from peer.membership.mesh_file import Member, MeshConfig
from peer.storage import data_folder
from tests.support.waiting import wait_for

LOCAL = "127.0.0.1"
MARKET = "BTC-USD"
OTHER_MARKET = "ETH-USD"
MARKETS = [Market(MARKET, "0.01", "0.00000001"), Market(OTHER_MARKET, "0.01", "0.0001")]


def pairs(ports: Sequence[int]) -> list[tuple[int, int]]:
    """Two ports for each peer."""
    return list(zip(ports[::2], ports[1::2], strict=True))


@contextlib.contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Ports on 127.0.0.1 on which a peer can listen, now and after a restart, and that no other
    program gets meanwhile. A port that was only found free may be taken by any connection a moment
    later, and then the peer ends with "cannot listen on"."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        yield [holder.getsockname()[1] for holder in holders]


class RealPeer:
    """One peer process, its log file and a client for it."""

    def __init__(
        self,
        folder: Path,
        mesh: Path,
        grapes: Sequence[str],
        ui: bool = False,
        options: Sequence[str] = (),
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: str = "peer",
    ) -> None:
        self.folder = folder
        self._env = env  # None: this process's
        self._log = log or folder / "log"
        self._command = [sys.executable, "-m", program, "run", "--exit-with-parent"]
        self._command += ["--data", str(folder), "--mesh", str(mesh)]
        for grape in grapes:
            self._command += ["--grape", grape]
        if ui:
            self._command += ["--ui", "127.0.0.1:0"]
        self._command += options
        self.where = endpoint(folder)
        self.client = NodeClient(self.where, timeout_s=10)
        self.process: subprocess.Popen[bytes] | None = None

    def add_options(self, options: Sequence[str]) -> None:
        """Add options for the next start."""
        self._command += options

    def change_program(self, program: str) -> None:
        """From the next start on the peer runs this module."""
        self._command[2] = program

    def run_words(self, words: Sequence[str]) -> None:
        """From the next start on it is another command of Python, which ends with this process."""
        self._command = [sys.executable, *words, "--exit-with-parent"]

    def set_environment(self, env: Mapping[str, str]) -> None:
        """From the next start on the peer has these variables, and no others."""
        self._env = env

    def limit_files(self, most: int) -> None:
        """From the next start on the peer may open at most this many files."""
        limited = f'ulimit -n {most} && exec "$@"'
        self._command = ["/bin/sh", "-c", limited, "sh", *self._command]

    def start(self, *options: str) -> None:
        self._close_stdin()
        with self._log.open("wb") as log:
            command = [*self._command, *options]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._env
            )

    def _close_stdin(self) -> None:
        """Close the pipe to the process, which then ends if it still runs."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()

    def kill(self) -> None:
        """Kill the process by SIGKILL; its gateway ends too."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)

    def close(self) -> None:
        self.stop()
        self._close_stdin()
        self.client.close()

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def check_runs(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"the peer ended:\n{self.log()[-2000:]}"

    def sees_quorum(self) -> bool:
        """Whether its log has reported a quorum since its start."""
        self.check_runs()
        return "quorum reached" in self.log()

    def mesh_view(
        self, until: Callable[[protocol.Mesh], bool] = lambda _: True, timeout_s: float = 20.0
    ) -> protocol.Mesh:
        """Wait until its view of the mesh satisfies `until`, and return the view."""
        deadline_s = time.monotonic() + timeout_s
        with NodeClient(self.where) as client:
            feed = client.feed(protocol.topic("mesh"))
            while time.monotonic() < deadline_s:
                self.check_runs()
                for view in feed.batch(0.1):
                    assert isinstance(view, protocol.Mesh)
                    if until(view):
                        return view
        raise AssertionError(f"waited {timeout_s} s in vain for another view of the mesh")

    def state(self, market: str = MARKET) -> State:
        self.check_runs()
        return self.client.state(market)


class RealMesh:
    """Use it in a `with` block; `start` starts the peers."""

    def __init__(
        self,
        folder: Path,
        grapes: Sequence[str],
        size: int = 3,
        mode: Mode = Mode.CRASH,
        ui: bool = False,
        options: Sequence[str] = (),
        observers: list[str] | Literal["any"] | None = None,
        program: str = "peer",
        names: Sequence[str] = (),
        admission: Literal["vote", "open"] = "vote",
        markets: Sequence[Market] = MARKETS,
    ) -> None:
        self.grapes = grapes
        names = names or [f"peer{number}" for number in range(1, size + 1)]
        members = [Member(name, data_folder.create(folder / name).public.hex()) for name in names]
        now_ms = time.time_ns() // 1_000_000
        rest = list(markets), observers or [], admission
        self.config = MeshConfig("test", mode, now_ms, members, *rest)
        self.file = folder / "mesh.toml"
        self.places: Sequence[tuple[int, int]] = ()  # see `tell_places`
        mesh_file.write(self.config, self.file)
        self.peers = [
            RealPeer(folder / name, self.file, grapes, ui, options, program=program)
            for name in names
        ]

    def __enter__(self) -> "RealMesh":
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers:
            peer.close()

    def start(self) -> None:
        for peer in self.peers:
            peer.start()
        self.wait_quorum(self.peers)

    def tell_places(
        self, ports: Sequence[tuple[int, int]], host: Callable[[int, int], str] = lambda *_: LOCAL
    ) -> None:
        """Let peer n listen on `ports[n]`, for blocks and for fetches, and find peer m at
        `host(n, m)`."""
        self.places = ports
        for number, (peer, (port, fetch_port)) in enumerate(zip(self.peers, ports, strict=True)):
            options = [f"--port={port}", f"--fetch-port={fetch_port}"]
            for other, member in enumerate(self.config.members):
                if other != number:
                    options.append(f"--at={member.name}={host(number, other)}:{ports[other][0]}")
            peer.add_options(options)

    def wait_quorum(self, peers: Sequence[RealPeer]) -> None:
        for peer in peers:
            try:
                wait_for("quorum", peer.sees_quorum)
            except AssertionError as error:
                logs = [f"{one.folder.name}: {one.log()[-1000:]}" for one in self.peers]
                raise AssertionError("\n".join([str(error), *logs])) from None

    def agreed(self, peers: Sequence[RealPeer] = (), market: str = MARKET, since: int = 0) -> State:
        """Wait until all peers are at the same commit, `since` or later, and return their common
        state."""

        def same() -> State | None:
            states = [peer.state(market) for peer in peers or self.peers]
            if len({state.commit for state in states}) > 1 or states[0].commit < since:
                return None
            first = states[0]
            for state in states:
                assert state.digest == first.digest, "books differ at the same commit"
                assert (state.bids, state.asks) == (first.bids, first.asks)
                assert state.trades == first.trades
            return first

        return wait_for("all peers at one commit", same)


@contextlib.contextmanager
def placed_mesh(
    folder: Path,
    size: int = 3,
    observers: Literal["any"] | None = None,
    markets: Sequence[Market] = MARKETS,
    options: Sequence[str] = (),
    starts: bool = True,
) -> Iterator[RealMesh]:
    """A mesh without Grapes: its peers are told where the others are. It runs if it `starts`."""
    with (
        held_ports(2 * size) as ports,
        RealMesh(folder, [], size, options=options, observers=observers, markets=markets) as mesh,
    ):
        mesh.tell_places(pairs(ports))
        if starts:
            mesh.start()
        yield mesh


def order(account: str, side: Side, price: int, quantity: int, market: str = MARKET) -> Submit:
    return Submit(0, account, market, side, quantity, price)


def random_orders(rng: random.Random, account: str, count: int) -> list[Command]:
    """Limit and market orders that often cross."""
    orders: list[Command] = []
    for _ in range(count):
        side = rng.choice((Side.BUY, Side.SELL))
        price, quantity = rng.randint(9_950, 10_050), rng.randint(1, 100)
        if rng.random() < 0.1:
            kind, tif = OrderType.MARKET, TimeInForce.IOC
            orders.append(Submit(0, account, MARKET, side, quantity, 0, kind, tif))
        else:
            orders.append(order(account, side, price, quantity))
    return orders


def submit_at_once(
    flows: Sequence[tuple[NodeClient, Sequence[Command]]],
    per_request: int = 1,
    timeout_s: float = 60.0,
) -> list[list[Result]]:
    """Send every flow through its client, all at the same time and without waiting. Returns the
    results by flow once all are final."""
    results: list[list[Result]] = [[] for _ in flows]
    for start in range(0, max(len(commands) for _, commands in flows), per_request):
        for client, commands in flows:
            if part := commands[start : start + per_request]:
                client.send(Execute(list(part)))
    deadline_s = time.monotonic() + timeout_s
    for (client, commands), got in zip(flows, results, strict=True):
        while len(got) < len(commands):
            answer = client.receive(deadline_s - time.monotonic())
            assert answer is not None, f"{len(got)} of {len(commands)} were final in time"
            match answer[1]:
                case Done(_, _, found):
                    got += found
                case Refused(code, reason):
                    raise AssertionError(f"{code}: {reason}")
                case Queued():
                    pass
    return results
