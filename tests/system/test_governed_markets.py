"""Markets that the members of a real mesh add, change, halt and close, without any restart."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from discovery.grapes import running_grapes
from engine import Cancelled, Market, MarketStatus, Reason, Rejected, Side
from peer.client.protocol import parse_id
from peer.replica.changes import (
    AddMarket,
    Approve,
    CancelAccount,
    Change,
    ChangeMarket,
    HaltMarket,
    Propose,
)
from tests.support.real_mesh import MARKET, RealMesh, RealPeer, order, wait_for
from tests.support.web_gateway import Gateway, running_gateway

STATE = Path(__file__).parents[2] / ".run"
NEW = "SOL-USD"


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path, urls) as mesh:
            mesh.start()
            yield mesh


def command(peer: RealPeer, *words: str) -> str:
    """What `python -m peer` prints with this peer's folder after the first word."""
    first, *rest = words
    call = [sys.executable, "-m", "peer", first, str(peer.folder), *rest]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def proposed(said: str) -> str:
    """The id in the words about a new proposal."""
    first, name, rest = said.split(maxsplit=2)
    assert first == "proposal"
    assert rest == "waiting for approval: 1 of 2 needed (peer1)\n"
    return name.rstrip(":")


def status(peer: RealPeer, symbol: str = NEW) -> MarketStatus | None:
    found = peer.client.markets()
    names = [market.symbol for market in found.markets]
    return found.statuses[names.index(symbol)] if symbol in names else None


def on_all(mesh: RealMesh, wanted: MarketStatus) -> None:
    wait_for(str(wanted), lambda: all(status(peer) is wanted for peer in mesh.peers))


def reason(peer: RealPeer, account: str = "ann", side: Side = Side.BUY) -> Reason | None:
    """Why the new market rejects an order; None if it does not."""
    [result] = peer.client.execute([order(account, side, 10_000, 5, NEW)])
    event = result.events[0]
    return event.reason if isinstance(event, Rejected) else None


def test_a_market_by_one_proposal_and_one_approval(mesh: RealMesh) -> None:
    """MATCH-34, D1: it is there at once on all three pages, halts and resumes."""
    first, second, third = mesh.peers
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(running_gateway(peer.folder)).wait_ready() for peer in mesh.peers
        ]
        stream = stack.enter_context(gateways[2].websocket("?channels=markets,proposals"))
        name = proposed(command(first, "markets", "add", NEW, "--tick=0.01", "--lot=0.001"))
        told = stream.next(lambda m: m.get("channel") == "proposals" and m["open"])
        assert told["open"][0]["changes"] == [f"add market {NEW} with tick 0.01 and lot 0.001"]
        assert told["open"][0]["id"] == name
        assert f"{name}  by peer1: add market {NEW}" in command(second, "members")
        answer = gateways[1].ask("POST", f"/proposals/{name}/approve")
        assert (answer.status, answer.json) == (200, {"id": name, "state": "done"})
        on_all(mesh, MarketStatus.OPEN)
        told = stream.next(lambda m: m.get("channel") == "markets" and len(m["markets"]) == 3)
        assert told["markets"][2]["status"] == "open"
        trades(gateways)
        assert f"{NEW}      open" in command(third, "markets")

        halted = propose(gateways[0], {"change": "halt_market", "symbol": NEW})
        command(third, "members", "approve", halted)
        on_all(mesh, MarketStatus.HALTED)
        assert reason(second) is Reason.MARKET_HALTED
        resumed = propose(gateways[1], {"change": "resume_market", "symbol": NEW})
        command(first, "members", "approve", resumed)
        on_all(mesh, MarketStatus.OPEN)


def test_markets_survive_restarts_and_catching_up(mesh: RealMesh) -> None:
    """MATCH-35, MATCH-36, MATCH-37: one peer was away for all changes, another stopped after."""
    first, second, third = mesh.peers
    third.kill()
    vote(first, second, AddMarket(Market(NEW, "0.01", "0.001")))
    assert reason(first, "cyd") is None
    assert reason(second, "bob", Side.SELL) is None
    assert reason(first, "cyd") is None
    vote(first, second, CancelAccount("cyd"), ChangeMarket(NEW, quantity_min=2))
    assert not first.client.orders("cyd").open
    second.stop()
    second.start()
    third.start()
    mesh.wait_quorum(mesh.peers)
    mesh.agreed(market=NEW, since=first.client.state(NEW).commit)
    for peer in mesh.peers:
        assert peer.client.markets().markets[2].quantity_min == 2
        assert not peer.client.orders("cyd").open
        assert len(peer.client.state(NEW).trades) == 1
    assert reason(third, "dan") is None
    closed = proposed(command(first, "markets", "close", NEW))
    assert "done" in command(third, "members", "approve", closed)
    on_all(mesh, MarketStatus.CLOSED)
    assert reason(second) is Reason.MARKET_CLOSED
    assert not third.client.orders("dan").open


