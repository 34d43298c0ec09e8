"""The OpenAPI document of the HTTP interface, and the page that shows it.

Owns which operation takes and answers what. Schemas come from the types that check the input and
from those that describe the answers: must never repeat one by hand. Streams are in `docs/api.md`.
"""

from functools import cache
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, Response, current_app

from peer.client.units import AMOUNT_PATTERN
from web.contract import requests, responses

Json = dict[str, Any]
blueprint = Blueprint("openapi", __name__)
JSON = "application/json"
PROBLEM = "application/problem+json"
REF = "#/components/schemas/{name}"
EVERYWHERE = (400, 401, 421, 429)  # a parameter or the host name is wrong
SESSION = (401, 403, 421, 429)
AWAY = (503,)  # the node is starting, or gone
WRITES = (400, 401, 403, 404, 409, 413, 421, 429, 503, 504)
PROBLEMS = {
    400: "Something in the request is wrong; `field` says what.",
    401: "An API key or a session is needed, or is wrong.",
    403: "Another account's order, or a page of another site.",
    404: "No such order or market.",
    409: "The market does not allow it now.",
    413: "The request is too large.",
    421: "A host name that this peer does not answer to.",
    429: "Too much at once; `Retry-After` says when to come back.",
    503: "The node is starting, away or busy: nothing was taken.",
    504: "It is not known whether it was done, or what came of it.",
}


SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, p2p_…"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "p2p_session",
        "description": "The cookie a one-time link sets; each peer's has its own ending.",
    },
}
_EXAMPLE = {"side": "buy", "price": "100.50", "quantity": "0.75", "account": "alice"}
EXAMPLES = {
    "post /order": _EXAMPLE,
    "post /orders": {"orders": [_EXAMPLE, _EXAMPLE | {"side": "sell", "price": "101.50"}]},
    "patch /order/{id}": {"quantity": "0.5", "account": "alice"},
}
_OF_ORDER = {"parameters": {"id": "$response.body#/id"}}
LINKS: dict[str, Json] = {
    "post /order": {
        "order": {"operationId": "get /orders/{id}"} | _OF_ORDER,
        "change": {"operationId": "patch /order/{id}"} | _OF_ORDER,
        "cancel": {"operationId": "delete /order/{id}"} | _OF_ORDER,
    }
}


class Operation(NamedTuple):
    method: str
    path: str
    summary: str
    answers: dict[int, Any]  # by status: a type, several to choose from, or a media type's name
    problems: tuple[int, ...] = EVERYWHERE + AWAY
    query: type[msgspec.Struct] | None = None
    body: Any = None

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"


_ORDER = {200: responses.Order, 202: responses.Order}
_CHANGE = {200: responses.Order, 202: responses.Pending}
_CANCEL = {200: (responses.Order, responses.Withdrawn), 202: responses.Pending}
_CANCEL_ALL = {200: responses.Cancelled, 202: responses.Pending}
OPERATIONS = (
    Operation("post", "/order", "Place an order", _ORDER, WRITES, body=requests.NewOrder),
    Operation(
        "post",
        "/orders",
        "Place several orders, right behind one another",
        {200: responses.Batch, 202: responses.Batch},
        WRITES,
        body=requests.NewOrders,
    ),
    Operation(
        "get",
        "/orders",
        "An account's open orders, and its finished ones, the last first",
        {200: responses.Orders},
        (*EVERYWHERE, 403, 503),
        query=requests.OrdersQuery,
    ),
    Operation("get", "/orders/{id}", "One order", {200: responses.Order}, (*EVERYWHERE, 403, 404)),
    Operation(
        "patch",
        "/order/{id}",
        "Change an order's price or quantity",
        _CHANGE,
        WRITES,
        requests.OfAccount,
        requests.Change,
    ),
    Operation(
        "delete",
        "/order/{id}",
        "Cancel an order",
        _CANCEL,
        WRITES,
        requests.OfAccount,
        requests.Authority,
    ),
    Operation(
        "delete",
        "/orders",
        "Cancel all orders of an account",
        _CANCEL_ALL,
        WRITES,
        requests.WithdrawalQuery,
        requests.Authority,
    ),
    Operation(
        "get",
        "/state",
        "Everything of one moment: book, trades, mesh",
        {200: responses.State},
        (400, 404, 421, 429, 503),
        requests.StateQuery,
    ),
    Operation(
        "get",
        "/book",
        "Levels, on request merged",
        {200: responses.BookOfPeers},
        (400, 404, 421, 429, 503),
        requests.BookQuery,
    ),
    Operation(
        "get",
        "/trades",
        "Trades, the newest first",
        {200: responses.Trades},
        (400, 404, 421, 429, 503),
        requests.TradesQuery,
    ),
    Operation(
        "get",
        "/candles",
        "Candles, the oldest first",
        {200: responses.Candles},
        (400, 404, 421, 429, 503),
        requests.CandlesQuery,
    ),
    Operation(
        "get",
        "/ticker",
        "Best prices, last trade, last 24 hours",
        {200: responses.Ticker},
        (400, 404, 421, 429, 503),
        requests.OfMarket,
    ),
    Operation("get", "/markets", "The markets and their limits", {200: list[responses.Market]}),
    Operation("get", "/mesh", "The peers", {200: responses.Mesh}),
    Operation("get", "/healthz", "The gateway works", {200: responses.Health}),
    Operation("get", "/readyz", "An order sent now would be ordered", {200: responses.Health}),
    Operation("get", "/metrics", "For Prometheus", {200: "text/plain"}),
    Operation(
        "post",
        "/",
        "Grenache RPC: [rid, service, payload] to [rid, error, result]",
        {200: responses.Call},
        (403, 413, 421, 429),
        body=responses.Call,
    ),
    Operation("get", "/session", "Whom this key or browser acts for", {200: responses.Session}),
    Operation(
        "post",
        "/session",
        "Read an account's orders with its own key",
        {200: responses.Session},
        (*EVERYWHERE, 403, 409, 413, 503),
        body=requests.Statement,
    ),
    Operation(
        "post",
        "/session/link",
        "Spend a one-time link: the answer sets the session's cookie",
        {200: responses.Session},
        (*EVERYWHERE, 403, 413),
        body=requests.LinkToken,
    ),
    Operation(
        "delete", "/session", "End this browser's session", {200: responses.Session}, SESSION
    ),
    Operation(
        "get",
        "/accounts",
        "Who has most open orders; for who runs this peer",
        {200: responses.Accounts},
        (*EVERYWHERE, 403, 503),
        requests.AccountsQuery,
    ),
    Operation(
        "put",
        "/barred",
        "Let an account trade no more at this peer; for who runs it",
        {200: responses.Barred},
        (*EVERYWHERE, 403),
        requests.OfAccount,
    ),
    Operation(
        "delete",
        "/barred",
        "Let it trade again",
        {200: responses.Barred},
        (*EVERYWHERE, 403),
        requests.OfAccount,
    ),
    Operation("get", "/", "The page", {200: "text/html"}, (421, 429)),
    Operation("get", "/docs", "This document, for people", {200: "text/html"}, (421, 429)),
    Operation("get", "/openapi.json", "This document", {200: dict[str, Any]}, (421, 429)),
)
_TAGS = {"/order": "Orders", "/orders": "Orders", "/": "Grenache"}
_BOOK = frozenset({"/state", "/book", "/trades", "/candles", "/markets", "/mesh"})


