"""A gateway process for tests, and clients for it."""

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import simple_websocket

from engine import Market
from peer.client.endpoint import FOLDER, endpoint
from peer.consensus.committee import Mode
from peer.membership.mesh_file import Member, MeshConfig, write
from peer.storage import data_folder
from tests.support.waiting import wait_for
from tests.support.web_standin import MARKETS, StandInNode
from web.auth.keys import KEYS_FILE, Keys, Scope


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """One `python -m web` process for the peer in the folder `data`, with the real server. `source`
    is the checkout to run, by default this one."""

    def __init__(self, data: Path, *options: str, source: Path | None = None) -> None:
        command = [sys.executable, "-m", "web", "--data", str(data)]
        if "--bind" not in options:
            command += ["--bind", "127.0.0.1:0"]
        self.keys = Keys(data / KEYS_FILE)
        self.bearer = f"Bearer {self.keys.create('operator', [Scope.ADMIN])}"
        self.folder = data
        self._log = data / "gateway.log"
        with self._log.open("wb") as log:
            command += options
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=source)
        try:
            found = wait_for("the gateway", self._announced)
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _announced(self) -> re.Match[str] | None:
        """Its address, once its log has it. AssertionError if it has ended before."""
        found = re.search(r"http://[\d.]+:(\d+)", self.log())
        assert found or self.process.poll() is None, f"the gateway has ended:\n{self.log()}"
        return found

    def link(self, account: str = "operator", *scopes: Scope) -> str:
        """A one-time link; by default with the scope admin."""
        return f"{self.url}/?token={self.keys.link(account, scopes or [Scope.ADMIN])}"

    def log(self) -> str:
        return self._log.read_text()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        """Send a request as the operator, unless the headers have another key; an empty
        Authorization sends none. `source` is the client's address."""
        headers = {"Authorization": self.bearer} | (headers or {})
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=10, source_address=(source, 0)
        )
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        try:
            connection.request(method, path, data, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def open_link(self, link: str, headers: dict[str, str] | None = None) -> Answer:
        """Use a one-time link as the page does."""
        token = link.partition("?token=")[2]
        headers = {"Authorization": ""} | (headers or {})
        return self.ask("POST", "/session/link", {"token": token}, headers)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    def order(self, **fields: object) -> Any:
        """The final result of an order."""
        answer = self.ask("POST", "/order", fields)
        assert answer.status == 200, answer.body
        return answer.json

    def wait_ready(self) -> "Gateway":
        wait_for("the node", lambda: self.ask("GET", "/state").json.get("state") == "live")
        return self

    @contextmanager
    def websocket(self, query: str = "", bearer: str | None = None) -> Iterator["Stream"]:
        headers = {"Authorization": self.bearer if bearer is None else bearer}
        where = f"ws://127.0.0.1:{self.port}/ws{query}"
        client = simple_websocket.Client.connect(where, headers=headers)
        try:
            yield Stream(client)
        finally:
            if client.connected:
                client.close()
            client.thread.join(5)
            client.sock.close()

    def stop(self) -> float:
        """Stop the gateway; returns how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        return time.monotonic() - began


class Stream:
    """The messages of a WebSocket."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def send(self, **message: object) -> None:
        self.client.send(json.dumps(message))

    def next(self, wanted: Callable[[Any], bool], seconds: float = 20.0) -> Any:
        """The next message that satisfies `wanted`. Drops the messages before it."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            text = self.client.receive(timeout=left)
            if text is not None and wanted(message := json.loads(text)):
                return message
        raise AssertionError("the message did not come")

    def channel(self, name: str, kind: str = "") -> Any:
        return self.next(lambda m: m.get("channel") == name and (not kind or m["type"] == kind))

    def reply(self, name: object, pending: bool = False) -> Any:
        return self.next(lambda m: m.get("reply") == name and m.get("pending", False) == pending)


@contextmanager
def running_gateway(data: Path, *options: str, source: Path | None = None) -> Iterator[Gateway]:
    gateway = Gateway(data, *options, source=source)
    try:
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.stop()
        gateway.keys.close()
    assert "Traceback" not in gateway.log(), gateway.log()


@contextmanager
def stand_in(data: Path, follows: bool = False) -> Iterator[StandInNode]:
    """A stand-in for the node of the peer with this data folder."""
    (data / FOLDER).mkdir(mode=0o700, exist_ok=True)
    node = StandInNode(endpoint(data).address, name="follower-01234567" if follows else "alpha")
    node.faults.follows = follows
    node.start()
    try:
        yield node
    finally:
        node.stop()


@contextmanager
def lone_peer(folder: Path, markets: Sequence[Market] = MARKETS) -> Iterator[Path]:
    """Run a real node in a mesh of one member; yields its data folder."""
    member = Member("solo", data_folder.create(folder / "solo").public.hex())
    config = MeshConfig("lone", Mode.CRASH, time.time_ns() // 1_000_000, [member], list(markets))
    write(config, folder / "mesh.toml")
    with lone_peer_again(folder) as data:
        yield data


@contextmanager
def lone_peer_again(folder: Path) -> Iterator[Path]:
    """Start the `lone_peer` of this folder again."""
    data = folder / "solo"
    command = [sys.executable, "-m", "peer", "run", "--exit-with-parent", "--data", str(data)]
    with (folder / "node.log").open("wb") as log:
        node = subprocess.Popen(
            [*command, "--mesh", str(folder / "mesh.toml")],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    try:
        yield data
    finally:
        node.terminate()
        node.communicate(timeout=20)


def buy(price: str, quantity: str, account: str = "alice", **more: object) -> dict[str, object]:
    return {"side": "buy", "price": price, "quantity": quantity, "account": account, **more}


def sell(price: str, quantity: str, account: str = "bob", **more: object) -> dict[str, object]:
    return {"side": "sell", "price": price, "quantity": quantity, "account": account, **more}
