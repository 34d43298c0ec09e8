"""The block, the one message of the protocol, and its encoding.

Owns the canonical encoding, the limits and the static validity rules of a block. Must never keep
state, verify signatures (`block_reader` does) or look inside a payload.

A frame is the msgpack array of `_Body`, followed by the author's 64-byte Ed25519 signature over
that array. At every level it begins with the same fields. A block has exactly one encoding: a frame
that does not encode back to the same bytes is invalid.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from peer.consensus.committee import MEMBERS_MAX, Committee

DIGEST_BYTES = 32
SIGNATURE_BYTES = 64
PAYLOAD_BYTES_MAX = 256 * 1024
FRAME_BYTES_MAX = PAYLOAD_BYTES_MAX + 64 * MEMBERS_MAX + 256
ROUND_MAX = 2**48


class InvalidBlockError(ValueError):
    """Bytes that are not a block of this mesh. The text says what was expected and what came."""


class OtherEpochError(InvalidBlockError):
    """A block of this mesh, as it says, but of another epoch. That is no misbehaviour."""

    def __init__(self, epoch: int, here: int) -> None:
        super().__init__(f"expected a block of epoch {here}, got one of epoch {epoch}")
        self.epoch = epoch


class Ref(NamedTuple):
    """The name of a block: its round, its author and its digest."""

    round: int
    author: int
    digest: bytes


class Attestation(NamedTuple):
    """The digest of the author's state after a recent commit; commit 0 attests nothing."""

    commit: int
    digest: bytes


NO_ATTESTATION = Attestation(0, b"")


class _Prefix(msgspec.Struct, frozen=True, array_like=True):
    """What a block of any level begins with: this has one encoding for ever."""

    mesh: bytes
    epoch: int
    seal: bytes
    level: int


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    mesh: bytes
    epoch: int
    seal: bytes
    level: int
    round: int
    author: int
    parents: tuple[Ref, ...]
    payload: bytes
    time_ms: int
    attestation: Attestation


class Block:
    """A block of valid form. `parents[0]` is the author's own previous block; the others are
    ordered by author."""

    __slots__ = ("_by_author", "attestation", "frame", "parents", "payload", "ref", "time_ms")

    def __init__(
        self,
        ref: Ref,
        parents: tuple[Ref, ...],
        payload: bytes = b"",
        time_ms: int = 0,
        attestation: Attestation = NO_ATTESTATION,
        frame: bytes = b"",
    ) -> None:
        self.ref = ref
        self.parents = parents
        self.payload = payload
        self.time_ms = time_ms
        self.attestation = attestation
        self.frame = frame
        self._by_author = {ref.author: ref for ref in parents}

    @property
    def round(self) -> int:
        return self.ref.round

    @property
    def author(self) -> int:
        return self.ref.author

    def parent(self, round_: int, author: int) -> Ref | None:
        """The parent in a slot, or None."""
        ref = self._by_author.get(author)
        return ref if ref is not None and ref.round == round_ else None

    def __repr__(self) -> str:
        return f"Block({self.round}, {self.author}, {self.ref.digest[:3].hex()})"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)
_prefix_decoder = msgspec.msgpack.Decoder(_Prefix)


def digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def genesis(committee: Committee) -> tuple[Block, ...]:
    """The blocks of round 0, one per member: fixed, unsigned, known to all."""
    return tuple(
        Block(
            Ref(0, author, digest_of(b"genesis" + _origin(committee) + bytes([author]))),
            (),
            time_ms=committee.created_ms,
        )
        for author in range(committee.size)
    )


def _origin(committee: Committee) -> bytes:
    return _encoder.encode([*_prefix(committee), committee.mode, committee.size])


def _prefix(committee: Committee) -> tuple[bytes, int, bytes, int]:
    """ORDER-42. What every block of an epoch begins with."""
    return committee.mesh, committee.epoch, committee.seal, committee.level


def make(
    committee: Committee,
    round_: int,
    author: int,
    parents: tuple[Ref, ...],
    payload: bytes,
    time_ms: int,
    attestation: Attestation,
    sign: Callable[[bytes], bytes],
) -> Block:
    """Make a signed block. `sign` returns the 64-byte signature of its argument."""
    body = _encoder.encode(
        _Body(*_prefix(committee), round_, author, parents, payload, time_ms, attestation)
    )
    ref = Ref(round_, author, digest_of(body))
    return Block(ref, parents, payload, time_ms, attestation, body + sign(body))


