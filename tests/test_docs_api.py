"""The examples of docs/api.md, run as they are written: what they show is in what comes."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peer.demo import MARKETS
from peer.keys import Scope
from tests.web_gateway import Gateway, Stream, buy, lone_peer, running_gateway, sell

API = Path(__file__).parents[1] / "docs" / "api.md"
URL = "http://127.0.0.1:8081"
_NAME = re.compile(r'"(\w+)":')
_CODE = re.compile(r"((?:^    .*\n|^\n(?=    ))+)", re.MULTILINE)


def blocks(start: str) -> list[str]:
    """The indented blocks of the document that begin so; without the indent."""
    found = (
        re.sub("^    ", "", each, flags=re.MULTILINE) for each in _CODE.findall(API.read_text())
    )
    return [each.strip() for each in found if each.strip().startswith(start)]


class Reader:
    """Somebody who has made a key for alice and follows the document."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.bearer = f"Bearer {gateway.keys.create('alice', [Scope.TRADE])}"

    def curl(self, command: str, *options: str) -> str:
        command = command.replace(URL, self.gateway.url).replace("curl ", "curl -sS ", 1)
        done = subprocess.run(
            ["bash", "-c", " ".join([command, *options])],
            env=os.environ | {"KEY": f"Authorization: {self.bearer}"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode in (0, 28 if options else 0), done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("docs")
    with lone_peer(folder, MARKETS) as where, running_gateway(where, folder) as gateway:
        yield Reader(gateway.wait_ready())


def names(text: str) -> set[str]:
    return set(_NAME.findall(text))


def test_every_request_is_answered_as_shown(reader: Reader) -> None:
    reader.gateway.order(**sell("100.50", "2", "bob"))
    shown = [block.partition("\n") for block in blocks("curl ") if "/events" not in block]
    assert len(shown) > 12
    for command, _, answer in shown:
        said = reader.curl(command)
        assert names(answer) <= names(said), f"{command}\n{said}"
        status = re.search(r'"status":(\d+)', answer)
        assert (status and status[0]) == (
            (found := re.search(r'"status":(\d+)', said)) and found[0]
        ), f"{command}\n{said}"
        if command.startswith('curl -H "$KEY" -X POST http://127.0.0.1:8081/order '):
            reader.gateway.order(**buy("99", "3"))  # 1-3, which the document speaks of later


def test_events_come_as_shown(reader: Reader) -> None:
    (block,) = blocks("curl -N ")
    command, _, shown = block.partition("\n")
    said = reader.curl(command, "--max-time", "2")
    for line in shown.strip().splitlines():
        name = line.partition(":")[0]
        (found,) = [each for each in said.splitlines() if each.startswith(f"{name}: ")][:1]
        assert names(line) <= names(found)
    assert re.search(r"^id: [0-9a-f]{8}-\d+$", said, re.MULTILINE)


@pytest.mark.parametrize("number", [0, 1])
def test_websockets_say_what_is_shown(reader: Reader, number: int) -> None:
    reader.gateway.ask("DELETE", "/orders?account=alice")
    reader.gateway.ask("DELETE", "/orders?account=bob")
    block = blocks("ws://")[number]
    where, _, script = block.partition("\n")
    assert where.startswith("ws://127.0.0.1:8081/ws")
    lines = re.sub(r"\n {3,}", " ", script.strip()).splitlines()
    assert len(lines) > 1
    with reader.gateway.websocket(where.partition("/ws")[2], reader.bearer) as stream:
        if number == 1:
            reader.gateway.order(**sell("50", "1", "bob"))
            reader.gateway.order(**buy("50", "1"))
        for line in lines:
            _follow(stream, line)


def _follow(stream: Stream, line: str) -> None:
    way, _, text = line.partition(" ")
    if way == "→":
        stream.send(**json.loads(text))
        return
    assert way == "←"
    marks = re.findall(r'"(channel|type|reply|pending)":("\w+"|\d+|true|false)', text)
    wanted = {name: json.loads(value) for name, value in marks}

    def fits(message: Any) -> bool:
        return wanted.items() <= message.items() and names(text) <= names(
            json.dumps(message, separators=(",", ":"))
        )

    assert len(wanted) >= 2
    stream.next(fits)
