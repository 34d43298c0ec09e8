"""The client's address behind a reverse proxy.

Owns the reading of `X-Forwarded-For` and `X-Forwarded-Proto`. Must never trust them unless the
sender is one of the given proxies: any client can send them.

werkzeug's ProxyFix counts hops instead of checking addresses. So with one proxy less in front of
it, a client could choose its address. It also takes an entry with a port for an address.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from web.serve.client_address import plain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


PROXIED = "web.proxied"  # in a request's environment: it came through a trusted proxy


class BehindProxy:
    """WSGI middleware. Each proxy appends the address of its client. So the last address that is
    not a proxy's is the client's; the client may have invented those before it."""

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
        return ""  # the proxy did not say: all such clients share one limit
