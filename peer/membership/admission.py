"""The request of a peer to become a member, in a mesh that admits by itself.

Owns what the peer signs. Pure: who may be admitted is judged elsewhere.
"""

from collections.abc import Callable

import msgspec

from peer.consensus.block import SIGNATURE_BYTES
from peer.membership.identity import KEY_BYTES, IdentityError, Verifier, curve_public
from peer.membership.mesh_file import check_name

DOMAIN = b"p2p-orderbook admission v1\0"

_encode = msgspec.msgpack.Encoder().encode


class AdmissionRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The holder of the key wants to be a member of this name."""

    name: str
    key: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if (len(self.key), len(self.signature)) != (KEY_BYTES, SIGNATURE_BYTES):
            raise ValueError("a key and a signature have other lengths")

    def is_genuine(self, mesh: bytes) -> bool:
        """Whether the holder of the key has signed it, for this mesh."""
        try:
            curve_public(self.key)
        except IdentityError:
            return False
        return Verifier(self.key).verify(_text(mesh, self.name), self.signature)


def admission_request(
    mesh: bytes, name: str, key: bytes, sign: Callable[[bytes], bytes]
) -> AdmissionRequest:
    return AdmissionRequest(name, key, sign(_text(mesh, name)))


def _text(mesh: bytes, name: str) -> bytes:
    return DOMAIN + _encode((mesh, name))
