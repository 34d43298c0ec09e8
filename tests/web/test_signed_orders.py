"""Signed orders through a real gateway to a real node: without an API key, and unforgeable."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import Cancel, CancelAll, Command, Reduce, Replace, Side, Submit
from peer import NodeClient, Signer
from peer.client.endpoint import endpoint
from peer.client.protocol import parse_id
from peer.client.signer import signature_of
from peer.membership.identity import Identity
from tests.support.web_gateway import Gateway, lone_peer, running_gateway, stand_in
from web.auth.access import Access
from web.auth.keys import Scope
from web.auth.signatures import STATEMENT_MS_MAX, Statements
from web.config import BATCH_MAX, Config
from web.contract.problems import Problem
from web.contract.requests import Statement

NO_KEY = {"Authorization": ""}


class Web:
    """A gateway, and a trader with its own key but no API key."""

    def __init__(self, gateway: Gateway, mesh: str) -> None:
        self.gateway = gateway
        self.mesh = mesh
        self.signer = Signer(Identity.ephemeral(), mesh)

    @property
    def account(self) -> str:
        return self.signer.account

    def signature(self, command: Command) -> dict[str, int | str]:
        return signature_of(self.signer.sign(command))

    def ask(self, method: str, path: str, body: object, headers: Any = None) -> tuple[int, Any]:
        answer = self.gateway.ask(method, path, body, headers or NO_KEY)
        return answer.status, answer.json

    def request(self, price: int = 10_050, **more: Any) -> dict[str, Any]:
        """An order of 0.5 BTC."""
        made = Submit(0, self.account, "BTC-USD", Side.BUY, 50_000_000, price)
        made = msgspec.structs.replace(made, **more)
        wish = {"side": "buy", "price": f"{price // 100}.{price % 100:02}", "quantity": 0.5}
        return wish | {"account": self.account, "signature": self.signature(made)} | more

    def placed(self, price: int = 10_050) -> str:
        status, order = self.ask("POST", "/order", self.request(price))
        assert (status, order["status"]) == (200, "open"), order
        return str(order["id"])

    def statement(self, peer: str = "solo") -> dict[str, Any]:
        return self.signer.statement(peer)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, str]]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        with closing(NodeClient(endpoint(data))) as client:
            mesh = client.markets().mesh
        yield gateway.wait_ready(), mesh


@pytest.fixture
def web(gateway: tuple[Gateway, str]) -> Web:
    return Web(*gateway)


def code(answer: Any) -> str:
    return str(answer["type"]).rpartition(":")[2]


def test_an_order_is_placed_changed_and_cancelled_without_an_api_key(web: Web) -> None:
    name = web.placed()
    number = parse_id(name)
    changes: list[tuple[dict[str, Any], Command]] = [
        ({"quantity": "0.25"}, Reduce(0, web.account, number, 25_000_000)),
        ({"price": "99"}, Replace(0, web.account, number, 9_900)),
        ({"price": "99", "quantity": 1}, Replace(0, web.account, number, 9_900, 100_000_000)),
    ]
    for wish, command in changes:
        body = wish | {"account": web.account, "signature": web.signature(command)}
        status, order = web.ask("PATCH", f"/order/{name}", body)
        assert (status, order["status"]) == (200, "open"), order
    assert (order["price"], order["remaining"]) == ("99.00", "1.00000000")
    body = {"signature": web.signature(Cancel(0, web.account, number))}
    status, order = web.ask("DELETE", f"/order/{name}?account={web.account}", body)
    assert (status, order["status"]) == (200, "cancelled")


def test_many_orders_and_cancelling_all(web: Web) -> None:
    orders = [web.request(10_000 + n) for n in range(3)]
    status, answer = web.ask("POST", "/orders", {"orders": orders})
    assert [order["status"] for order in answer["results"]] == ["open"] * 3
    body = {"signature": web.signature(CancelAll(0, web.account, "", Side.BUY))}
    status, answer = web.ask("DELETE", f"/orders?account={web.account}&side=buy", body)
    assert (status, len(answer["cancelled"])) == (200, 3)


def test_signed_orders_work_over_a_websocket(web: Web) -> None:
    with web.gateway.websocket(bearer="") as stream:
        stream.send(op="order", id=1, order=web.request())
        placed = stream.reply(1)
        assert placed["result"]["status"] == "open", placed
        name = placed["result"]["id"]
        mine: dict[str, Any] = {"account": web.account}
        number = parse_id(name)
        signature = web.signature(Reduce(0, web.account, number, 1))
        stream.send(
            op="change", id=2, order=name, quantity="0.00000001", signature=signature, **mine
        )
        assert stream.reply(2)["result"]["remaining"] == "0.00000001"
        signature = web.signature(Cancel(0, web.account, number))
        stream.send(op="cancel", id=3, order=name, signature=signature, **mine)
        assert stream.reply(3)["result"]["status"] == "cancelled"
        stream.send(
            op="cancel_all", id=4, signature=web.signature(CancelAll(0, web.account)), **mine
        )
        assert stream.reply(4)["result"]["cancelled"] == []
        stream.send(op="cancel_all", id=5, **mine)
        assert stream.reply(5)["error"]["status"] == 401


def test_signed_orders_work_over_grenache(web: Web) -> None:
    def call(**payload: Any) -> Any:
        return web.ask("POST", "/", ["rid", "any", payload])[1][1:]

    error, order = call(op="submit", order=web.request())
    assert error is None
    signature = web.signature(Cancel(0, web.account, parse_id(order["id"])))
    wish = {"order": order["id"], "account": web.account}
    error, _ = call(op="cancel", **wish)
    assert error.startswith("ERR_UNAUTHORISED")
    error, order = call(op="cancel", signature=signature, **wish)
    assert (error, order["status"]) == (None, "cancelled")


FORGED: list[tuple[str, dict[str, Any]]] = [
    ("bad_signature", {"price": "100.51"}),
    ("bad_signature", {"quantity": "0.50000001"}),
    ("bad_signature", {"side": "sell"}),
    ("bad_signature", {"market": "ETH-USD"}),
    ("bad_signature", {"client_id": "x"}),
    ("bad_signature", {"tif": "ioc"}),
    ("invalid", {"account": "ann"}),
]


@pytest.mark.parametrize(("reason", "change"), FORGED)
def test_a_wrong_signature_is_refused_at_once(
    web: Web, reason: str, change: dict[str, Any]
) -> None:
    status, answer = web.ask("POST", "/order", web.request() | change)
    assert (status, code(answer), answer["field"]) == (
        403 if reason == "bad_signature" else 400,
        reason,
        "signature",
    )


@pytest.mark.parametrize(
    "signature", ["text", {}, {"nonce": 1, "until": 2}, {"nonce": 0, "until": 2, "signature": "x"}]
)
def test_malformed_signatures_are_refused(web: Web, signature: object) -> None:
    status, answer = web.ask("POST", "/order", web.request() | {"signature": signature})
    assert status == 400
    assert code(answer).startswith("invalid_signature")
    assert answer["field"].startswith("signature")


def test_not_even_an_administrator_trades_for_a_key(web: Web) -> None:
    unsigned = web.request() | {"signature": None}
    assert web.ask("POST", "/order", unsigned)[0] == 401
    operator = {"Authorization": web.gateway.bearer}
    status, answer = web.ask("POST", "/order", unsigned, operator)
    assert (status, code(answer)) == (403, "not_signed")


def test_a_signature_is_valid_once_and_for_its_time(web: Web) -> None:
    request = web.request()
    assert web.ask("POST", "/order", request)[0] == 200
    status, answer = web.ask("POST", "/order", request)
    assert (status, code(answer)) == (409, "nonce_used")
    late = Signer(Identity.ephemeral(), web.mesh, lambda: 1_700_000_000_000)
    web.signer = late
    status, answer = web.ask("POST", "/order", web.request())
    assert (status, code(answer)) == (409, "signature_expired")


def test_a_signed_order_with_a_client_id_is_taken_once(web: Web) -> None:
    request = web.request(client_id="mine")
    first = web.ask("POST", "/order", request)
    assert first[0] == 200
    assert web.ask("POST", "/order", request) == first
    # A client without the key does not learn the order's fate.
    bad = request["signature"] | {"nonce": request["signature"]["nonce"] + 1}
    status, answer = web.ask("POST", "/order", request | {"signature": bad})
    assert (status, code(answer)) == (403, "bad_signature")


def test_signatures_are_paced_before_they_are_verified() -> None:
    access = Access(Config("", "", address_rate=0.001), None)
    for _ in range(BATCH_MAX):
        assert access.trader("ed25519:a", True, None, "here") == "ed25519:a"
    with pytest.raises(Problem, match="signatures from this address") as refused:
        access.trader("ed25519:b", True, None, "here")
    assert refused.value.status == 429
    assert access.trader("ed25519:b", True, None, "elsewhere")


def test_a_peer_can_require_an_api_key(tmp_path: Path) -> None:
    with (
        lone_peer(tmp_path) as data,
        running_gateway(data, "--require-api-key") as gateway,
        closing(NodeClient(endpoint(data))) as client,
    ):
        web = Web(gateway.wait_ready(), client.markets().mesh)
        for method, path, body in (
            ("POST", "/order", web.request()),
            ("POST", "/session", web.statement()),
        ):
            status, answer = web.ask(method, path, body)
            assert (status, code(answer)) == (403, "strangers")
        reader = {"Authorization": f"Bearer {gateway.keys.create('ann', [Scope.READ])}"}
        assert code(web.ask("POST", "/order", web.request(), reader)[1]) == "strangers"
        trader = {"Authorization": f"Bearer {gateway.keys.create('ann', [Scope.TRADE])}"}
        status, order = web.ask("POST", "/order", web.request(), trader)
        assert (status, order["account"]) == (200, web.account)


# Reading


def test_the_holder_of_the_key_reads_the_orders(web: Web) -> None:
    name = web.placed()
    path = f"/orders?account={web.account}"
    assert web.ask("GET", path, None)[0] == 401
    opened = web.gateway.ask("POST", "/session", web.statement(), NO_KEY)
    assert opened.json == {"account": web.account, "scopes": ["read"]}
    cookie = NO_KEY | {"Cookie": opened.headers["Set-Cookie"].partition(";")[0]}
    [order] = web.ask("GET", path, None, cookie)[1]["orders"]
    assert order["id"] == name
    status, answer = web.ask("DELETE", f"/order/{name}?account={web.account}", None, cookie)
    assert (status, code(answer)) == (403, "scope"), "to read is not to trade"


def test_a_session_stays_and_may_also_read_the_keys_orders(web: Web) -> None:
    link = web.gateway.link("ann", Scope.TRADE)
    cookie = web.gateway.open_link(link).headers["Set-Cookie"].partition(";")[0]
    mine = NO_KEY | {"Cookie": cookie}
    path = f"/orders?account={web.account}"
    assert web.ask("GET", path, None, mine)[0] == 403
    opened = web.gateway.ask("POST", "/session", web.statement(), mine)
    assert opened.json == {"account": "ann", "scopes": ["trade"], "reads": web.account}
    assert opened.headers["Set-Cookie"] is None
    for read in (path, "/orders?account=ann"):
        assert web.ask("GET", read, None, mine)[0] == 200
    assert web.ask("GET", "/orders?account=bob", None, mine)[0] == 403


def test_a_statement_is_valid_once_and_for_one_peer(web: Web) -> None:
    statement = web.statement()
    assert web.ask("POST", "/session", statement)[0] == 200
    status, answer = web.ask("POST", "/session", statement)
    assert (status, code(answer)) == (409, "nonce_used")
    status, answer = web.ask("POST", "/session", web.statement("another"))
    assert (status, code(answer)) == (403, "bad_signature")
    order = Submit(0, web.account, "BTC-USD", Side.BUY, 1, 1)
    body = {"account": web.account, "signature": web.signature(order)}
    status, answer = web.ask("POST", "/session", body)
    assert (status, code(answer)) == (403, "signature_expired"), "an order's lasts for too long"


def test_a_statement_from_before_the_start_is_refused() -> None:
    now = [10**12]
    signer = Signer(Identity.ephemeral(), "ab", lambda: now[0])
    statements = Statements(lambda: now[0] + 100)
    old = signer.statement("p")
    with pytest.raises(Problem, match="used once"):
        statements.take(msgspec.convert(old, Statement), "ab", "p")
    now[0] += 101
    statements.take(msgspec.convert(signer.statement("p"), Statement), "ab", "p")
    too_long = signer.statement("p", STATEMENT_MS_MAX + 1)
    with pytest.raises(Problem, match="until is too far"):
        statements.take(msgspec.convert(too_long, Statement), "ab", "p")


# Without a quorum


def test_a_pending_order_is_withdrawn_by_a_signed_cancel_or_by_the_operator(tmp_path: Path) -> None:
    options = ("--order-timeout", "0.2")
    with stand_in(tmp_path) as node, running_gateway(tmp_path, *options) as gateway:
        web = Web(gateway.wait_ready(), "00" * 16)
        node.faults.holds = True
        status, order = web.ask("POST", "/order", web.request())
        assert (status, order["status"]) == (202, "pending")
        path = f"/order/{order['id']}?account={web.account}"
        wrong = {"signature": web.signature(Cancel(0, web.account, 256 * 99))}
        assert code(web.ask("DELETE", path, wrong)[1]) == "bad_signature"
        bob = {"Authorization": f"Bearer {gateway.keys.create('bob', [Scope.TRADE])}"}
        assert code(web.ask("DELETE", path, None, bob)[1]) == "not_owner"
        assert isinstance(node.faults.held[0][2][0], Submit), "it is still there"
        right = {"signature": web.signature(Cancel(0, web.account, parse_id(order["id"])))}
        status, answer = web.ask("DELETE", path, right)
        assert (status, answer["status"]) == (200, "cancelled")
        order = web.ask("POST", "/order", web.request())[1]
        path = f"/order/{order['id']}?account={web.account}"
        operator = {"Authorization": gateway.bearer}
        status, answer = web.ask("DELETE", path, None, operator)
        assert (status, answer["status"]) == (200, "cancelled")
