"""/openapi.json: it describes every route, and every route answers as described."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import msgspec
import pytest

from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell
from web.app import OPERATIONS, create_app
from web.config import Config
from web.contract import market_responses, responses
from web.contract.requests import Interval
from web.market_data.candles import INTERVALS_SECONDS

STREAMS = {"/ws", "/events"}
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,"
    "allow_header_conformance"
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


def test_every_route_is_described_and_no_other() -> None:
    none_needed = cast(Any, SimpleNamespace(hub=SimpleNamespace(), pending=SimpleNamespace()))
    app = create_app(Config("inproc://node"), none_needed)
    routes = {
        (method.lower(), re.sub("<.*>", "{id}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith("/static") and rule.rule not in STREAMS
    }
    assert routes == {(operation.method, operation.path) for operation in OPERATIONS}


def test_the_document_has_the_limits_of_the_types_that_check(web: Gateway) -> None:
    document = web.get("/openapi.json")
    order = document["components"]["schemas"]["NewOrder"]
    assert order["required"] == ["side", "quantity"]
    assert order["properties"]["account"]["maxLength"] == 64
    assert order["properties"]["quantity"]["type"] == ["string", "number"]
    parameters = document["paths"]["/candles"]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters][:2] == ["market", "interval"]
    assert get_args(get_args(Interval)[0]) == INTERVALS_SECONDS


def check(kind: Any, answer: Any) -> Any:
    return msgspec.convert(answer, kind)


def test_answers_have_the_described_fields_and_no_others(web: Gateway) -> None:
    resting = check(responses.Order, web.order(**sell("101", "2")))
    check(responses.Order, web.order(**buy("101", "1", tif="ioc", client_id="c")))
    check(responses.Order, web.order(**buy("1", "1", type="stop_limit", stop_price="200")))
    check(responses.Order, web.order(**buy("1", "1", market="ETH-USD", post_only=True)))
    check(
        responses.Order,
        web.ask("PATCH", f"/order/{resting.id}", {"quantity": 1, "account": "bob"}).json,
    )
    batch = web.ask("POST", "/orders", {"orders": [buy("90", "1"), sell("90", "1")]}).json
    check(responses.Batch, batch)
    check(responses.Orders, web.get("/orders?account=bob"))
    check(responses.Order, web.get(f"/orders/{resting.id}"))
    state = check(market_responses.State, web.get("/state"))
    assert (len(state.trades), state.peers[0].name) == (2, "solo")
    check(market_responses.Book, web.get("/book?group=5"))
    check(market_responses.Trades, web.get("/trades"))
    check(market_responses.Candles, web.get("/candles"))
    check(list[market_responses.Market], web.get("/markets"))
    check(market_responses.Mesh, web.get("/mesh"))
    check(responses.Problem, web.ask("GET", "/book?depth=0").json)
    gone = check(responses.Cancelled, web.ask("DELETE", "/orders?account=alice").json)
    assert len(gone.cancelled) == 2


def test_schemathesis_finds_nothing(web: Gateway, tmp_path: Path) -> None:
    """Seeded, so that runs are equal. Grenache RPC reports errors with status 200 and has its own
    tests."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{web.url}/openapi.json"]
    options = ["--seed", "1", "-n", "10", "--checks", CHECKS, "--exclude-operation-id", "post /"]
    options += ["--header", f"Authorization: {web.bearer}"]
    done = subprocess.run(
        [*command, *options],
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    # All but Grenache RPC and the document itself, which it takes from there.
    assert f"Tested: {len(OPERATIONS) - 2}\n" in done.stdout
    counts = web.ask("GET", "/metrics").body.decode()
    assert 'answers_total{status="200"}' in counts
    assert 'answers_total{status="429"}' not in counts, "some of it was not tried"
    assert "Traceback" not in web.log()
