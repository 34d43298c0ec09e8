"""The epochs of a mesh: its members from one commit to another, and the proof of who they are.

Owns seats, the seal that an epoch begins with, the hand-over signatures, and the chain from the
mesh file to a later epoch. Pure: it verifies and never signs. Must never decide who joins or
leaves.

A member has a seat, numbered from 0 in the order in which they were given. No seat is used again.
Inside an epoch the consensus numbers the members from 0, in the order of their seats.

An epoch ends with a commit. The *seal* of the next epoch is a hash over its members and over the
state after that commit. The members of the epoch that ends sign the seal; a quorum of them is a
certificate. So a newcomer that has only the mesh file can verify who the members are today.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import msgspec

from peer.consensus.block import DIGEST_BYTES, ROUND_MAX, SIGNATURE_BYTES, digest_of
from peer.consensus.committee import MEMBERS_MAX, Committee, Mode
from peer.membership.identity import KEY_BYTES, IdentityError, Verifier, curve_public
from peer.membership.mesh_file import MeshConfig

SEATS_MAX = 256  # ever: a seat is part of the ids of its orders
DOMAIN = b"p2p-orderbook hand-over v1\0"  # of the signature over a seal

_encode = msgspec.msgpack.Encoder().encode


class ForgedChainError(ValueError):
    """Epochs that the mesh file, or the pinned seal, does not lead to. Says which and why."""


class UncertifiedError(ForgedChainError):
    """An epoch for which too few members have signed. Nobody need have lied: with `Pin` it
    counts."""


class Seat(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member and its number, which no other member ever has."""

    number: int
    name: str
    key: bytes  # 32 bytes: the Ed25519 public key


class Origin(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an epoch begins from. The seal is the hash of its encoding."""

    mesh: bytes
    before: bytes  # the seal of the epoch before; empty for epoch 0
    number: int
    level: int  # of the rules
    seats: tuple[Seat, ...]  # ascending
    seats_ever: int  # so the number of the next new seat
    commit: int  # the last one of the epoch before
    time_ms: int  # of that commit
    digest: bytes  # of the state after that commit


class Certificate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An epoch, and signatures over its seal by members of the epoch before, by their seats."""

    origin: Origin
    signatures: dict[int, bytes]


class Pin(NamedTuple):
    """An epoch and its seal that the operator trusts."""

    epoch: int
    seal: bytes


def read_pin(text: str) -> Pin:
    """EPOCH:SEAL, as people write it. ValueError says what was expected."""
    number, _, seal = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(number) <= 15):
        raise ValueError(f"expected EPOCH:SEAL with a number, got {text!r:.100}")
    try:
        pin = Pin(int(number), bytes.fromhex(seal))
    except ValueError:
        pin = Pin(0, b"")
    if len(pin.seal) != DIGEST_BYTES or pin.epoch < 1:
        raise ValueError(f"expected EPOCH:SEAL with 64 hex digits, got {text!r:.100}")
    return pin


_certificates = msgspec.msgpack.Decoder(Certificate)


