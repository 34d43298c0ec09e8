"""The two streams: `/ws` (WebSocket) and `/events` (server-sent events).

Owns the moment a connection leaves the web server: flask-sock shakes hands, and the socket goes to
the hub, so that no stream holds a thread. Must never write to a socket after that.
"""

import os
import socket
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_sock import Sock
from werkzeug.datastructures import Headers

from peer.keys import Scope
from web import http, schema
from web.access import address
from web.client import Client, Kind
from web.gateway import Gateway
from web.problems import Problem
from web.publisher import ACCOUNT_CHANNELS, GLOBAL_CHANNELS, MARKET_CHANNELS, channel_key

DEFAULT_CHANNELS = "book,trades,commit,mesh"
RETRY_MS = 2_000


class _NoThread:
    """flask-sock reads each connection in a thread of its own; here the hub reads them all."""

    name = ""

    def __init__(self, target: object = None) -> None:
        pass

    def start(self) -> None:
        pass


class _HandedOver(Response):
    """Tells the web server that the connection is none of its business any more."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise StopIteration


def register(app: Flask) -> None:
    app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": _NoThread}
    app.before_request(_before_handshake)
    app.add_url_rule("/events", "events", events)
    sock = Sock(app)
    sock.route("/ws")(websocket)


def _before_handshake() -> None:
    """What can still be answered as HTTP. permessage-deflate is not offered: it costs four times
    the processor, and frames could not be shared."""
    if request.path == "/ws" and "Upgrade" in request.headers:
        request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        gateway = _gateway()
        _check_room(gateway)
        gateway.access.of_request()
        g.channels = wanted_channels(gateway)


def _check_room(gateway: Gateway) -> None:
    if gateway.hub.is_full:
        raise Problem(503, "Too many streams are open on this peer.", "too_many_streams")


def _gateway() -> Gateway:
    gateway = current_app.extensions["gateway"]
    assert isinstance(gateway, Gateway)
    return gateway


def wanted_channels(gateway: Gateway) -> list[str]:
    """The channels the query asks for: `?channels=book,trades&market=BTC-USD&account=…`."""
    default = DEFAULT_CHANNELS + (",orders" if request.args.get("account") else "")
    kinds = [k for k in request.args.get("channels", default).split(",") if k]
    unknown = set(kinds) - {*MARKET_CHANNELS, *ACCOUNT_CHANNELS, *GLOBAL_CHANNELS}
    if unknown:
        raise Problem(
            404, f"There is no channel {min(unknown):.40}.", "unknown_channel", "channels"
        )
    market = ""
    if set(kinds) & set(MARKET_CHANNELS):
        market = gateway.units(request.args.get("market", "")).market.symbol
    account = http.account(Scope.READ) if set(kinds) & set(ACCOUNT_CHANNELS) else ""
    interval = schema.interval_of(request.args.get("interval", ""))
    keys = [channel_key(kind, market, account, interval) for kind in dict.fromkeys(kinds)]
    return [key for key in keys if key]


def _take_over(sock: socket.socket) -> socket.socket:
    """The connection, as our own socket. The web server keeps a closed one under the old number: it
    shuts down what it believes to be its own, and a shutdown would reach every copy."""
    mine = sock.dup()
    stub, other = socket.socketpair()
    other.close()
    os.dup2(stub.fileno(), sock.fileno(), inheritable=False)
    stub.close()
    mine.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 18), 20_000)
    return mine


def websocket(ws: Any) -> None:
    gateway = _gateway()
    holds = {"credential": g.credential, "address": address()}
    client = Client(_take_over(ws.sock), Kind.WEBSOCKET, g.channels, **holds)
    ws.connected = False
    gateway.hub.adopt(client)


def events() -> Response:
    gateway = _gateway()
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        raise Problem(503, "This web server can't hand over a connection.", "no_stream")
    _check_room(gateway)
    channels = wanted_channels(gateway)
    greeting = _event_headers() + f"retry: {RETRY_MS}\n\n".encode()
    client = Client(_take_over(sock), Kind.EVENTS, channels, _resume(gateway), greeting)
    gateway.hub.adopt(client)
    return _HandedOver()


def _event_headers() -> bytes:
    response = Response(content_type="text/event-stream")
    response.headers = Headers(
        {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            "Connection": "close",
        }
    )
    response = current_app.process_response(response)
    lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    return ("HTTP/1.1 200 OK\r\n" + "".join(lines) + "\r\n").encode()


def _resume(gateway: Gateway) -> int | None:
    """The number of the last event this client saw; one of another epoch is too old, whatever it
    is."""
    text = request.headers.get("Last-Event-ID") or request.args.get("last_event_id") or ""
    if not text:
        return None
    epoch, _, number = text.partition("-")
    known = epoch == gateway.epoch and number.isascii() and number.isdigit()
    return int(number[:18]) if known else -1
