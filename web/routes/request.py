"""What every HTTP route needs: the gateway, answers in JSON, and query parameters within limits."""

from typing import Any, TypeVar

import msgspec
from flask import Response, current_app, request

from peer.client.units import Units
from web.auth.access import address
from web.auth.history_access import Asked
from web.auth.keys import Scope
from web.contract import requests
from web.contract.problems import Problem
from web.gateway import Gateway
from web.market_data.book_mirror import BookMirror

Json = dict[str, Any]
T = TypeVar("T", bound=msgspec.Struct)


def the_gateway() -> Gateway:
    gateway = current_app.extensions["gateway"]
    assert isinstance(gateway, Gateway)
    return gateway


def the_past() -> Asked | None:
    """The journal, as who asks now may ask it."""
    return the_gateway().past(address())


def answer(view: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(view), status, content_type="application/json")


def body() -> Any:
    """The request's JSON, with exact numbers."""
    return requests.parse_json(request.get_data(cache=False))


def query(kind: type[T]) -> T:
    """The parameters of the request's address."""
    return requests.query(kind, request.args)


def account(scope: Scope, named: str | None = None) -> str:
    """The account to act for: the one named, by the query if not by `named`, else the caller's own.
    Problem if the caller may not."""
    access = the_gateway().access
    asked = requests.account_of(request.args.get("account"), "")
    return access.account(scope, named or asked, access.of_request())


def trader(named: str, signature: requests.Signature | None) -> str:
    """The account to trade for; Problem if the caller may not."""
    access = the_gateway().access
    asked = requests.account_of(request.args.get("account"), "")
    return access.trader(named or asked, signature is not None, access.of_request(), address())


def ready_book(of: Units) -> BookMirror:
    """A market's mirror once it is filled; call it under the mirrors' lock."""
    mirror = the_gateway().mirrors.books[of.market.symbol]
    if not mirror.ready:
        raise Problem(503, "This peer is starting: its book is not known yet.", "starting")
    return mirror
