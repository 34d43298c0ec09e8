"""The bytes of one message, encoded once for all browsers.

Owns the two framings: WebSocket (RFC 6455, server to client, never masked, never compressed) and
server-sent events. Pure.
"""

from functools import cached_property

CLOSE_GOING_AWAY = 1001
CLOSE_POLICY = 1008
CLOSE_TRY_LATER = 1013


class Frame:
    """A message of a channel. A frame with `resets` is a snapshot and goes to all clients. A client
    that reconnects sends the `event_id` of the last frame that it saw."""

    def __init__(
        self, channel: str, seq: int, payload: bytes, event_id: str = "", resets: bool = False
    ) -> None:
        self.channel = channel
        self.seq = seq
        self.payload = payload
        self.resets = resets
        self.event_id = event_id

    @cached_property
    def websocket(self) -> bytes:
        return text_frame(self.payload)

    @cached_property
    def event(self) -> bytes:
        kind = self.channel.partition("/")[0]
        name = f"id: {self.event_id}\n" if self.event_id else ""
        return f"{name}event: {kind}\ndata: ".encode() + self.payload + b"\n\n"


def text_frame(payload: bytes) -> bytes:
    return _header(0x81, len(payload)) + payload


def ping_frame() -> bytes:
    return _header(0x89, 0)


def close_frame(code: int, reason: str) -> bytes:
    body = code.to_bytes(2, "big") + reason.encode()[:120]
    return _header(0x88, len(body)) + body


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")
