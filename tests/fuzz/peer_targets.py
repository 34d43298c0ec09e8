"""Where a peer reads what members, observers and local programs send."""

import queue
import tempfile
from functools import cache
from pathlib import Path

import msgspec
import zmq

from engine import (
    KIND_SHIFT,
    Cancel,
    Command,
    Exchange,
    Market,
    OrderType,
    Reduce,
    Replace,
    Side,
    Submit,
)
from peer.client import protocol
from peer.client.endpoint import Local, endpoint, parse
from peer.client.signer import Signer
from peer.consensus.block import (
    SIGNATURE_BYTES,
    Block,
    InvalidBlockError,
    Ref,
    decode,
    genesis,
    make,
)
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit
from peer.consensus.core import Pull, Wanted
from peer.consensus.schedule import Schedule
from peer.membership.admission import admission_request
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network import messages
from peer.network.mesh import Mesh
from peer.node.ledger import Ledger
from peer.node.loop import Node, Wires
from peer.node.responder import OBSERVER_GETS
from peer.process.poller import Poller
from peer.replica.batch import command_id, encode_batch
from peer.replica.changes import (
    Activate,
    AddMarket,
    AddMember,
    Approve,
    CancelAccount,
    ChangeMarket,
    CloseMarket,
    HaltMarket,
    Propose,
    RemoveMember,
    ReplaceMember,
    Vote,
    Withdraw,
)
from peer.replica.signed import Signed, account_of_key, with_id
from peer.replica.snapshot import HEAD, InvalidSnapshotError
from peer.replica.state_machine import Replica
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.journal import Journal
from peer.storage.part_requests import PartsWanted
from peer.storage.state_sync import Manifest
from peer.storage.tree_walk import ROOT, Place
from tests.fuzz import Target, mutate
from tests.fuzz.tree_targets import parts_of
from tests.support.alone import Alone
from tests.support.pieces import pieces_of
from tests.support.real_mesh import MARKETS, order

IDENTITIES = [Identity(bytes([n]) * 32) for n in range(1, 5)]
MEMBERS = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(IDENTITIES)]
CONFIG = MeshConfig("fuzz", Mode.BYZANTINE, 1_700_000_000_000, MEMBERS, MARKETS, "any")
COMMITTEE = CONFIG.committee
EPOCH = Epoch.first(CONFIG)
TURNS_PER_NODE = 2_000  # then a fresh one

encode = msgspec.msgpack.encode


def first_blocks(committee: Committee = COMMITTEE) -> list[Block]:
    """Two rounds of every member's blocks."""
    blocks, before = [], list(genesis(committee))
    for round_ in (1, 2):
        made = []
        for n in range(committee.size):
            parents = (before[n].ref, *(b.ref for b in before if b.author != n))
            payload = encode_batch(round_, [encode(one) for one in orders(round_, n)])
            attestation = grown().attestation()
            one = make(committee, round_, n, parents, payload, 9, attestation, IDENTITIES[n].sign)
            made.append(one)
        blocks += made
        before = made
    return blocks


def orders(seq: int, member: int) -> list[Command]:
    id_ = command_id(seq, member)
    return [Submit(id_, f"a{member}", MARKETS[0].symbol, Side(member % 2), 5, 100 + member)]


def all_commands(member: int = 0) -> list[Command]:
    new = [Submit(0, "a", "BTC-USD", Side.BUY, 5, 10 + n, client_id=str(n)) for n in range(3)]
    at = command_id(1, member)
    others: list[Command] = [Cancel(0, "a", at), Reduce(0, "a", at, 1), Replace(0, "a", at, 9, 2)]
    return [
        msgspec.structs.replace(command, id=command_id(seq, member))
        for seq, command in enumerate([*new, *others], 1)
    ]