def decode(frame: bytes, committee: Committee) -> Block:
    """The block in `frame`; InvalidBlockError if it is not a block of this mesh. Does not verify
    the signature, which covers `frame[:-SIGNATURE_BYTES]`."""
    if not SIGNATURE_BYTES < len(frame) <= FRAME_BYTES_MAX:
        raise InvalidBlockError(f"a frame has at most {FRAME_BYTES_MAX} bytes, not {len(frame)}")
    raw = frame[:-SIGNATURE_BYTES]
    try:
        body = _decoder.decode(raw)
    except msgspec.DecodeError as error:
        _check_epoch(raw, committee)
        raise InvalidBlockError(f"not a block: {error}") from None
    _check_prefix(body, committee)
    if _encoder.encode(body) != raw:
        raise InvalidBlockError("the block is not in its one canonical encoding")
    _check(body, committee)
    ref = Ref(body.round, body.author, digest_of(raw))
    return Block(ref, body.parents, body.payload, body.time_ms, body.attestation, frame)


def _check_epoch(raw: bytes, committee: Committee) -> None:
    """OtherEpochError if this begins like a block of another epoch of this mesh: its rules may give
    the rest another form."""
    try:
        prefix = _prefix_decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return
    if prefix.mesh == committee.mesh and prefix.epoch != committee.epoch:
        raise OtherEpochError(prefix.epoch, committee.epoch)


def _check_prefix(body: _Body, committee: Committee) -> None:
    if body.mesh != committee.mesh:
        raise InvalidBlockError(
            f"expected mesh {committee.mesh.hex()}, got mesh {body.mesh.hex():.32}"
        )
    if body.epoch != committee.epoch:
        raise OtherEpochError(body.epoch, committee.epoch)
    if (body.seal, body.level) != (committee.seal, committee.level):
        raise InvalidBlockError(
            f"expected seal {committee.seal.hex()} and level {committee.level} of epoch "
            f"{committee.epoch}, got {body.seal.hex():.64} and {body.level}"
        )


def _check(body: _Body, committee: Committee) -> None:
    if not (1 <= body.round < ROUND_MAX and 0 <= body.author < committee.size):
        raise InvalidBlockError(f"no such slot: round {body.round}, author {body.author}")
    if len(body.payload) > PAYLOAD_BYTES_MAX:
        raise InvalidBlockError(f"a payload has at most {PAYLOAD_BYTES_MAX} bytes")
    if not 0 <= body.time_ms < ROUND_MAX:
        raise InvalidBlockError(f"not a time in ms since 1970: {body.time_ms}")
    if body.attestation.commit < 0 or len(body.attestation.digest) != (
        DIGEST_BYTES if body.attestation.commit else 0
    ):
        raise InvalidBlockError(
            "an attestation is a commit and its 32-byte digest, or 0 and nothing"
        )
    _check_parents(body, committee)


def _check_parents(body: _Body, committee: Committee) -> None:
    if not body.parents or body.parents[0].author != body.author:
        raise InvalidBlockError("the first parent is the author's own previous block")
    authors = [ref.author for ref in body.parents]
    others = authors[1:]
    if others != sorted(set(others)) or body.author in others:
        raise InvalidBlockError(f"one parent per author, in order; got authors {authors}")
    if others and not (others[0] >= 0 and others[-1] < committee.size):
        raise InvalidBlockError(f"authors are 0 to {committee.size - 1}; got {authors}")
    for ref in body.parents:
        if not 0 <= ref.round < body.round or len(ref.digest) != DIGEST_BYTES:
            raise InvalidBlockError(
                f"a parent is of a lower round, with a 32-byte digest; got {ref!r}"
            )
    previous = sum(ref.round == body.round - 1 for ref in body.parents)
    if previous < committee.quorum:
        raise InvalidBlockError(
            f"at least {committee.quorum} parents stand at round {body.round - 1}; got {previous}"
        )
