"""The gateway over HTTP, WebSocket and server-sent events: the real server before a real node."""

import http.client
import json
import re
import time
from collections.abc import Iterator

import pytest
import simple_websocket

from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell, wait_for


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def empty(web: Gateway) -> Gateway:
    """The gateway with empty books."""
    for account in ("alice", "bob", "carol", "guest"):
        web.ask("DELETE", f"/orders?account={account}")
    return web


# Orders and their final results


def test_an_order_rests_trades_and_shows_in_the_state(empty: Gateway) -> None:
    resting = empty.order(**buy("100.50", "2"))
    assert (resting["status"], resting["fills"], resting["remaining"]) == ("open", [], "2.00000000")

    result = empty.order(**sell("100.50", "0.5"))
    assert result["status"] == "filled"
    [fill] = result["fills"]
    assert fill.pop("time") == result["time"]
    assert fill.pop("trade") == 1
    assert fill == {"price": "100.50", "quantity": "0.50000000", "maker": False}

    state = wait_for("the trade", lambda: _with_trade(empty, result["id"]))
    assert state["bids"] == [["100.50", "1.50000000", 1]]
    assert state["asks"] == []
    trade = state["trades"][0]
    assert (trade["price"], trade["quantity"], trade["side"]) == ("100.50", "0.50000000", "sell")
    assert (trade["maker"], trade["taker"]) == (resting["id"], result["id"])
    assert state["peer"] == "solo"
    assert state["quorum"] is True
    assert state["market"] == "BTC-USD"
    assert len(bytes.fromhex(state["digest"])) == 32
    assert [peer["name"] for peer in state["peers"]] == ["solo"]


def _with_trade(web: Gateway, taker: str) -> dict[str, object] | None:
    state = web.get("/state")
    return state if state["trades"] and state["trades"][0]["taker"] == taker else None


def test_numbers_and_strings_mean_the_same(empty: Gateway) -> None:
    body = '{"side": "buy", "price": 0.29, "quantity": 0.1, "account": "alice"}'
    answer = empty.ask("POST", "/order", body)
    assert answer.json["price"] == "0.29"
    assert answer.json["quantity"] == "0.10000000"


def test_the_part_of_an_ioc_order_that_does_not_fill_expires(empty: Gateway) -> None:
    empty.order(**sell("101", "1"))
    result = empty.order(**buy("101", "3", tif="ioc"))
    assert (result["status"], result["filled"], result["remaining"]) == (
        "expired",
        "1.00000000",
        "2.00000000",
    )
    result = empty.order(side="buy", type="market", quantity="1", account="alice")
    assert (result["status"], result["fills"]) == ("expired", [])


def test_a_rejected_order_says_why(empty: Gateway) -> None:
    empty.order(**sell("101", "1"))
    result = empty.order(**buy("101", "1", post_only=True))
    assert (result["status"], result["reason"]) == ("rejected", "would_cross")
    assert "Post-only" in result["detail"]


def test_only_its_owner_cancels_an_order(empty: Gateway) -> None:
    number = empty.order(**buy("99", "1"))["id"]
    answer = empty.ask("DELETE", f"/order/{number}?account=bob")
    assert (answer.status, answer.json["reason"]) == (404, "unknown_order")
    answer = empty.ask("DELETE", f"/order/{number}?account=alice")
    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    answer = empty.ask("DELETE", f"/order/{number}?account=alice")
    assert (answer.status, answer.json["reason"]) == (404, "unknown_order")


def test_cancel_all_takes_one_accounts_orders(empty: Gateway) -> None:
    mine = [empty.order(**buy("99", "1"))["id"], empty.order(**sell("102", "1", "alice"))["id"]]
    empty.order(**sell("103", "1", "bob"))
    answer = empty.ask("DELETE", "/orders?account=alice")
    assert answer.json["cancelled"] == mine
    state = wait_for("the book", lambda: (s := empty.get("/state"))["bids"] == [] and s)
    assert state["asks"] == [["103.00", "1.00000000", 1]]