class Epoch:
    """One epoch of a mesh. Immutable."""

    def __init__(self, origin: Origin, mode: Mode, previous: "Epoch | None" = None) -> None:
        self.origin = origin
        self.mode = mode
        self.previous = previous
        self.number = origin.number
        self.seats = origin.seats
        self._authors = {seat.number: author for author, seat in enumerate(origin.seats)}

    @classmethod
    def first(cls, config: MeshConfig) -> "Epoch":
        """The epoch that the mesh file describes."""
        members = enumerate(config.members)
        seats = tuple(Seat(number, member.name, member.public) for number, member in members)
        origin = Origin(config.id, b"", 0, 1, seats, len(seats), 0, config.created_ms, b"")
        return cls(origin, config.mode)

    def following(
        self,
        removed: Collection[int],
        added: Sequence[tuple[str, bytes]],
        level: int,
        commit: int,
        time_ms: int,
        digest: bytes,
    ) -> "Epoch":
        """The epoch after this one, which ends with `commit`: without the removed seats, and with
        new seats for the added names and keys. ValueError if there is no such epoch."""
        kept = [seat for seat in self.seats if seat.number not in removed]
        ever = self.origin.seats_ever
        new = [Seat(ever + n, name, key) for n, (name, key) in enumerate(added)]
        origin = Origin(
            self.origin.mesh,
            self.seal,
            self.number + 1,
            level,
            (*kept, *new),
            ever + len(new),
            commit,
            time_ms,
            digest,
        )
        _check_step(self.origin, origin)
        return Epoch(origin, self.mode, self)

    @cached_property
    def seal(self) -> bytes:
        """32 bytes; empty for epoch 0, which the mesh's id determines."""
        return digest_of(_encode(self.origin)) if self.number else b""

    @cached_property
    def committee(self) -> Committee:
        origin = self.origin
        return Committee(
            origin.mesh,
            len(origin.seats),
            self.mode,
            origin.number,
            origin.time_ms,
            self.seal,
            origin.level,
            origin.commit,
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the seats, by author."""
        return tuple(self._authors)

    def author_of(self, seat: int | None) -> int | None:
        """The author that a seat is in this epoch; None if it is none."""
        return None if seat is None else self._authors.get(seat)

    def seat_of(self, key: bytes) -> int | None:
        """The number of the seat with this public key; None if no member of this epoch has it."""
        return next((seat.number for seat in self.seats if seat.key == key), None)

    @property
    def statement(self) -> bytes:
        """What members of the epoch before sign."""
        return DOMAIN + self.seal

    def signers_of(self, seal: bytes, signatures: Mapping[int, bytes]) -> Iterator[int]:
        """The seats of this epoch whose signatures over the seal of the next one are good."""
        for seat in self.seats:
            signature = signatures.get(seat.number)
            if signature is not None and Verifier(seat.key).verify(DOMAIN + seal, signature):
                yield seat.number

    def certifies(self, seal: bytes, signatures: Mapping[int, bytes]) -> bool:
        """Whether a quorum of this epoch has signed the seal of the next one."""
        return len(list(self.signers_of(seal, signatures))) >= self.committee.quorum


def encode(certificate: Certificate) -> bytes:
    return _encode(certificate)


def decode(data: bytes) -> Certificate:
    """ForgedChainError if it is not a certificate."""
    try:
        certificate = _certificates.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ForgedChainError(f"not an epoch's certificate: {error}") from None
    if _encode(certificate) != data:
        raise ForgedChainError("a certificate is not in its one encoding")
    sizes = {len(signature) for signature in certificate.signatures.values()}
    if not sizes <= {SIGNATURE_BYTES} or len(certificate.signatures) > MEMBERS_MAX:
        raise ForgedChainError(f"expected at most {MEMBERS_MAX} signatures of {SIGNATURE_BYTES} B")
    return certificate


def chain(
    first: Epoch, certificates: Iterable[Certificate], pin: Pin | None = None
) -> Iterator[Epoch]:
    """The epochs that follow `first`, each verified before it is given. The epochs up to the pinned
    one need no certificates: each contains the seal of the one before. ForgedChainError at the
    first that is wrong."""
    epochs = [first]
    for certificate in certificates:
        try:
            _check_step(epochs[-1].origin, certificate.origin)
        except ValueError as error:
            raise ForgedChainError(f"epoch {certificate.origin.number}: {error}") from None
        epochs.append(Epoch(certificate.origin, first.mode, epochs[-1]))
        if pin is None or len(epochs) - 1 + first.number > pin.epoch:
            _check_signed(epochs[-2], epochs[-1], certificate)
        if pin is not None and epochs[-1].number == pin.epoch:
            _check_pinned(epochs[-1], pin)
            yield from epochs[1:]
        elif pin is None or epochs[-1].number > pin.epoch:
            yield epochs[-1]


def _check_signed(before: Epoch, epoch: Epoch, certificate: Certificate) -> None:
    good = len(list(before.signers_of(epoch.seal, certificate.signatures)))
    if good < len(certificate.signatures):
        raise ForgedChainError(f"epoch {epoch.number}: a signature is not of a member before it")
    if good < before.committee.quorum:
        raise UncertifiedError(
            f"epoch {epoch.number}: expected signatures of {before.committee.quorum} members of "
            f"epoch {before.number}, got {good}"
        )


def _check_pinned(epoch: Epoch, pin: Pin) -> None:
    if epoch.seal != pin.seal:
        raise ForgedChainError(
            f"epoch {pin.epoch}: expected the trusted seal {pin.seal.hex()}, got {epoch.seal.hex()}"
        )


def _check_step(before: Origin, origin: Origin) -> None:
    """ValueError unless `origin` can follow `before`."""
    seal = Epoch(before, Mode.CRASH).seal
    if (origin.mesh, origin.before, origin.number) != (before.mesh, seal, before.number + 1):
        raise ValueError(f"it does not follow epoch {before.number} of mesh {before.mesh.hex()}")
    if not (before.commit < origin.commit < ROUND_MAX and 0 <= origin.time_ms < ROUND_MAX):
        raise ValueError(f"commit {origin.commit} is not after commit {before.commit}")
    if len(origin.digest) != DIGEST_BYTES or origin.level < before.level:
        raise ValueError(f"expected a digest and level {before.level} or later")
    _check_seats(before, origin)


def _check_seats(before: Origin, origin: Origin) -> None:
    """S: a seat is never another member's, and every new seat has a new number."""
    numbers = [seat.number for seat in origin.seats]
    if not 1 <= len(numbers) <= MEMBERS_MAX:
        raise ValueError(f"a mesh has 1 to {MEMBERS_MAX} members, not {len(numbers)}")
    if numbers != sorted(set(numbers)):
        raise ValueError(f"expected ascending seats, got {numbers}")
    old = {seat.number: seat for seat in before.seats}
    new = [seat for seat in origin.seats if seat.number not in old]
    if any(seat != old[seat.number] for seat in origin.seats if seat.number in old):
        raise ValueError("a seat is another member's than before")
    if [seat.number for seat in new] != list(range(before.seats_ever, origin.seats_ever)):
        raise ValueError(f"new seats are numbered from {before.seats_ever}, got {numbers}")
    if origin.seats_ever > SEATS_MAX:
        raise ValueError(f"a mesh has at most {SEATS_MAX} seats ever")
    for seat in new:
        _check_member(seat, origin)


def _check_member(seat: Seat, origin: Origin) -> None:
    others = [other for other in origin.seats if other is not seat]
    if any(seat.name == other.name or seat.key == other.key for other in others):
        raise ValueError(f"another member has the name or the key of {seat.name!r:.40}")
    try:
        if len(seat.key) != KEY_BYTES:
            raise IdentityError(f"a key has {KEY_BYTES} bytes")
        curve_public(seat.key)
    except IdentityError as error:
        raise ValueError(str(error)) from None
