"""Impossible numbers in every request that takes one: each is refused, and nothing else ends.

A number that passes the gateway's checks reaches the link to the node, which all requests share.
"""

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine import Reduce
from peer import Client, InvalidInputError, Signer
from peer.cli.gateway_process import GatewayProcess
from peer.client.signer import signature_of
from peer.client.units import units_of
from peer.membership.identity import Identity
from peer.replica.order_state import OrderView
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, stand_in, wait_for
from tests.support.web_standin import MARKETS
from web.contract import requests
from web.contract.problems import Problem
from web.options import command_line

UNITS = units_of(MARKETS[0])
KNOWN = OrderView(256, "a", MARKETS[0].symbol, price=10_000, quantity=5, remaining=5)
NUMBERS = [  # as they stand in JSON
    *("1" + "0" * zeros for zeros in (12, 19, 20, 22, 23, 29, 30, 1_000, 5_000)),
    *(f"1e{exponent}" for exponent in (19, 23, 29, 30, 400, 10**6, 10**18, 10**30)),
    *(f"1e-{exponent}" for exponent in (9, 30, 31, 400, 10**18, 10**30)),
    "0." + "1" * 6_000,
    "9" * 25 + ".5",
    "-1",
    "-" + "9" * 30,
    "-1e30",
    str(2**63),
    str(2**64),
]
FORMS = [*NUMBERS, *(f'"{number}"' for number in NUMBERS)]


@pytest.mark.parametrize("number", FORMS, ids=lambda text: text[:12])
def test_no_number_in_a_request_exceeds_64_bits(number: str) -> None:
    """If the order is accepted, it can be encoded for the node and is within the market's
    limits."""
    refusals: list[Problem] = []
    for field in ("quantity", "price", "display", "stop_price"):
        order = {"side": "buy", "type": "stop_limit", "quantity": 1, "price": 1, "stop_price": 1}
        for text in (
            json.dumps(order)[:-1] + f', "{field}": {number}}}',
            f'{{"{field}":{number}}}',
        ):
            for read in (_order, _change, _signed_change):
                try:
                    command = read(requests.parse_json(text))
                except Problem as problem:
                    refusals.append(problem)
                    continue
                assert msgspec.msgpack.encode(command)
                numbers = [n for n in msgspec.structs.astuple(command) if isinstance(n, int)]
                most = max(UNITS.market.quantity_max, UNITS.market.price_max)
                assert max(numbers) <= most
    assert {problem.status for problem in refusals} <= {400}
    assert all(len(problem.detail) < 300 for problem in refusals), (
        "an error does not repeat the whole input"
    )


def _order(data: object) -> msgspec.Struct:
    return requests.submit_of(requests.parse(requests.NewOrder, data), UNITS, "me")


def _change(data: object) -> msgspec.Struct:
    return requests.change_of(requests.parse(requests.Change, data), KNOWN, UNITS)


def _signed_change(data: object) -> msgspec.Struct:
    return requests.signed_change_of(requests.parse(requests.Change, data), "me", "1-1", UNITS)


@pytest.mark.parametrize("text", ["1-" + "0" * 15 + "1" + "9" * 4_000, "1-" + "9" * 17, "9" * 99])
def test_an_id_is_a_short_number(text: str) -> None:
    with pytest.raises(Problem):
        requests.order_id(text)
    with pytest.raises(Problem):
        requests.order_id(int("9" * 30))


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("numbers")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


def _refused(web: Gateway, method: str, path: str, body: str | None = None) -> None:
    status = web.ask(method, path, body).status
    assert 400 <= status < 500, (method, path, body and body[:80], status)


