"""GET /queue: what stands before my orders, from the node's own queues (MATCH-38)."""

from collections.abc import Iterator

import pytest

from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell
from web.auth.keys import Scope


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("queue")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


def place(id: str, quantity: str, orders: int) -> dict[str, object]:
    said = {"id": id, "market": "BTC-USD", "quantity": quantity, "orders": orders}
    return said | {"complete": True}


def test_it_counts_what_is_displayed_before_an_order_and_changes_with_it(web: Gateway) -> None:
    first = web.order(**buy("100", "3", "ann", display="1"))["id"]
    second = web.order(**buy("100", "2", "bob"))["id"]
    third = web.order(**buy("100", "4", "ann"))["id"]
    other = web.order(**buy("99", "4", "ann"))["id"]
    wait = web.order(**buy("99", "4", "ann", type="stop_limit", stop_price="105"))["id"]
    ids = ",".join([first, second, third, other, wait])
    before = web.get(f"/queue?account=ann&orders={ids}")
    assert before["places"] == [
        place(first, "0.00000000", 0),
        place(third, "3.00000000", 2),
        place(other, "0.00000000", 0),
    ]
    web.order(**sell("100", "1", "eve"))  # the iceberg shows its next part at the back
    assert web.get(f"/queue?account=ann&orders={first},{third}")["places"] == [
        place(first, "6.00000000", 2),
        place(third, "2.00000000", 1),
    ]
    assert web.get("/queue?account=ann")["places"] == []


def test_it_says_nothing_about_the_orders_of_others(web: Gateway) -> None:
    order = web.order(**buy("98", "1", "bob"))["id"]
    assert web.get(f"/queue?account=ann&orders={order}")["places"] == []
    key = {"Authorization": f"Bearer {web.keys.create('ann', [Scope.READ])}"}
    asked = web.ask("GET", f"/queue?account=bob&orders={order}", headers=key)
    assert asked.status == 403
    assert web.ask("GET", f"/queue?orders={order}", headers={"Authorization": ""}).status == 401


@pytest.mark.parametrize("wrong", ["x", "1-2,", ",".join(["1-2"] * 101), "1" * 5_000])
def test_it_names_a_wrong_list(web: Gateway, wrong: str) -> None:
    answer = web.ask("GET", f"/queue?account=ann&orders={wrong}")
    assert answer.status == 400
    assert answer.json["field"] in ("id", "orders")
