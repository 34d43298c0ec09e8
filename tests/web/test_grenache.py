"""Grenache RPC: the published Node client, real Grapes and a real mesh of three."""

import gzip
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discovery import Grape
from discovery.grapes import running_grapes
from discovery.grapes.nodejs import find_node, npm_ci
from peer.replica.changes import AddMember, Approve, Propose
from peer.storage import data_folder
from tests.support.real_mesh import RealMesh, RealPeer, wait_for
from tests.support.web_gateway import Gateway, running_gateway, sell, stand_in
from web.auth.keys import KEYS_FILE, Keys, Scope

STATE = Path(__file__).parents[2] / ".run"
CLIENT = Path(__file__).parents[1] / "support" / "grenache_client"
API = Path(__file__).parents[2] / "docs" / "api.md"


class NodeClient:
    """Runs `call.js` where the lock file's packages are."""

    def __init__(self, grape: str, service: str, mesh: RealMesh) -> None:
        self.key: str | None = None  # known to every peer: Grenache may ask any of them
        for peer in mesh.peers:
            with closing(Keys(peer.folder / KEYS_FILE)) as keys:
                self.key = keys.create("operator", [Scope.ADMIN], self.key)
        self.folder = npm_ci(CLIENT, STATE / "grenache_client", lambda text: None).parent
        self.node = find_node(lambda text: None).node
        self.grape, self.service = grape, service
        script = self.folder / "call.js"
        script.write_text((CLIENT / "call.js").read_text())
        self._command = [*self.node, str(script), grape, service]

    def call(self, *calls: dict[str, Any]) -> list[Any]:
        command = [*self._command, *(json.dumps(call) for call in calls)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def request(self, compress: bool = False, **payload: Any) -> Any:
        payload = {"key": self.key} | payload
        return self.call({"how": "request", "payload": payload, "compress": compress})[0]

    def map(self, compress: bool = False, **payload: Any) -> Any:
        payload = {"key": self.key} | payload
        return self.call({"how": "map", "payload": payload, "compress": compress})[0]


@pytest.fixture(scope="module")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeClient]:
    with running_grapes(2, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path_factory.mktemp("mesh"), urls, ui=True) as mesh:
            mesh.start()
            service = f"p2p-orderbook:rpc:{mesh.config.id.hex()}"
            asked = Grape([urls[1]])
            wait_for("three services", lambda: len(asked.lookup(service)) == 3)
            asked.close()
            yield NodeClient(urls[0], service, mesh)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_node_programs_trade_with_any_peer_they_find(
    node_client: NodeClient, compress: bool
) -> None:
    def ask(**payload: Any) -> Any:
        reply = node_client.request(compress, **payload)
        assert reply["error"] is None
        return reply["result"]

    resting = ask(op="submit", order=sell("101.5", "2", "node"))
    assert (resting["status"], resting["price"]) == ("open", "101.50")
    taken = ask(op="submit", order={"side": "buy", "price": "101.5", "quantity": 0.5})
    [fill] = taken["fills"]
    assert (fill["price"], fill["quantity"], fill["maker"]) == ("101.50", "0.50000000", False)
    assert fill["trade"] >= 1
    assert fill["time"] == taken["time"]
    gone = ask(op="cancel", order=resting["id"], account="node")
    assert (gone["id"], gone["status"]) == (resting["id"], "cancelled")

    def everywhere() -> bool:
        books = node_client.map(compress, op="book", depth=5)["result"]
        return [(book["bids"], book["asks"]) for book in books] == [([], [])] * 3

    wait_for("three equal books", everywhere)
    newest = node_client.map(compress, op="trades", limit=1)["result"]
    assert {trades["trades"][0]["taker"] for trades in newest} == {taken["id"]}