def vote(proposer: RealPeer, other: RealPeer, *changes: Change) -> None:
    """Propose changes and let both approve them."""
    votes = [Propose(0, changes), Approve(0, -1, 0)]
    first, second = proposer.client.govern(votes)
    assert not first.events + second.events
    [result] = other.client.govern([Approve(0, first.id, 0)])
    assert not result.events


def propose(gateway: Gateway, *changes: Any) -> str:
    answer = gateway.ask("POST", "/proposals", {"changes": list(changes)})
    assert answer.status == 200, answer.body
    assert answer.json["state"].startswith("waiting for approval: 1 of 2 needed")
    name: str = answer.json["id"]
    return name


def trades(gateways: list[Gateway]) -> None:
    """All gateways know the new market, and an order at one trades with one at another."""
    for gateway in gateways:
        wait_for("the market", lambda: NEW in {m["symbol"] for m in gateway.get("/markets")})  # noqa: B023
        wait_for("its book", lambda: gateway.ask("GET", f"/book?market={NEW}").status == 200)  # noqa: B023
    fields = {"market": NEW, "price": "100.00", "quantity": "0.005"}
    assert gateways[0].order(side="sell", account="ann", **fields)["status"] == "open"
    assert gateways[1].order(side="buy", account="bob", **fields)["status"] == "filled"
    for gateway in gateways:
        wait_for("the trade", lambda: gateway.get(f"/trades?market={NEW}")["trades"])  # noqa: B023


def test_a_proposal_is_refused_with_a_reason(mesh: RealMesh) -> None:
    first, second, _ = mesh.peers
    with running_gateway(first.folder) as gateway:
        gateway.wait_ready()
        strangers = {"Authorization": ""}
        change = {"change": "halt_market", "symbol": MARKET}
        asked = gateway.ask("POST", "/proposals", {"changes": [change]}, strangers)
        assert asked.status in (401, 403)
        for changes in ([], [{"change": "halt_market"}], [{"change": "dance"}], [change] * 9):
            answer = gateway.ask("POST", "/proposals", {"changes": changes})
            assert answer.status == 400, changes
        gone = gateway.ask("POST", "/proposals", {"changes": [change | {"symbol": "NO"}]})
        assert gone.status == 409
        assert "expected a market that is not closed, got 'NO'" in gone.json["detail"]
        assert gateway.ask("POST", "/proposals/1-99/approve").status == 404
    call = [sys.executable, "-m", "peer", "markets", str(first.folder), "change", MARKET]
    done = subprocess.run([*call, "--orders-max=5"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr == "error: BTC-USD: expected orders_max of at least 1000000, got 5\n"

    [result] = second.client.govern([Propose(0, (CancelAccount("ann"), HaltMarket(MARKET)))])
    assert result.events == []
    assert command(second, "members").count("waiting for approval: 0 of 2 needed") == 1


def test_orders_of_an_account_go_by_vote(mesh: RealMesh) -> None:
    """MATCH-37: whichever peer took them."""
    for peer in mesh.peers:
        peer.client.execute([order("ann", Side.BUY, 10_000, 5)])
    with mesh.peers[2].client.feed("account/ann", timeout_s=20) as feed:
        next(feed)
        said = command(mesh.peers[0], "accounts", "cancel", "ann", "--propose")
        command(mesh.peers[1], "members", "approve", proposed(said))
        events = [event for update in [next(feed)] for event in update.events]  # type: ignore[union-attr]
    assert [type(event) for event in events] == [Cancelled] * 3
    assert {event.reason for event in events} == {Reason.CANCELLED_BY_VOTE}  # type: ignore[union-attr]
    assert parse_id(proposed(said)) == mesh.peers[0].client.proposals().ended[0].id
