"""The Flask application of one peer.

Owns the assembly: the routes, the checks of every request, the headers of every response, and the
one shape of an error. Must never start a thread or open a socket: `Gateway.start` does that, in
the process that serves.
"""

import msgspec
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from web.auth.access import address
from web.bundle import Bundled
from web.config import BODY_BYTES_MAX, Config
from web.contract import openapi
from web.contract.problems import Problem
from web.gateway import Gateway
from web.routes import admin, documents, grenache, market, orders, proposals, session, streaming
from web.routes.metrics import Metrics
from web.routes.websocket import Session
from web.serve import origin
from web.serve.page_files import PageFiles, content_policy
from web.serve.proxy import BehindProxy
from web.vendor import STATIC

ROUTES = [
    module.routes for module in (orders, market, grenache, session, admin, proposals, documents)
]
OPERATIONS = [operation for routes in ROUTES for operation in routes.operations]

POLICY = content_policy("")  # of every answer but the pages


def create_app(config: Config, gateway: Gateway | None = None) -> Flask:
    """The application. The caller must start `app.extensions["gateway"]`."""
    app = Flask("web", static_folder=None)
    files = app.extensions["files"] = PageFiles(STATIC, None if config.source else Bundled())
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
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _failure)
    if config.proxies:
        app.wsgi_app = BehindProxy(app.wsgi_app, config.proxies)  # type: ignore[method-assign]
    app.after_request(secured)
    app.after_request(lambda response: _count(response, metrics))
    return app


def secured(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", POLICY)
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


def problem_response(problem: Problem) -> Response:
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
    response = problem_response(Problem(status, detail, error.name.lower().replace(" ", "_")))
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _failure(error: Exception) -> Response:
    """Answer a bug of ours with a 500, and log it."""
    current_app.logger.exception("a request failed", exc_info=error)
    return problem_response(Problem(500, "The gateway failed; its log says why.", "failed"))
