"""The two streams: `/ws` (WebSocket) and `/events` (server-sent events).

Owns the handover of a connection: flask-sock does the handshake, then the hub takes the socket, so
that no stream holds a thread. Must never write to a socket after that.
"""

import re
import socket
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_sock import Sock
from werkzeug.datastructures import Headers

from peer.process.descriptors import is_full
from web.auth.access import address
from web.auth.keys import Scope
from web.contract import requests
from web.contract.problems import Problem
from web.gateway import Gateway
from web.routes import request as http
from web.serve.connections import HAND_OVER
from web.streams.channels import ACCOUNT_CHANNELS, GLOBAL_CHANNELS, MARKET_CHANNELS, channel_key
from web.streams.frames import CLOSE_TRY_LATER
from web.streams.subscriber import Client, Kind

DEFAULT_CHANNELS = "book,trades,commit,mesh"
RETRY_MS = 2_000


class _NoThread:
    """Replaces flask-sock's thread per connection: the hub reads all connections."""

    name = ""

    def __init__(self, target: object = None) -> None:
        pass

    def start(self) -> None:
        pass


class _HandedOver(Response):
    """Tells the web server that there is no response to write, as flask-sock does."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise StopIteration


def register(app: Flask) -> None:
    app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": _NoThread}
    app.before_request(_before_handshake)
    app.add_url_rule("/events", "events", events)
    sock = Sock(app)
    sock.route("/ws")(websocket)


def _before_handshake() -> None:
    """Make the checks that can still be answered over HTTP. Does not offer permessage-deflate: it
    takes four times the CPU, and clients could not share frames."""
    if request.path == "/ws":
        _check_handshake()
        request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        gateway = http.the_gateway()
        _check_room(gateway)
        g.channels = wanted_channels(gateway)
        _check_alone()


def _check_handshake() -> None:
    """Check the handshake by RFC 6455, 4.2.1, since flask-sock's errors are not in our shape."""
    headers = request.headers
    tokens = {token.strip().lower() for token in headers.get("Connection", "").split(",")}
    if headers.get("Upgrade", "").strip().lower() != "websocket" or "upgrade" not in tokens:
        raise Problem(400, "This is for WebSockets: see /docs.", "websocket")
    if headers.get("Sec-WebSocket-Version", "").strip() != "13":
        raise Problem(400, "Only version 13 of WebSocket is supported.", "websocket")
    if request.method != "GET" or request.environ["SERVER_PROTOCOL"] != "HTTP/1.1":
        raise Problem(400, "A WebSocket begins with a GET of HTTP/1.1.", "handshake")
    if request.content_length:
        raise Problem(400, "A WebSocket's handshake has no body.", "handshake")
    key = headers.get("Sec-WebSocket-Key", "").strip()
    if not re.fullmatch("[A-Za-z0-9+/]{22}==", key):
        raise Problem(400, "Sec-WebSocket-Key must be 16 bytes in base64.", "handshake")


def _check_alone() -> None:
    if HAND_OVER not in request.environ:
        raise Problem(400, "A stream needs a connection without other requests.", "not_alone")


def _check_room(gateway: Gateway) -> None:
    if gateway.hub.is_full(gateway.access.is_known(gateway.access.of_request())):
        raise _no_room()
    if gateway.hub.has_enough(address()):
        text = "Too many streams are open from this address."
        raise Problem(429, text, "too_many_streams")


def _no_room() -> Problem:
    return Problem(503, "Too many streams are open on this peer.", "too_many_streams")


def wanted_channels(gateway: Gateway) -> list[str]:
    """The channels in the query: `?channels=book,trades&market=BTC-USD&account=…`."""
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
    interval = requests.interval_of(request.args.get("interval", ""))
    keys = [channel_key(kind, market, account, interval) for kind in dict.fromkeys(kinds)]
    return [key for key in keys if key]


def _take_over() -> socket.socket:
    """Take the connection from the web server."""
    try:
        mine: socket.socket = request.environ[HAND_OVER]()
    except OSError as error:
        if is_full(error):
            raise _no_room() from None
        raise
    mine.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 18), 20_000)
    return mine


def _held(gateway: Gateway) -> dict[str, Any]:
    """The credential and address of a stream's client. An expired credential, such as the cookie of
    an old session, counts as none."""
    credential = gateway.access.of_request()
    stands = gateway.access.who(credential) is not None
    return {
        "credential": credential if stands else None,
        "address": address(),
        "is_known": gateway.access.is_known(credential),
    }


def websocket(ws: Any) -> None:
    gateway = http.the_gateway()
    try:
        taken = _take_over()
    except Problem as problem:
        ws.close(CLOSE_TRY_LATER, problem.detail)
        return
    client = Client(taken, Kind.WEBSOCKET, g.channels, **_held(gateway))
    ws.connected = False
    gateway.hub.adopt(client)


def events() -> Response:
    gateway = http.the_gateway()
    _check_room(gateway)
    channels = wanted_channels(gateway)
    if request.method == "HEAD":
        return _event_response()
    _check_alone()
    greeting = _event_headers() + f"retry: {RETRY_MS}\n\n".encode()
    holds = _held(gateway)
    client = Client(_take_over(), Kind.EVENTS, channels, _resume(gateway), greeting, **holds)
    gateway.hub.adopt(client)
    return _HandedOver()


def _event_response() -> Response:
    response = Response(content_type="text/event-stream")
    response.headers = Headers(
        {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )
    return response


def _event_headers() -> bytes:
    response = current_app.process_response(_event_response())
    lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    lines.append("Connection: close\r\n")
    return ("HTTP/1.1 200 OK\r\n" + "".join(lines) + "\r\n").encode()


def _resume(gateway: Gateway) -> int | None:
    """The number of the last event that the client saw; -1 if it is of another epoch, so that it is
    too old."""
    text = request.headers.get("Last-Event-ID") or request.args.get("last_event_id") or ""
    if not text:
        return None
    epoch, _, number = text.partition("-")
    known = epoch == gateway.epoch and number.isascii() and number.isdigit()
    return int(number[:18]) if known else -1
