"""Which sites' pages may use this peer, and to which host names it answers.

Owns the checks of Host, Origin and Sec-Fetch-*. A page of another site can reach a loopback port;
it must neither read from this peer nor cause work. The check of Host stops a foreign name that
points to this address (DNS rebinding), the other checks stop a plain request.
"""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import request
from werkzeug.datastructures import Headers

from web.config import Config
from web.contract.problems import Problem
from web.serve.proxy import PROXIED

PORTS = {"http": 80, "https": 443}
PAGES = frozenset({"/", "/docs"})  # another site may link to these


class Place(NamedTuple):
    """The origin of a page, or the target of a request. Port 0 means unknown."""

    name: str
    port: int


def check(config: Config) -> None:
    """Problem if the current request is not for this peer, or comes from another site's page."""
    host = request.headers.get("Host", "")
    here = place_of(host)
    if here is None or not answers_to(here.name, config):
        raise Problem(421, f"This peer does not answer to the name {host:.80}.", "host")
    scheme = "https" if config.tls_cert else request.scheme
    is_proxied = bool(request.environ.get(PROXIED))
    if not here.port and not is_proxied:  # a proxy may omit the port, as nginx does in `$host`
        here = Place(here.name, PORTS[scheme])
    if not _is_own(request.headers, here):
        raise Problem(403, "Pages of other sites may not use this peer.", "origin")


def _is_own(headers: Headers, here: Place) -> bool:
    """Whether the request comes from a page of this peer, or from no page. No page can change these
    headers, which browsers send and programs do not."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is None:
        return origin is None or _is_same(origin, here)
    if site in ("same-origin", "none"):
        return True
    is_link = headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
    return is_link and headers.get("Sec-Fetch-Dest") == "document" and request.path in PAGES


def _is_same(origin: str, here: Place) -> bool:
    """Whether this peer served the page of `origin`. Another port of the host is another origin."""
    scheme, _, text = origin.partition("://")
    there = place_of(text)
    if there is None or scheme not in PORTS or there.name != here.name:
        return False
    return here.port in (0, there.port or PORTS[scheme])


def place_of(host: str) -> Place | None:
    """The place of a Host header, with or without a port; None if it is invalid."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.netloc != host or "@" in host:
        return None
    return Place(name.removesuffix("."), port or 0)


def answers_to(name: str, config: Config) -> bool:
    """Whether this peer answers to a host name. It answers to every IP address: an attacker cannot
    make one point here."""
    if "*" in config.hosts or name == "localhost":
        return True
    places = (place_of(host) for host in config.hosts)
    if any(place is not None and place.name == name for place in places):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
