"""Strangers at one address each take as much as they can, while another client trades.

One opens accounts, each a new key; one opens sessions with keys; one opens streams and keeps them;
one fills the market with orders that no other client may cancel. A client at another address
continues to trade, and a newcomer with its own key still finds room. In the end the operator
cancels the strangers' orders, and bars one of them.
"""

import contextlib
import http.client
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from engine import Side, Submit
from peer import NodeClient, Signer
from peer.client.endpoint import endpoint
from peer.client.signer import signature_of
from peer.membership.identity import Identity
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway
from web.auth.access import ADDRESS_KEYS_MAX, SESSIONS_BURST
from web.streams.hub import ADDRESS_STREAMS_MAX

SECONDS_LONG, SECONDS_SHORT = 34.0, 5.0
ORDER_SECONDS_MAX = 10.0  # what a client waits; the figure is printed
NEWCOMER = "127.4.0.99"


class Flood:
    """Sends requests from one address without end, and counts the answers."""

    def __init__(self, gateway: Gateway, mesh: str, address: str) -> None:
        self.gateway, self.mesh, self.address = gateway, mesh, address
        self.statuses: Counter[int] = Counter()
        self.accounts: list[str] = []

    def ask(self, method: str, path: str, body: object) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.gateway.port, timeout=20, source_address=(self.address, 0)
        )
        with closing(connection):
            connection.request(method, path, json.dumps(body))
            response = connection.getresponse()
            response.read()
        return response.status

    def order(self, signer: Signer) -> int:
        made = Submit(0, signer.account, "BTC-USD", Side.BUY, 10**8, 100)
        wish = {"side": "buy", "price": "1", "quantity": "1", "account": signer.account}
        return self.ask("POST", "/order", wish | {"signature": signature_of(signer.sign(made))})

    def signer(self) -> Signer:
        signer = Signer(Identity.ephemeral(), self.mesh)
        self.accounts.append(signer.account)
        return signer

    def open_accounts(self, over: threading.Event) -> None:
        while not over.is_set():
            self.statuses[self.order(self.signer())] += 1

    def open_sessions(self, over: threading.Event) -> None:
        while not over.is_set():
            statement = self.signer().statement("solo")
            self.statuses[self.ask("POST", "/session", statement)] += 1

    def fill_the_book(self, over: threading.Event) -> None:
        signers = [self.signer() for _ in range(4)]
        for signer in itertools.cycle(signers):
            if over.is_set():
                return
            self.statuses[self.order(signer)] += 1

    def keep_streams(self, over: threading.Event) -> None:
        where = ("127.0.0.1", self.gateway.port)
        with contextlib.ExitStack() as kept:
            while not over.is_set():
                with contextlib.ExitStack() as stack:
                    sock = socket.create_connection(where, 20, (self.address, 0))
                    stack.enter_context(closing(sock))
                    sock.sendall(b"GET /events?channels=commit HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    status = int(sock.recv(4096).split()[1])
                    self.statuses[status] += 1
                    if status == 200:
                        kept.enter_context(stack.pop_all())


def attack(folder: Path, long: bool) -> str:
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        with closing(NodeClient(endpoint(data))) as client:
            mesh = client.markets().mesh
        gateway.wait_ready()
        flooders = [Flood(gateway, mesh, f"127.4.0.{n}") for n in range(1, 5)]
        kinds: tuple[Callable[[Flood, threading.Event], None], ...] = (
            Flood.open_accounts,
            Flood.open_sessions,
            Flood.keep_streams,
            Flood.fill_the_book,
        )
        over = threading.Event()
        threads = [
            threading.Thread(target=kind, args=(flood, over), daemon=True)
            for kind, flood in zip(kinds, flooders, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            seconds = _trade(gateway, SECONDS_LONG if long else SECONDS_SHORT)
            newcomer = Flood(gateway, mesh, NEWCOMER)
            assert newcomer.order(newcomer.signer()) == 200, "a newcomer finds no room"
            assert newcomer.ask("POST", "/session", newcomer.signer().statement("solo")) == 200
        finally:
            over.set()
            for thread in threads:
                thread.join(20)
        _check(flooders)
        gone = _clean_up(gateway, flooders)
    p99_ms = seconds[len(seconds) * 99 // 100] * 1000
    counts = ", ".join(str(dict(sorted(flood.statuses.items()))) for flood in flooders)
    return (
        f"new keys, sessions, streams, orders of strangers: {counts}; of {len(seconds):,} orders "
        f"beside them the p99 took {p99_ms:.0f} ms; the operator cancelled {gone:,}"
    )


def _trade(gateway: Gateway, seconds: float) -> list[float]:
    """Place orders for `seconds`; returns the sorted times that they took."""
    took, until = [], time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        assert gateway.order(**buy("1", "1"))["status"] == "open"
        took.append(time.monotonic() - began)
    assert max(took) < ORDER_SECONDS_MAX, f"an order took {max(took):.1f} s"
    return sorted(took)


def _check(flooders: list[Flood]) -> None:
    """Check that each got its share, and the right status beyond it."""
    keys, sessions, streams, orders = (flood.statuses for flood in flooders)
    for statuses in (keys, sessions, streams, orders):
        assert set(statuses) <= {200, 429, 409}, f"a stranger was answered {dict(statuses)}"
    assert keys[200] == min(ADDRESS_KEYS_MAX, keys.total()), f"new keys: {dict(keys)}"
    assert sessions[200] <= SESSIONS_BURST + SECONDS_LONG, f"sessions: {dict(sessions)}"
    assert streams[200] == min(ADDRESS_STREAMS_MAX, streams.total()), f"streams: {dict(streams)}"
    assert not orders[409] or orders[200] >= 4, f"orders: {dict(orders)}"


def _clean_up(gateway: Gateway, flooders: list[Flood]) -> int:
    """As the operator, find the accounts with most orders, cancel the orders, and bar one."""
    strangers = {account for flood in flooders for account in flood.accounts}
    rows = gateway.get("/accounts?limit=1000")["accounts"]
    found = [row["account"] for row in rows if row["account"] in strangers]
    assert found, "the operator does not see who fills the book"
    gone = 0
    for account in found:
        answer = gateway.ask("DELETE", f"/orders?account={account}")
        assert answer.status == 200, answer.body
        gone += len(answer.json["cancelled"])
    rows = gateway.get("/accounts?limit=1000")["accounts"]
    assert not strangers & {row["account"] for row in rows}
    assert gateway.ask("PUT", f"/barred?account={found[0]}").status == 200
    return gone
