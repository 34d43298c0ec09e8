"""The limits of addresses, accounts and strangers at a gateway, and the operator's tools. The node
is a real one."""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine import Cancel, Side, Submit
from peer import NodeClient, Signer
from peer.cli.main import main
from peer.client.endpoint import endpoint
from peer.client.protocol import Refused, parse_id
from peer.client.signer import signature_of
from peer.membership.identity import Identity
from tests.support.web_gateway import (
    Answer,
    Gateway,
    buy,
    lone_peer,
    running_gateway,
    stand_in,
    wait_for,
)
from web.auth.access import ADDRESS_KEYS_MAX, SESSIONS_BURST
from web.auth.keys import Scope
from web.auth.rate_limits import Distinct
from web.streams.hub import ADDRESS_STREAMS_MAX

NO_KEY = {"Authorization": ""}
addresses = (f"127.3.{n // 200}.{n % 200 + 1}" for n in itertools.count())


class Stranger:
    """A client with an address, and a key unknown to the operator."""

    def __init__(self, gateway: Gateway, mesh: str, address: str = "") -> None:
        self.gateway, self.mesh = gateway, mesh
        self.address = address or next(addresses)
        self.signer = Signer(Identity.ephemeral(), mesh)
        self.account = self.signer.account

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        return self.gateway.ask(method, path, body, NO_KEY, self.address)

    def order(self, price: int = 1_000) -> Answer:
        made = Submit(0, self.account, "BTC-USD", Side.BUY, 10**8, price)
        wish = {"side": "buy", "price": f"{price // 100}.{price % 100:02}", "quantity": "1"}
        signature = signature_of(self.signer.sign(made))
        return self.ask("POST", "/order", wish | {"account": self.account, "signature": signature})

    def placed(self) -> str:
        answer = self.order()
        assert answer.json["status"] == "open", answer.json
        return str(answer.json["id"])

    def cancel(self, number: str) -> Answer:
        signed = self.signer.sign(Cancel(0, self.account, parse_id(number)))
        path = f"/order/{number}?account={self.account}"
        return self.ask("DELETE", path, {"signature": signature_of(signed)})

    def open_session(self) -> Answer:
        return self.ask("POST", "/session", self.signer.statement("solo"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, str]]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        with closing(NodeClient(endpoint(data))) as client:
            mesh = client.markets().mesh
        yield gateway.wait_ready(), mesh


@pytest.fixture
def stranger(gateway: tuple[Gateway, str]) -> Stranger:
    return Stranger(*gateway)


def code(answer: Answer) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_one_address_trades_for_a_limited_number_of_keys_and_shuts_out_no_other(
    stranger: Stranger,
) -> None:
    gateway, mesh, here = stranger.gateway, stranger.mesh, stranger.address
    assert stranger.order().status == 200
    others = [Stranger(gateway, mesh, here) for _ in range(ADDRESS_KEYS_MAX)]
    answers = [other.order() for other in others]
    assert [answer.status for answer in answers] == [200] * (ADDRESS_KEYS_MAX - 1) + [429]
    assert code(answers[-1]) == "too_many_keys"
    assert int(answers[-1].headers["Retry-After"]) > 3_600
    assert stranger.order().status == 200, "keys in use go on"
    assert Stranger(gateway, mesh).order().status == 200
    assert gateway.order(**buy("10", "1"))["status"] == "open"
    for other in (stranger, *others):
        gateway.ask("DELETE", f"/orders?account={other.account}")


def test_an_address_of_a_stranger_opens_few_sessions(stranger: Stranger) -> None:
    keys = stranger.gateway.keys
    ann = stranger.gateway.open_link(stranger.gateway.link("ann", Scope.TRADE))
    statuses = [
        Stranger(stranger.gateway, stranger.mesh, stranger.address).open_session().status
        for _ in range(SESSIONS_BURST + 3)
    ]
    assert statuses[:SESSIONS_BURST] == [200] * SESSIONS_BURST
    assert 429 in statuses[SESSIONS_BURST:]
    assert Stranger(stranger.gateway, stranger.mesh).open_session().status == 200
    cookie = ann.headers["Set-Cookie"].partition(";")[0]
    asked = stranger.gateway.ask("GET", "/session", None, NO_KEY | {"Cookie": cookie})
    assert asked.json["account"] == "ann"
    assert keys.is_barred("ann") is False


