"""The messages between peers, as ZeroMQ frames, and their validation.

Owns the messages, their limits and their strict parsing. Must never touch a socket or raise an
error over others' input: an invalid message is None.

    PUB     [b"B", block frame] or [b"H", Heartbeat]
    DEALER  [b"F", concatenated digests], [b"P", round by author],
            [b"T", (number, commit, concatenated places of the tree)]
            or [b"I", port]: I can be heard at this port, and you say that you do not hear me;
            an F of no digests only to see whether there is an answer
    ROUTER  [b"F" or b"P", block frame, ...], as many as fit
            [b"T", (number, commit), part, ...], in the order of the places, as many as fit; none if
            there is no tree of that commit
            [b"M", Manifest, block frame, ...] to a P whose blocks are pruned, or a T with a commit
            that is gone: take this state

There is no version number: peers of one mesh need the same messages. A peer of a version before `T`
asks for the bytes of a snapshot, which no longer exist.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from peer.consensus.block import DIGEST_BYTES, ROUND_MAX, Attestation
from peer.consensus.committee import MEMBERS_MAX
from peer.consensus.core import REFS_PER_REQUEST_MAX, Pull, Wanted
from peer.membership.mesh_file import MeshConfig
from peer.storage.part_requests import PLACES_MAX, PartsWanted
from peer.storage.state_sync import Manifest
from peer.storage.tree_walk import ROOT, Place

ANSWER_BYTES_MAX = 2 * 1024 * 1024
ANSWER_BLOCKS_MAX = 1_000
REQUEST_BYTES_MAX = 16 * 1024
PLACE_BYTES = 9  # a key, then its shift


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


class BlockIn(NamedTuple):
    """A frame that a member published or sent as an answer."""

    member: int
    frame: bytes


class Heard(NamedTuple):
    member: int
    heartbeat: Heartbeat


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
    """A caller wants all blocks above these rounds."""

    who: bytes
    rounds: tuple[int, ...]


class PartsAsked(NamedTuple):
    """A caller wants the parts at these places of the tree after a commit."""

    who: bytes
    number: int
    commit: int
    places: tuple[Place, ...]


class Introduced(NamedTuple):
    """The caller can be heard at this port of its host."""

    port: int


Request = Asked | Pulled | PartsAsked
Answer = BlockIn | Answered | Offered | PartsIn
Message = Heard | Answer

encode = msgspec.msgpack.Encoder().encode
_heartbeats = msgspec.msgpack.Decoder(Heartbeat)
_manifests = msgspec.msgpack.Decoder(Manifest)
_parts_asked = msgspec.msgpack.Decoder(tuple[int, int, bytes])
_parts_in = msgspec.msgpack.Decoder(tuple[int, int])
_ports = msgspec.msgpack.Decoder(int)
_vectors = msgspec.msgpack.Decoder(tuple[int, ...])


def request(wanted: Wanted | Pull | PartsWanted) -> tuple[bytes, bytes]:
    """The frames of a request."""
    match wanted:
        case Wanted(refs=refs):
            return b"F", b"".join(ref.digest for ref in refs)
        case Pull(above=above):
            return b"P", encode(above)
        case PartsWanted(number=number, commit=commit, places=places):
            where = b"".join(key.to_bytes(8, "big") + bytes((shift,)) for key, shift in places)
            return b"T", encode((number, commit, where))


def introduction(port: int) -> tuple[bytes, bytes]:
    """The frames that tell where this peer can be heard."""
    return b"I", encode(port)


def parse_request(who: bytes, frames: list[bytes], members: int) -> Request | Introduced | None:
    """What the caller asks for; None for an unknown or invalid request."""
    if len(frames) != 2:
        return None
    kind, body = frames
    try:
        if kind == b"F" and len(body) <= REFS_PER_REQUEST_MAX * DIGEST_BYTES:
            cuts = range(0, len(body), DIGEST_BYTES)
            return Asked(who, tuple(body[cut : cut + DIGEST_BYTES] for cut in cuts))
        if kind == b"P":
            rounds = _vectors.decode(body)
            if len(rounds) == members and all(-1 <= round_ < ROUND_MAX for round_ in rounds):
                return Pulled(who, rounds)
        if kind == b"T":
            number, commit, where = _parts_asked.decode(body)
            places = _read_places(where)
            if places and _all_within((number, commit), 1):
                return PartsAsked(who, number, commit, places)
        if kind == b"I" and 0 < (port := _ports.decode(body)) < 2**16:
            return Introduced(port)
    except msgspec.DecodeError:
        pass
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
        yield from (BlockIn(member, frame) for frame in frames[:ANSWER_BLOCKS_MAX])
        if kind == b"P":
            yield Answered(member)
    elif (message := _parse_state(member, kind, frames)) is not None:
        yield message


def _parse_state(member: int, kind: bytes, frames: list[bytes]) -> Offered | PartsIn | None:
    try:
        if kind == b"M" and 1 <= len(frames) <= 1 + MEMBERS_MAX:
            manifest = _manifests.decode(frames[0])
            if _all_within((manifest.commit,), 1) and len(manifest.digest) == DIGEST_BYTES:
                return Offered(member, manifest, frames[1:])
        if kind == b"T" and 1 <= len(frames) <= 1 + PLACES_MAX:
            number, commit = _parts_in.decode(frames[0])
            if _all_within((number, commit), 1):
                return PartsIn(member, number, commit, frames[1:])
    except msgspec.DecodeError:
        pass
    return None


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
    if not _all_within(heartbeat.rounds, -1):
        return None
    if any(len(one.digest) not in (0, DIGEST_BYTES) for one in attestations):
        return None
    return heartbeat


def _all_within(numbers: Iterable[int], least: int) -> bool:
    return all(least <= number < ROUND_MAX for number in numbers)


def is_of(heartbeat: Heartbeat, config: MeshConfig, member: int) -> bool:
    """Whether the heartbeat is this member's in this mesh."""
    size = len(config.members)
    if (len(heartbeat.rounds), len(heartbeat.hears)) != (size, size):
        return False
    said = heartbeat.mesh, heartbeat.epoch, heartbeat.member
    return said == (config.id, config.committee.epoch, member)
