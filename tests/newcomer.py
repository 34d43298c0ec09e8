"""`python -m tests.newcomer FOLDER`: follows README and docs as a newcomer does after cloning.

Owns the order: README, docs/api.md, docs/discovery.md, docs/operations.md, each from its beginning,
each command as written, in one shell. Must run in a network namespace of its own (`unshare -rn`),
where the ports and addresses of the documents are free; ends with status NO_NETWORK without one. It
makes a copy of the checkout in FOLDER. The copy shares this one's virtual environment and npm
packages, which `prepare` has installed: there it can download nothing.
"""

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import simple_websocket

from discovery.grapes.nodejs import find_node, npm_ci
from discovery.grapes.parts import grape_program
from tests.support import documents
from tests.support.checkout import ROOT, copied
from tests.support.documents import Block, blocks
from tests.support.terminal import Terminal
from tests.support.web_gateway import Stream, wait_for

NO_NETWORK = 77
STATE = ROOT / ".run"
PATIENCE_S = 180.0  # on a busy machine, with all that is to be installed
ADDRESSES = ("192.0.2.1", "192.168.1.10")  # of this machine, in the documents
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _IFF_UP = 0x8913, 0x8914, 0x8916, 1


def prepare() -> Path:
    """Install the npm packages; returns the folder of those that the documents install."""
    grape_program(STATE, print)
    return npm_ci(ROOT / "tests" / "support" / "grenache_client", STATE / "grenache_client", print)


