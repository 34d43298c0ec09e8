"""One HTTP request, parsed more strictly than by waitress.

Owns what a request must be. Must never answer one: an error ends the connection, by `connections`.
"""

from typing import Any

from waitress.parser import (
    HTTPRequestParser,
    ParsingError,
    TransferEncodingNotImplemented,
)
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from web.config import BODY_BYTES_MAX

CHUNK_HEAD_BYTES_MAX = 4 * 1024  # of an unfinished chunk head or trailer


class RequestTimeout(Error):  # type: ignore[misc]
    code = 408
    reason = "Request Timeout"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    completed: bool
    path = ""  # waitress logs it when a client leaves; a malformed head has none

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if self.completed:
            self.expect_continue = False  # the client waits for nothing
        elif self.chunked and self.body_rcv is not None:
            self._check_chunk(self.body_rcv)
        if isinstance(self.error, RequestEntityTooLarge):
            self.error.body = f"A request has at most {BODY_BYTES_MAX} bytes"
        return taken

    def _check_chunk(self, body: Any) -> None:
        """Check that the unfinished part of the body stays within limits."""
        if len(body.control_line) + len(body.trailer) > CHUNK_HEAD_BYTES_MAX:
            self.completed, self.error = True, BadRequest("A chunk's head or a trailer is too long")
        elif body.chunk_remainder > BODY_BYTES_MAX:
            self.completed, self.error = True, RequestEntityTooLarge("")

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except (ParsingError, TransferEncodingNotImplemented):
            raise
        except Exception:  # for example from a Content-Length of 5,000 digits
            raise ParsingError("The head of the request is malformed") from None
        if not self.request_uri.isascii():  # waitress lets it pass behind two slashes
            raise ParsingError("Bad URI")
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("HTTP/1.1 was expected")
        if self.version == "1.0" and "TRANSFER_ENCODING" in self.headers:
            raise ParsingError("HTTP/1.0 has no Transfer-Encoding")
        if self.version == "1.1" and "HOST" not in self.headers:
            raise ParsingError("The Host header is missing")
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Transfer-Encoding and Content-Length contradict each other")
        if "close" in self.headers.get("CONNECTION", "").lower().replace(" ", "").split(","):
            self.headers["CONNECTION"] = "close"
