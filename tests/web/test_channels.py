"""The channels ticker and candles, and changing an order over the WebSocket."""

import time
from collections.abc import Iterator

import pytest

from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture(autouse=True)
def _empty(web: Gateway) -> None:
    for account in ("alice", "bob"):
        assert web.ask("DELETE", f"/orders?account={account}").status == 200


def test_the_ticker_has_the_best_prices_and_the_last_trade(web: Gateway) -> None:
    with web.websocket("?channels=ticker&market=ETH-USD") as stream:
        first = stream.channel("ticker")
        assert (first["bid"], first["ask"], first["last"], first["trades"]) == (None,) * 3 + (0,)
        web.order(**sell("10", "2", market="ETH-USD"))
        # A minute may begin meanwhile: it moves `since`, and the ticker is sent for that alone.
        ticker = stream.next(lambda m: m["ask"] is not None)
        assert (ticker["bid"], ticker["ask"], ticker["ask_quantity"]) == (None, "10.00", "2.000")
        assert ticker["seq"] > first["seq"]
        taken = web.order(**buy("10", "0.5", market="ETH-USD"))
        ticker = stream.next(lambda m: m["trades"] == 1)
        assert (ticker["last"], ticker["last_quantity"]) == ("10.00", "0.500")
        assert ticker["last_time"] == taken["time"]


def test_an_unchanged_ticker_is_not_sent(web: Gateway) -> None:
    web.order(**sell("10", "2"))
    with web.websocket("?channels=ticker") as stream:
        tickers = [stream.channel("ticker")]
        for price in ("11", "12", "13"):  # behind the best one
            web.order(**sell(price, "2"))
            time.sleep(0.15)
        web.order(**sell("9", "1"))
        while tickers[-1]["ask"] != "9.00":
            tickers.append(stream.channel("ticker"))
        # The last one before the subscription may have been on its way still, and a minute begun.
        said = {tuple(t[name] for name in t if name not in ("seq", "since")) for t in tickers}
        assert len(said) <= 3
        assert len(tickers) <= len(said) + 1


def test_candles_come_whole_and_then_as_they_change(web: Gateway) -> None:
    web.order(**sell("100", "5"))
    web.order(**buy("100", "1"))
    with web.websocket("?channels=candles&interval=86400") as stream:
        first = stream.channel("candles", "snapshot")
        assert (first["interval"], first["candles"][-1]["close"]) == (86400, "100.00")
        stream.send(op="subscribe", channel="candles", interval=3600, id=1)
        assert stream.channel("candles", "snapshot")["interval"] == 3600
        web.order(**buy("100", "2"))
        number = web.get("/trades?limit=1")["trades"][0]["number"]
        assert number - first["seq"] in (1, 2), "the trade before may come again"
        deltas = [stream.next(lambda m: m.get("seq") == number) for _ in range(2)]
        assert {delta["interval"] for delta in deltas} == {3600, 86400}
        for delta in deltas:
            assert delta["type"] == "delta"
            before = web.get(f"/candles?interval={delta['interval']}")["candles"][-1]
            assert delta["candles"] == [before]
        stream.send(op="subscribe", channel="candles", interval=7, id=2)
        assert stream.reply(2)["error"]["field"] == "interval"
    assert web.ask("GET", "/events?channels=candles&interval=x").status == 400


def test_an_order_is_changed_over_the_socket(web: Gateway) -> None:
    number = web.order(**buy("50", "3"))["id"]
    with web.websocket("?channels=orders&account=alice") as stream:
        stream.channel("orders", "snapshot")
        stream.send(op="change", id=1, order=number, account="alice", quantity="1")
        assert stream.reply(1)["result"]["remaining"] == "1.00000000"
        stream.send(op="change", id=2, order=number, account="alice", price="51", quantity=2)
        result = stream.reply(2)["result"]
        assert (result["price"], result["remaining"]) == ("51.00", "2.00000000")
        stream.send(op="change", id=3, order=number, account="bob", price="1")
        assert stream.reply(3)["error"]["status"] == 404
        stream.send(op="change", id=4, order=number, account="alice")
        assert stream.reply(4)["error"]["field"] == "quantity"
