"""The commands for newcomers: the demo, the tap, the page of every peer."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from discovery.grapes import running_grapes
from tests.support.real_mesh import wait_for

PEERS = 3


def ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    rng = random.Random(os.getpid())
    while True:
        first = rng.randrange(20_000, 32_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return first


def ask(port: int, path: str, body: dict[str, str] | None = None, key: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


class Demo:
    def __init__(self, folder: Path, grapes: list[str]) -> None:
        self.folder = folder
        self.grapes = [f"--grape={url}" for url in grapes]
        first = ports(3 * PEERS)
        self.ui = [first + 2 * PEERS + n for n in range(PEERS)]
        self.command = [sys.executable, "-m", "peer", "demo", f"--folder={folder}", *self.grapes]
        self.command += [f"--mesh-port={first}", f"--fetch-port={first + PEERS}"]
        self.command += [f"--ui-port={self.ui[0]}", f"--state={folder / 'state'}"]
        self.log = folder / "demo.log"
        self.process = self.start()

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen([*self.command, *options], stdout=log, stderr=log)

    def key(self, peer: str, account: str) -> str:
        """A new API key, as its operator makes one."""
        command = [sys.executable, "-m", "peer", "keys", str(self.folder / peer)]
        done = subprocess.run([*command, "create", account], capture_output=True, text=True)
        return done.stdout.strip()

    def live(self, port: int) -> Any:
        try:
            state = ask(port, "/state")
        except (urllib.error.URLError, ConnectionError):
            return None
        return state if state["quorum"] else None


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_grapes() as grapes:
        demo = Demo(tmp_path_factory.mktemp("demo"), [grape.spec.url for grape in grapes])
        try:
            for port in demo.ui:
                wait_for("a page with a quorum", lambda port=port: demo.live(port), 90)
            yield demo
        finally:
            demo.process.send_signal(signal.SIGINT)
            assert demo.process.wait(30) == 0, "Ctrl-C is a clean end"
            left = subprocess.run(["pgrep", "-f", str(demo.folder)], capture_output=True, text=True)
            assert left.stdout == "", "no process is left"
            assert not list((demo.folder / "state").iterdir())


def test_a_sell_at_one_peer_and_a_buy_at_another_trade_once_at_all_three(demo: Demo) -> None:
    terms = {"type": "limit", "price": "100.50", "quantity": "0.5"}
    sold = ask(demo.ui[0], "/order", {"side": "sell", **terms}, demo.key("alice", "ann"))
    bought = ask(demo.ui[1], "/order", {"side": "buy", **terms}, demo.key("bob", "bob"))
    assert (sold["status"], bought["status"]) == ("open", "filled")
    assert bought["fills"][0]["price"] == "100.50"
    for port in demo.ui:
        state = wait_for("the trade", lambda port=port: ask(port, "/state")["trades"] and port)
        trades = ask(state, "/state")["trades"]
        assert [(t["price"], t["maker"], t["taker"]) for t in trades] == [
            ("100.50", sold["id"], bought["id"])
        ]
    digests = {(s["commit"], s["digest"]) for s in (ask(port, "/state") for port in demo.ui)}
    assert len(digests) == 1


def test_a_guest_trades_is_seen_by_all_and_leaves_in_order(demo: Demo) -> None:
    """`make peer N=4` beside the running demo, twice: the second time with another key."""
    for _ in range(2):
        first = ports(3)
        options = [
            f"--{what}-port={first + n - 3}" for n, what in enumerate(("mesh", "fetch", "ui"))
        ]
        guest = demo.start("--only=4", *options)
        page = first + 2
        try:
            wait_for("its page", lambda page=page: demo.live(page), 60)
            for port in (*demo.ui, page):
                wait_for("four members", lambda port=port: names(port)[3:] == ["dave"], 60)
            terms = {"side": "buy", "type": "limit", "price": "99", "quantity": "1"}
            assert ask(page, "/order", terms, demo.key("dave", "dora"))["status"] == "open"
        finally:
            guest.send_signal(signal.SIGINT)
            assert guest.wait(30) == 0
        for port in demo.ui:
            wait_for("three members", lambda port=port: "dave" not in names(port))


def names(port: int) -> list[str]:
    return [member["name"] for member in ask(port, "/mesh")["peers"]]


def test_the_tap_shows_the_messages(demo: Demo) -> None:
    key = demo.key("carol", "carol")
    mesh = f"--mesh={demo.folder / 'mesh.toml'}"
    command = [sys.executable, "-m", "peer", "tap", mesh, *demo.grapes, "--json", "--peer=carol"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tap:
        assert tap.stdout is not None
        os.set_blocking(tap.stdout.fileno(), False)
        terms = {"side": "buy", "type": "limit", "price": "1", "quantity": "1"}
        ids: list[str] = []
        lines: list[str] = []

        def told() -> bool:
            ids.append(ask(demo.ui[2], "/order", terms, key)["id"])
            lines.extend(tap.stdout.readlines() if tap.stdout else [])
            return any('"kind":"block"' in line for line in lines)

        wait_for("a block of carol", told)
        tap.terminate()
    messages = map(json.loads, lines)
    message = next(each for each in messages if each["kind"] == "block")
    assert message["peer"] == "carol"
    assert message["round"] > 0
    assert {command["id"] for command in message["commands"]} <= set(ids)


def test_a_second_demo_says_that_the_journal_is_in_use(demo: Demo) -> None:
    second = demo.start()
    assert second.wait(30) == 1
    said = demo.log.read_text()
    assert "journal.db is in use: is this peer running already?" in said
    assert said.count("`make market`, in a second terminal, fills it.") == 1, "the first start"
