"""Finished orders over HTTP: paged, found one by one, and the same after restarts."""

from pathlib import Path
from typing import Any

from tests.support.real_mesh import RealMesh
from tests.support.web_gateway import Gateway, buy, running_gateway, sell, wait_for

COUNT = 23


def paged(web: Gateway, account: str, limit: int) -> list[Any]:
    """All finished orders, read page by page."""
    found: list[Any] = []
    before = ""
    while True:
        answer = web.get(f"/orders?account={account}&limit={limit}{before}")
        assert not before or answer["orders"] == []
        found += answer["finished"]
        if len(answer["finished"]) < limit:
            return found
        before = f"&before={found[-1]['id']}"


def trade_a_little(web: Gateway) -> dict[str, Any]:
    """Orders that end in every way, and one that stays open; as answered, by id."""
    told = [web.order(**buy("90", "3", client_id="stays"))]
    told += [web.order(**sell("90", "0.5")) for _ in range(2)]
    for n in range(COUNT):
        told.append(web.order(**buy("95", "2", display="1", client_id=f"c{n}")))
        told.append(web.order(**sell("95", "1")))
        web.ask("PATCH", f"/order/{told[-2]['id']}?account=alice", {"price": "94.5"})
        if n % 2:
            web.ask("DELETE", f"/order/{told[-2]['id']}?account=alice")
        else:
            told.append(web.order(**sell("94.5", "1.5", tif="ioc")))
    told.append(web.order(**buy("91", "1", tif="fok")))
    told.append(web.order(**sell("80", "1", post_only=True)))
    assert told[-1]["status"] == "rejected"
    return {order["id"]: web.get(f"/orders/{order['id']}") for order in told}


def check(web: Gateway, told: dict[str, Any], stays: str) -> None:
    finished = {id_: order for id_, order in told.items() if id_ != stays}
    pages = paged(web, "alice", 7) + paged(web, "bob", 200)
    assert {order["id"]: order for order in pages} == finished
    assert len(pages) == len(finished), "each of them once"
    times = [order["time"] for order in paged(web, "alice", 5)]
    assert times == sorted(times, reverse=True)
    for id_, order in told.items():
        assert web.get(f"/orders/{id_}") == order, "with its fills, open or not"
    answer = web.get("/orders?account=alice")
    assert [order["id"] for order in answer["orders"]] == [stays]
    assert answer["since"] == 0


def test_finished_orders_are_the_same_after_restarts(tmp_path: Path) -> None:
    with RealMesh(tmp_path, [], size=1) as mesh:
        mesh.start()
        [peer] = mesh.peers
        with running_gateway(peer.folder) as web:
            web.wait_ready()
            told = trade_a_little(web)
            stays = next(id_ for id_, order in told.items() if order["client_id"] == "stays")
            assert told[stays]["status"] == "partly_filled"
            assert len(told[stays]["fills"]) == 2
            check(web, told, stays)
        with running_gateway(peer.folder) as web:
            web.wait_ready()
            wait_for("the journal", lambda: len(paged(web, "bob", 200)) > COUNT)
            check(web, told, stays)
        peer.kill()
        peer.start()
        with running_gateway(peer.folder) as web:
            web.wait_ready()
            check(web, told, stays)
            assert web.order(**sell("90", "2"))["status"] == "filled"
            last = web.get("/orders?account=alice&limit=1")["finished"][0]
            assert (last["id"], last["status"], last["quantity"]) == (stays, "filled", "3.00000000")
            assert len(last["fills"]) == 3


def test_invalid_pages_of_orders_are_refused_in_words(tmp_path: Path) -> None:
    with RealMesh(tmp_path, [], size=1) as mesh:
        mesh.start()
        with running_gateway(mesh.peers[0].folder) as web:
            web.wait_ready()
            wrong = web.ask("GET", "/orders?account=alice&before=x")
            assert (wrong.status, wrong.json["field"]) == (400, "id")
            wrong = web.ask("GET", "/orders?account=alice&limit=201")
            assert (wrong.status, wrong.json["field"]) == (400, "limit")
            unknown = web.get("/orders?account=alice&before=1-77")
            assert unknown["finished"] == []
            assert web.ask("GET", "/orders/1-77").status == 404
