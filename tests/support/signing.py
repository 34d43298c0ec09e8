"""A trader with a key of its own, and commands of all kinds for it to sign."""

from typing import Any

import msgspec

from engine import (
    Cancel,
    CancelAll,
    Command,
    Halt,
    Reason,
    Reduce,
    Rejected,
    Replace,
    Resume,
    Side,
    Submit,
)
from peer import Signer
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Mode
from peer.consensus.committer import Checkpoint, Commit
from peer.consensus.schedule import Schedule
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.replica.batch import command_id, encode_batch
from peer.replica.signed import (
    Entry,
    account_of_key,
    with_id,
)
from peer.replica.state_machine import Replica
from tests.support.real_mesh import MARKET, MARKETS

NOW_MS = 1_800_000_000_000


IDENTITY = Identity(b"a trader's seed, of thirty-two b")


MEMBERS = [Member(f"m{n}", Identity.ephemeral().public.hex()) for n in range(4)]


CONFIG = MeshConfig("signed", Mode.CRASH, NOW_MS, MEMBERS, MARKETS)


MESH = CONFIG.id


ENCODE = msgspec.msgpack.Encoder().encode


BOUNDARY = Checkpoint(0, 1, NOW_MS, Schedule(0, (0, 1, 2, 3)), (0,) * 4, (), (), ())


def signer(now_ms: int = NOW_MS, mesh: bytes = MESH, identity: Identity = IDENTITY) -> Signer:
    return Signer(identity, mesh.hex(), lambda: now_ms)


ACCOUNT = signer().account


OTHER = account_of_key(Identity.ephemeral().public)


def buy(account: str = ACCOUNT, price: int = 100, **more: Any) -> Submit:
    return Submit(0, account, MARKET, Side.BUY, 5, price, **more)


class Peer:
    """A replica, fed by one member's blocks."""

    def __init__(self, replica: Replica | None = None) -> None:
        self.replica = replica or Replica(MARKETS, Epoch.first(CONFIG))
        self.seq = self.replica.expected[0]

    def apply(
        self, *entries: Entry, now_ms: int = NOW_MS, at_checkpoint: bool = False
    ) -> list[list[Any]]:
        """One commit of these commands; their events."""
        named = [with_id(entry, command_id(self.seq + n, 0)) for n, entry in enumerate(entries)]
        payload = encode_batch(self.seq, [ENCODE(entry) for entry in named])
        self.seq += len(named)
        block = Block(Ref(self.replica.commit + 1, 0, b"d" * 32), (), payload)
        number = self.replica.commit + 1
        checkpoint = BOUNDARY._replace(commit=number, time_ms=now_ms) if at_checkpoint else None
        commit = Commit(number, block.ref, now_ms, (block,), checkpoint)
        return self.replica.apply(commit).results

    def reasons(self, *entries: Entry, now_ms: int = NOW_MS) -> list[Reason | None]:
        """Why each was refused."""
        results = self.apply(*entries, now_ms=now_ms)
        return [e[0].reason if type(e[0]) is Rejected else None for e in results]


HOSTILE = ['"', "\\", "\x00\b\f\n\r\t\x1f\x7f", "\u2028\u2029", "é\ud7ff\ue000", "\U0001f600", "</"]


KINDS: list[Command] = [
    buy(client_id="".join(HOSTILE), post_only=True, expire_ms=2**53 - 1),
    Cancel(7, ACCOUNT, 2**53 - 1),
    CancelAll(7, ACCOUNT),
    CancelAll(7, ACCOUNT, MARKET, Side.SELL),
    Reduce(7, ACCOUNT, 256, 3),
    Replace(7, ACCOUNT, 256, 3, 4),
    Halt(7, ACCOUNT, MARKET),
    Resume(7, ACCOUNT, MARKET),
]
