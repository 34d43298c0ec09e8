"""Orders over HTTP and between browsers, and the same over HTTP at a matching engine on one node.

Owns the gateways and their clients. The other gateway is that of the PyPI package matching-engine,
in an environment of its own: one process, without peers, with a log that it syncs.
"""

import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import simple_websocket

from tests.bench.environments import NoPlaceError, python_for
from tests.bench.measuring import PAUSE_S
from tests.bench.story.figures import Figure, Story
from tests.bench.story.mesh import add_percentiles, warm_mesh
from tests.bench.story.plan import LeftOutError, Place, Plan
from tests.support.real_mesh import held_ports
from tests.support.web_gateway import Gateway, running_gateway, wait_for

UNLIMITED = ("--account-rate", "1000000", "--address-rate", "1000000")
CONNECTIONS = (8, 24, 64)
PER_ADDRESS = 8  # connections
ANSWER_S_MAX = 20.0
BROWSER_RATE = 20

HTTP = "single orders over HTTP"
BROWSERS = "browser to browser: sent to one peer's gateway, in the book of another's"
OURS = "three peers, one of their gateways"
SINGLE_NODE = "matching-engine, one node without peers"

Body = Callable[[int], dict[str, object]]


def over_http(whose: str, connections: int) -> Figure:
    return Figure(HTTP, f"{whose}: {connections} connections", "orders/s")


class Caller:
    """A connection that stays open, with one request at a time."""

    def __init__(self, number: int, port: int, path: str, headers: str = "") -> None:
        source = (f"127.1.0.{number // PER_ADDRESS + 1}", 0)
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_S_MAX, source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._got = b""

    def send(self, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.socket.sendall(f"{self._head}{len(data)}\r\n\r\n".encode() + data)

    def hear(self) -> bool:
        """Read what is there; whether the answer is complete. It must be a 200."""
        self._got += self.socket.recv(1 << 16)
        assert self._got, "the gateway closed the connection"
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return False
        size = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        if len(body) < size:
            return False
        status = head.split(b" ", 2)[1].decode()
        assert status == "200", f"expected 200 and a final order, got {status}: {body.decode()}"
        self._got = b""
        return True


def lone_ms(caller: Caller, body: Body, count: int) -> list[float]:
    waits_ms = []
    for n in range(count):
        began_s = time.monotonic()
        caller.send(body(n))
        while not caller.hear():
            pass
        waits_ms.append((time.monotonic() - began_s) * 1000)
        time.sleep(PAUSE_S)
    return waits_ms


def per_second(callers: list[Caller], body: Body, seconds: float) -> float:
    """Orders a second of clients that each send the next once the last is answered."""
    poll = select.epoll()
    by_number = {caller.socket.fileno(): caller for caller in callers}
    began_s = time.monotonic()
    sent = done = 0
    for number, caller in by_number.items():
        poll.register(number, select.EPOLLIN)
        caller.send(body(sent))
        sent += 1
    while done < sent:
        ready = poll.poll(ANSWER_S_MAX)
        assert ready, "expected an answer, none came"
        for number, _ in ready:
            if by_number[number].hear():
                done += 1
                if time.monotonic() - began_s < seconds:
                    by_number[number].send(body(sent))
                    sent += 1
    poll.close()
    return done / (time.monotonic() - began_s)


def measure(
    connect: Callable[[int], Caller], body: Body, plan: Plan, story: Story, whose: str
) -> None:
    with ExitStack() as stack:
        callers = [connect(number) for number in range(CONNECTIONS[-1])]
        for caller in callers:
            stack.enter_context(caller.socket)
        lone_ms(callers[0], body, 1)  # checks the API key: slow, and remembered
        per_second(callers, body, plan.http_seconds / 4)  # a start, not counted
        for count in reversed(CONNECTIONS):  # a server ends connections that it has no work from
            rate = per_second(callers[:count], body, plan.http_seconds)
            story.add(over_http(whose, count), rate)
        add_percentiles(story, HTTP, f"{whose}: a lone order", lone_ms(callers[0], body, plan.lone))


def ours(plan: Plan, place: Place, story: Story) -> None:
    def body(number: int) -> dict[str, object]:
        side, account = ("buy", "sell")[number % 2], ("buyer", "seller")[number % 2]
        return {"side": side, "price": "100.00", "quantity": "1", "account": account}

    with (
        warm_mesh(plan, place.folder) as mesh,
        running_gateway(mesh.peers[0].folder, *UNLIMITED) as gateway,
    ):
        headers = f"Authorization: {gateway.wait_ready().bearer}\r\n"
        measure(lambda n: Caller(n, gateway.port, "/order", headers), body, plan, story, OURS)


@contextmanager
def _single_node(folder: Path, python: Path) -> Iterator[int]:
    """Its gateway, during the block; yields its port."""
    env = os.environ | {
        "ME_DATA_DIR": str(folder / "data"),
        "ME_MARKETS": "BTC-USD:0.01:0.00000001",
    }
    with held_ports(1) as (port,), (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), "-m", "matching_engine", "serve", "--port", str(port)],
            env=env,
            stdout=log,
            stderr=log,
        )
        try:
            wait_for("the single node's gateway", lambda: _listens(port, process, folder / "log"))
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-1000:]
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def single_node(plan: Plan, place: Place, story: Story) -> None:
    def body(number: int) -> dict[str, object]:
        side = ("buy", "sell")[number % 2]
        return {"account": 1 + number % 2, "side": side, "price": "100.00", "quantity": "1"}

    try:
        python = python_for(("matching-engine[gateway]",), place.pythons)
    except NoPlaceError as error:
        raise LeftOutError(str(error)) from None
    with _single_node(place.folder, python) as port:
        path = "/markets/BTC-USD/orders"
        measure(lambda n: Caller(n, port, path), body, plan, story, SINGLE_NODE)


