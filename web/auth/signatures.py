"""Signatures in requests: a command signed by the account's own key needs no other authority.

Owns the way from a request's `signature` to the signed command for the node. A signature covers
whole ticks and lots, a request has decimals: either the command made from the request is the one
that was signed, or it is refused here, at no cost for the node.
"""

import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable

from engine import Cancel, CancelAll, Command
from peer.replica.signed import (
    KEY_PREFIX,
    Entry,
    Removal,
    Signed,
    is_signed_by,
    statement_of,
    text_of,
)
from web.contract.problems import Problem
from web.contract.requests import Signature, Statement

STATEMENT_MS_MAX = 300_000  # from a statement's nonce, and from now, to its end
STATEMENTS_MAX = 10_000  # accounts with a statement used within that time


def signed(command: Command, signature: Signature | None, mesh: str) -> Entry:
    """The command for the node, with the signature if there is one; `mesh` is the mesh id in hex.
    Problem if the account is a key that did not sign the command."""
    if signature is None:
        if command.account.startswith(KEY_PREFIX):
            text = f"{command.account:.64} is a key: its commands need a signature by that key."
            raise Problem(403, text, "not_signed", "signature")
        return command
    try:
        entry = Signed(command, signature.nonce, signature.until, bytes_of(signature.signature))
    except ValueError as error:
        raise Problem(400, f"{error}".capitalize() + ".", "invalid", "signature") from None
    text_ = text_of(mesh, command, entry.nonce, entry.until_ms)
    if not is_signed_by(command.account, text_, entry.signature):
        raise Problem(
            403,
            f"The signature is not by this account's key. Expected text: {text_.decode():.700}",
            "bad_signature",
            "signature",
        )
    return entry


def cancelling(
    command: Cancel | CancelAll, signature: Signature | None, mesh: str, is_operator: bool
) -> Entry:
    """As `signed`; but the operator may cancel without the key what came through this peer."""
    if is_operator and signature is None and command.account.startswith(KEY_PREFIX):
        return Removal(command)
    return signed(command, signature, mesh)


class Statements:
    """The statements that keys have used: each opens one session. Thread-safe. `clock_ms` gives
    milliseconds since 1970."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._nonces: dict[str, int] = {}  # the last one per account
        self._since_ms = clock_ms()  # an earlier one may have been used before a restart

    def take(
        self, statement: Statement, mesh: str, peer: str, pace: Callable[[], None] = lambda: None
    ) -> None:
        """Use up a statement for a peer. Problem if it is not valid. If `pace` raises one, the
        statement is not used up."""
        account, signature, now_ms = statement.account, statement.signature, self._clock_ms()
        nonce, until = signature.nonce, signature.until
        if not max(nonce, now_ms) < until <= min(nonce, now_ms) + STATEMENT_MS_MAX:
            text = f"The nonce is not the time, which is {now_ms}, or until is too far from it."
            raise Problem(403, text, "signature_expired", "signature")
        text_ = statement_of(mesh, peer, account, nonce, until)
        if not is_signed_by(account, text_, bytes_of(signature.signature)):
            text = f"The signature is not by {account:.64}. Expected text: {text_.decode():.300}"
            raise Problem(403, text, "bad_signature", "signature")
        pace()
        with self._lock:
            if nonce <= max(self._nonces.get(account, 0), self._since_ms):
                raise Problem(409, "A statement can be used once.", "nonce_used", "signature")
            self._make_room(now_ms)
            self._nonces[account] = nonce

    def _make_room(self, now_ms: int) -> None:
        if len(self._nonces) >= STATEMENTS_MAX:
            kept = self._nonces.items()
            self._nonces = {name: n for name, n in kept if n + STATEMENT_MS_MAX > now_ms}
        if len(self._nonces) >= STATEMENTS_MAX:
            raise Problem(429, "Too many keys open sessions here.", "too_many_keys")


def bytes_of(text: str) -> bytes:
    """Decode base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
