"""The naive design on real Node: three peers that broadcast orders with Grenache's map().

Owns the Node processes and two Grapes. Nothing is ordered, signed, encrypted or stored: each peer
matches orders as they arrive, so the books differ; how much is one of the figures.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from discovery.grapes import STATE, NodeError, free_ports, running_grapes
from discovery.grapes.nodejs import find_node, npm_ci
from tests.bench.measuring import percentile
from tests.bench.story.figures import Figure, Story
from tests.bench.story.plan import LeftOutError, Place, Plan

PEERS = 3
WAITING = 30  # broadcasts of a peer that not all have answered
PACED_RATE = 50
PROGRAM = Path(__file__).with_name("naive_peer.js")
CLIENT = Path(__file__).parents[2] / "support" / "grenache_client"

NAIVE = "the naive design: three Node peers that broadcast by map()"
SPEED = Figure(NAIVE, "orders from all three at once", "orders/s")
P50 = Figure(NAIVE, f"{PACED_RATE} orders/s, p50", "ms")
FAILED = Figure(NAIVE, "broadcasts of which a request failed", "orders")
AGREED = Figure(NAIVE, "trades that all three have, of those that any has", "%")


class NaivePeers:
    """Node processes; use it in a `with` block."""

    def __init__(self, node: Sequence[str], modules: Path, grapes: Sequence[str]) -> None:
        env = os.environ | {"NODE_PATH": str(modules)}
        self._processes = [
            subprocess.Popen(
                [*node, str(PROGRAM), grapes[n % len(grapes)], str(port), str(n)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
            )
            for n, port in enumerate(free_ports(PEERS)[1])
        ]

    def __enter__(self) -> "NaivePeers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def all(self, do: str, **arguments: object) -> list[Any]:
        """Let all peers do it at once; returns their answers."""
        for n, process in enumerate(self._processes):
            assert process.stdin is not None
            task = {"do": do, **arguments, "seed": n + 1}
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "a Node peer ended"
            answers.append(json.loads(line))
        return answers


def naive(plan: Plan, _: Place, story: Story) -> None:
    try:
        node = find_node(lambda _: None).node
        modules = npm_ci(CLIENT, STATE / "grenache_client", lambda _: None)
    except NodeError as error:
        raise LeftOutError(str(error)) from None
    with (
        running_grapes(2) as grapes,
        NaivePeers(node, modules.resolve(), [grape.spec.url for grape in grapes]) as peers,
    ):
        found = [answer["found"] for answer in peers.all("find", peers=PEERS)]
        assert found == [PEERS] * PEERS, f"expected {PEERS} peers, each found {found}"
        paced = peers.all("paced", rate=PACED_RATE / PEERS, seconds=plan.http_seconds)
        waits_ms = [ms for answer in paced for ms in answer["latencies_ms"]]
        each = plan.naive_orders // PEERS
        took_s = [answer["seconds"] for answer in peers.all("burst", orders=each, waiting=WAITING)]
        reports = peers.all("report")
    story.add(SPEED, PEERS * each / max(took_s))
    story.add(P50, percentile(waits_ms, 50))
    sets = [{tuple(trade) for trade in report["trades"]} for report in reports]
    story.add(AGREED, 100 * len(set.intersection(*sets)) / max(len(set.union(*sets)), 1))
    story.add(FAILED, sum(report["failed"] for report in reports))
