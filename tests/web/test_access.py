"""Permissions at a real gateway: keys, scopes, sessions, rates."""

import contextlib
import http.client
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import simple_websocket
from wsproto.events import TextMessage

from tests.support.web_gateway import Answer, Gateway, Stream, buy, running_gateway, stand_in
from web.auth.access import UNPROVEN_KEYS_BURST, UNPROVEN_KEYS_RATE
from web.auth.keys import KEYS_FILE, Scope

NO_KEY = {"Authorization": ""}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("web")
    with stand_in(folder), running_gateway(folder) as gateway:
        yield gateway.wait_ready()


def key(web: Gateway, account: str, *scopes: Scope) -> dict[str, str]:
    return {"Authorization": f"Bearer {web.keys.create(account, scopes)}"}


def refusal(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, answer.json["type"].rpartition(":")[2]


def test_a_client_without_a_key_is_told_the_command_that_makes_one(web: Gateway) -> None:
    told = web.ask("POST", "/order", buy("1", "1", "newcomer"), NO_KEY).json["detail"]
    program, *command = told.partition("`")[2].partition("`")[0].split()
    assert program == "python"
    given = {"DATA": str(web.folder), "ACCOUNT": "newcomer"}
    command = [sys.executable, *(given.get(word, word) for word in command)]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    bearer = {"Authorization": f"Bearer {made}"}
    assert web.ask("POST", "/order", buy("1", "1", "newcomer"), bearer).status == 200


PRIVATE: list[tuple[str, str, object]] = [
    ("POST", "/order", buy("1", "1", "ann")),
    ("POST", "/orders", {"orders": [buy("1", "1", "ann")]}),
    ("PATCH", "/order/1-1?account=ann", {"quantity": 1}),
    ("DELETE", "/order/1-1?account=ann", None),
    ("DELETE", "/orders?account=ann", None),
    ("GET", "/orders?account=ann", None),
    ("GET", "/events?channels=orders&account=ann", None),
]


@pytest.mark.parametrize(("method", "path", "body"), PRIVATE)
def test_an_account_needs_a_key_of_that_account(
    web: Gateway, method: str, path: str, body: object
) -> None:
    nobody = web.ask(method, path, body, NO_KEY)
    assert refusal(nobody) == (401, "unauthorised")
    assert nobody.headers["WWW-Authenticate"] == "Bearer"
    stranger = key(web, "bob", Scope.TRADE)
    assert refusal(web.ask(method, path, body, stranger)) == (403, "not_owner")
    assert refusal(web.ask(method, path, body, {"Authorization": "Basic eDp5"}))[0] == 401


def test_the_market_is_public(web: Gateway) -> None:
    for path in ("/", "/state", "/book", "/trades", "/candles", "/markets", "/mesh", "/session"):
        assert web.ask("GET", path, None, NO_KEY).status == 200, path
    assert web.ask("GET", "/session", None, NO_KEY).json == {"account": None, "scopes": []}


def test_orders_without_an_account_belong_to_the_keys_account(web: Gateway) -> None:
    ann = key(web, "ann", Scope.TRADE)
    placed = web.ask("POST", "/order", {"side": "buy", "price": "5", "quantity": "1"}, ann).json
    assert placed["account"] == "ann"
    [listed] = web.ask("GET", "/orders", None, ann).json["orders"]
    assert listed["id"] == placed["id"]
    path = f"/orders/{placed['id']}"
    assert web.ask("GET", path, None, ann).status == 200
    stranger = web.ask("GET", path, None, key(web, "bob", Scope.TRADE))
    none = web.ask("GET", "/orders/1-999999", None, key(web, "bob", Scope.TRADE))
    assert refusal(stranger) == refusal(none) == (404, "unknown_order")
    assert refusal(web.ask("GET", path, None, NO_KEY)) == (401, "unauthorised")
    assert web.ask("DELETE", f"/order/{placed['id']}", None, ann).json["status"] == "cancelled"


def test_a_key_to_read_does_not_trade(web: Gateway) -> None:
    reader = key(web, "ann", Scope.READ)
    assert web.ask("GET", "/orders", None, reader).status == 200
    assert refusal(web.ask("POST", "/order", buy("1", "1", "ann"), reader)) == (403, "scope")


def test_a_revoked_key_ends_what_it_opened(web: Gateway) -> None:
    token = web.keys.create("ann", [Scope.TRADE])
    bearer = {"Authorization": f"Bearer {token}"}
    assert web.ask("GET", "/session", None, bearer).json == {"account": "ann", "scopes": ["trade"]}
    ends(web, bearer, lambda: web.keys.revoke(token.split("_")[1]))
    assert refusal(web.ask("GET", "/orders", None, bearer)) == (401, "unauthorised")


def test_a_logout_ends_what_the_session_opened(web: Gateway) -> None:
    session = cookie_of(web.open_link(web.link("ann", Scope.TRADE)))
    ends(web, session, lambda: web.ask("DELETE", "/session", None, session))


def test_a_session_that_is_pushed_out_ends_what_it_opened(web: Gateway) -> None:
    session = cookie_of(web.open_link(web.link("ann", Scope.TRADE)))
    everybody = sqlite3.connect(web.folder / KEYS_FILE)
    with contextlib.closing(everybody):
        ends(web, session, lambda: everybody.execute("DELETE FROM sessions") and everybody.commit())


def ends(web: Gateway, who: dict[str, str], what: Callable[[], object]) -> None:
    """After `what`, the streams that `who` opened close and get no order of the account; the
    streams of others stay open."""
    anybody = web.websocket("?channels=orders&account=ann")
    with anybody as others, listening(web, who) as (stream, events):
        for heard in (stream, others):
            heard.channel("orders", "snapshot")
        web.order(**buy("1", "1", "ann"))
        for heard in (stream, others):
            heard.channel("orders", "delta")
        what()
        with pytest.raises(simple_websocket.ConnectionClosed) as closed:
            stream.next(lambda message: False)
        assert (closed.value.reason, closed.value.message) == (
            1008,
            "this key or session has ended",
        )
        while line := events.readline():
            pass
        assert line == b""
        number = web.order(**buy("2", "1", "ann"))["id"]
        others.next(lambda m: any(o["id"] == number for o in m.get("orders", ())))


@contextlib.contextmanager
def listening(web: Gateway, who: dict[str, str]) -> Iterator[tuple[Stream, BinaryIO]]:
    """A WebSocket and an event stream of ann's orders."""
    url = f"ws://127.0.0.1:{web.port}/ws?channels=orders&account=ann"
    client = simple_websocket.Client.connect(url, headers=who)
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    try:
        connection.request("GET", "/events?channels=orders&account=ann", headers=who)
        response = connection.getresponse()
        assert response.status == 200
        yield Stream(client), response
    finally:
        connection.close()
        client.thread.join(5)
        client.sock.close()


def test_a_stream_with_the_cookie_of_an_old_session_hears_the_market(web: Gateway) -> None:
    session = cookie_of(web.open_link(web.link("ann", Scope.TRADE)))
    web.ask("DELETE", "/session", None, session)
    url = f"ws://127.0.0.1:{web.port}/ws?channels=mesh"
    client = simple_websocket.Client.connect(url, headers=session)
    stream = Stream(client)
    for _ in range(10):
        assert stream.channel("mesh")
    client.close()
    client.thread.join(5)
    client.sock.close()


def test_a_socket_without_a_key_hears_the_market_only(web: Gateway) -> None:
    with web.websocket("?channels=mesh", bearer="") as stream:
        assert stream.channel("mesh")
        for n, message in enumerate(
            (
                {"op": "order", "order": buy("1", "1", "ann")},
                {"op": "cancel", "order": "1-1", "account": "ann"},
                {"op": "subscribe", "channel": "orders", "account": "ann"},
            )
        ):
            stream.send(id=n, **message)
            assert stream.reply(n)["error"]["status"] == 401
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    refused = web.ask("GET", "/ws?channels=orders&account=ann", None, upgrade | NO_KEY)
    assert refusal(refused) == (401, "unauthorised")


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]} | NO_KEY


