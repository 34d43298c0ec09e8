"""A trader's own key: signs commands so that no peer can forge or change them.

Owns the nonces of one key. Must never send anything: the client does.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from engine import Command
from peer.membership.identity import Identity
from peer.replica.signed import Signed, account_of_key, statement_of, text_of

VALID_MS = 3600 * 1000  # default validity of a signature
STATEMENT_MS = 150_000  # validity of a statement; clocks may differ by this much


def signature_of(entry: Signed) -> dict[str, int | str]:
    """The `signature` field of a request over HTTP or WebSocket."""
    return _as_json(entry.nonce, entry.until_ms, entry.signature)


def _as_json(nonce: int, until_ms: int, signature: bytes) -> dict[str, int | str]:
    text = urlsafe_b64encode(signature).decode().rstrip("=")
    return {"nonce": nonce, "until": until_ms, "signature": text}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Signer:
    """Signs for one mesh, given by its id in hex. Use only one Signer per key at a time: nonces
    must increase in the order in which the commands arrive."""

    def __init__(
        self, identity: Identity, mesh: str, clock_ms: Callable[[], int] = _wall_ms
    ) -> None:
        self.account = account_of_key(identity.public)
        self.mesh = mesh
        self._sign = identity.sign
        self._clock_ms = clock_ms
        self._last = 0

    def sign(self, command: Command, valid_ms: int = VALID_MS) -> Signed:
        """Sign a command of this key's account. The peers reject it after `valid_ms`, at most a
        day. ValueError if the command can't be signed."""
        if command.account != self.account:
            raise ValueError(f"this key signs for {self.account}, not for {command.account:.70}")
        nonce, until_ms = self._next(valid_ms)
        signature = self._sign(text_of(self.mesh, command, nonce, until_ms))
        return Signed(command, nonce, until_ms, signature)

    def statement(self, peer: str, valid_ms: int = STATEMENT_MS) -> dict[str, Any]:
        """A body for one `POST /session`, which lets the caller read the account's orders at the
        peer with this name."""
        nonce, until_ms = self._next(valid_ms)
        signature = self._sign(statement_of(self.mesh, peer, self.account, nonce, until_ms))
        return {"account": self.account, "signature": _as_json(nonce, until_ms, signature)}

    def _next(self, valid_ms: int) -> tuple[int, int]:
        self._last = max(self._last + 1, self._clock_ms())
        return self._last, self._last + valid_ms
