"""Whether peers would refuse what a client sends now, as far as signatures and shares tell.

Owns the question only. The order decides later: `Replica` judges each command again. Pure.
"""

from collections.abc import Callable, Sequence

from engine import Reason
from peer.replica.key_orders import KeyOrders
from peer.replica.nonces import Signers
from peer.replica.signed import KEY_PREFIX, Entry, Signed, command_of


def first_refused(
    signers: Signers,
    key_orders: KeyOrders,
    entries: Sequence[Entry],
    now_ms: int,
    member: int,
    is_known: Callable[[Entry], bool],
) -> tuple[int, Reason] | None:
    """The index of the first entry that peers would refuse from this member now, and why. A known
    entry, taken before, has used its nonce. A client may send it again with the same signature."""
    for place, entry in enumerate(entries):
        if not entry.account.startswith(KEY_PREFIX):
            continue
        if type(entry) is Signed and is_known(entry):
            reason = None if signers.signature_cache.is_valid(entry) else Reason.BAD_SIGNATURE
        else:
            reason = signers.refusal(entry, now_ms, member)
            reason = reason or key_orders.refusal(command_of(entry), member)
        if reason is not None:
            return place, reason
    return None