def all_votes(member: int = 0) -> list[Vote]:
    """Two proposals, of which the first is approved and the second withdrawn."""
    key = IDENTITIES[0].public.hex()
    markets = AddMarket(Market("NEW", "1", "1")), ChangeMarket("BTC-USD", quantity_min=2)
    members = AddMember("new", key), RemoveMember(1), ReplaceMember(2, "other", key), Activate(2)
    first, second = command_id(1, member), command_id(2, member)
    return [
        Propose(first, (*markets, HaltMarket("BTC-USD"), CancelAccount("a"), CloseMarket("NEW"))),
        Propose(second, members, force=True, unsealed=True),
        Approve(command_id(3, member), first, 0),
        Withdraw(command_id(4, member), second),
    ]


# A block's bytes


def of_frame(rng: mutate.random.Random, frame: bytes) -> bytes:
    body, signature = frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]
    return mutate.of_msgpack(rng, body) + signature


def read_block(frame: bytes) -> None:
    try:
        block = decode(frame, COMMITTEE)
    except InvalidBlockError:
        return
    assert decode(block.frame, COMMITTEE).ref == block.ref


# What comes over the wire


def read_frames(data: bytes) -> None:
    """Requests, answers and heartbeats are parsed, or are nothing; never an error."""
    parts = _parts(data)
    messages.parse_request(b"who", parts)
    list(messages.parse_answer(1, parts[0], parts[1:]))
    heartbeat = messages.parse_heartbeat(parts[-1])
    if heartbeat is not None and messages.is_of(heartbeat, EPOCH, 1):
        assert messages.parse_heartbeat(messages.encode(heartbeat)) == heartbeat


def _parts(data: bytes) -> list[bytes]:
    try:
        return msgspec.msgpack.decode(data, type=list[bytes]) or [data]
    except msgspec.DecodeError:
        return [data]


def wire_seeds() -> list[bytes]:
    blocks = first_blocks()
    rounds, attestation = (2, 2, 2, 2), grown().attestation()
    claims = rounds, 64, attestation, attestation, 1_700_000_000_000, (True,) * len(rounds)
    beat = messages.Heartbeat(CONFIG.id, 0, 1, 3_101, *claims)
    manifest, parts = Manifest(*attestation), parts_of(grown().tree, pieces_of(grown()))
    asked = (
        Wanted(1, tuple(block.ref for block in blocks)),
        Pull(1, rounds),
        PartsWanted(1, 1, 64, (ROOT, Place(0x1230, 4), Place(HEAD, 0))),
        messages.ChainWanted(1, 0),
    )
    key = IDENTITIES[0]
    answers: list[list[bytes]] = [
        list(messages.admission(admission_request(CONFIG.id, "dave", key.public, key.sign))),
        [b"F", *(block.frame for block in blocks)],
        [b"P", *(block.frame for block in blocks[:2])],
        [b"M", encode(manifest), *(block.frame for block in blocks[:3])],
        [b"T", encode((1, 64)), *parts],
        [b"H", encode(beat)],
    ]
    return [encode(each) for each in (*map(messages.request, asked), *answers)]


# A whole node, told by members that hold their keys


class HeardNode:
    """A node that follows a mesh, and is handed what its mesh would have heard."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        folder = Path(self._folder.name) / "follower"
        identity = data_folder.create(folder)
        self._journal = Journal(folder / JOURNAL_FILE, identity.public, CONFIG.id)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        poller = Poller()
        mesh = Mesh(self._context, CONFIG, identity, poller)
        wires = Wires(poller, mesh, Local(self._context, endpoint(folder), poller))
        ledger = Ledger(CONFIG, None, identity.sign, self._journal)
        self.node = Node(CONFIG, ledger, wires, queue.Queue())
        self.now_ms = 0

    def close(self) -> None:
        self._journal.close()
        self._context.destroy()
        self._folder.cleanup()

    def hear(self, item: object) -> None:
        """[member, [body of a block, ...]] or [member, frames]: what a member's sockets gave."""
        if not isinstance(item, list) or len(item) != 2 or item[0] not in range(len(MEMBERS)):
            return
        member, parts = item
        if not isinstance(parts, list):
            return
        bytes_only = [part for part in parts if isinstance(part, bytes)]
        for body in parts:
            if isinstance(body, list):
                self.node._take(messages.BlockIn(member, signed(body)), self.now_ms)
        if bytes_only:
            self._hear_frames(member, bytes_only)

    def _hear_frames(self, member: int, parts: list[bytes]) -> None:
        for message in messages.parse_answer(member, parts[0], parts[1:]):
            self.node._take(message, self.now_ms)
        request = messages.parse_request(b"who", parts)
        if request is not None:
            self.node._responder._answer(request, OBSERVER_GETS)
        heartbeat = messages.parse_heartbeat(parts[-1])
        if heartbeat is not None and messages.is_of(heartbeat, EPOCH, member):
            self.node._take(messages.Heard(member, heartbeat), self.now_ms)

    def turn(self) -> None:
        self.now_ms += 10
        self.node._effects.cut.clear()
        self.node._carry_out(self.now_ms)


