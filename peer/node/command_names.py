"""What commands are called here: ids, client ids, references to earlier commands of a request.

Owns how each is made. Must never keep any of them. Pure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from engine import Cancel, Reduce, Replace, Submit
from peer.replica.changes import Approve
from peer.replica.client_ids import digest_of, has_name
from peer.replica.signed import Item, command_of, with_id

_replace = msgspec.structs.replace
_REFERENCES = {Cancel: "order", Reduce: "order", Replace: "order", Approve: "proposal"}


class ClientId(NamedTuple):
    """A submitter's own name for an order."""

    account: str
    client_id: str


class Taken(NamedTuple):
    """An order taken under its submitter's name."""

    order: int  # its id
    digest: bytes


def client_id_of(entry: Item) -> ClientId | None:
    if type(entry) is Submit and not entry.client_id:  # most are
        return None
    command = command_of(entry)
    return ClientId(command.account, command.client_id) if has_name(command) else None


def taken_as(entry: Item, id_: int) -> Taken:
    """An order with a client id, taken under this id, with any signer and time."""
    command = command_of(entry)
    assert isinstance(command, Submit)
    return Taken(id_, digest_of(command))


def named(command: Item, id_: int, before: Sequence[int]) -> Item | None:
    """The command with its id. A reference by place in the request becomes an id from `before`, the
    ids so far. None if that order or proposal is not before it."""
    if type(command) is Submit:  # most are
        return _replace(command, id=id_)
    field = _REFERENCES.get(type(command), "")
    place = -getattr(command, field) if field else 0
    if place <= 0:
        return with_id(command, id_)
    if place > len(before):
        return None
    return _replace(command, **{"id": id_, field: before[place - 1]})
