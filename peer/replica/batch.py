"""The payload of a block: an author's commands, and their ids.

Owns the encoding. Must never judge a command.

A payload is the msgpack array [first seq, [command, ...]]: an author's commands `first`, `first`+1
and so on. An id has the seq and the seat of its author.
"""

from collections.abc import Sequence

import msgspec

from peer.consensus.block import Block
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.signed import Item

COMMANDS_PER_BLOCK_MAX = 2_000

_encoder = msgspec.msgpack.Encoder()


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An author's commands. The first has the seq `first`."""

    first: int
    commands: list[Item]


_decoder = msgspec.msgpack.Decoder(Batch)


def command_id(seq: int, member: int) -> int:
    """The id of a member's `seq`-th command."""
    return seq * MEMBERS_SPACE + member


def seq_and_member(id_: int) -> tuple[int, int]:
    """The seq and the member of the command with this id."""
    return divmod(id_, MEMBERS_SPACE)


def encode_batch(first: int, commands: Sequence[bytes]) -> bytes:
    """A payload of encoded commands."""
    return _encoder.encode((first, [msgspec.Raw(command) for command in commands]))


def decode_batch(block: Block, seat: int | None = None) -> Batch:
    """The commands of a block; its author has this seat, or in the first epoch that of its number.
    msgspec.DecodeError or ValueError if the payload is invalid."""
    seat = block.author if seat is None else seat
    batch = _decoder.decode(block.payload)
    if not 1 <= len(batch.commands) <= COMMANDS_PER_BLOCK_MAX or batch.first < 1:
        raise ValueError(
            f"expected 1 to {COMMANDS_PER_BLOCK_MAX} commands from number 1 up, got "
            f"{len(batch.commands)} from {batch.first}"
        )
    first = command_id(batch.first, seat)
    expected = list(range(first, first + len(batch.commands) * MEMBERS_SPACE, MEMBERS_SPACE))
    ids = [command.id for command in batch.commands]
    if ids != expected:
        id_, got = next(pair for pair in zip(expected, ids, strict=True) if pair[0] != pair[1])
        seq, _ = seq_and_member(id_)
        raise ValueError(f"command {seq}: expected id {id_}, got {got}")
    return batch
