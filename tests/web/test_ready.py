"""`/readyz`: every reason why an order sent now would not be ordered soon, or at all."""

import contextlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Side
from peer.client.protocol import Execute, Reason
from peer.node.health import PENDING_MS_MAX
from tests.support.cuttable import cuttable_network
from tests.support.real_mesh import RealMesh, RealPeer, held_ports, order, pairs
from tests.support.web_gateway import Answer, Gateway, buy, running_gateway, stand_in, wait_for
from tests.support.web_standin import StandInNode
from web.config import Config
from web.gateway import Gateway as Served


@pytest.fixture(scope="module")
def shaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, StandInNode]]:
    folder = tmp_path_factory.mktemp("ready")
    options = ("--order-timeout", "0.3")
    with stand_in(folder) as node, running_gateway(folder, *options) as gateway:
        yield gateway.wait_ready(), node


@pytest.fixture
def node(shaky: tuple[Gateway, StandInNode]) -> Iterator[StandInNode]:
    yield shaky[1]
    shaky[1].faults.clear()
    wait_for("it to be ready", lambda: codes(shaky[0]) == [])


def codes(web: Gateway) -> list[str]:
    """The codes of the reasons why it is not ready."""
    answer = web.ask("GET", "/readyz")
    assert (answer.status == 200) == (answer.json == {"status": "ready"})
    return [reason["code"] for reason in answer.json.get("reasons", [])]


def metric(web: Gateway, name: str) -> float:
    lines = web.ask("GET", "/metrics").body.decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"orderbook_{name} ")).split()[1])


def test_the_nodes_own_reasons_are_passed_on(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    assert (codes(web), metric(web, "ready")) == ([], 1)
    node.faults.unready += [Reason("no_quorum", "No quorum."), Reason("pending", "They wait.")]
    wait_for("the reasons", lambda: codes(web) == ["no_quorum", "pending"])
    answer: Answer = web.ask("GET", "/readyz")
    assert (answer.status, answer.json["type"]) == (503, "urn:p2p-orderbook:no_quorum")
    assert answer.json["detail"] == "No quorum."
    assert answer.json["reasons"][1] == {"code": "pending", "detail": "They wait."}
    assert metric(web, "ready") == 0


def test_readyz_reports_how_long_commands_wait(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    assert metric(web, "pending_age_seconds") == 0
    node.faults.holds = True
    web.ask("POST", "/order", buy("1", "1", "late"))
    wait_for("its age", lambda: metric(web, "pending_age_seconds") == 12.345)
    assert web.get("/mesh")["oldest_pending_ms"] == 12_345


def test_a_silent_node(shaky: tuple[Gateway, StandInNode], node: StandInNode) -> None:
    node.faults.mute = True
    wait_for("the reason", lambda: codes(shaky[0]) == ["stale"])


def test_a_node_that_sends_updates_but_does_not_answer(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    node.faults.answers = False
    wait_for("the reason", lambda: codes(shaky[0]) == ["unanswered"], 20)


def test_requests_to_a_node_that_went_away_get_an_error(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    """The gateway also forgets them; otherwise it would run out of room."""
    web = shaky[0]
    node.faults.holds = True
    with web.websocket() as stream:
        stream.send(op="order", id=1, order=buy("1", "1", "gone"))
        stream.reply(1, pending=True)
        node.faults.held.clear()
        node.restart()
        error = stream.next(lambda m: m.get("reply") == 1 and not m["ok"])["error"]
        assert error["type"] == "urn:p2p-orderbook:result_lost"
        assert len(error["ids"]) == 1
        wait_for("the node", lambda: codes(web) == [])
        node.faults.answers = False
        node.unanswered.clear()
        stream.send(op="order", id=2, order=buy("1", "1", "gone"))
        wait_for("the order", lambda: any(isinstance(r, Execute) for r in node.unanswered))
        node.restart()
        error = stream.next(lambda m: m.get("reply") == 2 and not m["ok"])["error"]
        assert (error["status"], error["type"]) == (504, "urn:p2p-orderbook:unknown_outcome")
    node.faults.clear()
    wait_for("no call to be owed", lambda: metric(web, "web_node_calls") < 5)


def test_a_gateway_with_a_dead_part_is_not_ready(tmp_path: Path) -> None:
    with stand_in(tmp_path) as node:
        gateway = Served(Config(node.where.address))
        gateway.start()
        try:
            wait_for("the node", lambda: gateway.unready() == [])
            gateway.link.stop()
            text = "A part of this gateway has ended: link."
            assert gateway.unready() == [Reason("gateway", text)]
        finally:
            gateway.stop()


def test_a_dead_tcp_link_is_replaced() -> None:
    with held_ports(1) as ports, cuttable_network([[], ports]) as network:
        (port,) = ports
        gateway = Served(Config(f"tcp://{network.address(0, 1)}:{port}"))
        stand_in_node = StandInNode(f"tcp://127.0.0.1:{port}").start()
        try:
            gateway.start()
            wait_for("the node", lambda: gateway.unready() == [])
            network.swallow(0, 1, port)
            wait_for("the silence", lambda: [r.code for r in gateway.unready()] == ["stale"])
            wait_for("the way back", lambda: gateway.unready() == [], 30)
            submission = gateway.pending.submit([order("alice", Side.BUY, 100, 1)], "")
            assert submission.wait(10)
            assert [one.reason for one in submission.outcomes.values()] == [None]
        finally:
            gateway.stop()
            stand_in_node.stop()


def reasons_of(peer: RealPeer) -> list[str]:
    """The reasons why a real peer is not ready, from its gateway."""
    found = re.search(r"serving at http://127.0.0.1:(\d+)", peer.log())
    if found is None:
        return ["no page"]
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        answer = Answer(connection.getresponse())
    return [reason["code"] for reason in answer.json.get("reasons", [])]


def test_a_real_peer_says_why(tmp_path: Path) -> None:
    """One peer of three alone, with a waiting command."""
    with held_ports(6) as ports, RealMesh(tmp_path, [], ui=True) as mesh:
        mesh.tell_places(pairs(ports))
        first, second, _ = mesh.peers
        first.start()
        wait_for("the reason", lambda: reasons_of(first) == ["no_quorum"])
        first.client.submit([order("a", Side.BUY, 1, 1)])
        both = ["no_quorum", "pending"]
        wait_for("both reasons", lambda: reasons_of(first) == both, 3 * PENDING_MS_MAX / 1000)
        first.mesh_view(lambda view: view.alarms == ["commands wait for over 10 s to be ordered"])
        second.start()
        wait_for("an end of it", lambda: reasons_of(first) == [], 30)
        assert first.mesh_view(lambda view: view.alarms == []).oldest_pending_ms == 0
