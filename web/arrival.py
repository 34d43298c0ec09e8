"""Whether a whole request has arrived, so that no thread has to wait for the rest of it.

Owns the question how much must be there. Pure; must never decide whether a request is a good one:
the server does that once it has all of it.
"""

import re

from web.config import BODY_BYTES_MAX

HEAD_BYTES_MAX = 32 * 1024
CHUNKED_BYTES_MAX = 64 * 1024  # the end of a chunked body shows only when it is there
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


class TooMuchError(Exception):
    """More than any request needs, and still no end."""


def needed(data: bytes) -> int:
    """How many bytes a connection must have brought before there can be a whole request: no more
    than `data` has if there is one. `data` is what is there, or the beginning of it, in which the
    head ends if it ends at all. TooMuchError where waiting is of no use."""
    end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
    if end < 0:
        if len(data) >= HEAD_BYTES_MAX:
            raise TooMuchError
        return len(data) + 1
    head, body = data[: end + 2], end + 4
    if _CHUNKED.search(head):
        if data.endswith(b"0\r\n\r\n", body):
            return len(data)
        if len(data) >= CHUNKED_BYTES_MAX:
            raise TooMuchError
        return len(data) + 1
    length = _LENGTH.search(head)
    wanted = int(length[1]) if length else 0
    return body + wanted if wanted <= BODY_BYTES_MAX else body  # too long: refused unread