class _Watcher(threading.Thread):
    """A browser that notes when the book first had a bid at each price."""

    def __init__(self, client: simple_websocket.Client) -> None:
        super().__init__(daemon=True)
        self.seen_s: dict[str, float] = {}
        self._client = client

    def run(self) -> None:
        while self._client.connected:
            try:
                text = self._client.receive(timeout=1)
            except simple_websocket.ConnectionClosed:
                return
            now_s = time.monotonic()
            for price, *_ in json.loads(text or "{}").get("bids", ()):
                self.seen_s.setdefault(price, now_s)


def browsers(plan: Plan, place: Place, story: Story) -> None:
    with (
        warm_mesh(plan, place.folder) as mesh,
        running_gateway(mesh.peers[0].folder, *UNLIMITED) as first,
        running_gateway(mesh.peers[1].folder, *UNLIMITED) as second,
    ):
        waits_ms = _between(first.wait_ready(), second.wait_ready(), plan.lone)
        add_percentiles(story, BROWSERS, f"{BROWSER_RATE} orders/s", waits_ms)


def _between(first: Gateway, second: Gateway, count: int) -> list[float]:
    """How long each of the orders took from when it was due; each has a price of its own."""
    with (
        first.websocket("?channels=commit") as sender,
        second.websocket("?channels=book") as reader,
    ):
        watcher = _Watcher(reader.client)
        watcher.start()
        due_s = {}
        began_s = time.monotonic() + 0.1
        for n in range(count):
            price = f"{100 + n / 100:.2f}"
            due_s[price] = began_s + n / BROWSER_RATE
            time.sleep(max(due_s[price] - time.monotonic(), 0))
            order = {"side": "buy", "price": price, "quantity": "1", "account": "alice"}
            sender.send(op="order", id=n, order=order)
        wait_for("all orders in the other's book", lambda: due_s.keys() <= watcher.seen_s.keys())
    return [(watcher.seen_s[price] - due) * 1000 for price, due in due_s.items()]
