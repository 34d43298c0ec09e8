"""Grenache RPC over HTTP, for a `grenache-nodejs-http` client that found the peer on a Grape.

Owns the protocol: `POST /` with the body `[rid, service, payload]`, answered with `[rid, error,
result]`, both gzipped if the header `grc-compress` says so. Errors are text and come with status
200; otherwise the client does not show them. Must never answer with anything but an array: an
object crashes the Node client.

    {"op": "submit", "key": "p2p_…", "order": {"side": "buy", …}}
    {"op": "cancel", "key": "p2p_…", "order": "1-17", "account": "alice"}
    {"op": "book", "market": "BTC-USD", "depth": 10}
    {"op": "trades", "market": "BTC-USD", "limit": 10}
"""

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from web.auth.access import address
from web.config import BODY_BYTES_MAX
from web.contract import requests
from web.contract.market_responses import BookOfPeers, Trades
from web.contract.openapi import PUBLIC
from web.contract.problems import Problem
from web.contract.responses import Call, Reply, Result
from web.routes.market import levels_of, trades_of
from web.routes.operations import Routes
from web.routes.request import Json, commands, for_account, the_gateway

routes = Routes("grenache")
RID_MAX = 128  # characters
_GZIP = 16 + zlib.MAX_WBITS


@routes.operation("post", "/", Call, (403, 413, *PUBLIC), body=Call)
def call() -> Response:
    """Grenache RPC: [rid, service, payload] to [rid, error, result]."""
    zipped = "gzip" in request.headers.get("grc-compress", "")
    rid: str | None = None
    try:
        rid, payload = _parse(_body(zipped))
        reply = [rid, None, _answer_to(payload)]
    except Problem as problem:
        reply = [rid, _text(problem), None]
    except HTTPException:
        raise
    except Exception as error:
        current_app.logger.exception("a call failed", exc_info=error)
        reply = [rid, "ERR_FAILED: The gateway failed; its log says why.", None]
    data = msgspec.json.encode(reply)
    return Response(gzip.compress(data, 1) if zipped else data, content_type="application/json")


def _body(zipped: bool) -> bytes:
    """The request's body, unzipped, within BODY_BYTES_MAX."""
    data = request.get_data(cache=False)
    if not zipped:
        return data
    inflate = zlib.decompressobj(_GZIP)
    try:
        found = inflate.decompress(data, BODY_BYTES_MAX)
    except zlib.error:
        raise Problem(400, "The body is not gzipped, as grc-compress says.", "not_gzip") from None
    if not inflate.eof:
        text = f"The body is cut off, or has more than {BODY_BYTES_MAX} bytes."
        raise Problem(413, text, "too_large")
    return found


def _parse(data: bytes) -> tuple[str, Any]:
    """The request id and the payload. The service name is ignored."""
    message = requests.parse_json(data)
    if not isinstance(message, list) or len(message) != 3 or not isinstance(message[0], str):
        raise Problem(400, "A call is [rid, service, payload].", "not_a_call")
    if len(message[0]) > RID_MAX:
        raise Problem(400, f"A rid has at most {RID_MAX} characters.", "not_a_call")
    return message[0], message[2]


def _answer_to(payload: Any) -> Reply:
    if not isinstance(payload, dict):
        raise Problem(400, 'An object such as {"op": "book"} was expected.', "not_object")
    name = payload.get("op")
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise Problem(400, f"There is no such op; there is {', '.join(OPERATIONS)}.", "invalid_op")
    if isinstance(token := payload.get("key", ""), str) and token:  # the client sends no headers
        g.credential = the_gateway().access.of_token(token, address())
    return operation({key: value for key, value in payload.items() if key not in ("op", "key")})


def _submit(payload: Json) -> Result:
    if set(payload) != {"order"}:
        raise Problem(400, 'submit takes "order", an object.', "invalid", "order")
    order = requests.parse(requests.NewOrder, payload["order"])
    return commands().result(commands().place(for_account(order)))


def _cancel(payload: Json) -> Result:
    wanted = requests.parse(requests.CancelOrder, payload)
    return commands().result(commands().cancel(for_account(wanted)))


def _book(payload: Json) -> BookOfPeers:
    return levels_of(requests.parse(requests.BookQuery, payload))


def _trades(payload: Json) -> Trades:
    return trades_of(requests.parse(requests.TradesQuery, payload))


OPERATIONS: dict[str, Callable[[Json], Reply]] = {
    "submit": _submit,
    "cancel": _cancel,
    "book": _book,
    "trades": _trades,
}


def _text(problem: Problem) -> str:
    return f"ERR_{(problem.code or 'failed').upper()}: {problem.detail}"
