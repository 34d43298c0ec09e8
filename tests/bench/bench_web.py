"""Load on the gateway's fan-out: many WebSocket clients, a steady stream of book changes.

    python -m tests.bench.bench_web --clients 1000 --rate 50 --seconds 10

A stand-in publishes a book change `--rate` times a second; every client must get every one. Prints
how many arrived, how late (from the node's publishing until the client's kernel has it), what that
cost the gateway, its memory, and what else the machine was doing, with `--stalled` further clients
that never read. Changes of the same 16 ms are one message, so a busy machine has less than 100 %.

`--against DIR --rounds 5` measures the gateway of another checkout (`git worktree add DIR COMMIT`)
in turns with this one: on a shared machine only such ratios say anything.
"""

import multiprocessing
import os
import resource
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import zmq

from engine import Market
from peer.client.endpoint import FOLDER, QUEUE_MESSAGES_MAX, Endpoint, endpoint
from peer.client.programs import Caller, Programs
from peer.client.protocol import (
    Committed,
    GetMarkets,
    Markets,
    MarketUpdate,
    MemberView,
    Mesh,
    Request,
    State,
    Streamed,
    Subscribe,
    Update,
    topic,
)
from tests.bench.measuring import percentile, processor_s, resident_mib
from tests.bench.stream_readers import Counted, serve
from tests.support.web_gateway import Gateway, running_gateway

HERE = Path(__file__).parents[2]
MARKET = Market("BTC-USD", "0.01", "0.00000001")


class Wish(NamedTuple):
    clients: int
    seconds: float
    stalled: int


