"""Where the gateway reads what browsers, programs and Grenache clients send.

HTTP goes through the whole Flask application to a real engine; the bytes of a WebSocket go through
the hub's own reader, with nothing behind it.
"""

import contextlib
import functools
import json
import logging
import select
import socket
import tempfile
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec
from flask import Flask
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Ping, TextMessage

from peer.client.protocol import Markets
from peer.client.units import AmountError, parse_amount, units_of
from peer.replica.order_state import OrderView
from tests.fuzz import Target, mutate
from tests.support.web_gateway import wait_for
from tests.support.web_standin import MARKETS, StandInNode
from web.app import create_app
from web.auth.keys import KEYS_FILE, Scope
from web.config import Config
from web.contract import requests
from web.contract.problems import Problem
from web.gateway import Gateway
from web.streams.subscriber import Client, ClosedError, Kind

UNITS = units_of(MARKETS[0])
KNOWN = OrderView(256, "a", MARKETS[0].symbol, price=10_000, quantity=5, remaining=5)
KINDS = (requests.NewOrder, requests.Change, requests.Withdrawal, requests.CancelOrder)
QUERIES = (
    requests.StateQuery,
    requests.BookQuery,
    requests.TradesQuery,
    requests.CandlesQuery,
    requests.OfAccount,
)
ORDER = {
    "side": "buy",
    "quantity": "1.5",
    "type": "stop_limit",
    "price": 100.25,
    "market": "BTC-USD",
    "account": "a",
    "tif": "gtd",
    "post_only": False,
    "stop_price": "101",
    "display": "0.5",
    "self_trade": "decrement",
    "expire": "2030-01-01T00:00:00Z",
    "client_id": "mine",
}
WISHES: list[object] = [
    ORDER,
    ORDER | {"tif": None, "expire": None, "type": "limit", "stop_price": None},
    {"price": "1", "quantity": 2},
    {"account": "a", "market": "BTC-USD", "side": "sell"},
    {"order": "1-17", "account": "a"},
    {"orders": [ORDER, ORDER]},
]


# Bodies, as values


def read_wish(data: bytes) -> None:
    try:
        value = requests.parse_json(data)
    except Problem:
        return
    for kind in KINDS:
        try:
            parsed = requests.parse(kind, value)
        except Problem:
            continue
        try:
            match parsed:
                case requests.NewOrder():
                    msgspec.msgpack.encode(requests.submit_of(parsed, UNITS, "me"))
                case requests.Change():
                    msgspec.msgpack.encode(requests.change_of(parsed, KNOWN, UNITS))
                case requests.Withdrawal():
                    requests.cancel_all_of(parsed, "me")
                case requests.CancelOrder():
                    requests.cancel_of(parsed, "me")
        except Problem:
            pass


def read_text(data: bytes) -> None:
    """A decimal, an id, an account, a step or an interval: whatever the text is taken for."""
    text = data.decode(errors="replace")
    for read in (requests.order_id, requests.interval_of, lambda it: requests.account_of(it, "")):
        with contextlib.suppress(Problem):
            read(text)
    with contextlib.suppress(Problem):
        requests.group_of(text, UNITS)
    for value in (text, data, len(data)):
        try:
            count = UNITS.price.count(parse_amount(value))
        except AmountError:
            continue
        assert Decimal(UNITS.price.text(count)) == parse_amount(value)


def read_query(data: bytes) -> None:
    try:
        value = json.loads(data)
    except ValueError:
        return
    if isinstance(value, dict):
        arguments = {str(key): str(item) for key, item in value.items()}
        for kind in QUERIES:
            with contextlib.suppress(Problem):
                requests.query(kind, arguments)


# The whole application