def test_another_market_has_its_own_book_and_steps(empty: Gateway) -> None:
    empty.order(**buy("20.05", "0.002", market="ETH-USD"))
    assert empty.get("/state?market=ETH-USD")["bids"] == [["20.05", "0.002", 1]]
    assert empty.get("/state")["bids"] == []
    answer = empty.ask("POST", "/order", buy("20.01", "0.002", market="ETH-USD"))
    assert answer.json["detail"] == "Price must be a multiple of 0.05, not 20.01."


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("[", 400, None),
        ("[]", 400, None),
        ("{}", 400, "side"),
        ('{"side":"up","price":"1","quantity":"1"}', 400, "side"),
        ('{"side":"buy","price":"1","quantity":"-1"}', 400, "quantity"),
        ('{"side":"buy","price":"1","quantity":1e400}', 400, "quantity"),
        ('{"side":"buy","price":"1","quantity":"NaN"}', 400, "quantity"),
        ('{"side":"buy","price":"1","quantity":0}', 400, "quantity"),
        ('{"side":"buy","price":"1.005","quantity":"1"}', 400, "price"),
        ('{"side":"buy","quantity":"1"}', 400, "price"),
        ('{"side":"buy","type":"market","price":"1","quantity":"1"}', 400, "price"),
        ('{"side":"buy","price":"1","quantity":"1","tif":"day"}', 400, "tif"),
        ('{"side":"buy","price":"1","quantity":"1","market":"X"}', 404, "market"),
        ('{"side":"buy","price":"1","quantity":"1","account":"a\\u0000b"}', 400, "account"),
        (
            '{"side":"buy","price":"1","quantity":"1","client_id":"' + "x" * 65 + '"}',
            400,
            "client_id",
        ),
        ('{"side":"buy","price":"1","quantity":"1","sid":1}', 400, "sid"),
    ],
)
def test_errors_are_sentences(web: Gateway, body: str, status: int, field: str | None) -> None:
    answer = web.ask("POST", "/order", body)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem.get("field") == field


def test_errors_of_http_have_the_same_shape(web: Gateway) -> None:
    for method, path, body, status in [
        ("GET", "/nothing", None, 404),
        ("PUT", "/order", "{}", 405),
        ("POST", "/order", "x" * 300_000, 413),
        ("DELETE", "/order/x", None, 400),
        ("GET", "/state?market=NOPE", None, 404),
        ("GET", "/state?depth=x", None, 400),
        ("GET", "/ws", None, 400),
    ]:
        answer = web.ask(method, path, body)
        assert (answer.status, answer.json["status"]) == (status, status), path


# Errors and access


def test_pages_of_other_sites_are_kept_out(web: Gateway) -> None:
    evil = {"Origin": "http://evil.example"}
    assert web.ask("POST", "/order", buy("1", "1"), evil).status == 403
    assert web.ask("DELETE", "/order/1-1", None, evil).status == 403
    assert web.ask("GET", "/state", None, {"Host": "evil.example"}).status == 421
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert web.ask("GET", "/ws", None, upgrade | evil).status == 403
    assert web.ask("POST", "/order", buy("1", "1"), {"Sec-Fetch-Site": "cross-site"}).status == 403
    own = {"Origin": web.url}
    assert web.ask("POST", "/order", buy("1", "1"), own).status == 200


def test_the_page_runs_only_what_this_peer_serves(web: Gateway) -> None:
    answer = web.ask("GET", "/")
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert re.search(r"script-src 'self'(?: 'sha256-[^ ]+')?;", policy)
    assert "unsafe-eval" not in policy
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy
    strict = re.sub(r" 'sha256-[^ ]+'", "", policy)
    for path in ("/", "/state", "/nothing", "/static/js/app.js"):
        headers = web.ask("GET", path).headers
        assert headers["Content-Security-Policy"] == (policy if path == "/" else strict)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Access-Control-Allow-Origin"] is None


