"""The gateway with a node that misbehaves, is not there yet, or goes away."""

import http.client
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import simple_websocket

from peer.client.protocol import Refused
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in, wait_for
from tests.support.web_standin import StandInNode


@pytest.fixture(scope="module")
def shaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, StandInNode]]:
    folder = tmp_path_factory.mktemp("standin")
    options = ("--order-timeout", "0.3")
    with stand_in(folder) as node, running_gateway(folder, *options) as gateway:
        yield gateway.wait_ready(), node


@pytest.fixture
def node(shaky: tuple[Gateway, StandInNode]) -> Iterator[StandInNode]:
    yield shaky[1]
    shaky[1].faults.clear()
    wait_for("the node", lambda: shaky[0].get("/state")["state"] == "live")


def test_without_a_quorum_an_order_is_pending_and_completes_later(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    node.faults.holds = True
    with web.websocket("?channels=orders&account=dave") as stream:
        stream.channel("orders", "snapshot")
        answer = web.ask("POST", "/order", buy("50", "1", "dave"))
        assert answer.status == 202
        assert answer.json["status"] == "pending"
        assert answer.json["fills"] == []
        number = answer.json["id"]
        assert stream.channel("orders", "delta")["orders"][0]["status"] == "pending"
        wait_for("no quorum", lambda: web.get("/state")["quorum"] is False)
        assert web.get("/state")["bids"] == []
        node.faults.holds = False
        done = stream.channel("orders", "delta")["orders"][0]
        assert (done["id"], done["status"]) == (number, "open")
    web.ask("DELETE", f"/order/{number}?account=dave")


def test_a_pending_order_is_withdrawn(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    node.faults.holds = True
    with web.websocket("?channels=orders&account=dave") as stream:
        number = web.ask("POST", "/order", buy("50", "1", "dave")).json["id"]
        answer = web.ask("DELETE", f"/order/{number}?account=dave")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
        stream.next(lambda m: m["type"] == "delta" and m["orders"][0]["status"] == "cancelled")
    node.faults.holds = False
    assert web.order(**sell("50", "1"))["status"] == "open"
    assert web.ask("DELETE", "/orders?account=bob").status == 200


def test_a_refusal_is_passed_on(shaky: tuple[Gateway, StandInNode], node: StandInNode) -> None:
    node.faults.refusal = Refused("busy", "Too many commands wait for the quorum.")
    answer = shaky[0].ask("POST", "/order", buy("50", "1"))
    assert answer.status == 503
    assert answer.json["detail"] == "Too many commands wait for the quorum."
    assert answer.headers["Retry-After"] == "1"


def test_a_lost_result_names_the_order_that_was_taken(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    node.faults.loses_results = True
    answer = web.ask("POST", "/order", buy("54", "1", "lost"))
    assert (answer.status, answer.json["type"]) == (504, "urn:p2p-orderbook:result_lost")
    (number,) = answer.json["ids"]
    orders = wait_for("it", lambda: web.get("/orders?account=lost")["orders"])
    assert [(o["id"], o["status"]) for o in orders] == [(number, "open")]
    with web.websocket("?channels=book") as stream:
        order = buy("54", "1", "lost")
        stream.send(op="order", id=1, order=order)
        error = stream.next(lambda m: m.get("reply") == 1 and not m["ok"])["error"]
        assert len(error["ids"]) == 1
    node.faults.clear()
    assert len(web.ask("DELETE", "/orders?account=lost").json["cancelled"]) == 2


def test_catching_up_is_passed_on(shaky: tuple[Gateway, StandInNode], node: StandInNode) -> None:
    node.faults.catching_up = "commits 10 to 90"
    wait_for("the word", lambda: shaky[0].get("/mesh")["catching_up"] == "commits 10 to 90")
    assert shaky[0].get("/state")["catching_up"] == "commits 10 to 90"


def test_a_silent_node_leaves_the_outcome_open(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    node.faults.mute = True
    answer = shaky[0].ask("POST", "/order", buy("50", "1"))
    assert answer.status == 504
    assert "may or may not" in answer.json["detail"]
    state = wait_for("stale", lambda: (s := shaky[0].get("/state"))["state"] == "stale" and s)
    assert state["bids"] == []


def test_a_lost_message_is_noticed_and_made_good(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    with web.websocket() as stream:
        stream.channel("book", "snapshot")
        node.faults.lost_updates = 1
        first = web.order(**buy("51", "1"))["id"]
        snapshot = stream.channel("book", "snapshot")
        assert snapshot["bids"] == [["51.00", "1.00000000", 1]]
        second = web.order(**buy("52", "1"))["id"]
        delta = stream.channel("book", "delta")
        assert delta["bids"] == [["52.00", "1.00000000", 1]]
        node.faults.lost_updates = 1  # and now the very last one
        web.ask("DELETE", f"/order/{second}?account=alice")
        snapshot = stream.next(lambda m: m["type"] == "snapshot" and m["channel"] == "book", 9)
        assert snapshot["bids"] == [["51.00", "1.00000000", 1]]
    web.ask("DELETE", f"/order/{first}?account=alice")


def test_a_restarted_node_is_followed(
    shaky: tuple[Gateway, StandInNode], node: StandInNode
) -> None:
    web = shaky[0]
    with web.websocket("?channels=book,orders&account=alice") as stream:
        number = web.order(**buy("53", "1"))["id"]
        stream.channel("book", "delta")
        node.restart()
        assert stream.channel("book", "snapshot")["bids"] == [["53.00", "1.00000000", 1]]
        path = f"/order/{number}?account=alice"
        cancelled = wait_for("the node", lambda: (a := web.ask("DELETE", path)).status == 200 and a)
        assert cancelled.json["status"] == "cancelled"
        assert stream.channel("book", "delta")["bids"] == [["53.00", "0.00000000", 0]]


def test_without_a_journal_the_past_is_unknown(
    shaky: tuple[Gateway, StandInNode],
) -> None:
    assert shaky[0].get("/orders?account=nobody")["since"] is None


def test_without_a_node_the_gateway_reports_that_it_is_starting(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert gateway.ask("GET", "/").status == 200
        answer = gateway.ask("GET", "/state")
        assert (answer.status, answer.json["detail"][:22]) == (503, "This peer is starting:")
        with gateway.websocket("?channels=mesh") as stream:
            assert stream.channel("mesh")["state"] == "starting"
            with stand_in(tmp_path):
                assert stream.next(lambda m: m["state"] == "live")["peer"] == "alpha"


def test_the_gateway_closes_streams_and_ends_quickly(tmp_path: Path) -> None:
    with stand_in(tmp_path), running_gateway(tmp_path) as gateway:
        gateway.wait_ready()
        with gateway.websocket("?channels=mesh") as stream:
            stream.channel("mesh")
            kept = http.client.HTTPConnection("127.0.0.1", gateway.port)
            kept.request("GET", "/state")
            kept.getresponse().read()
            seconds: list[float] = []
            stopping = threading.Thread(target=lambda: seconds.append(gateway.stop()))
            stopping.start()
            with pytest.raises(simple_websocket.ConnectionClosed) as caught:
                stream.next(lambda m: False)
            assert caught.value.reason == 1001
            stopping.join()
            kept.close()
        assert seconds[0] < 8, "it waits for no client"


def test_the_gateway_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "web", "--data", str(tmp_path)]
    command += ["--bind", "127.0.0.1:0", "--exit-with-parent"]
    starter = "import subprocess as s, time; "
    starter += f"child = s.Popen({command!r}, stdin=s.PIPE); time.sleep(60)"
    log = tmp_path / "log"
    with log.open("wb") as file:
        parent = subprocess.Popen([sys.executable, "-c", starter], stdout=file, stderr=file)
    found = wait_for("the gateway", lambda: re.search(r"http://[\d.]+:(\d+)", log.read_text()))
    parent.kill()
    parent.wait()
    wait_for("the end", lambda: not _listens(int(found[1])))


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
