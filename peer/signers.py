"""Which signed commands are good: the part of the replicated state that knows their signers.

Owns the nonces in use. What is good follows from the one order of commands and its clock alone, so
it is the same on every peer. Must never know a market or read a clock.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.orders import Reason
from peer.signed import KEY_PREFIX, Entry, Signed, needs_signature
from peer.verdicts import Verdicts

VALID_MS_MAX = 24 * 3600 * 1000  # from a nonce, and from the clock, to the end of a signature
KEY_ACCOUNTS_MAX = 10_000  # that have used a nonce within the last day or two


def is_in_time(nonce: int, until_ms: int, now_ms: int) -> bool:
    """Whether a signature is one for now: its nonce, as a time, and the clock both lie before its
    end, and at most a day before it."""
    return max(nonce, now_ms) < until_ms <= min(nonce, now_ms) + VALID_MS_MAX


class Signers:
    """Part of the replicated state: the key accounts in use, each with its last nonce.

    A nonce must not be forgotten before all signatures with a lower one have ended. These end
    within a day of their nonce, so a day after the account's last nonce is enough.
    """

    def __init__(self, mesh: bytes, nonces: Mapping[str, int] | None = None) -> None:
        self.nonces = dict(nonces or {})
        self.verdicts = Verdicts(mesh)

    def admit(self, entry: Entry, now_ms: int) -> Reason | None:
        """Why the next command in the order is refused; None if it is good, which uses its nonce
        up, whatever the market then says. `now_ms` is the ordered clock's."""
        reason = self.refusal(entry, now_ms)
        if reason is None and type(entry) is Signed:
            self.nonces[entry.account] = entry.nonce
        return reason

    def refusal(self, entry: Entry, now_ms: int) -> Reason | None:
        """Why an entry would be refused now; the first reason in their order."""
        if type(entry) is not Signed:
            return Reason.NOT_SIGNED if needs_signature(entry) else None
        if not is_in_time(entry.nonce, entry.until_ms, now_ms):
            return Reason.SIGNATURE_EXPIRED
        last = self.nonces.get(entry.account)
        if last is not None and entry.nonce <= last:
            return Reason.NONCE_USED
        if last is None and len(self.nonces) >= KEY_ACCOUNTS_MAX:
            return Reason.TOO_MANY_KEYS
        return None if self.verdicts.of(entry) else Reason.BAD_SIGNATURE

    def first_refused(
        self, entries: Sequence[Entry], now_ms: int, is_known: Callable[[Entry], bool]
    ) -> tuple[int, Reason] | None:
        """The place of the first entry that no peer would apply, and why. One that is known, taken
        before, has used its nonce, and may be asked about with the same signature again."""
        for place, entry in enumerate(entries):
            if not entry.account.startswith(KEY_PREFIX):
                continue
            reason = self.refusal(entry, now_ms)
            if reason is not None and type(entry) is Signed and is_known(entry):
                reason = None if self.verdicts.of(entry) else Reason.BAD_SIGNATURE
            if reason is not None:
                return place, reason
        return None

    def forget(self, now_ms: int) -> None:
        """Drop the nonces that no signature can need any more."""
        if self.nonces:
            kept = self.nonces.items()
            self.nonces = {name: last for name, last in kept if last + VALID_MS_MAX > now_ms}
