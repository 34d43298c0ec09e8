"""The messages between peers, as ZeroMQ frames, and their validation.

Owns the messages, their limits and their strict parsing. Must never touch a socket or raise an
error over others' input: an invalid message is None.

    PUB     [b"B", block frame], [b"H", Heartbeat] or [b"S", (epoch, seal, signatures by seat)]
    DEALER  [b"F", concatenated digests], [b"P", (epoch, round by author)],
            [b"C", epoch]: the certificates of the epochs after it,
            [b"X", Stated]: a candidate has the state
            [b"A", AdmissionRequest]: a peer wants to be a member
            [b"E", (number, signed orders)]: put these into the order
            [b"T", (number, commit, concatenated places of the tree)]
            or [b"I", port]: I can be heard at this port, and you say that you do not hear me;
            an F of no digests only to see whether there is an answer
    ROUTER  [b"F" or b"P", block frame, ...], as many as fit
            [b"T", (number, commit), part, ...], in the order of the places, as many as fit; none if
            there is no tree of that commit
            [b"C", Certificate, ...] without a gap, as many as fit
            [b"E", (number, ids, again, code, reason)]: Queued or, with a code, Refused: whether the
            orders are durable and will be ordered
            [b"M", Manifest, block frame, ...] to a P whose blocks are pruned, or a T with a commit
            that is gone: take this state

There is no version number: peers of one mesh need the same messages.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from peer.consensus.block import DIGEST_BYTES, ROUND_MAX, SIGNATURE_BYTES, Attestation
from peer.consensus.committee import MEMBERS_MAX
from peer.consensus.core import REFS_PER_REQUEST_MAX, Pull, Wanted
from peer.membership import epochs
from peer.membership.admission import AdmissionRequest
from peer.membership.epochs import SEATS_MAX, Certificate, Epoch, ForgedChainError
from peer.network import forward_messages
from peer.network.forward_messages import ForwardAnswered as ForwardAnswered
from peer.network.forward_messages import ForwardAsked as ForwardAsked
from peer.network.forward_messages import ForwardWanted as ForwardWanted
from peer.replica.changes import LEVEL_MAX
from peer.replica.handover import Stated
from peer.storage.part_requests import PLACES_MAX, PartsWanted
from peer.storage.state_sync import Manifest
from peer.storage.tree_walk import ROOT, Place

ANSWER_BYTES_MAX = 2 * 1024 * 1024
ANSWER_BLOCKS_MAX = 1_000
REQUEST_BYTES_MAX = 16 * 1024
VERSION_LENGTH_MAX = 32
PLACE_BYTES = 9  # a key, then its shift
CHAIN_MAX = 64  # certificates in one answer


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Sent to all every HEARTBEAT_MS: what this peer has, so that others see what they miss."""

    mesh: bytes
    epoch: int
    member: int
    fetch_port: int
    rounds: tuple[int, ...]
    commit: int
    attestation: Attestation
    latest: Attestation
    time_ms: int
    hears: tuple[bool, ...]  # by member: whether it was heard within ALIVE_MS; itself too
    level: int = 1  # the highest one whose rules its program knows
    version: str = ""  # of its program, for people


class BlockIn(NamedTuple):
    """A frame that a member published or, if `asked`, sent as an answer."""

    member: int
    frame: bytes
    asked: bool = False


class Heard(NamedTuple):
    member: int
    heartbeat: Heartbeat


class SignedSeal(NamedTuple):
    """A member's seal of an epoch, and the signatures over it that the member knows."""

    member: int
    epoch: int
    seal: bytes
    signatures: dict[int, bytes]  # by seats of the epoch before


class ChainIn(NamedTuple):
    """Certificates of epochs, without a gap."""

    member: int
    certificates: list[Certificate]


class Answered(NamedTuple):
    """The end of an answer to a Pull; its blocks came before."""

    member: int


class Offered(NamedTuple):
    """A member lacks what it was asked for, but offers a state; the frames certify it."""

    member: int
    manifest: Manifest
    certificate: list[bytes]


class PartsIn(NamedTuple):
    """Parts of a member's tree after a commit. The member says that they answer the request with
    that number."""

    member: int
    number: int
    commit: int
    parts: list[bytes]


class Asked(NamedTuple):
    """A caller wants these blocks."""

    who: bytes
    digests: tuple[bytes, ...]


class Pulled(NamedTuple):
    """A caller wants all blocks of an epoch above these rounds."""

    who: bytes
    epoch: int
    rounds: tuple[int, ...]


class ChainAsked(NamedTuple):
    """A caller wants the certificates of the epochs after `above`."""

    who: bytes
    above: int


class StatedIn(NamedTuple):
    """A candidate says that it has the state."""

    who: bytes
    stated: Stated


