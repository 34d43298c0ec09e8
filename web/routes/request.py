"""What every HTTP route needs: the gateway, the caller, and what was sent, within limits."""

from typing import Any, TypeVar

import msgspec
from flask import current_app, request
from msgspec.structs import replace

from peer.client.units import Units
from web.auth.access import address
from web.auth.history_access import Asked
from web.auth.keys import Credential, Scope
from web.commands import Commands
from web.contract import requests
from web.contract.problems import Problem
from web.gateway import Gateway
from web.market_data.book_mirror import BookMirror

Json = dict[str, Any]
T = TypeVar("T", bound=msgspec.Struct)
A = TypeVar("A", requests.NewOrder, requests.Change, requests.Withdrawal, requests.CancelOrder)


def the_gateway() -> Gateway:
    gateway = current_app.extensions["gateway"]
    assert isinstance(gateway, Gateway)
    return gateway


def the_past() -> Asked | None:
    """The journal, as the caller may ask it."""
    return the_gateway().past(address())


def body() -> Any:
    """The request's JSON, with exact numbers."""
    return requests.parse_json(request.get_data(cache=False))


def query(kind: type[T]) -> T:
    """The parameters of the request's address."""
    return requests.query(kind, request.args)


def account(scope: Scope) -> str:
    """The account to act for: the one the query names, else the caller's own. Problem if the caller
    may not."""
    access = the_gateway().access
    return access.account(scope, _named(), access.of_request())


def _named() -> str:
    """The account that the query names."""
    return requests.account_of(request.args.get("account"), "")


class _Request:
    """The current request, as the caller of a command."""

    @property
    def credential(self) -> Credential | None:
        return the_gateway().access.of_request()

    @property
    def address(self) -> str:
        return address()


def commands() -> Commands:
    """What the caller of the current request can have done."""
    return Commands(the_gateway(), _Request())


def for_account(wanted: A) -> A:
    """For the account that the query names, if the request itself names none."""
    named = _named()
    return wanted if wanted.account or not named else replace(wanted, account=named)


def ready_book(of: Units) -> BookMirror:
    """A market's mirror once it is filled; call it under the mirrors' lock."""
    mirror = the_gateway().mirrors.books[of.market.symbol]
    if not mirror.ready:
        raise Problem(503, "This peer is starting: its book is not known yet.", "starting")
    return mirror