class Publisher(threading.Thread):
    """A node that only publishes: `rate` changes a second once `go` is set."""

    def __init__(self, where: Endpoint, rate: float) -> None:
        super().__init__(daemon=True)
        self.rate, self.go, self.done = rate, threading.Event(), threading.Event()
        self.sent = 0
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.router = context.socket(zmq.ROUTER)
        self.router.router_mandatory = True
        self.router.sndhwm = QUEUE_MESSAGES_MAX
        self.router.bind(where.address)
        self.programs = Programs(self._send)

    def run(self) -> None:
        beat = due = time.monotonic()
        while not self.done.is_set():
            now = time.monotonic()
            if now >= beat:
                beat = now + 0.5
                self.publish(self._mesh(), "mesh")
            if self.go.is_set() and now >= due:
                due = max(due + 1 / self.rate, now - 0.1)
                self._change()
            wait = min(beat, due if self.go.is_set() else beat) - time.monotonic()
            if self.router.poll(max(0, int(wait * 1000))):
                self._answer()
            for caller, request in self.programs.starting_again():
                self.programs.subscribe(caller, request.topics, self._state_of)

    def _send(self, caller: Caller, body: bytes) -> bool:
        try:
            self.router.send_multipart((caller.connection, caller.request, body), zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ConnectionError(error.strerror) from None
        return True

    def publish(self, update: Update, name: str) -> None:
        seq = self.programs.seq(name) + 1
        self.programs.publish(msgspec.structs.replace(update, seq=seq), name)

    def _change(self) -> None:
        self.sent += 1
        now_ms = time.time_ns() // 1_000_000
        bids = [(6_000_000 - (self.sent + i) % 50, 1 + self.sent % 1000, 1) for i in range(3)]
        asks = [(6_000_001 + (self.sent + i) % 50, 1 + self.sent % 1000, 1) for i in range(3)]
        update = MarketUpdate("BTC-USD", 0, self.sent, now_ms, bids, asks, [])
        self.publish(update, topic("market", "BTC-USD"))
        self.publish(self._committed(now_ms), "commit")

    def _committed(self, now_ms: int = 0) -> Committed:
        return Committed(0, self.sent, self.sent, now_ms, bytes(32))

    def _answer(self) -> None:
        *who, body = self.router.recv_multipart()
        match msgspec.msgpack.decode(body, type=Request):
            case Subscribe(topics):
                self.programs.subscribe(Caller(*who), topics, self._state_of)
            case GetMarkets():
                self.programs.reply(Caller(*who), Markets("bench", "00", [MARKET]))

    def _state_of(self, name: str) -> Streamed:
        if name == "commit":
            return self._committed()
        if name == "mesh":
            return self._mesh()
        seq = self.programs.seq(name)
        return State("BTC-USD", seq, self.sent, 0, bytes(32), [], [], [])

    def _mesh(self) -> Mesh:
        member = MemberView("bench", "00", "", True, 0, self.sent, 0, True)
        return Mesh(0, "bench", "00", "crash", [member], 1, True, 0, self.sent, b"", 0, 0.0, "", [])


def worker_of(gateway: Gateway) -> int:
    """The process that serves: of another checkout it may be a child."""
    children = f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children"
    return int((Path(children).read_text().split() or [gateway.process.pid])[0])


def busy_seconds() -> float:
    """Processor seconds of everything on this machine since it started, all cores together."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """One measurement. `share`: of the messages that were due one by one, in percent."""

    share: float
    messages: int
    cost_us: float  # processor time of the gateway for a message delivered
    processor: float  # of a core, in percent
    p50_ms: float
    p99_ms: float
    worst_ms: float
    memory_mib: int
    beside: float  # cores that other programs used meanwhile
    stopped_s: float = 0.0  # from SIGTERM to the end of the process
    goodbyes: int = 0  # clients that were told of it

    def line(self, name: str) -> str:
        return (
            f"{name:<10} {self.share:6.2f} %  p50 {self.p50_ms:5.1f}  p99 {self.p99_ms:6.1f}  "
            f"worst {self.worst_ms:6.1f} ms  {self.cost_us:5.2f} us a message, "
            f"{self.processor:3.0f} % of a core, {self.memory_mib} MiB; "
            f"beside: {self.beside:.1f} cores; "
            f"said goodbye to {self.goodbyes:.0f} and ended in {self.stopped_s:.1f} s"
        )


def measure(data: Path, publisher: Publisher, source: Path, wish: Wish) -> Run:
    """Start the gateway of a checkout and put the load on it."""
    with running_gateway(data, source=source) as gateway:
        gateway.wait_ready()
        ours, theirs = multiprocessing.Pipe()
        readers = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, gateway.port, wish.clients, wish.stalled), daemon=True
        )
        readers.start()
        ours.recv()
        run = _under_load(gateway, publisher, ours, wish)
        stopped_s = gateway.stop()
        ours.send(None)
        goodbyes: int = ours.recv()
        readers.join()
    return run._replace(stopped_s=stopped_s, goodbyes=goodbyes)


def _under_load(gateway: Gateway, publisher: Publisher, readers: Pipe, wish: Wish) -> Run:
    worker, sent = worker_of(gateway), publisher.sent
    cpu = processor_s([worker])
    busy, own, began = busy_seconds(), time.process_time(), time.monotonic()
    readers.send(wish.seconds + 1)
    publisher.go.set()
    time.sleep(wish.seconds)
    publisher.go.clear()
    counted: Counted = readers.recv()
    cpu_after, memory = processor_s([worker]), resident_mib(worker)
    passed = time.monotonic() - began
    cpu, busy = cpu_after - cpu, busy_seconds() - busy
    beside = busy - cpu - counted.processor_s - (time.process_time() - own)
    ages, due = counted.ages_ms, (publisher.sent - sent) * wish.clients
    return Run(
        share=100 * counted.messages / max(1, due),
        messages=counted.messages,
        cost_us=1e6 * cpu / max(1, counted.messages),
        processor=100 * cpu / wish.seconds,
        p50_ms=percentile(ages, 50),
        p99_ms=percentile(ages, 99),
        worst_ms=max(ages),
        memory_mib=memory,
        beside=beside / passed,
    )


@click.command()
@click.option("--clients", default=1000, show_default=True)
@click.option("--rate", default=50.0, show_default=True, help="Book changes a second.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each run.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--stalled", default=5, show_default=True, help="Further clients that never read.")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout, whose gateway is measured in turns with this one.",
)
def main(
    clients: int, rate: float, seconds: float, rounds: int, stalled: int, against: Path | None
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sources = {"this": HERE} | ({"other": against.resolve()} if against else {})
    runs: dict[str, list[Run]] = {name: [] for name in sources}
    wish = Wish(clients, seconds, stalled)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FOLDER).mkdir(mode=0o700)
        publisher = Publisher(endpoint(Path(folder)), rate)
        publisher.start()
        for _ in range(rounds):
            for name, source in sources.items():
                runs[name].append(measure(Path(folder), publisher, source, wish))
                click.echo(runs[name][-1].line(name))
        publisher.done.set()
        publisher.join()
    report(runs)


def report(runs: dict[str, list[Run]]) -> None:
    """The medians, and how this compares with the other."""
    middle = {
        name: Run(*(statistics.median(values) for values in zip(*each, strict=True)))
        for name, each in runs.items()
    }
    for name, run in middle.items():
        click.echo(f"median of {len(runs[name])}: {run.line(name)}")
    if "other" in middle:
        this, other = middle["this"], middle["other"]
        cost, p99 = this.cost_us / other.cost_us, this.p99_ms / other.p99_ms
        click.echo(f"this to other: processor time a message {cost:.2f}, p99 {p99:.2f}")


if __name__ == "__main__":
    main()
