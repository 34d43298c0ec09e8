"""What commands are called here: ids, client ids, references to earlier commands of a request.

Owns how each is made. Must never keep any of them. Pure.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from engine import Cancel, Reduce, Replace, Submit
from peer.replica.changes import Approve
from peer.replica.signed import Item, command_of, with_id
from peer.storage.journal import ClientId

DIGEST_BYTES = 16  # of an order with a client id: it protects the submitter from mistakes

_REFERENCES = {Cancel: "order", Reduce: "order", Replace: "order", Approve: "proposal"}
_encode = msgspec.msgpack.Encoder().encode


def client_id_of(entry: Item) -> ClientId | None:
    command = command_of(entry)
    if isinstance(command, Submit) and command.client_id:
        return ClientId(command.account, command.client_id)
    return None


def digest_of(entry: Item) -> bytes:
    """The same for an order that is sent again, with any signer and time."""
    return sha256(_encode(msgspec.structs.replace(command_of(entry), id=0))).digest()[:DIGEST_BYTES]


def named(command: Item, id_: int, before: Sequence[int]) -> Item | None:
    """The command with its id. A reference by place in the request becomes an id from `before`, the
    ids so far. None if that order or proposal is not before it."""
    field = _REFERENCES.get(type(command), "")
    place = -getattr(command, field) if field else 0
    if place <= 0:
        return with_id(command, id_)
    if place > len(before):
        return None
    return msgspec.structs.replace(command, **{"id": id_, field: before[place - 1]})
