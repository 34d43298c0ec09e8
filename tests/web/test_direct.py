"""Orders of programs, which no thread waits for: the same answers as by the other way, for as many
clients as there are connections."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest

from peer.client.protocol import Refused
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, stand_in, wait_for
from tests.support.web_standin import StandInNode
from web.auth.keys import Scope

CROWD = 100  # more than there are threads
RATES = ("--address-rate", "100000", "--account-rate", "100000")
OPTIONS = (*RATES, "--order-timeout", "5", "--threads", "8")


class Served(NamedTuple):
    web: Gateway
    node: StandInNode


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with stand_in(tmp_path) as node, running_gateway(tmp_path, *OPTIONS) as gateway:
        yield Served(gateway.wait_ready(), node)
        node.faults.clear()


def post(web: Gateway, path: str, body: object, bearer: str = "", more: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Authorization: {bearer or web.bearer}\r\n{more}\r\n".encode() + data


def connect(web: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", web.port), 10)


def read(one: socket.socket) -> tuple[int, dict[str, str], Any]:
    response = http.client.HTTPResponse(one)
    response.begin()
    return response.status, dict(response.getheaders()), json.loads(response.read())


def threads(web: Gateway) -> int:
    status = Path(f"/proc/{web.process.pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


GOOD = buy("1", "1", "ann")
BODIES: list[tuple[str, object]] = [
    ("/order", GOOD),
    ("/order", {**sell("", "5", "ann"), "price": None, "type": "market", "market": "ETH-USD"}),
    ("/order", {**GOOD, "price": "0.001"}),
    ("/order", {**GOOD, "colour": "red"}),
    ("/order", {**GOOD, "market": "NO-WAY"}),
    ("/order", {**GOOD, "client_id": "twice", "tif": "fok"}),
    ("/order", b"{"),
    ("/order", b""),
    ("/order", []),
    ("/order", b"[" * 100 + b"]" * 100),
    ("/orders", {"orders": [GOOD, sell("9", "1", "bob")]}),
    ("/orders", {"orders": [GOOD, {**GOOD, "side": "up"}]}),
    ("/orders", {"orders": []}),
    ("/orders", {"orders": [GOOD] * 101}),
]


def alike(answer: tuple[int, dict[str, str], Any]) -> tuple[int, dict[str, str], str]:
    """An answer without what differs between two equal requests."""
    status, headers, body = answer
    changing = r'"(id|time|commit|number|order|match)": ("[0-9-]+"|\d+)'
    kept = {k: v for k, v in headers.items() if k not in ("Date", "Content-Length")}
    return status, kept, re.sub(changing, r'"\1": 0', json.dumps(body))


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("standin")
    with stand_in(folder), running_gateway(folder, *OPTIONS) as gateway:
        yield gateway.wait_ready()


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("kind", ["operator", "reader", "stranger", "revoked"])
def test_the_answers_are_those_of_the_other_way(
    lasting: Gateway, path: str, body: object, kind: str
) -> None:
    web = lasting
    bearer = web.bearer
    if kind != "operator":
        bearer = f"Bearer {web.keys.create('ann', [Scope.READ])}"
    with connect(web) as one:
        one.sendall(post(web, "/order", [], bearer))
        read(one)  # the key is proven
        if kind == "stranger":
            bearer = "Bearer p2p_0123456789ab_wrong"
        elif kind == "revoked":
            assert web.keys.revoke(bearer.split("_")[1])
        one.sendall(post(web, path, body, bearer, f"Origin: http://127.0.0.1:{web.port}\r\n"))
        by_thread = read(one)
        one.sendall(post(web, path, body, bearer))
        directly = read(one)
    assert alike(directly) == alike(by_thread)


def test_a_crowd_waits_without_threads_and_each_gets_its_result(served: Served) -> None:
    web, node = served
    web.order(**GOOD)
    before = threads(web)
    node.faults.holds = True
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(web)) for _ in range(CROWD)]
        for n, one in enumerate(crowd):
            one.sendall(post(web, "/order", buy("1", str(n + 1), "ann")))
        wait_for("all orders at the node", lambda: node.count > CROWD)
        assert web.ask("GET", "/healthz").status == 200, "a thread is free"
        node.faults.holds = False
        for n, one in enumerate(crowd):
            status, _, order = read(one)
            assert (status, order["status"]) == (200, "open")
            assert order["quantity"] == f"{n + 1}.00000000"
    assert threads(web) == before


def test_orders_sent_before_the_last_answer_take_no_thread_either(served: Served) -> None:
    web, node = served
    web.order(**GOOD)
    before = threads(web)
    node.faults.holds = True
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(web)) for _ in range(CROWD)]
        for one in crowd:
            one.sendall(2 * post(web, "/order", GOOD))
        wait_for("the first order of each", lambda: node.count > CROWD)
        node.faults.releases = True
        wait_for("the second order of each", lambda: node.count > 2 * CROWD)
        assert web.ask("GET", "/healthz").status == 200, "a thread is free"
        node.faults.holds = False
        for one in crowd:
            with one.makefile("rb") as told:
                assert [next_body(told)["status"] for _ in range(2)] == ["open", "open"]
    assert threads(web) == before


def test_an_order_that_takes_too_long_is_answered_as_pending(tmp_path: Path) -> None:
    with stand_in(tmp_path) as node, running_gateway(tmp_path, "--order-timeout", "0.3") as web:
        web.wait_ready().order(**GOOD)
        node.faults.holds = True
        with connect(web) as one:
            one.sendall(post(web, "/order", GOOD))
            status, _, order = read(one)
            assert (status, order["status"]) == (202, "pending")
            one.sendall(post(web, "/orders", {"orders": [GOOD, GOOD]}))
            status, _, batch = read(one)
            assert (status, [each["status"] for each in batch["results"]]) == (202, ["pending"] * 2)
            node.faults.clear()
            wait_for("it", lambda: web.get(f"/orders/{order['id']}")["status"] == "open")
            node.faults.answers = False
            one.sendall(post(web, "/order", GOOD))
            status, _, problem = read(one)
            assert (status, problem["type"]) == (504, "urn:p2p-orderbook:unknown_outcome")


def test_requests_in_one_go_are_answered_in_order(served: Served) -> None:
    web = served.web
    web.order(**GOOD)
    several = [post(web, "/order", buy("1", str(n), "ann")) for n in (1, 2, 3)]
    several.insert(2, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with connect(web) as one:
        one.sendall(b"".join(several))
        with one.makefile("rb") as told:  # one for all: it may read beyond the end of an answer
            answers = [next_body(told) for _ in several]
    assert [answer.get("quantity", "")[:1] for answer in answers] == ["1", "2", "", "3"]


def next_body(told: BinaryIO) -> Any:
    assert told.readline().startswith(b"HTTP/1.1 200")
    headers = http.client.parse_headers(told)
    return json.loads(told.read(int(headers["Content-Length"])))


def test_a_client_that_has_sent_all_still_gets_its_answer(served: Served) -> None:
    web, node = served
    web.order(**GOOD)
    node.faults.holds = True
    with connect(web) as one:
        one.sendall(post(web, "/order", GOOD))
        one.shutdown(socket.SHUT_WR)
        wait_for("the order", lambda: node.count == 2)
        node.faults.holds = False
        assert read(one)[0] == 200
        assert one.recv(1) == b""


def test_clients_that_leave_before_the_answer_disturb_nobody(served: Served) -> None:
    web, node = served
    web.order(**GOOD)
    node.faults.holds = True
    for _ in range(CROWD):
        with connect(web) as one:
            one.sendall(post(web, "/order", GOOD))
    wait_for("the orders", lambda: node.count == 1 + CROWD)
    node.faults.holds = False
    assert web.order(**GOOD)["status"] == "open"
    assert len(web.get("/orders?account=ann")["orders"]) == CROWD + 2


@pytest.mark.parametrize("fault", ["stop", "refuse"])
def test_a_node_that_takes_nothing(served: Served, fault: str) -> None:
    web, node = served
    web.order(**GOOD)
    with connect(web) as one:
        if fault == "stop":
            node.stop()
            wait_for("it to be seen", lambda: web.ask("GET", "/state").json["state"] != "live")
        else:
            node.faults.refusal = Refused("busy", "Not now.")
        one.sendall(post(web, "/order", GOOD))
        assert read(one)[0] == 503


def test_too_many_orders_are_refused(tmp_path: Path) -> None:
    with stand_in(tmp_path), running_gateway(tmp_path, "--account-rate", "1") as web:
        web.wait_ready().order(**GOOD)
        with connect(web) as one:
            one.sendall(post(web, "/orders", {"orders": [GOOD] * 100}))
            status, headers, problem = read(one)
        assert (status, problem["type"]) == (429, "urn:p2p-orderbook:rate")
        assert int(headers["Retry-After"]) == problem["retry_after"]
