"""The OpenAPI document of the HTTP API, made from the declarations of its routes.

Schemas come from the types that check requests and from the types of responses: must never repeat
one by hand. `docs/api.md` describes the streams. Pure.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from peer.client.units import AMOUNT_PATTERN
from web.contract import responses

Json = dict[str, Any]
JSON = "application/json"
PROBLEM = "application/problem+json"
REF = "#/components/schemas/{name}"
PUBLIC = (421, 429)  # wrong host name, or too many requests
EVERYWHERE = (400, 401, *PUBLIC)  # invalid parameter or API key
MARKET = (400, 404, *PUBLIC, 503)  # the node is starting, or gone
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
    "post /proposals": {"changes": [{"change": "halt_market", "symbol": "BTC-USD"}]},
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
    """The requests and responses of a route."""

    method: str
    path: str
    summary: str
    answers: dict[int, Any]  # by status: a type, a tuple of alternative types, or a media type
    problems: tuple[int, ...]
    query: type[msgspec.Struct] | None
    body: Any

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"


_TAGS = {
    **dict.fromkeys(("/order", "/orders", "/queue"), "Orders"),
    "/": "Grenache",
    "/proposals": "Proposals",
}
_BOOK = frozenset({"/state", "/book", "/trades", "/candles", "/markets", "/mesh"})


def document(operations: Sequence[Operation]) -> bytes:
    kinds = list(dict.fromkeys(kind for op in operations for kind in _types(op)))
    found, components = msgspec.json.schema_components(kinds, ref_template=REF)
    schemas = dict(zip(map(repr, kinds), found, strict=True))
    paths: dict[str, Json] = {}
    for operation in operations:
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
    """Allow a JSON number for each Decimal, which msgspec declares as text."""
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
            found += choices(kind)
    return found


def choices(kind: Any) -> tuple[Any, ...]:
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
    """The order's id in the path, and the parameters of the query."""
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
            several = [schemas[repr(choice)] for choice in choices(kind)]
            content = {JSON: {"schema": several[0] if len(several) == 1 else {"anyOf": several}}}
        found[str(status)] = {"description": words, "content": content}
        if operation.id in LINKS:
            found[str(status)]["links"] = LINKS[operation.id]
    problem = {PROBLEM: {"schema": schemas[repr(responses.Problem)]}}
    for status in operation.problems:
        found[str(status)] = {"description": PROBLEMS[status], "content": problem}
    return found