@blueprint.get("/openapi.json")
def document() -> Response:
    return Response(encoded(), content_type=JSON)


@blueprint.get("/docs")
def docs() -> Response:
    return current_app.send_static_file("docs.html")


@cache
def encoded() -> bytes:
    kinds = list(dict.fromkeys(kind for op in OPERATIONS for kind in _types(op)))
    found, components = msgspec.json.schema_components(kinds, ref_template=REF)
    schemas = dict(zip(map(repr, kinds), found, strict=True))
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "p2p-orderbook",
                "version": "1",
                "description": "The HTTP interface of one peer. All peers serve the same book.",
            },
            "paths": paths,
            "components": {"schemas": _widened(components), "securitySchemes": SECURITY},
            "security": [{}, {"key": []}, {"session": []}],
        }
    )


def _widened(schema: Any) -> Any:
    """A Decimal, which for msgspec is text, is taken as a number too."""
    if isinstance(schema, list):
        return [_widened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return schema | {"type": ["string", "number"], "minimum": 0, "pattern": AMOUNT_PATTERN}
    return {name: _widened(part) for name, part in schema.items()}


def _types(operation: Operation) -> list[Any]:
    found = [responses.Problem, *([operation.body] if operation.body else [])]
    for kind in operation.answers.values():
        if not isinstance(kind, str):
            found += _choices(kind)
    return found


def _choices(kind: Any) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def _operation(operation: Operation, schemas: dict[str, Json]) -> Json:
    first = "/" + operation.path.split("/")[1]
    view: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [_TAGS.get(first) or ("Market" if first in _BOOK else "Gateway")],
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas),
    }
    if operation.body:
        content: Json = {JSON: {"schema": schemas[repr(operation.body)]}}
        if operation.id in EXAMPLES:
            content[JSON]["example"] = EXAMPLES[operation.id]
        view["requestBody"] = {"required": operation.method != "delete", "content": content}
    return view


def _parameters(operation: Operation) -> list[Json]:
    """The order's id of the path, and those of the query."""
    found: list[Json] = []
    if "{id}" in operation.path:
        kind = msgspec.json.schema(responses.Id)
        found.append({"name": "id", "in": "path", "required": True, "schema": kind})
    if operation.query is not None:
        fields = msgspec.json.schema(operation.query, ref_template=REF)["$defs"]
        for name, kind in fields[operation.query.__name__]["properties"].items():
            found.append({"name": name, "in": "query", "schema": kind})
    return found


def _responses(operation: Operation, schemas: dict[str, Json]) -> Json:
    found: Json = {}
    for status, kind in operation.answers.items():
        words = "Done." if status == 200 else "On this peer's disk, but not ordered yet."
        if isinstance(kind, str):
            content: Json = {kind: {"schema": {"type": "string"}}}
        else:
            several = [schemas[repr(choice)] for choice in _choices(kind)]
            content = {JSON: {"schema": several[0] if len(several) == 1 else {"anyOf": several}}}
        found[str(status)] = {"description": words, "content": content}
        if operation.id in LINKS:
            found[str(status)]["links"] = LINKS[operation.id]
    problem = {PROBLEM: {"schema": schemas[repr(responses.Problem)]}}
    for status in operation.problems:
        found[str(status)] = {"description": PROBLEMS[status], "content": problem}
    return found
