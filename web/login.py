"""The routes of a browser's session: a one-time link opens it, a cookie keeps it.

Owns the cookie. It is HttpOnly, so no script can read it, and SameSite=Strict, so no other site can
use it.
"""

from flask import Blueprint, Response, current_app, redirect, request

from peer.keys import SESSION_SECONDS, TOKEN_CHARACTERS_MAX, Who
from web.http import Json, answer, the_gateway

blueprint = Blueprint("login", __name__)


@blueprint.get("/")
def page() -> Response:
    token = request.args.get("token")
    if token is not None:
        return _open_session(token[:TOKEN_CHARACTERS_MAX])
    return current_app.send_static_file("index.html")


def _open_session(token: str) -> Response:
    """The token leaves the address bar; one that is no good leaves the page as it is."""
    gateway = the_gateway()
    keys = gateway.access.keys
    session = keys.redeem(token) if keys else None
    response = redirect("/" if session else "/?link=used", 303)
    assert isinstance(response, Response)
    if keys is not None and session is not None:
        response.set_cookie(
            keys.cookie,
            session,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure or bool(gateway.config.tls_certificate),
        )
    return response


@blueprint.get("/session")
def session() -> Response:
    """Whom this browser, or this API key, acts for."""
    access = the_gateway().access
    return answer(_view(access.who(access.of_request())))


@blueprint.delete("/session")
def logout() -> Response:
    access = the_gateway().access
    credential = access.of_request()
    response = answer(_view(None))
    if access.keys is not None and credential is not None:
        access.keys.end(credential)
        response.delete_cookie(access.keys.cookie, httponly=True, samesite="Strict")
    return response


def _view(who: Who | None) -> Json:
    if who is None:
        return {"account": None, "scopes": []}
    return {"account": who.account, "scopes": sorted(who.scopes)}