class AdmissionAsked(NamedTuple):
    """A caller wants to be a member."""

    who: bytes
    request: AdmissionRequest


class ChainWanted(NamedTuple):
    """Ask `member` for the certificates of the epochs after `above`."""

    member: int
    above: int


class PartsAsked(NamedTuple):
    """A caller wants the parts at these places of the tree after a commit."""

    who: bytes
    number: int
    commit: int
    places: tuple[Place, ...]


class Introduced(NamedTuple):
    """The caller can be heard at this port of its host."""

    port: int


Request = Asked | Pulled | PartsAsked | ChainAsked | StatedIn | AdmissionAsked | ForwardAsked
Answer = BlockIn | Answered | Offered | PartsIn | ChainIn | ForwardAnswered
Message = Heard | SignedSeal | Answer
Question = Wanted | Pull | PartsWanted | ChainWanted | ForwardWanted

encode = msgspec.msgpack.Encoder().encode
_heartbeats = msgspec.msgpack.Decoder(Heartbeat)
_manifests = msgspec.msgpack.Decoder(Manifest)
_parts_asked = msgspec.msgpack.Decoder(tuple[int, int, bytes])
_parts_in = msgspec.msgpack.Decoder(tuple[int, int])
_pulls = msgspec.msgpack.Decoder(tuple[int, tuple[int, ...]])
_statements = msgspec.msgpack.Decoder(Stated)
_admissions = msgspec.msgpack.Decoder(AdmissionRequest)
_numbers = msgspec.msgpack.Decoder(int)
_INVALID = (msgspec.DecodeError, UnicodeDecodeError)
_seals = msgspec.msgpack.Decoder(tuple[int, bytes, dict[int, bytes]])


def request(wanted: Question) -> tuple[bytes, bytes]:
    """The frames of a request."""
    match wanted:
        case Wanted(refs=refs):
            return b"F", b"".join(ref.digest for ref in refs)
        case Pull(above=above, epoch=epoch):
            return b"P", encode((epoch, above))
        case ChainWanted(above=last):
            return b"C", encode(last)
        case ForwardWanted():
            return b"E", forward_messages.wanted_body(wanted)
        case PartsWanted(number=number, commit=commit, places=places):
            where = b"".join(key.to_bytes(8, "big") + bytes((shift,)) for key, shift in places)
            return b"T", encode((number, commit, where))


def statement(stated: Stated) -> tuple[bytes, bytes]:
    """The frames of a candidate's statement."""
    return b"X", encode(stated)


def admission(request: AdmissionRequest) -> tuple[bytes, bytes]:
    """The frames of a request to be a member."""
    return b"A", encode(request)


def introduction(port: int) -> tuple[bytes, bytes]:
    """The frames that tell where this peer can be heard."""
    return b"I", encode(port)


def parse_request(who: bytes, frames: list[bytes]) -> Request | Introduced | None:
    """What the caller asks for; None for an unknown or invalid request."""
    if len(frames) != 2:
        return None
    kind, body = frames
    try:
        if kind == b"F" and len(body) <= REFS_PER_REQUEST_MAX * DIGEST_BYTES:
            cuts = range(0, len(body), DIGEST_BYTES)
            return Asked(who, tuple(body[cut : cut + DIGEST_BYTES] for cut in cuts))
        if kind == b"P":
            epoch, rounds = _pulls.decode(body)
            if 1 <= len(rounds) <= MEMBERS_MAX and _all_within((*rounds, epoch), -1):
                return Pulled(who, epoch, rounds)
        if kind == b"T":
            number, commit, where = _parts_asked.decode(body)
            places = _read_places(where)
            if places and _all_within((number, commit), 1):
                return PartsAsked(who, number, commit, places)
        return _parse_notice(who, kind, body)
    except _INVALID:
        return None


def _parse_notice(who: bytes, kind: bytes, body: bytes) -> Request | Introduced | None:
    if kind == b"X":
        return StatedIn(who, _statements.decode(body))
    if kind == b"A":
        return AdmissionAsked(who, _admissions.decode(body))
    if kind == b"E":
        return forward_messages.asked_of(who, body)
    if kind == b"C" and _all_within((above := _numbers.decode(body),), 0):
        return ChainAsked(who, above)
    if kind == b"I" and 0 < (port := _numbers.decode(body)) < 2**16:
        return Introduced(port)
    return None


def _read_places(where: bytes) -> tuple[Place, ...] | None:
    """The places in a request; None if one is invalid or they are too many."""
    if len(where) % PLACE_BYTES or len(where) > PLACES_MAX * PLACE_BYTES:
        return None
    cuts = (where[at : at + PLACE_BYTES] for at in range(0, len(where), PLACE_BYTES))
    places = tuple(Place(int.from_bytes(cut[:8], "big"), cut[8]) for cut in cuts)
    can_be = all(p.shift <= ROOT.shift and p.shift % 4 == 0 == p.key % 2**p.shift for p in places)
    return places if can_be else None


