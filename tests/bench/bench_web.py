"""Load on the gateway's fan-out: many WebSocket clients, a steady stream of book changes.

    python -m tests.bench.bench_web --clients 1000 --rate 50 --seconds 10

A stand-in publishes a book change `--rate` times a second; every client must get every one. Prints
how many arrived, how late (from the node's publishing to the client's reading), the gateway's
processor time and its memory, with `--stalled` further clients that never read.
"""

import base64
import os
import resource
import selectors
import socket
import tempfile
import threading
import time
from pathlib import Path

import click
import msgspec
import zmq

from engine.orders import Market
from peer.api import (
    Committed,
    GetMarkets,
    Markets,
    MarketUpdate,
    MemberView,
    Mesh,
    Request,
    State,
    topic,
)
from peer.local import Endpoints
from tests.web_gateway import Gateway, running_gateway

MARKET = Market("BTC-USD", "0.01", "0.00000001")
encode = msgspec.msgpack.encode


class Publisher(threading.Thread):
    """A node that only publishes: `rate` changes a second once `go` is set."""

    def __init__(self, where: Endpoints, rate: float) -> None:
        super().__init__(daemon=True)
        self.rate, self.go, self.done = rate, threading.Event(), threading.Event()
        self.sent = 0
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.router, self.pub = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
        self.router.bind(where.node)
        self.pub.bind(where.feed)

    def run(self) -> None:
        beat = due = time.monotonic()
        while not self.done.is_set():
            now = time.monotonic()
            if now >= beat:
                beat = now + 0.5
                self.pub.send_multipart([topic("mesh"), encode(self._mesh())])
            if self.go.is_set() and now >= due:
                due = max(due + 1 / self.rate, now - 0.1)
                self._change()
            wait = min(beat, due if self.go.is_set() else beat) - time.monotonic()
            if self.router.poll(max(0, int(wait * 1000))):
                self._answer()

    def _change(self) -> None:
        self.sent += 1
        now_ms = time.time_ns() // 1_000_000
        bids = [(6_000_000 - (self.sent + i) % 50, 1 + self.sent % 1000, 1) for i in range(3)]
        asks = [(6_000_001 + (self.sent + i) % 50, 1 + self.sent % 1000, 1) for i in range(3)]
        update = MarketUpdate("BTC-USD", self.sent, self.sent, now_ms, bids, asks, [])
        self.pub.send_multipart([topic("market", "BTC-USD"), encode(update)])
        committed = Committed(self.sent, self.sent, self.sent, now_ms, bytes(32))
        self.pub.send_multipart([topic("commit"), encode(committed)])

    def _answer(self) -> None:
        who, name, body = self.router.recv_multipart()
        request = msgspec.msgpack.decode(body, type=Request)
        reply: Markets | State = State("BTC-USD", self.sent, self.sent, 0, bytes(32), [], [], [])
        if isinstance(request, GetMarkets):
            reply = Markets("bench", "00", [MARKET])
        self.router.send_multipart([who, name, encode(reply)])

    def _mesh(self) -> Mesh:
        member = MemberView("bench", "00", "", True, 0, self.sent, 0, True)
        return Mesh(0, "bench", "00", "crash", [member], 1, True, 0, self.sent, b"", 0, 0.0, "", [])


def connect(port: int) -> socket.socket:
    """A WebSocket client that hears the book and nothing else."""
    sock = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /ws?channels=book HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert b" 101 " in head, head
    sock.setblocking(False)
    return sock


class Readers:
    """Reads all clients and notes how old every change is when it arrives."""

    def __init__(self, socks: list[socket.socket]) -> None:
        self.selector = selectors.DefaultSelector()
        self.ages: list[int] = []
        for sock in socks:
            self.selector.register(sock, selectors.EVENT_READ)

    def read(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key, _ in self.selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                data = sock.recv(1 << 20)
                now = time.time_ns() // 1_000_000
                if not data:
                    self.selector.unregister(sock)
                    continue
                parts = data.split(b'"type":"delta"')[1:]
                for part in parts:
                    start = part.index(b'"time":') + 7
                    self.ages.append(now - int(part[start : start + 13]))


def usage(pid: int) -> tuple[float, int]:
    """Processor seconds and resident MiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") >> 20


def worker_of(gateway: Gateway) -> int:
    children = f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children"
    return int(Path(children).read_text().split()[0])


@click.command()
@click.option("--clients", default=1000, show_default=True)
@click.option("--rate", default=50.0, show_default=True, help="Book changes a second.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--stalled", default=5, show_default=True, help="Further clients that never read.")
def main(clients: int, rate: float, seconds: float, stalled: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = Endpoints(f"ipc://{folder}/node", f"ipc://{folder}/feed")
        publisher = Publisher(where, rate)
        publisher.start()
        with running_gateway(where, folder) as gateway:
            gateway.wait_ready()
            measure(gateway, publisher, clients, seconds, stalled)
        publisher.done.set()
        publisher.join()


def measure(
    gateway: Gateway, publisher: Publisher, clients: int, seconds: float, stalled: int
) -> None:
    began = time.monotonic()
    idle = [connect(gateway.port) for _ in range(stalled)]
    socks = [connect(gateway.port) for _ in range(clients)]
    click.echo(f"{clients} clients connected in {time.monotonic() - began:.1f} s")
    readers = Readers(socks)
    readers.read(0.5)
    worker = worker_of(gateway)
    cpu, memory = usage(worker)
    publisher.go.set()
    readers.read(seconds)
    publisher.go.clear()
    readers.read(1)
    cpu_after, memory_after = usage(worker)
    report(readers.ages, publisher.sent, clients)
    share = 100 * (cpu_after - cpu) / seconds
    click.echo(f"gateway: {share:.0f} % of a core, {memory} MiB before, {memory_after} MiB after")
    for sock in (*socks, *idle):
        sock.close()


def report(ages: list[int], sent: int, clients: int) -> None:
    ages.sort()
    got = len(ages)
    share = 100 * got / max(1, sent * clients)
    click.echo(f"{sent} changes to {clients} clients: {got} arrived, {share:.2f} % one by one")
    if ages:
        p50, p99 = ages[got // 2], ages[got * 99 // 100]
        click.echo(f"age on arrival: p50 {p50} ms, p99 {p99} ms, worst {ages[-1]} ms")


if __name__ == "__main__":
    main()