def test_a_link_opens_a_session_once(web: Gateway) -> None:
    link = web.link("ann", Scope.TRADE)
    opened = web.open_link(link)
    assert opened.json == {"account": "ann", "scopes": ["trade"]}
    flags = {part.strip() for part in opened.headers["Set-Cookie"].split(";")[1:]}
    assert flags >= {"HttpOnly", "SameSite=Strict", "Path=/"}
    session = cookie_of(opened)
    assert web.ask("GET", "/session", None, session).json["account"] == "ann"
    assert web.ask("POST", "/order", buy("1", "1", "ann"), session).status == 200
    assert refusal(web.ask("POST", "/order", buy("1", "1", "bob"), session)) == (403, "not_owner")
    again = web.open_link(link)
    assert refusal(again) == (403, "link_used")
    assert again.headers["Set-Cookie"] is None
    ended = web.ask("DELETE", "/session", None, session)
    assert ended.json["account"] is None
    assert refusal(web.ask("GET", "/orders", None, session)) == (401, "unauthorised")


def test_a_page_of_another_site_cannot_use_a_session(web: Gateway) -> None:
    session = cookie_of(web.open_link(web.link("ann", Scope.TRADE)))
    foreign = session | {"Origin": "http://evil.example"}
    assert refusal(web.ask("POST", "/order", buy("1", "1", "ann"), foreign)) == (403, "origin")


