"""The documentation of the API, for programs and for people."""

from typing import Any

from flask import Response, current_app

from web.contract.openapi import JSON, PUBLIC
from web.routes.operations import Routes
from web.routes.request import page_files

routes = Routes("documents")


@routes.operation("get", "/docs", "text/html", PUBLIC)
def docs() -> Response:
    """This document as a page."""
    return page_files().page("docs.html")


@routes.operation("get", "/openapi.json", dict[str, Any], PUBLIC)
def document() -> Response:
    """This document."""
    return Response(current_app.extensions["document"], content_type=JSON)
