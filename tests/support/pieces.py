"""The state of a replica in pieces, and another one made of them; and a replica that lives."""

import random

import msgspec

from engine import Cancel, Command, Side, Submit
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import CHECKPOINT_EVERY, Checkpoint, Commit
from peer.replica.batch import command_id, encode_batch
from peer.replica.signed import with_id
from peer.replica.state_machine import Replica
from tests.support.epochs import first_epoch
from tests.support.real_mesh import MARKETS, order, random_orders

MESH = b"m" * 16
COMMITTEE = Committee(MESH, 3, Mode.CRASH)
ENCODE = msgspec.msgpack.Encoder().encode


def pieces_of(replica: Replica) -> dict[int, bytes]:
    """All there are as of its tree, by ascending key."""
    return {key: replica.piece(key) for key, _ in replica.tree}


def rebuilt(replica: Replica, committee: Committee = COMMITTEE) -> Replica:
    """One that goes on from a checkpoint at which `replica` is."""
    return Replica.restore(first_epoch(committee), pieces_of(replica))


class Life:
    """What one member's orders make of a replica: 16 are in a piece, and a third of all go again
    later, whatever piece they are in."""

    def __init__(self, seed: int = 1, committee: Committee = COMMITTEE) -> None:
        self.committee = committee
        self.replica = Replica(MARKETS, first_epoch(committee))
        self.rng = random.Random(seed)
        self.taken: list[Command] = []

    def commit(self, orders: int = 8) -> tuple[Commit, int]:
        """The next one, applied, and how many commands it had."""
        number, seq = self.replica.commit + 1, self.replica.expected[0]
        commands: list[Command] = [
            *random_orders(self.rng, "ann", orders),
            *(order("bob", Side.BUY, self.rng.randrange(1, 900), 1) for _ in range(orders)),
        ]
        for last in commands[-1:]:
            commands[-1] = msgspec.structs.replace(last, client_id=f"order {seq}")
        gone = self.rng.sample(self.taken, min(len(self.taken), orders // 2))
        commands += [Cancel(0, one.account, one.id) for one in gone]
        commands += [one for one in gone if isinstance(one, Submit) and one.client_id]  # again
        named = [with_id(one, command_id(seq + n, 0)) for n, one in enumerate(commands)]
        self.taken += named[: 2 * orders]  # type: ignore[arg-type]
        payload = encode_batch(seq, [ENCODE(one) for one in named])
        block = Block(Ref(number, 0, b"d" * 32), (), payload)
        commit = Commit(number, block.ref, number, (block,), self._checkpoint(number))
        self.replica.apply(commit)
        return commit, len(named)

    def _checkpoint(self, number: int) -> Checkpoint | None:
        if number % CHECKPOINT_EVERY:
            return None
        heads = tuple(Ref(number, author, b"d" * 32) for author in range(self.committee.size))
        return Checkpoint.first(self.committee)._replace(
            commit=number, next_round=number + 1, time_ms=number, heads=heads
        )
