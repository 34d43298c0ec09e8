"""An order that is sent again with its client id, on pages and in lists."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web_gateway import (
    Gateway,
    buy,
    lone_peer,
    lone_peer_again,
    running_gateway,
    sell,
)

NO_ID = ("status", "reason", "detail")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with lone_peer(tmp_path_factory.mktemp("again")) as data:
        yield data


@pytest.mark.parametrize("how", ["cancelled", "filled"])
def test_an_order_sent_again_after_its_end_stays_ended(peer: Path, how: str) -> None:
    """Its gateway was restarted meanwhile, and does not know the order."""
    account = f"ann-{how}"
    mine = sell("100.50", "2", account, client_id="a")
    with running_gateway(peer) as first:
        first.wait_ready()
        number = first.order(**mine)["id"]
        if how == "cancelled":
            assert first.ask("DELETE", f"/order/{number}?account={account}").status == 200
        else:
            first.order(**buy("100.50", "2", "bob"))
    with running_gateway(peer) as second:
        second.wait_ready()
        with second.websocket(f"?channels=orders&account={account}") as stream:
            assert stream.channel("orders", "snapshot")["orders"] == []
            assert second.order(**mine)["id"] == number
            assert second.get(f"/orders?account={account}")["orders"] == []
            assert second.get(f"/orders/{number}")["status"] == how
            stream.send(op="order", id=1, order=mine)
            assert stream.reply(1)["result"]["id"] == number
            with second.websocket(f"?channels=orders&account={account}") as another:
                assert another.channel("orders", "snapshot")["orders"] == []
        assert second.ask("DELETE", f"/order/{number}?account={account}").status == 404
        assert second.get("/book")["asks"] == []


def test_another_order_with_the_same_client_id_is_refused(peer: Path) -> None:
    with running_gateway(peer) as web:
        web.wait_ready()
        mine = buy("1", "1", "cid", client_id="mine")
        number = web.order(**mine)["id"]
        for change in ({"quantity": "2"}, {"price": "2"}, {"side": "sell"}, {"tif": "ioc"}):
            refused = web.ask("POST", "/order", mine | change)
            assert (refused.status, refused.json["type"]) == (409, "urn:p2p-orderbook:other_order")
        assert web.order(**mine)["id"] == number
        assert _open(web, "cid") == [number]


@pytest.mark.parametrize("how", ["open", "cancelled"])
def test_a_restarted_peer_still_knows_the_order(tmp_path: Path, how: str) -> None:
    mine = buy("1", "1", "ann", client_id="mine")
    with lone_peer(tmp_path) as data, running_gateway(data) as web:
        number = web.wait_ready().order(**mine)["id"]
        if how == "cancelled":
            assert web.ask("DELETE", f"/order/{number}?account=ann").status == 200
    with lone_peer_again(tmp_path) as data, running_gateway(data) as web:
        web.wait_ready()
        for change in ({"quantity": "2"}, {"side": "sell"}):
            refused = web.ask("POST", "/order", mine | change)
            assert (refused.status, refused.json["type"]) == (409, "urn:p2p-orderbook:other_order")
        lost = web.ask("POST", "/order", mine)
        assert (lost.status, lost.json["type"]) == (504, "urn:p2p-orderbook:result_lost")
        assert _open(web, "ann") == ([number] if how == "open" else [])


def _open(web: Gateway, account: str) -> list[str]:
    return [order["id"] for order in web.get(f"/orders?account={account}")["orders"]]


def test_strangers_do_not_learn_the_owner_of_an_order(peer: Path) -> None:
    """For a client without permission the order does not exist."""
    with running_gateway(peer) as web:
        web.wait_ready()
        theirs, none = web.order(**buy("1", "1", "ann"))["id"], "1-999999"
        bearer = {"Authorization": f"Bearer {web.keys.create('eve', ['trade'])}"}

        def told(method: str, path: str, body: object = None) -> tuple[int, object]:
            answer = web.ask(method, path, body, bearer)
            view = {k: v for k, v in answer.json.items() if k not in ("id", "commit")}
            return answer.status, str(view).replace(theirs, "N").replace(none, "N")

        for method, path, body in (
            ("GET", "/orders/{}", None),
            ("DELETE", "/order/{}", None),
            ("PATCH", "/order/{}", {"quantity": "0.5"}),
            ("PATCH", "/order/{}", {"price": "2"}),
        ):
            known, unknown = (told(method, path.format(name), body) for name in (theirs, none))
            assert known == unknown
            assert known[0] == 404
        with web.websocket(bearer=bearer["Authorization"]) as stream:
            errors = []
            for name in (theirs, none):
                stream.send(op="cancel", id=name, order=name)
                error = stream.reply(name)
                told_of = {k: error[k] for k in ("ok", "result")}
                told_of["result"] = {k: v for k, v in error["result"].items() if k in NO_ID}
                errors.append(told_of)
        assert errors[0] == errors[1]
        assert errors[0]["result"]["reason"] == "unknown_order"
        assert _open(web, "ann") == [theirs]