def stream(gateway: Gateway, address: str) -> tuple[int, socket.socket]:
    """The status of a new stream of events, and its connection."""
    sock = socket.create_connection(("127.0.0.1", gateway.port), 10, (address, 0))
    sock.sendall(b"GET /events?channels=commit HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return int(sock.recv(100).split()[1]), sock


def test_one_address_has_a_limited_number_of_streams(stranger: Stranger) -> None:
    gateway, here = stranger.gateway, stranger.address
    with contextlib.ExitStack() as stack:

        def opened(address: str) -> int:
            status, sock = stream(gateway, address)
            stack.enter_context(closing(sock))
            return status

        assert {opened(here) for _ in range(ADDRESS_STREAMS_MAX)} == {200}
        wait_for("the hub to have them", lambda: opened(here) == 429)
        assert opened(next(addresses)) == 200

    def opens_and_closes() -> bool:
        status, sock = stream(gateway, here)
        sock.close()
        return status == 200

    wait_for("the ends", opens_and_closes)


# The operator


def test_the_operator_cancels_orders_of_a_key(stranger: Stranger) -> None:
    gateway = stranger.gateway
    first, second, third = (stranger.placed() for _ in range(3))
    path = f"/order/{first}?account={stranger.account}"
    bob = {"Authorization": f"Bearer {gateway.keys.create('bob', [Scope.TRADE])}"}
    assert gateway.ask("DELETE", path, headers=bob).status == 403
    assert stranger.ask("DELETE", path).status == 401
    view = gateway.ask("DELETE", path).json
    assert (view["id"], view["status"], view["reason"]) == (first, "cancelled", "removed")
    assert "has cancelled it" in view["detail"]
    with gateway.websocket() as ws:
        ws.send(op="cancel", id=1, order=second, account=stranger.account)
        assert ws.reply(1)["result"]["reason"] == "removed"
    done = gateway.ask("DELETE", f"/orders?account={stranger.account}").json
    assert done["cancelled"] == [third]
    assert stranger.cancel(third).status == 404


def test_without_the_key_the_operator_can_only_cancel(stranger: Stranger) -> None:
    number = stranger.placed()
    change = {"price": "11", "quantity": "1"}
    path = f"/order/{number}?account={stranger.account}"
    answers = [
        stranger.gateway.ask("POST", "/order", buy("10", "1", stranger.account)),
        stranger.gateway.ask("PATCH", path, change),
    ]
    assert [(answer.status, code(answer)) for answer in answers] == [(403, "not_signed")] * 2
    assert stranger.cancel(number).json["status"] == "cancelled"


def test_the_owner_sees_why_the_order_was_removed(stranger: Stranger) -> None:
    gateway, number, gone = stranger.gateway, stranger.placed(), stranger.placed()
    headers = NO_KEY | {"Cookie": stranger.open_session().headers["Set-Cookie"].partition(";")[0]}
    gateway.ask("DELETE", f"/order/{gone}?account={stranger.account}")
    unknown = gateway.ask("GET", f"/orders/{gone}", None, headers)
    # There was no listener, and there is no history: the gateway may not know what became of it.
    assert unknown.status == 404 or unknown.json["status"] == "cancelled"
    assert gateway.ask("GET", f"/orders/{number}", None, headers).json["status"] == "open"
    gateway.ask("DELETE", f"/order/{number}?account={stranger.account}")
    seen = gateway.ask("GET", f"/orders/{number}", None, headers).json
    assert (seen["status"], seen["reason"]) == ("cancelled", "removed")


@pytest.mark.parametrize("known", [False, True])
def test_a_barred_account_may_only_cancel(stranger: Stranger, known: bool) -> None:
    gateway = stranger.gateway
    eve = {"Authorization": f"Bearer {gateway.keys.create('eve', [Scope.TRADE])}"}
    account = "eve" if known else stranger.account
    number = gateway.order(**buy("10", "1", "eve"))["id"] if known else stranger.placed()
    assert gateway.ask("PUT", f"/barred?account={account}").status == 200
    again = gateway.ask("POST", "/order", buy("10", "1", "eve"), eve) if known else stranger.order()
    assert (again.status, code(again)) == (403, "barred")
    if known:
        change = gateway.ask("PATCH", f"/order/{number}", {"price": "11"}, eve)
        assert (change.status, code(change)) == (403, "barred")
        cancelled = gateway.ask("DELETE", f"/order/{number}", None, eve)
    else:
        cancelled = stranger.cancel(number)
    assert cancelled.json["status"] == "cancelled"
    assert gateway.ask("DELETE", f"/barred?account={account}").status == 200
    again = gateway.ask("POST", "/order", buy("10", "1", "eve"), eve) if known else stranger.order()
    assert again.json["status"] == "open"
    gateway.ask("DELETE", f"/orders?account={account}")


def test_the_operator_sees_the_accounts_with_most_orders(stranger: Stranger) -> None:
    gateway = stranger.gateway
    for _ in range(3):
        stranger.placed()
    gateway.order(**buy("10", "1", "few"))
    rows = {row["account"]: row for row in gateway.get("/accounts")["accounts"]}
    assert rows[stranger.account] == {
        "account": stranger.account,
        "orders": 3,
        "is_key": True,
        "barred": False,
    }
    assert rows["few"]["orders"] == 1
    first = gateway.get("/accounts?limit=1")["accounts"]
    assert [row["orders"] for row in first] == [max(row["orders"] for row in rows.values())]
    ann = {"Authorization": f"Bearer {gateway.keys.create('ann', [Scope.TRADE])}"}
    for method, path in (
        ("GET", "/accounts"),
        ("PUT", "/barred?account=few"),
        ("DELETE", "/barred?account=few"),
    ):
        assert gateway.ask(method, path, headers=ann).status == 403
        assert gateway.ask(method, path, headers=NO_KEY).status == 401
    for account in (stranger.account, "few"):
        gateway.ask("DELETE", f"/orders?account={account}")


def test_the_operator_can_do_the_same_by_command_line(stranger: Stranger) -> None:
    folder = stranger.gateway.folder

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["accounts", str(folder), *arguments])
        assert done.exit_code == 0, done.output
        return done.output.strip()

    for _ in range(2):
        stranger.placed()
    stranger.gateway.order(**buy("10", "1", "bob"))
    assert f"2  {stranger.account}" in run("list")
    account = stranger.account
    assert run("cancel", account, "--side", "sell") == f"0 orders of {account} cancelled"
    assert run("cancel", account) == f"2 orders of {account} cancelled"
    assert run("cancel", "bob", "--market", "BTC-USD") == "1 orders of bob cancelled"
    assert account not in run("list")
    wrong = CliRunner().invoke(main, ["accounts", str(folder), "cancel", "bob", "--market", "X"])
    assert "This market does not exist." in wrong.output


