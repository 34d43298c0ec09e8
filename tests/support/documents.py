"""The examples in the documents: the commands to type, and the answers to expect.

Owns the form of an example.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.web_gateway import Stream

ROOT = Path(__file__).parents[2]
README, API = ROOT / "README.md", ROOT / "docs" / "api.md"
OPERATIONS, DISCOVERY = ROOT / "docs" / "operations.md", ROOT / "docs" / "discovery.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|((?:^    [^\n]*\n|^\n(?=    ))+)", re.M | re.S)
_NAME = re.compile(r'"(\w+)":')
_STATUS = re.compile(r'"status":(\d+)')
_TYPED = re.compile(r"(curl|export|for|make|mkdir|npm|python|\w+=|\.) ?")


class Block(NamedTuple):
    """An example. `language` is that of a fenced block, and empty for an indented one."""

    language: str
    text: str

    @property
    def is_typed(self) -> bool:
        """Whether it begins with a shell command."""
        return not self.language and _TYPED.match(self.text) is not None

    @property
    def commands(self) -> list[str]:
        """The commands to type, each as one line."""
        typed = self.text.partition("\n\n")[0].replace("\\\n", "")
        return [" ".join(line.split()) for line in typed.splitlines() if line[:1] != "#"]

    @property
    def answer(self) -> str:
        """The output of the last command."""
        return self.text.partition("\n\n")[2]


def blocks(document: Path) -> list[Block]:
    return blocks_of(document.read_text())


def blocks_of(text: str) -> list[Block]:
    found = []
    for language, fenced, indented in _BLOCK.findall(text):
        example = fenced or re.sub("^    ", "", indented, flags=re.M)
        found.append(Block(language, example.strip()))
    return found


def differs(shown: str, said: str) -> bool:
    """Whether an answer lacks a name that the document shows, or has another status."""
    statuses = [found and found[1] for found in (_STATUS.search(shown), _STATUS.search(said))]
    return not names(shown) <= names(said) or statuses[0] != statuses[1] or not said


def names(text: str) -> set[str]:
    return set(_NAME.findall(text))


def events_differ(shown: str, said: str) -> bool:
    """The same for server-sent events."""
    for line in shown.splitlines():
        name = line.partition(":")[0]
        found = [each for each in said.splitlines() if each.startswith(f"{name}: ")][:1]
        if not found or not names(line) <= names(found[0]):
            return True
    return not re.search(r"^id: [0-9a-f]{8}-\d+$", said, re.MULTILINE)


def talk(stream: Stream, text: str) -> None:
    """Send and receive the messages of a WebSocket example, below its first line. Messages shown
    between two requests may come in another order: channels and replies have no common order."""
    awaited: list[Callable[[Any], bool]] = []
    for line in re.sub(r"\n {3,}", " ", text.partition("\n")[2].strip()).splitlines():
        way, _, shown = line.partition(" ")
        if way == "→":
            _hear_all(stream, awaited)
            stream.send(**json.loads(shown))
        else:
            assert way == "←"
            awaited.append(_like(shown))
    _hear_all(stream, awaited)


def _hear_all(stream: Stream, awaited: list[Callable[[Any], bool]]) -> None:
    while awaited:
        message = stream.next(lambda came: any(fits(came) for fits in awaited))
        awaited.remove(next(fits for fits in awaited if fits(message)))


def _like(shown: str) -> Callable[[Any], bool]:
    """A test for messages like the one shown."""
    marks = re.findall(r'"(channel|type|reply|pending)":("\w+"|\d+|true|false)', shown)
    wanted = {name: json.loads(value) for name, value in marks}
    assert len(wanted) >= 2

    def fits(message: Any) -> bool:
        said = json.dumps(message, separators=(",", ":"))
        return wanted.items() <= message.items() and names(shown) <= names(said)

    return fits
