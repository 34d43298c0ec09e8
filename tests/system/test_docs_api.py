"""The examples of docs/api.md, run as written: the answers have all fields that they show.

`newcomer` also goes through all documents at once, if the system allows it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.cli.demo import MARKETS
from tests.support.documents import API, blocks, differs, events_differ, talk
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell
from web.auth.keys import Scope

URL = "http://127.0.0.1:8081"


class Reader:
    """A reader with a key for alice, who follows the document."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.admin = {"ADMIN": f"Authorization: {gateway.bearer}"}
        self.bearer = f"Bearer {gateway.keys.create('alice', [Scope.TRADE])}"

    def type(self, commands: list[str], options: str = "") -> str:
        """The output of the last command."""
        script = "\n".join([*commands[:-1], "echo; echo ----", f"{commands[-1]} {options}"])
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # as if activated
        done = subprocess.run(
            ["bash", "-c", script.replace(URL, self.gateway.url)],
            env=os.environ | {"KEY": f"Authorization: {self.bearer}", "PATH": path} | self.admin,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode in (0, 28 if options else 0), done.stderr
        return done.stdout.partition("----\n")[2]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("docs")
    with lone_peer(folder, MARKETS) as data, running_gateway(data) as gateway:
        yield Reader(gateway.wait_ready())


def test_every_request_is_answered_as_shown(reader: Reader) -> None:
    shown = [each for each in blocks(API) if "curl " in each.text and each.is_typed]
    shown = [each for each in shown if "export " not in each.text]
    requests = 0
    for block in shown:
        if "/events" in block.text:
            continue
        said = reader.type(block.commands)
        requests += len(block.commands)
        assert not differs(block.answer, said), f"{block.text}\n{said}"
    assert requests > 15


def test_events_come_as_shown(reader: Reader) -> None:
    (block,) = (each for each in blocks(API) if each.text.startswith("curl -N "))
    assert not events_differ(block.answer, reader.type(block.commands, "--max-time 2"))


@pytest.mark.parametrize("number", [0, 1])
def test_websocket_messages_come_as_shown(reader: Reader, number: int) -> None:
    reader.gateway.ask("DELETE", "/orders?account=alice")
    reader.gateway.ask("DELETE", "/orders?account=bob")
    block = [each for each in blocks(API) if each.text.startswith("ws://")][number]
    where, _, _ = block.text.partition("\n")
    assert where.startswith("ws://127.0.0.1:8081/ws")
    with reader.gateway.websocket(where.partition("/ws")[2], reader.bearer) as stream:
        if number == 1:
            reader.gateway.order(**sell("100.50", "1", "bob"))
            reader.gateway.order(**buy("100.50", "1"))
        talk(stream, block.text)