# Commands that wait to be ordered


def test_a_client_with_too_many_waiting_commands_is_refused_and_others_are_not(
    tmp_path: Path,
) -> None:
    with stand_in(tmp_path) as node, running_gateway(tmp_path) as gateway:
        gateway.wait_ready()
        node.faults.refusal = Refused("too_many_pending", "2000 commands from there wait")
        answer = gateway.ask("POST", "/order", buy("10", "1"))
        assert (answer.status, code(answer)) == (429, "too_many_pending")
        assert answer.headers["Retry-After"]
        node.faults.refusal = None
        gateway.ask("POST", "/order", buy("10", "1"), source="127.9.9.9")
        with gateway.websocket() as ws:
            ws.send(op="order", id=1, order=buy("10", "1"))
            ws.reply(1)
        assert node.sources[-2:] == ["127.9.9.9", "127.0.0.1"]


def test_distinct_things_count_for_a_limited_time() -> None:
    now = [0.0]
    keys = Distinct(2, 100, lambda: now[0])
    assert [keys.take("here", key) for key in "aba"] == [0.0] * 3
    now[0] = 10
    assert keys.take("here", "b") == 0
    assert keys.take("here", "c") == 90, "when a is forgotten"
    assert keys.take("there", "c") == 0
    now[0] = 100
    assert keys.take("here", "c") == 0
    assert keys.take("here", "a") == 10