def signed(body: list[object]) -> bytes:
    """A frame with a true signature of the author it names, so that only its content is wrong."""
    raw = encode(body)
    author = body[3] if len(body) > 3 else 0
    signer = IDENTITIES[author if author in range(len(MEMBERS)) else 0]
    return raw + signer.sign(raw)


_heard: list[tuple[HeardNode, int]] = []


def tell_node(data: bytes) -> None:
    try:
        items = msgspec.msgpack.decode(data, type=list[object])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return
    heard, turns = _heard.pop() if _heard else (HeardNode(), 0)
    for item in items[:16]:
        heard.hear(item)
    heard.turn()
    if heard.node.halted or turns > TURNS_PER_NODE:
        heard.close()
    else:
        _heard.append((heard, turns + 1))


def told_seeds() -> list[bytes]:
    bodies = [msgspec.msgpack.decode(block.frame[:-SIGNATURE_BYTES]) for block in first_blocks()]
    said = [[n % 4, [body]] for n, body in enumerate(bodies)]
    wire = [[1, msgspec.msgpack.decode(seed)] for seed in wire_seeds()]
    state = [each for each in wire if each[1][0] in (b"M", b"T")]
    return [encode(said), encode(state), *(encode([said[0], each]) for each in wire)]


# Payloads


def apply_batch(data: bytes) -> None:
    """What an author put into its block is applied or ignored; the engine refuses by an event."""
    replica = Replica(MARKETS, EPOCH)
    ref = Ref(1, 0, b"r" * 32)
    blocks = tuple(Block(ref, (), payload, 5) for payload in _parts(data)[:4])
    replica.apply(Commit(1, ref, 5, blocks, None))
    replica.exchange.check()
    again = Exchange.restore(replica.exchange.pieces())
    assert again.digest() == replica.exchange.digest()


def batch_seeds() -> list[bytes]:
    one = encode_batch(1, [encode(command) for command in all_commands()])
    two = encode_batch(7, [encode(order("b", Side.SELL, 10, 9))])
    three = encode_batch(1, [encode(signed_order())])
    votes = encode_batch(1, [encode(vote) for vote in all_votes()])
    return [encode([one]), encode([one, two]), encode([three]), encode([votes])]


def signed_order() -> Signed:
    """As far as its form goes: a mutation can't make a good signature."""
    name = account_of_key(IDENTITIES[0].public)
    terms = msgspec.structs.replace(order(name, Side.BUY, 9, 1), id=command_id(1, 0))
    return Signed(terms, 5, 6, bytes(SIGNATURE_BYTES))


# Snapshots

_pieces = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


def of_pieces(rng: mutate.random.Random, data: bytes) -> bytes:
    """Most changes are in one of the pieces: others are soon refused."""
    try:
        pieces = _pieces.decode(data)
    except msgspec.MsgspecError:
        pieces = []
    if not pieces or rng.random() < 0.1:
        return mutate.of_msgpack(rng, data)
    at = rng.randrange(len(pieces))
    key, piece = pieces[at]
    key = rng.choice((key, key, key, key, key + 1, rng.choice(pieces)[0]))
    pieces[at] = key, mutate.of_msgpack(rng, piece)
    return encode(pieces)


