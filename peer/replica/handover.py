"""What members put into the order about the end of an epoch and about those who wait to join.

Owns the two commands and what a candidate signs. Pure.
"""

import msgspec

from peer.consensus.block import DIGEST_BYTES, SIGNATURE_BYTES
from peer.consensus.committee import MEMBERS_MAX
from peer.membership.identity import KEY_BYTES

STATEMENT_DOMAIN = b"p2p-orderbook candidate v1\0"

_encode = msgspec.msgpack.Encoder().encode


class _Notice(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind"
):
    id: int  # of the command: the node assigns it

    @property
    def account(self) -> str:
        """A notice is its member's, and so no account's."""
        return ""


class Sealed(_Notice, frozen=True, tag=21):
    """Signatures of a quorum of the epoch before over the seal of this epoch, by seat."""

    epoch: int
    signatures: dict[int, bytes]

    def __post_init__(self) -> None:
        if len(self.signatures) > MEMBERS_MAX:
            raise ValueError(f"expected at most {MEMBERS_MAX} signatures")
        if any(len(one) != SIGNATURE_BYTES for one in self.signatures.values()):
            raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes")


class Stated(_Notice, frozen=True, tag=22):
    """A candidate's statement that it has the state after a boundary."""

    key: bytes
    commit: int
    digest: bytes
    signature: bytes

    def __post_init__(self) -> None:
        sizes = len(self.key), len(self.digest), len(self.signature)
        if sizes != (KEY_BYTES, DIGEST_BYTES, SIGNATURE_BYTES):
            raise ValueError(f"a key, a digest and a signature do not have {sizes} bytes")


Notice = Sealed | Stated
NOTICES = frozenset((Sealed, Stated))


def statement_of(mesh: bytes, commit: int, digest: bytes) -> bytes:
    """What a candidate signs."""
    return STATEMENT_DOMAIN + _encode((mesh, commit, digest))