def test_the_documented_program_trades(node_client: NodeClient) -> None:
    program = API.read_text().partition("```js\n")[2].partition("```")[0]
    assert "http://127.0.0.1:30001" in program
    script = node_client.folder / "example.js"
    script.write_text(program.replace("http://127.0.0.1:30001", node_client.grape))
    mesh = node_client.service.rpartition(":")[2]
    done = subprocess.run(
        [*node_client.node, str(script)],
        env={"API_KEY": node_client.key or "", "MESH": mesh},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("null {"), done
    assert "status: 'open'" in done.stdout
    for order in node_client.map(op="book")["result"]:
        assert order["market"] == "BTC-USD"
    number = done.stdout.partition("id: '")[2].partition("'")[0]
    assert node_client.request(op="cancel", order=number)["result"]["status"] == "cancelled"


def test_a_call_to_all_peers_is_carried_out_by_each(node_client: NodeClient) -> None:
    replies = node_client.map(op="submit", order=sell("150", "1", "mapped"))["result"]
    assert len({reply["id"] for reply in replies}) == 3
    for reply in replies:
        node_client.request(op="cancel", order=reply["id"], account="mapped")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"op": "submit", "order": sell("1.001", "1")}, "ERR_INVALID_PRICE"),
        ({"op": "submit", "order": sell("1", "1"), "key": ""}, "ERR_UNAUTHORISED"),
        ({"op": "cancel", "order": "1-1", "key": "p2p_no_such"}, "ERR_UNAUTHORISED"),
        ({"op": "submit"}, "ERR_INVALID"),
        ({"op": "cancel", "order": "1-999999"}, "ERR_UNKNOWN_ORDER"),
        ({"op": "book", "market": "X"}, "ERR_UNKNOWN_MARKET"),
        ({"op": "book", "depth": 1001}, "ERR_INVALID_DEPTH"),
        ({"op": "explode"}, "ERR_INVALID_OP"),
    ],
)
def test_errors_have_a_code_and_a_sentence(
    node_client: NodeClient, payload: dict[str, Any], error: str
) -> None:
    reply = node_client.request(**payload)
    code, _, sentence = reply["error"].partition(": ")
    assert (code, reply["result"]) == (error, None)
    assert sentence.endswith(".")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("web")
    with stand_in(folder), running_gateway(folder) as gateway:
        yield gateway.wait_ready()


def call(web: Gateway, body: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = web.ask("POST", "/", body, named)
    assert answer.status == 200
    zipped = headers.get("grc_compress") == "gzip"
    return json.loads(gzip.decompress(answer.body) if zipped else answer.body)


def test_any_input_is_answered_with_an_array(web: Gateway) -> None:
    good = b'["r1", "any", {"op": "book"}]'
    assert call(web, good)[:2] == ["r1", None]
    assert call(web, gzip.compress(good), grc_compress="gzip")[:2] == ["r1", None]
    assert call(web, b'["r1", "any", 7]')[1].startswith("ERR_NOT_OBJECT")
    for body in (b"", b"{}", b"[1, 2, 3]", b'["a"]', b'["' + b"r" * 129 + b'", "s", {}]'):
        assert call(web, body)[0] is None, body
    assert call(web, good, grc_compress="gzip")[1].startswith("ERR_NOT_GZIP")


def test_a_small_body_that_unzips_to_a_large_one_is_not_unzipped(web: Gateway) -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < 256 * 1024
    assert call(web, bomb, grc_compress="gzip")[1].startswith("ERR_TOO_LARGE")
    assert web.ask("POST", "/", b" " * (256 * 1024 + 1)).status == 413


def test_pages_of_other_sites_can_not_call(web: Gateway) -> None:
    body = b'["r1", "any", {"op": "submit", "order": {}}]'
    assert web.ask("POST", "/", body, {"Origin": "http://evil.example"}).status == 403
    assert call(web, body, Origin=web.url)[1].startswith("ERR_INVALID_")


def test_a_gateway_is_found_once_its_peer_is_a_member(tmp_path: Path) -> None:
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path, urls, size=1, observers="any") as mesh:
            mesh.start()
            service = f"p2p-orderbook:rpc:{mesh.config.id.hex()}"
            key = data_folder.create(tmp_path / "guest").public.hex()
            guest = RealPeer(tmp_path / "guest", mesh.file, urls, ui=True)
            mesh.peers.append(guest)
            guest.start()
            wait_for("its page", lambda: "serving at" in guest.log())
            wait_for("it follows", guest.sees_quorum)
            assert Grape(urls).lookup(service) == []
            add = (AddMember("guest", key),)
            mesh.peers[0].client.govern([Propose(0, add), Approve(0, -1, 0)])
            [found] = wait_for("its gateway", lambda: Grape(urls).lookup(service))
            assert f"serving at http://127.0.0.1:{found.port}" in guest.log()
