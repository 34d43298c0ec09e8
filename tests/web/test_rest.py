"""The rest of the HTTP API, with a real node."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.web_gateway import Gateway, lone_peer, running_gateway, wait_for


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture(autouse=True)
def _empty(web: Gateway) -> None:
    for account in ("alice", "bob"):
        assert web.ask("DELETE", f"/orders?account={account}").status == 200


def order(side: str, price: str, quantity: str, account: str = "alice") -> dict[str, str]:
    return {"side": side, "price": price, "quantity": quantity, "account": account}


def test_levels_merge_away_from_the_middle(web: Gateway) -> None:
    for side, price in [("buy", "99.94"), ("buy", "99.91"), ("sell", "100.01"), ("sell", "100.09")]:
        web.order(**order(side, price, "1"))
    book = web.get("/book?group=0.1")
    assert book["bids"] == [["99.90", "2.00000000", 2]]
    assert book["asks"] == [["100.10", "2.00000000", 2]]
    assert [level[0] for level in web.get("/book?depth=1")["asks"]] == ["100.01"]
    assert web.ask("GET", "/book?group=0.001").json["field"] == "group"
    assert web.ask("GET", "/book?depth=0").json["field"] == "depth"


def test_trades_and_candles_agree(web: Gateway) -> None:
    for price in ("100", "103", "98"):
        web.order(**order("sell", price, "2", "bob"))
        web.order(**order("buy", price, "1.5"))
        web.ask("DELETE", "/orders?account=bob")
    trades = web.get("/trades?limit=3")["trades"]
    assert [trade["price"] for trade in trades] == ["98.00", "103.00", "100.00"]
    day = web.get("/candles?interval=86400")["candles"][-1]
    assert (day["high"], day["low"], day["close"]) == ("103.00", "98.00", "98.00")
    everything = web.get("/trades?limit=200")["trades"]
    assert Decimal(day["volume"]) == sum(Decimal(trade["quantity"]) for trade in everything)
    assert web.ask("GET", "/candles?interval=7").json["field"] == "interval"


def test_orders_are_listed_and_found(web: Gateway) -> None:
    number = web.order(**order("buy", "90", "2"))["id"]
    other = web.order(**order("sell", "90", "0.5", "bob"))["id"]
    mine = web.get("/orders?account=alice")["orders"]
    assert [(o["id"], o["status"], o["remaining"]) for o in mine] == [
        (number, "partly_filled", "1.50000000")
    ]
    assert web.get(f"/orders/{number}")["filled"] == "0.50000000"
    assert web.get(f"/orders/{other}")["status"] == "filled"
    web.ask("DELETE", f"/order/{number}?account=alice")
    assert web.get("/orders?account=alice")["finished"][0]["status"] == "cancelled"
    assert web.get("/orders?account=nobody") == {
        "account": "nobody",
        "orders": [],
        "finished": [],
        "since": 0,
    }
    assert web.ask("GET", "/orders/1-99999").status == 404


def test_a_smaller_quantity_keeps_the_place_and_a_new_price_loses_it(web: Gateway) -> None:
    first = web.order(**order("buy", "90", "2"))["id"]
    web.order(**order("buy", "90", "1", "bob"))

    answer = _patch(web, first, {"quantity": "1"})
    assert (answer["status"], answer["remaining"]) == ("open", "1.00000000")
    assert web.order(**order("sell", "90", "0.25", "bob"))["status"] == "filled"
    assert web.get(f"/orders/{first}")["filled"] == "0.25000000", "it was still the first"

    answer = _patch(web, first, {"price": "91", "quantity": 3})
    assert (answer["price"], answer["remaining"]) == ("91.00", "3.00000000")
    book = web.get("/book")["bids"]
    assert book == [["91.00", "3.00000000", 1], ["90.00", "1.00000000", 1]]

    assert web.ask("PATCH", f"/order/{first}?account=bob", {"price": "1"}).status == 404
    assert web.ask("PATCH", f"/order/{first}?account=alice", {}).status == 400


def _patch(web: Gateway, number: str, change: dict[str, Any]) -> Any:
    answer = web.ask("PATCH", f"/order/{number}?account=alice", change)
    assert answer.status == 200, answer.body
    return answer.json


def test_a_batch_is_sent_whole_or_not_at_all(web: Gateway) -> None:
    batch = [order("buy", "80", "1"), order("sell", "80", "0.5"), order("buy", "81", "1")]
    answer = web.ask("POST", "/orders", {"orders": batch})
    assert answer.status == 200
    results = answer.json["results"]
    assert [result["status"] for result in results] == ["open", "filled", "open"]
    assert len({result["commit"] for result in results}) == 1

    batch[1]["price"] = "80.001"
    answer = web.ask("POST", "/orders", {"orders": batch})
    assert (answer.status, answer.json["field"], answer.json["index"]) == (400, "price", 1)
    assert len(web.get("/orders?account=alice")["orders"]) == 2
    assert web.ask("POST", "/orders", {"orders": []}).json["field"] == "orders"


def test_markets_mesh_and_health(web: Gateway) -> None:
    assert [m["symbol"] for m in web.get("/markets")] == ["BTC-USD", "ETH-USD"]
    mesh = web.get("/mesh")
    assert (mesh["peer"], mesh["mode"], mesh["quorum_size"]) == ("solo", "crash", 1)
    assert [(p["name"], p["self"], p["alive"]) for p in mesh["peers"]] == [("solo", True, True)]
    assert web.get("/healthz") == {"status": "ok"}
    assert web.get("/readyz") == {"status": "ready"}


def test_metrics_follow_what_happens(web: Gateway) -> None:
    def values() -> dict[str, float]:
        text = web.ask("GET", "/metrics").body.decode()
        return {
            sample.name + "".join(f"/{label}" for label in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    before = values()
    web.order(**order("buy", "70", "1"))
    web.order(**order("sell", "70", "1", "bob"))
    web.order(**order("buy", "70", "1"))
    assert web.order(**order("sell", "70", "1", "bob"), post_only=True)["status"] == "rejected"
    assert web.ask("GET", "/nothing").status == 404
    trades = "orderbook_trades_total/BTC-USD"
    wait_for("the trade", lambda: values()[trades] == before[trades] + 1)
    after = values()

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more("orderbook_finality_seconds_count") == 4
    assert more("orderbook_rejected_total/would_cross") == 1
    assert more("orderbook_web_answers_total/404") == 1
    assert more("orderbook_commits_total") >= 4
    assert after["orderbook_levels/BTC-USD/bids"] == 1
    assert (after["orderbook_quorum"], after["orderbook_halted"]) == (1, 0)
    assert (after["orderbook_peer_alive/solo"], after["orderbook_peer_differs/solo"]) == (1, 0)
    assert after["process_resident_memory_bytes"] > 1_000_000
    with web.websocket() as stream:
        stream.channel("book")
        assert values()["orderbook_web_streams"] == 1