class Faults(logging.Handler):
    """Remembers what a thread of the gateway could only write to its log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


class Served:
    """The application with a client that holds an admin's key. `is_live`: before a real engine,
    and started; else it has heard of its markets and no more."""

    def __init__(self, is_live: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        folder = Path(self._folder.name)
        self._node = StandInNode(f"ipc://{folder}/node")
        where, keys = self._node.where, str(folder / KEYS_FILE)
        self.gateway = Gateway(
            Config(where.address, keys=keys, account_rate=1e12, address_rate=1e12)
        )
        self.app: Flask = create_app(self.gateway.config, self.gateway)
        self.faults = Faults()
        logging.getLogger("web").addHandler(self.faults)
        if is_live:
            self._node.start()
            self.gateway.start()
            wait_for("the node", lambda: self.gateway.mirrors.state == "live")
        else:
            self.gateway.feed._take_markets(Markets("alpha", "00" * 16, list(MARKETS)))
        self.door = socket.create_server(("127.0.0.1", 0))
        assert self.gateway.access.keys is not None
        self.token = self.gateway.access.keys.create("op", [Scope.ADMIN])
        self.credential = self.gateway.access.of_token(self.token, "here")
        self.app.config["PROPAGATE_EXCEPTIONS"] = True
        self.app.error_handler_spec[None][None].pop(Exception, None)  # our bugs must be seen
        self.client = self.app.test_client()

    def forget(self) -> None:
        """What the threads of a started gateway would have taken away."""
        self.gateway.link._inbox.clear()
        self.gateway.hub._inbox.clear()


@functools.cache
def served(is_live: bool) -> Served:
    return Served(is_live)


READS = ("/state", "/book", "/trades", "/candles", "/ticker", "/markets", "/mesh", "/orders")


def ask(data: bytes) -> None:
    """[method, path, query, body, headers] as JSON; anything else is the body of an RPC call."""
    app = served(is_live=True)
    try:
        method, path, query, body, headers = json.loads(data)
        method, path = str(method).upper(), "/" + quote(str(path).lstrip("/"), safe="/%")
        query = urlencode({str(k): str(v) for k, v in query.items()})
        sent = {str(k)[:40]: str(v)[:200] for k, v in headers.items()}
        raw = json.dumps(body).encode()
    except (ValueError, TypeError, AttributeError, UnicodeEncodeError):
        method, path, query, raw, sent = "POST", "/", "", data, {}
    if not (method.isascii() and method.isalpha()):
        method = "GET"
    known = {"Authorization", "Origin", "grc-compress", "Cookie", "Last-Event-ID"}
    sent = {k: v for k, v in sent.items() if k in known and v.isascii() and v.isprintable()}
    held = {"Authorization": f"Bearer {app.token}"} | sent
    answer = app.client.open(
        path, method=method, query_string=query, data=raw, headers=held, base_url="http://localhost"
    )
    answer.close()
    assert answer.status_code < 500 or answer.status_code in (503, 504), answer.data
    assert not app.faults.seen, app.faults.seen


def asked_seeds() -> list[bytes]:
    query = {"market": "BTC-USD", "depth": "5", "group": "0.5", "limit": "3", "interval": "60"}
    reads = [["GET", path, query, None, {"Origin": "http://localhost"}] for path in READS]
    order = {"op": "submit", "order": ORDER}
    calls = [
        ["POST", "/", {}, ["rid", "service", call], {}]
        for call in (
            order,
            {"op": "cancel", "order": "1-17"},
            {"op": "book", "market": "BTC-USD", "depth": 10, "key": "p2p_x_y"},
            {"op": "trades", "limit": 10},
        )
    ]
    writes = [
        ["POST", "/order", {}, ORDER, {"Authorization": "Bearer p2p_x_y"}],
        ["POST", "/orders", {}, {"orders": [ORDER]}, {}],
        ["PATCH", "/order/1-17", {}, {"quantity": 1}, {}],
        ["DELETE", "/order/1-17", {"account": "a"}, None, {"Cookie": "session=x"}],
        ["DELETE", "/orders", {"side": "buy"}, None, {}],
        ["GET", "/orders/1-17", {}, None, {}],
        ["GET", "/", {"token": "x" * 43}, None, {}],
        ["DELETE", "/session", {}, None, {}],
        ["GET", "/static/app.js", {}, None, {"Last-Event-ID": "ab-7"}],
    ]
    return [json.dumps(each).encode() for each in (*reads, *calls, *writes)]


# WebSocket


def read_stream(data: bytes) -> None:
    """What a browser sends after the handshake, as bytes of the connection."""
    app = served(is_live=False)
    app.forget()
    theirs = socket.create_connection(app.door.getsockname())
    ours, _ = app.door.accept()
    client = Client(ours, Kind.WEBSOCKET, [], credential=app.credential, address="here")
    try:
        theirs.sendall(data[: 64 * 1024])
        theirs.shutdown(socket.SHUT_WR)
        while True:
            select.select([ours], [], [])
            for text in client.receive():
                app.gateway.hub.source.on_message(client, text)
            client.check()
    except ClosedError:
        pass
    finally:
        for channel in list(client.channels):
            app.gateway.hub.unsubscribe(client, channel)
        ours.close()
        theirs.close()


def said_by(messages: list[object]) -> bytes:
    """The bytes of text messages and a ping of a client; the mask is the client's own choice."""
    client = Connection(ConnectionType.CLIENT)
    said = [client.send(TextMessage(json.dumps(each))) for each in messages]
    return b"".join([*said, client.send(Ping(b"x"))])


def of_stream(rng: mutate.random.Random, data: bytes) -> bytes:
    """Other messages in right frames, or wrong frames."""
    if rng.random() < 0.5:
        return mutate.of_bytes(rng, data)
    return said_by([mutate.of_value(rng, message, mutate._odd_json) for message in SAID])


SAID: list[object] = [
    {"op": "subscribe", "id": 1, "channel": "candles", "interval": 60, "market": "BTC-USD"},
    {"op": "order", "id": "x", "order": ORDER},
    {"op": "change", "id": 2, "order": "1-17", "quantity": "1", "account": "a"},
    {"op": "cancel", "id": 3, "order": "1-17", "account": "a"},
    {"op": "cancel_all", "id": 4, "account": "a", "side": "buy"},
    {"op": "unsubscribe", "id": 1, "channel": "candles", "interval": 60},
    {"op": "ping"},
]


def _json(values: list[object]) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


TEXTS = [b"100.50", b"1-17", b"alice", b"0.01", b"60", b"2030-01-01T00:00:00Z"]
ARGUMENTS: list[object] = [
    {"market": "BTC-USD", "depth": 5, "group": "0.5", "peers": 1},
    {"limit": 10, "before": 99, "interval": 60, "account": "a"},
]

TARGETS = {
    "wish": lambda: Target(_json(WISHES), mutate.of_json, read_wish),
    "text": lambda: Target(TEXTS, mutate.of_bytes, read_text),
    "query": lambda: Target(_json(ARGUMENTS), mutate.of_json, read_query),
    "http": lambda: Target(asked_seeds(), mutate.of_json, ask),
    "websocket": lambda: Target([said_by(SAID)], of_stream, read_stream),
}