def read_snapshot(data: bytes) -> None:
    """Pieces of a state under their keys. What is taken for one has no other pieces than these."""
    try:
        pieces = dict(_pieces.decode(data))
        replica = Replica.restore(EPOCH, pieces)
    except (msgspec.MsgspecError, InvalidSnapshotError):
        return
    replica.exchange.check()
    replica.signers.check()
    replica.key_orders.check(replica.exchange.orders_open())
    assert pieces_of(replica) == pieces


def snapshot_seeds() -> list[bytes]:
    pieces = pieces_of(grown())
    assert {key >> KIND_SHIFT for key in pieces} == set(range(8))
    return [encode(list(pieces.items()))]


@cache
def grown() -> Replica:
    """Has all kinds of pieces, at a checkpoint."""
    signer = Signer(IDENTITIES[0], CONFIG.id.hex(), lambda: 5)
    mine = Submit(0, signer.account, "BTC-USD", Side.BUY, 5, 9, client_id="mine")
    stop = Submit(0, "b", "ETH-USD", Side.SELL, 5, 0, OrderType.STOP, stop_price=7)
    hides = Submit(0, "b", "BTC-USD", Side.SELL, 50, 30, display=5)
    entries = [signer.sign(mine), order("b", Side.SELL, 9, 3), stop, hides, *all_commands()]
    named = [encode(with_id(entry, command_id(n, 0))) for n, entry in enumerate(entries, 1)]
    ref, heads = Ref(1, 0, b"r" * 32), tuple(block.ref for block in genesis(COMMITTEE))
    checkpoint = Checkpoint(64, 2, 5, Schedule(0, (0, 1, 2, 3)), (0,) * 4, heads, (5,) * 4, ())
    replica = Replica(MARKETS, EPOCH)
    replica.commit = 63
    replica.apply(Commit(64, ref, 5, (Block(ref, (), encode_batch(1, named), 5),), checkpoint))
    return replica


# The local API

_local: list[tuple[tempfile.TemporaryDirectory[str], Alone, int]] = []


def serve_local(data: bytes) -> None:
    folder, alone, served = _local.pop() if _local else (*_alone(), 0)
    parsed = parse([b"conn", b"id", data])
    if parsed is not None and not isinstance(parsed[1], protocol.Refused):
        alone.node._requests.take(*parsed, now_ms=served, effects=alone.node._effects)
    if served % 100 == 0:
        alone.node._turn()
    if served > TURNS_PER_NODE or alone.node.halted:
        alone.close()
        folder.cleanup()
    else:
        _local.append((folder, alone, served + 1))


def _alone() -> tuple[tempfile.TemporaryDirectory[str], Alone]:
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    return folder, Alone(Path(folder.name) / "me")


def local_seeds() -> list[bytes]:
    commands = [msgspec.structs.replace(command, id=0) for command in all_commands()]
    requests: list[protocol.Request] = [
        protocol.Execute(commands),
        protocol.Execute([Cancel(0, "a", -1), Replace(0, "a", -2, 5, 5)]),
        protocol.Withdraw("a", [256, 512]),
        protocol.GetState("BTC-USD", 5),
        protocol.GetOrders("a"),
        protocol.GetMarkets(),
        protocol.GetProposals(),
        protocol.Govern([*all_votes()[:2], Approve(0, -1, 0), Withdraw(0, -2)]),
        protocol.Subscribe(["market/BTC-USD", "account/a", "commit", "mesh"]),
        protocol.Subscribe(["markets", "proposals"]),
    ]
    return [encode(request) for request in requests]


TARGETS = {
    "block": lambda: Target([b.frame for b in first_blocks()], of_frame, read_block),
    "wire": lambda: Target(wire_seeds(), mutate.of_msgpack, read_frames),
    "node": lambda: Target(told_seeds(), mutate.of_msgpack, tell_node),
    "batch": lambda: Target(batch_seeds(), mutate.of_msgpack, apply_batch),
    "snapshot": lambda: Target(snapshot_seeds(), of_pieces, read_snapshot),
    "local": lambda: Target(local_seeds(), mutate.of_msgpack, serve_local),
}
