"""Each fill carries the time and number of its trade, the same in every answer and stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell, wait_for


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Gateway]:
    with lone_peer(tmp_path) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


def trades_of(web: Gateway) -> dict[int, Any]:
    return {trade["number"]: trade for trade in web.get("/trades")["trades"]}


def check(web: Gateway, order: Any) -> None:
    """The fills of an order are trades of the market."""
    trades = trades_of(web)
    assert order["fills"]
    for fill in order["fills"]:
        trade = trades[fill["trade"]]
        assert order["id"] == trade["maker" if fill["maker"] else "taker"]
        for name in ("time", "price", "quantity"):
            assert fill[name] == trade[name]


def test_the_answer_to_an_order_numbers_its_fills(web: Gateway) -> None:
    for price in ("100", "101", "102"):
        web.order(**sell(price, "1"))
    taken = web.order(**buy("102", "2.5"))
    check(web, taken)
    assert [fill["trade"] for fill in taken["fills"]] == [1, 2, 3]
    answer = web.ask("POST", "/orders", {"orders": [sell("90", "1"), buy("90", "2")]}).json
    fills = [fill for order in answer["results"] for fill in order["fills"]]
    assert [fill["trade"] for fill in fills] == [4]


def test_every_stream_and_list_numbers_the_fills(web: Gateway) -> None:
    with web.websocket() as stream:
        stream.send(op="subscribe", channel="orders", account="alice")
        stream.channel("orders", "snapshot")
        rests = web.order(**buy("99", "3"))["id"]
        for _ in range(3):
            web.order(**sell("99", "1"))
        told = stream.next(
            lambda message: any(
                order["id"] == rests and order["status"] == "filled"
                for order in message.get("orders", ())
            )
        )
        check(web, told["orders"][0])
        stream.send(op="order", id=1, order=buy("50", "1") | {"market": "ETH-USD"})
        stream.send(op="order", id=2, order=sell("50", "1") | {"market": "ETH-USD"})
        assert stream.reply(2)["result"]["fills"][0]["trade"] == 1, "each market counts by itself"
    check(web, web.get(f"/orders/{rests}"))
    check(web, web.get("/orders?account=alice")["finished"][-1])
    web.order(**sell("97", "1"))
    call = {"op": "submit", "order": buy("97", "1")}
    _, error, taken = web.ask("POST", "/", ["1", "service", call]).json
    assert error is None
    check(web, taken)


def test_the_journal_numbers_fills_as_the_stream_does(tmp_path: Path) -> None:
    with lone_peer(tmp_path) as data:
        with running_gateway(data) as web:
            web.wait_ready()
            rests = web.order(**buy("99", "30"))["id"]
            for n in range(1, 21):
                together = [sell("99", "0.5"), buy("98", "0.1"), sell("98", "0.6")]
                assert web.ask("POST", "/orders", {"orders": together}).status == 200, n
            before = web.get(f"/orders/{rests}")
            check(web, before)
            assert len({fill["trade"] for fill in before["fills"]}) == 40
            mine = web.get("/orders?account=bob&limit=200")["finished"]
            for order in mine:
                check(web, order)
        with running_gateway(data) as web:
            web.wait_ready()
            wait_for("the journal", lambda: web.get(f"/orders/{rests}") == before)
            wait_for("it", lambda: web.get("/orders?account=bob&limit=200")["finished"] == mine)
