"""The Flask application of one peer.

Owns the assembly: the routes, the checks of every request, the headers of every response, and the
one shape of an error. Must never start a thread or open a socket: `Gateway.start` does that, in
the process that serves.
"""

import base64
import hashlib
import re
from pathlib import Path

import msgspec
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from web.auth.access import address
from web.config import BODY_BYTES_MAX, Config
from web.contract import openapi
from web.contract.problems import Problem
from web.gateway import Gateway
from web.routes import admin, documents, grenache, market, orders, proposals, session, streaming
from web.routes.metrics import Metrics
from web.routes.websocket import Session
from web.serve import origin
from web.serve.page_files import PageFiles
from web.serve.proxy import BehindProxy

STATIC = Path(__file__).parent / "static"
ROUTES = [
    module.routes for module in (orders, market, grenache, session, admin, proposals, documents)
]
OPERATIONS = [operation for routes in ROUTES for operation in routes.operations]


def create_app(config: Config, gateway: Gateway | None = None) -> Flask:
    """The application. The caller must start `app.extensions["gateway"]`."""
    app = Flask("web", static_folder=None)
    files = app.extensions["files"] = PageFiles(STATIC)
    app.add_url_rule("/static/<path:name>", "static", files.answer)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    served = app.extensions["gateway"] = gateway or Gateway(config)
    served.hub.source = Session(served)
    metrics = app.extensions["metrics"] = Metrics(served)
    served.pending.on_ordered = metrics.ordered
    app.before_request(lambda: origin.check(config))
    app.before_request(lambda: served.access.pace(address()))
    for routes in ROUTES:
        app.register_blueprint(routes)
    app.extensions["document"] = openapi.document(OPERATIONS)
    streaming.register(app)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _failure)
    if config.proxies:
        app.wsgi_app = BehindProxy(app.wsgi_app, config.proxies)  # type: ignore[method-assign]
    policy = content_policy((STATIC / "index.html").read_text())
    app.after_request(lambda response: _secure(response, policy))
    app.after_request(lambda response: _count(response, metrics))
    return app


def content_policy(page: str) -> str:
    """A policy that runs only scripts of this peer. The one inline script, the import map, is
    allowed by its hash."""
    inline = re.findall(r"<script type=\"importmap\">(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in inline
    )
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _secure(response: Response, policy: str) -> Response:
    headers = response.headers
    headers["Content-Security-Policy"] = policy
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if response.mimetype != "text/event-stream" and "Cache-Control" not in headers:
        headers["Cache-Control"] = "no-store"
    return response


def _count(response: Response, metrics: Metrics) -> Response:
    metrics.answered(response.status_code)
    return response


def _problem(problem: Problem) -> Response:
    body = msgspec.json.encode(problem.view)
    response = Response(body, problem.status, content_type="application/problem+json")
    if problem.status in (429, 503):
        response.headers["Retry-After"] = str(problem.more.get("retry_after", 1))
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.code == "websocket":
        response.headers["Sec-WebSocket-Version"] = "13"
    return response


def _http_problem(error: HTTPException) -> Response:
    """An error of Flask, as a Problem."""
    status = error.code or 500
    if status == 413:
        detail = f"A request has at most {BODY_BYTES_MAX} bytes."
    elif status == 404:
        detail = f"There is nothing at {request.path:.80}; /docs says what there is."
    elif status == 405:
        detail = f"{request.path:.80} does not take {request.method}."
    else:
        detail = error.description or error.name
    response = _problem(Problem(status, detail, error.name.lower().replace(" ", "_")))
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _failure(error: Exception) -> Response:
    """Answer a bug of ours with a 500, and log it."""
    current_app.logger.exception("a request failed", exc_info=error)
    return _problem(Problem(500, "The gateway failed; its log says why.", "failed"))