@pytest.mark.parametrize("number", ["1" + "0" * 23, "1e23", "1e400", "1e999999999999999999999"])
def test_every_verb_refuses_a_bad_number_and_other_clients_trade(web: Gateway, number: str) -> None:
    mine = web.order(**buy("1", "1"))["id"]
    for field in ("price", "quantity"):
        body = f'{{"{field}": {number}, "account": "alice"}}'
        order = (
            f'{{"side": "buy", "quantity": 1, "price": 1, "account": "alice", "{field}": {number}}}'
        )
        _refused(web, "PATCH", f"/order/{mine}", body)
        _refused(web, "POST", "/order", order)
        _refused(web, "POST", "/orders", f'{{"orders": [{order}]}}')
        answer = web.ask("POST", "/", f'["rid", "s", {{"op": "submit", "order": {order}}}]')
        assert answer.json[1].startswith(("ERR_INVALID", "ERR_NOT")), answer.json
    for query in (
        "book?depth=",
        "trades?limit=",
        "trades?before=",
        "candles?interval=",
        "candles?before=",
    ):
        _refused(web, "GET", f"/{query}{number}")
    for path in (f"/order/1-{number}", f"/order/{number}-1", "/order/1-" + "0" * 16 + "9" * 4_000):
        _refused(web, "DELETE", path)
        _refused(web, "PATCH", path, '{"quantity": 1}')
    _refused(web, "GET", f"/orders/1-{number}")
    assert web.order(**buy("1", "1"))["status"] == "open"


def test_a_stranger_with_a_new_key_cannot_end_the_gateway(web: Gateway, tmp_path: Path) -> None:
    me = Signer(Identity.create(tmp_path / "key"), web.get("/mesh")["mesh"])
    entry = me.sign(Reduce(0, me.account, 256, 10**31))
    body = {"account": me.account, "quantity": "1" + "0" * 23, "signature": signature_of(entry)}
    nobody = {"Authorization": ""}
    assert web.ask("PATCH", "/order/1-1", body, nobody).status == 400
    assert web.order(**buy("1", "1"))["status"] == "open"


def test_a_stream_survives_every_number(web: Gateway) -> None:
    with web.websocket() as stream:
        for number in (number for number in FORMS if len(number) < 6_000):
            for text in (
                f'{{"op": "ping", "id": {number}}}',
                f'{{"op": {number}}}',
                f'{{"op": "order", "order": {{"side": "buy", "price": 1, "quantity": {number}}}}}',
                f'{{"op": "change", "id": 1, "order": "1-1", "price": {number}}}',
                f'{{"op": "change", "id": 1, "order": {number}, "price": 1}}',
                f'{{"op": "cancel", "id": 1, "order": {number}}}',
                f'{{"op": "subscribe", "id": 1, "channel": "candles", "interval": {number}}}',
                f'{{"op": "subscribe", "id": 1, "channel": {number}, "market": {number}}}',
            ):
                stream.client.send(text)
                stream.next(lambda message: "reply" in message)
        stream.send(op="ping", id="still there")
        assert stream.reply("still there")["ok"]
    assert "Traceback" not in web.log()


def test_the_python_client_refuses_a_bad_number_before_sending(tmp_path: Path) -> None:
    with lone_peer(tmp_path) as where, Client(where, account="alice") as client:
        order = client.buy("BTC-USD", 1, 1)
        for number in (10**30, -(10**5_000), 10**23, Decimal("1e400"), "1" + "0" * 29):
            for refused in (
                lambda number=number: client.buy("BTC-USD", number, 1),
                lambda number=number: client.buy("BTC-USD", 1, number),
                lambda number=number: client.replace(order.id, price=number),
                lambda number=number: client.replace(order.id, quantity=number),
            ):
                with pytest.raises(InvalidInputError):
                    refused()
        with pytest.raises(InvalidInputError):
            client.cancel("1-" + "0" * 15 + "1" + "9" * 4_000)
        with pytest.raises(ValueError, match="64 bits"):
            client.node.execute([Reduce(0, "alice", 256, 2**64)])
        assert client.cancel(order.id).status == "cancelled"


def test_a_gateway_with_a_dead_part_ends_and_is_started_again(tmp_path: Path) -> None:
    """Its node sends an invalid message, so its mirrors differ from the node."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with stand_in(tmp_path) as node:
        supervised = GatewayProcess(command_line(data=tmp_path, bind=f"127.0.0.1:{port}"))
        try:
            first = wait_for("a gateway", lambda: _live_process(port), 20)
            node.faults.misfits = 1

            def another() -> bool:
                supervised.watch()
                return _live_process(port) not in (None, first)

            wait_for("another one", another, 30)
        finally:
            supervised.stop()


def _live_process(port: int) -> float | None:
    """The start time of the gateway there, if it is connected to its node."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        if "\norderbook_node_live 1.0" in text:
            found = re.search(r"^process_start_time_seconds (\S+)", text, re.MULTILINE)
            return float(found[1]) if found else None
    return None
