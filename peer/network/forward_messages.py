"""Signed orders from a follower to a member, and the member's answer.

Owns the form of both bodies. Decoding may raise msgspec.DecodeError and UnicodeDecodeError.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from peer.client.protocol import FORWARDED_MAX, Queued, Refused
from peer.replica.signed import Signed

_encode = msgspec.msgpack.Encoder().encode
_orders = msgspec.msgpack.Decoder(tuple[int, list[Signed]])
# Number, ids, again, code, reason: a refusal has a code. Unions of maps are not decoded from peers.
_answers = msgspec.msgpack.Decoder(tuple[int, list[int], list[int], str, str])


class ForwardWanted(NamedTuple):
    """Ask `member` to put signed orders into the order."""

    member: int
    number: int
    commands: Sequence[Signed]


class ForwardAsked(NamedTuple):
    """A caller wants signed orders to be ordered. `asker` is its name."""

    who: bytes
    number: int
    commands: Sequence[Signed]
    asker: str = ""


class ForwardAnswered(NamedTuple):
    """A member's answer to the request with that number."""

    member: int
    number: int
    reply: Queued | Refused


def wanted_body(wanted: ForwardWanted) -> bytes:
    return _encode((wanted.number, wanted.commands))


def answer_body(number: int, reply: Queued | Refused) -> bytes:
    if isinstance(reply, Refused):
        return _encode((number, (), (), reply.code, reply.reason))
    return _encode((number, reply.ids, reply.again, "", ""))


def asked_of(who: bytes, body: bytes) -> ForwardAsked | None:
    number, commands = _orders.decode(body)
    is_possible = number >= 1 and 1 <= len(commands) <= FORWARDED_MAX
    return ForwardAsked(who, number, commands) if is_possible else None


def answered_of(member: int, body: bytes) -> ForwardAnswered:
    number, ids, again, code, reason = _answers.decode(body)
    return ForwardAnswered(member, number, Refused(code, reason) if code else Queued(ids, again))