def test_guessing_keys_is_slow(tmp_path: Path) -> None:
    with stand_in(tmp_path), running_gateway(tmp_path) as gateway:
        good = gateway.bearer
        assert gateway.ask("GET", "/session").status == 200
        statuses, began = [], time.monotonic()
        for n in range(60):
            guess = {"Authorization": f"Bearer {good}{n}"}
            statuses.append(gateway.ask("GET", "/session", None, guess).status)
        most = UNPROVEN_KEYS_BURST + UNPROVEN_KEYS_RATE * (time.monotonic() - began) + 1
        assert 1 <= statuses.count(401) <= most
        assert set(statuses) <= {401, 429}
        assert gateway.ask("GET", "/session").status == 200, "a key that is known goes on"


def test_orders_are_paced_by_account(tmp_path: Path) -> None:
    options = ("--account-rate", "1")
    with stand_in(tmp_path), running_gateway(tmp_path, *options) as gateway:
        gateway.wait_ready()
        hundred: dict[str, Any] = {"orders": [buy("1", "1", "ann")] * 100}
        assert gateway.ask("POST", "/orders", hundred).status == 200
        refused = gateway.ask("POST", "/orders", hundred)
        assert refusal(refused) == (429, "rate")
        assert 90 <= int(refused.headers["Retry-After"]) <= 100
        assert refused.json["retry_after"] == int(refused.headers["Retry-After"])
        assert gateway.ask("POST", "/order", buy("1", "1", "bob")).status == 200
        with gateway.websocket() as stream:
            stream.client.send(json.dumps({"op": "order", "id": 1, "order": buy("1", "1", "ann")}))
            assert stream.reply(1)["error"]["status"] == 429


def test_requests_are_paced_by_address(tmp_path: Path) -> None:
    options = ("--address-rate", "1")
    with stand_in(tmp_path), running_gateway(tmp_path, *options) as gateway:
        answers = [gateway.ask("GET", "/healthz") for _ in range(110)]
    assert answers[0].status == 200
    assert refusal(answers[-1]) == (429, "rate")
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_a_socket_that_sends_too_much_is_closed(tmp_path: Path) -> None:
    options = ("--address-rate", "1")
    with (
        stand_in(tmp_path),
        running_gateway(tmp_path, *options) as gateway,
        gateway.websocket("?channels=mesh") as stream,
    ):
        pings = [TextMessage(json.dumps({"op": "ping", "id": n})) for n in range(200)]
        # All at once: a client that sends to a closed socket may not get to read the reason.
        stream.client.sock.sendall(b"".join(map(stream.client.ws.send, pings)))
        with pytest.raises(simple_websocket.ConnectionClosed) as caught:
            stream.next(lambda message: False)
        assert caught.value.reason == 1008


def test_behind_a_proxy_each_client_has_its_own_limit(tmp_path: Path) -> None:
    options = ("--address-rate", "1", "--proxy", "127.0.0.1")
    with stand_in(tmp_path), running_gateway(tmp_path, *options) as gateway:

        def ask(forwarded: str) -> int:
            return gateway.ask("GET", "/healthz", None, {"X-Forwarded-For": forwarded}).status

        flood = [ask(f"198.51.100.{n}, 203.0.113.7, 127.0.0.1") for n in range(110)]
        assert (flood[0], flood[-1]) == (200, 429), "what a client claims itself is not believed"
        assert ask("203.0.113.8") == 200
        assert ask("2001:db8::7") == 200
        assert ask("nonsense") == 200
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        opened = gateway.open_link(gateway.link("ann", Scope.TRADE), headers)
        assert "Secure" in opened.headers["Set-Cookie"]


def test_without_a_proxy_no_client_can_choose_its_address(tmp_path: Path) -> None:
    options = ("--address-rate", "1")
    with stand_in(tmp_path), running_gateway(tmp_path, *options) as gateway:
        chosen = ({"X-Forwarded-For": f"198.51.100.{n}"} for n in range(110))
        answers = [gateway.ask("GET", "/healthz", None, headers).status for headers in chosen]
    assert (answers[0], answers[-1]) == (200, 429)