def parse_answer(member: int, kind: bytes, frames: list[bytes]) -> Iterator[Answer]:
    """What a member answered; nothing if it is invalid."""
    if kind in (b"F", b"P"):
        yield from (BlockIn(member, frame, True) for frame in frames[:ANSWER_BLOCKS_MAX])
        if kind == b"P":
            yield Answered(member)
    elif kind == b"C":
        with contextlib.suppress(ForgedChainError):
            yield ChainIn(member, [epochs.decode(frame) for frame in frames[:CHAIN_MAX]])
    elif (message := _parse_state(member, kind, frames)) is not None:
        yield message


def _parse_state(
    member: int, kind: bytes, frames: list[bytes]
) -> Offered | PartsIn | ForwardAnswered | None:
    try:
        if kind == b"M" and 1 <= len(frames) <= 1 + MEMBERS_MAX:
            manifest = _manifests.decode(frames[0])
            is_possible = _all_within((manifest.commit,), 1) and _all_within((manifest.epoch,), 0)
            if is_possible and len(manifest.digest) == DIGEST_BYTES:
                return Offered(member, manifest, frames[1:])
        if kind == b"E" and len(frames) == 1:
            return forward_messages.answered_of(member, frames[0])
        if kind == b"T" and 1 <= len(frames) <= 1 + PLACES_MAX:
            number, commit = _parts_in.decode(frames[0])
            if _all_within((number, commit), 1):
                return PartsIn(member, number, commit, frames[1:])
    except _INVALID:
        pass
    return None


def parse_seal(member: int, body: bytes) -> SignedSeal | None:
    """A seal with signatures, to be verified."""
    try:
        epoch, seal, signatures = _seals.decode(body)
    except msgspec.DecodeError:
        return None
    if len(seal) != DIGEST_BYTES or len(signatures) > MEMBERS_MAX:
        return None
    if any(len(one) != SIGNATURE_BYTES for one in signatures.values()):
        return None
    return SignedSeal(member, epoch, seal, signatures)


def parse_heartbeat(body: bytes) -> Heartbeat | None:
    """A heartbeat with numbers within their limits, of any mesh."""
    try:
        heartbeat = _heartbeats.decode(body)
    except msgspec.DecodeError:
        return None
    attestations = heartbeat.attestation, heartbeat.latest
    counts = (heartbeat.commit, heartbeat.time_ms, *(one.commit for one in attestations))
    if not (0 < heartbeat.fetch_port < 2**16 and _all_within(counts, 0)):
        return None
    if not (1 <= len(heartbeat.rounds) == len(heartbeat.hears) <= MEMBERS_MAX):
        return None
    if not _all_within((*heartbeat.rounds, heartbeat.epoch), -1):
        return None
    if any(len(one.digest) not in (0, DIGEST_BYTES) for one in attestations):
        return None
    return heartbeat if _is_program(heartbeat.level, heartbeat.version) else None


def _is_program(level: int, version: str) -> bool:
    is_text = version.isascii() and (version.isprintable() or not version)
    return 1 <= level <= LEVEL_MAX and is_text and len(version) <= VERSION_LENGTH_MAX


def _all_within(numbers: Iterable[int], least: int) -> bool:
    return all(least <= number < ROUND_MAX for number in numbers)


def is_of(heartbeat: Heartbeat, epoch: Epoch, member: int) -> bool:
    """Whether the heartbeat is this member's in this mesh. `epoch` is the one of this peer; what is
    said of another one cannot be judged. A candidate, whose heartbeats have the number SEATS_MAX,
    may be a member in a later epoch, with a seat that this peer does not know, and the other way
    round."""
    if heartbeat.mesh != epoch.origin.mesh:
        return False
    if heartbeat.member == SEATS_MAX:
        return heartbeat.epoch != epoch.number or epoch.author_of(member) is None
    if member >= SEATS_MAX:
        return heartbeat.epoch > epoch.number
    if heartbeat.member != member:
        return False
    return heartbeat.epoch != epoch.number or len(heartbeat.rounds) == epoch.committee.size


def hears_only(epoch: Epoch, own: Heartbeat, theirs: Heartbeat, member: int) -> bool:
    """Whether this peer hears a member of its epoch that does not hear it. Members never say
    whether they hear a candidate."""
    if own.member == SEATS_MAX:
        return theirs.member < SEATS_MAX
    author, me = epoch.author_of(member), epoch.author_of(own.member)
    if author is None or me is None or not own.epoch == theirs.epoch == epoch.number:
        return False
    return own.hears[author] and not theirs.hears[me]
