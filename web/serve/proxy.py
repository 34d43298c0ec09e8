"""The client's address, when a reverse proxy stands in between.

Owns the reading of `X-Forwarded-For` and `X-Forwarded-Proto`. Must never believe them of a sender
that is not one of the given proxies: every client can send them.

werkzeug's ProxyFix counts hops instead of looking at addresses, so one proxy less in front of it
lets a client choose its address; and it takes an entry with its port as an address.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from web.serve.client_address import plain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


PROXIED = "web.proxied"  # in a request's environment: it came by a proxy that is believed


class BehindProxy:
    """WSGI middleware. Each proxy adds the address it was asked from at the end, so the client's is
    the last one that is no proxy's; whatever stands before it, the client may have made up."""

    def __init__(self, app: "WSGIApplication", proxies: Iterable[str]) -> None:
        self._app = app
        self._proxies = frozenset(proxies)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if environ.get("REMOTE_ADDR") in self._proxies:
            environ[PROXIED] = True
            environ["REMOTE_ADDR"] = self._client(environ.get("HTTP_X_FORWARDED_FOR", ""))
            proto = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip()
            environ["wsgi.url_scheme"] = "https" if proto == "https" else "http"
        return self._app(environ, start_response)

    def _client(self, forwarded: str) -> str:
        for text in reversed(forwarded.split(",")):
            try:
                found = plain(text)
            except ValueError:
                break
            if found not in self._proxies:
                return found
        return ""  # the proxy did not say: all such share one allowance