def network() -> None:
    """Bring up loopback in this network namespace. OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack_from("h", asked, 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
        for number, address in enumerate(ADDRESSES):
            place = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            name = f"lo:{number}".encode()
            fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s", name, place))


class Newcomer:
    def __init__(self, folder: Path) -> None:
        self.folder = copied(folder / "p2p-orderbook")
        (self.folder / ".venv").symlink_to(ROOT / ".venv")
        (self.folder / ".run").mkdir()
        (self.folder / ".run" / "grenache").symlink_to(STATE / "grenache")
        self.terminal = Terminal(self.folder)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, command: str) -> Callable[[], str]:
        """Run a command in another terminal; returns a function for its output so far."""
        print(f"$ {command}  # elsewhere", flush=True)
        log = self.folder.parent / f"log-{len(self._running)}"
        with log.open("wb") as output:
            command = f". .venv/bin/activate; exec {command}"
            self._running.append(
                subprocess.Popen(
                    ["bash", "-c", command], cwd=self.folder, stdout=output, stderr=output
                )
            )
        return log.read_text

    def close(self) -> None:
        self.terminal.type("make stop")
        self.terminal.close()
        for process in self._running:
            process.terminate()
            process.wait(PATIENCE_S)

    def type(self, block: Block) -> None:
        """Run the commands of a block; the last one must answer as shown."""
        said = ""
        for command in block.commands:
            is_endless = command.startswith("curl -N")
            typed = f"timeout 3 {command}" if is_endless else command
            said = self.terminal.type(typed, (124,) if is_endless else (0,))
        wrong = documents.events_differ if "/events" in block.text else documents.differs
        assert not block.answer or not wrong(block.answer, said), f"{block.text}\n{said}"

    def python(self, document: Path) -> None:
        """Run the Python examples of a document, all in one session."""
        code = "import doctest, sys; sys.exit(doctest.testfile(sys.argv[1], False)[0])"
        self.terminal.type(f"python -c '{code}' {document.relative_to(ROOT)}")

    # The documents

    def readme(self) -> None:
        first, activate, *_ = blocks(documents.README)
        clone, make = first.commands
        assert clone.startswith("git clone ")  # done
        said = self.start(make)
        links = wait_for("three links", lambda: _three(said()), PATIENCE_S)
        for link in links:
            wait_for("a page", lambda link=link: page(link), PATIENCE_S)
        for peer in range(8081, 8084):
            wait_for("a quorum", lambda peer=peer: has_quorum(peer), PATIENCE_S)
        self._tapped = self.start("make tap")
        self.terminal.type(activate.commands[0])
        self.python(documents.README)
        (demo,) = (self.folder / ".run").glob("demo-*.pid")
        shown = ["ps", "-ww", "-o", "pid=,args=", "--ppid", demo.stem.partition("-")[2]]
        peers = subprocess.run(shown, capture_output=True, text=True, check=True)
        (bob,) = re.findall(r"^ *(\d+) .*/bob ", peers.stdout, re.M)
        os.kill(int(bob), signal.SIGKILL)
        said = self.start("make peer N=2")
        wait_for("bob again", lambda: "quorum reached" in said(), PATIENCE_S)

    def guest(self) -> None:
        """A fourth peer joins, and leaves."""
        assert "| `make peer N=4` |" in documents.README.read_text()
        said = self.start("make peer N=4")
        link = wait_for("its link", lambda: next(iter(_links(said())), None), PATIENCE_S)
        wait_for("it is a member", lambda: "member dave in seat 4" in said(), PATIENCE_S)
        wait_for("its page", lambda: page(link), PATIENCE_S)
        wait_for("its quorum", lambda: has_quorum(8084), PATIENCE_S)
        for port in range(8081, 8085):
            wait_for("it is seen", lambda port=port: "dave" in peers_of(port), PATIENCE_S)
        (pid_file,) = (self.folder / ".run").glob("guest-*.pid")
        os.kill(int(pid_file.stem.partition("-")[2]), signal.SIGINT)
        for port in range(8081, 8084):
            wait_for("it is gone", lambda port=port: "dave" not in peers_of(port), PATIENCE_S)

    def api(self) -> None:
        is_python_done = False
        for block in blocks(documents.API):
            if block.is_typed:
                self._type_or_install(block)
            elif block.text.startswith("ws://"):
                self._websocket(block)
            elif block.language == "js":
                self._javascript(block)
            elif block.text.startswith(">>>") and not is_python_done:
                self.python(documents.API)
                is_python_done = True
        wait_for("the stream", lambda: "BTC-USD" in self._tapped(), PATIENCE_S)
        self.guest()  # last: Grapes tell where its gateway was for a while
        self.terminal.type("make stop")

    def _type_or_install(self, block: Block) -> None:
        if block.text.startswith("npm install "):
            (self.folder / "node_modules").symlink_to(prepare())
            block = Block("", block.text.partition("\n")[2])
        self.type(block)

    def _websocket(self, block: Block) -> None:
        where = block.text.partition("\n")[0]
        key = self.terminal.type("echo $KEY").partition(": ")[2]
        client = simple_websocket.Client.connect(where, headers={"Authorization": key})
        try:
            if "candles" in where:
                self.trade()
            documents.talk(Stream(client), block.text)
        finally:
            client.close()

    def trade(self) -> None:
        for side in ("buy", "sell"):
            order = json.dumps({"side": side, "price": "100", "quantity": "1"})
            self.terminal.type(f"""curl -s -H "$KEY" http://127.0.0.1:8081/order -d '{order}'""")

    def _javascript(self, block: Block) -> None:
        (self.folder / "example.js").write_text(block.text)
        node = " ".join(find_node(print).node)
        said = self.terminal.type(f"{node} example.js")
        assert re.search(r"null \{.*status: 'open'", said, re.S), said

    def discovery(self) -> None:
        self.terminal.type("make grapes")
        for block in blocks(documents.DISCOVERY):
            if block.language == "python":
                (self.folder / "example.py").write_text(block.text)
                said = self.terminal.type("python example.py")
                assert ("GrapeFound" in said) == ("GrapeFound" in block.text)
            elif "--join" in block.text:
                self.terminal.type(block.commands[0])  # on the first of the two machines
                self.terminal.type("make stop")
            elif block.is_typed:
                self.type(block)

    def operations(self) -> None:
        for block in blocks(documents.OPERATIONS):
            if "peer run" not in block.text:
                if block.is_typed:
                    self.type(block)
                continue
            if block.text.startswith("#"):  # a unit of systemd
                continue
            *before, run = block.commands
            for command in before:
                self.terminal.type(command)
            said = self.start(f"env {run}")
            wait_for("the page", lambda said=said: "serving at" in said(), PATIENCE_S)
            self._running[-1].terminate()
            assert self._running[-1].wait(PATIENCE_S) == 0


def _links(said: str) -> list[str]:
    return re.findall(r"http://127\.0\.0\.1:\d+/\?token=\S+", re.sub(r"\x1b\[\d*m", "", said))


def _three(said: str) -> list[str] | None:
    links = _links(said)
    return links if len(links) == 3 else None


def page(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return b"<html" in answer.read()
    except OSError:
        return False


def peers_of(port: int) -> list[str]:
    return [peer["name"] for peer in _answer(port, "/mesh").get("peers", ())]


def has_quorum(port: int) -> bool:
    return bool(_answer(port, "/state").get("quorum"))


def _answer(port: int, path: str) -> dict[str, Any]:
    """Nothing while the peer is starting."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError:
        return {}


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    try:
        network()
    except OSError as error:
        print(f"no network of its own: {error}")
        sys.exit(NO_NETWORK)
    os.environ["HOME"] = str(folder / "home")
    (folder / "home").mkdir()
    newcomer = Newcomer(folder)
    try:
        newcomer.readme()
        newcomer.api()
        newcomer.discovery()
        newcomer.operations()
    finally:
        newcomer.close()


if __name__ == "__main__":
    main()