# Streams


def test_a_stream_starts_with_snapshots_and_goes_on_with_deltas(empty: Gateway) -> None:
    with empty.websocket() as stream:
        snapshot = stream.channel("book", "snapshot")
        empty.order(**buy("98.25", "3"))
        delta = stream.channel("book", "delta")
        assert delta["seq"] == snapshot["seq"] + 1
        assert delta["bids"] == [["98.25", "3.00000000", 1]]
        assert isinstance(delta["checksum"], int)
        empty.order(**sell("98.25", "3"))
        assert stream.channel("book", "delta")["bids"] == [["98.25", "0.00000000", 0]]
        trade = stream.channel("trades", "delta")
        assert trade["trades"][0]["price"] == "98.25"


def test_orders_over_the_websocket(empty: Gateway) -> None:
    with empty.websocket("?channels=orders&account=alice") as stream:
        assert stream.channel("orders", "snapshot")["orders"] == []
        stream.send(op="order", id=1, order=buy("97", "2"))
        result = stream.reply(1)["result"]
        assert result["status"] == "open"
        stream.send(op="order", id="two", order=buy("97", "oops"))
        assert stream.reply("two")["error"]["field"] == "quantity"
        stream.send(op="cancel", id=3, order=result["id"], account="alice")
        assert stream.reply(3)["result"]["status"] == "cancelled"
        for message in ["nonsense", "[]", '{"op": "dance"}', '{"op": "subscribe", "channel": "x"}']:
            stream.client.send(message)
            assert stream.next(lambda m: "error" in m)["ok"] is False
        stream.send(op="ping", id=9)
        assert stream.reply(9)["pong"] is True


def test_a_stream_follows_an_order_from_pending_to_its_end(empty: Gateway) -> None:
    with empty.websocket("?channels=orders&account=carol") as stream:
        stream.channel("orders", "snapshot")
        time.sleep(0.2)
        empty.order(**buy("96", "2", "carol"))
        empty.order(**sell("96", "0.5", "bob"))
        empty.order(**sell("96", "1.5", "bob"))
        seen: list[str] = []
        while not seen or seen[-1] != "filled":
            changed = stream.channel("orders", "delta")["orders"]
            seen += [order["status"] for order in changed]
        assert seen == ["pending", "open", "partly_filled", "filled"]


def test_events_resume_where_they_stopped(empty: Gateway) -> None:
    empty.order(**buy("96", "1"))
    wait_for("the book", lambda: [b[0] for b in empty.get("/state")["bids"]] == ["96.00"])
    time.sleep(0.1)  # what has changed until here has been sent
    first = _events(empty, "/events?channels=book", 1)
    assert first[0]["event"] == "book"
    assert json.loads(first[0]["data"])["type"] == "snapshot"
    empty.order(**buy("95", "1"))
    empty.order(**buy("94", "1"))
    again = _events(empty, "/events?channels=book", 2, first[0]["id"])
    assert [json.loads(event["data"])["bids"][0][0] for event in again] == ["95.00", "94.00"]
    reset = _events(empty, "/events?channels=book", 2, "00000000-7")
    assert [event["event"] for event in reset] == ["reset", "book"]


def _events(web: Gateway, path: str, count: int, last: str = "") -> list[dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=5)
    connection.request("GET", path, headers={"Last-Event-ID": last} if last else {})
    response = connection.getresponse()
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    while len(found) < count:
        name, _, value = response.readline().decode().rstrip("\n").partition(": ")
        if name:
            event[name] = value
        elif "event" in event:
            found.append(event)
            event = {}
    response.close()
    connection.close()
    return found


def test_an_oversize_message_ends_the_stream(web: Gateway) -> None:
    with web.websocket("?channels=mesh") as stream:
        stream.client.send("x" * 70_000)
        with pytest.raises(simple_websocket.ConnectionClosed) as caught:
            stream.next(lambda m: False)
        assert caught.value.reason == 1009
