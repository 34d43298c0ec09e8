"""`python -m tests.hosts FOLDER`: follows "Several owners, step by step" of docs/operations.md.

Owns what the owners send to each other, see and do between the commands there. Each command runs
as written, on a host of its own with real Grapes. These hosts reach no registry: `--prepare`
installs before what Grapes need. Ends with status NO_NETWORK without network namespaces.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from discovery.grapes.parts import grape_program
from tests.newcomer import NO_NETWORK, STATE
from tests.support import documents
from tests.support.documents import Block
from tests.support.hosts import PATIENCE_S, Host, network
from tests.support.web_gateway import wait_for

TITLE = "## Several owners, step by step\n"
ADDRESSES = {f: f"192.0.2.{n}" for n, f in enumerate(("ann", "bob", "cid", "dan", "cid5"), 1)}
UI = "http://127.0.0.1:8081"


class Owners:
    """The hosts, by owner; each is made when the document first names it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._proposal = self._key = ""  # the last ones that were printed
        self.hosts: dict[str, Host] = {}
        self.runs: dict[str, str] = {}  # how each owner starts the peer

    def follow(self, block: Block) -> None:
        """Do an example of the document; its first line names the owner."""
        owner = block.text.partition("\n")[0].removeprefix("# ")
        if owner not in self.hosts:
            self.hosts[owner] = Host(self._folder, owner, ADDRESSES[owner])
            self._stack.callback(self.hosts[owner].close)
            self._send_files()
        for command in block.commands:
            typed = command.replace("PROPOSAL", self._proposal).replace(" KEY", f" {self._key}")
            self._type(owner, typed)
        self._send_files()

    def _type(self, owner: str, command: str) -> None:
        host = self.hosts[owner]
        if re.search(" peer (run|join) ", command):
            self.runs[owner] = command
            said = self.start(owner)
            if found := re.search(r"the key of \S+ is ([0-9a-f]{64})", said()):
                self._key = found[1]
            return
        if found := re.search(r"^proposal (\d+-\d+)", host.type(command), re.M):
            self._proposal = found[1]

    def start(self, owner: str) -> Callable[[], str]:
        """Start the owner's peer; returns a function for its output so far."""
        said = self.hosts[owner].start(self.runs[owner])
        wait_for("the page", lambda: "serving at" in said(), PATIENCE_S)
        return said

    def damage(self, owner: str) -> None:
        """The owner's peer stops, and does not start again: its journal is damaged."""
        host = self.hosts[owner]
        host.interrupt()
        host.type(f"truncate -s 9000 ~/orderbook/{owner}/journal.db")
        said = host.start(self.runs[owner])
        wait_for("what to do", lambda: f"put-aside {host.home}/orderbook/{owner}" in said())

    def _send_files(self) -> None:
        """Public keys and the mesh file, made in one checkout, go to all others."""
        for sender in self.hosts.values():
            for file in (*sender.checkout.glob("*.pub"), *sender.checkout.glob("mesh.toml")):
                for host in self.hosts.values():
                    if not (host.checkout / file.name).exists():
                        shutil.copy(file, host.checkout)

    # What owners see and do

    def get(self, owner: str, path: str) -> Any:
        return json.loads(self.hosts[owner].type(f"curl -s {UI}{path}"))

    def agree(self, *members: str) -> None:
        """Wait until exactly these are the members, each by its own word too, and have the same
        state at the same commit."""

        def same() -> bool:
            for owner in members:
                mesh = self.get(owner, "/mesh")
                listed = [peer["name"] for peer in mesh.get("peers", ())]
                if sorted(listed) != sorted(members) or mesh["role"] != "member":
                    return False
            states = [self.get(owner, "/state") for owner in members]
            return len({(each["commit"], each["digest"]) for each in states}) == 1

        wait_for("one state", same, PATIENCE_S)

    def trade(self, buyer: str, seller: str) -> None:
        """The two trade with each other, each at its own peer."""
        before = self._trades(buyer)
        for owner, side in ((buyer, "buy"), (seller, "sell")):
            order = json.dumps({"side": side, "price": "100", "quantity": "1"})
            self.hosts[owner].type(
                f"KEY=$(python -m peer keys ~/orderbook/{owner} create {owner}); "
                f"""curl -s -H "Authorization: Bearer $KEY" {UI}/order -d '{order}'"""
            )
        wait_for("the trade", lambda: self._trades(buyer) > before, PATIENCE_S)

    def _trades(self, owner: str) -> int:
        return len(self.get(owner, "/trades")["trades"])


def chapters() -> Iterator[tuple[str, list[Block]]]:
    """Each heading of the section, with its examples."""
    section = documents.OPERATIONS.read_text().partition(TITLE)[2].partition("\n## ")[0]
    for chapter in section.split("\n### ")[1:]:
        heading, _, text = chapter.partition("\n")
        parts = [p for found in documents.blocks_of(text) for p in found.text.split("\n\n")]
        yield heading, [Block("", part) for part in parts]


def update(owners: Owners, *members: str) -> None:
    """Each peer restarts, one at a time; the others trade meanwhile."""
    for member in members:
        owners.hosts[member].interrupt()
        others = [each for each in members if each != member]
        owners.trade(others[0], others[-1])
        owners.start(member)
        owners.agree(*members)


def walk(owners: Owners) -> None:
    for heading, examples in chapters():
        print(f"\n--- {heading}")
        if "lost disk" in heading:
            owners.hosts["cid"].lose()
        if "damaged journal" in heading:
            owners.damage("bob")
        if "Update" in heading:
            update(owners, "ann", "bob", "cid5")
        for example in examples:
            owners.follow(example)
        members = MEMBERS.get(heading)
        if members:
            owners.agree(*members)
            owners.trade(members[0], members[-1])
            owners.agree(*members)


MEMBERS = {
    "Found the mesh": ("ann", "bob", "cid"),
    "Let a fourth owner join": ("ann", "bob", "cid", "dan"),
    "Replace a lost disk, a leaked key, an old machine": ("ann", "bob", "dan", "cid5"),
    "Rejoin with a damaged journal": ("ann", "dan", "cid5", "bob"),
    "Leave": ("ann", "bob", "cid5"),
}


def main() -> None:
    grape_program(STATE, print)
    if sys.argv[1] == "--prepare":
        return
    folder = Path(sys.argv[1]).resolve()
    try:
        network()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no network of its own: {error}")
        sys.exit(NO_NETWORK)
    with ExitStack() as stack:
        walk(Owners(folder, stack))


if __name__ == "__main__":
    main()
