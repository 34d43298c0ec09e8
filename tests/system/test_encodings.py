"""All encodings that peers compare, keep or send, compared with bytes in a file.

To move, rename or split a type must not change them. ENCODINGS=rewrite writes the present encodings
into the file, for an intended change of the protocol.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import (
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    Event,
    Exchange,
    Expired,
    Halt,
    Market,
    MarketState,
    MarketStatus,
    OpenOrder,
    OrderType,
    Reason,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    Resume,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
    leaf_part,
)
from engine.hash_tree import node_part
from peer.client import proposal_views, protocol, queue_places
from peer.client.signer import Signer
from peer.consensus.block import Attestation, Block, genesis, make
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import CHECKPOINT_EVERY, Commit
from peer.consensus.core import Pull
from peer.membership import epochs
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network import messages as frames
from peer.replica import changes, execution_record, handover, signed
from peer.replica.batch import encode_batch
from peer.replica.state_machine import Replica
from peer.replica.trade import MarketTrade
from peer.storage.part_requests import PartsWanted
from peer.storage.state_sync import Manifest
from peer.storage.tree_walk import ROOT, Place
from tests.consensus.test_checkpoint import lived
from tests.support.pieces import pieces_of

GOLDEN = Path(__file__).parents[1] / "golden" / "encodings.txt"
REWRITE = os.environ.get("ENCODINGS") == "rewrite"

IDENTITIES = [Identity(bytes([n]) * 32) for n in range(1, 4)]
MARKETS = [
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market("ETH-USD", "0.1", "0.001", 1, 10**9, 10**8, 10, 500, 1_000, 10),
]
MEMBERS = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(IDENTITIES)]
CONFIG = MeshConfig("three", Mode.CRASH, 1_700_000_000_000, MEMBERS, MARKETS, "any")
OWNER = signed.account_of_key(IDENTITIES[0].public)
NOW_MS = 1_700_000_000_123

SUBMIT = Submit(256, "ann", "BTC-USD", Side.SELL, 5, 10_100)
COMMANDS: list[Command] = [
    SUBMIT,
    Submit(
        257, "böb", "ETH-USD", Side.BUY, 7, 99, OrderType.STOP_LIMIT, TimeInForce.GTD, False, 98, 2,
        SelfTrade.DECREMENT, NOW_MS + 9_000, "mine",
    ),
    Submit(258, "cy", "BTC-USD", Side.BUY, 3, 10_200, post_only=True),
    Cancel(512, "ann", 256),
    CancelAll(513, "ann", "BTC-USD", Side.SELL),
    Reduce(514, "ann", 256, 2),
    Replace(768, "ann", 256, 10_150, 4),
    Halt(769, "op", "ETH-USD"),
    Resume(770, "op", "ETH-USD"),
]  # fmt: skip
PLACE = ("BTC-USD", Side.SELL, 10_100, 3)
EVENTS: list[Event] = [
    Accepted(
        256, "ann", "BTC-USD", Side.SELL, 5, 10_100, OrderType.LIMIT, TimeInForce.GTC, 0, 0, 0, "x"
    ),
    Trade("BTC-USD", Side.BUY, 10_100, 2, 256, 258, "ann", "cy", 3, 0),
    Reduced(256, "ann", *PLACE),
    Replaced(256, "ann", *PLACE),
    Cancelled(256, "ann", *PLACE),
    Cancelled(256, "ann", *PLACE, Reason.REMOVED),
    Expired(256, "ann", *PLACE),
    Rejected(512, "ann", Reason.UNKNOWN_ORDER),
    Triggered(257, "böb", *PLACE),
    MarketState("ETH-USD", MarketStatus.HALTED),
]
OPEN = OpenOrder(
    256, "ann", "BTC-USD", Side.SELL, 10_100, 3, 5, OrderType.LIMIT, TimeInForce.GTC, 0, 0, 0, "x"
)
SIGNED = signed.Signed(Cancel(771, OWNER, 256), NOW_MS, NOW_MS + 1_000, b"s" * 64)
REMOVAL = signed.Removal(CancelAll(772, OWNER))
STATUSES = [MarketStatus.OPEN, MarketStatus.CLOSED]
VOTES: list[changes.Vote] = [
    changes.Propose(
        773,
        (
            changes.AddMember("m3", Identity(b"n" * 32).public.hex()),
            changes.RemoveMember(1),
            changes.ReplaceMember(2, "m4", Identity(b"o" * 32).public.hex()),
            changes.Activate(2),
        ),
        force=True,
        unsealed=True,
    ),
    changes.Propose(
        774,
        (
            changes.AddMarket(MARKETS[1]),
            changes.ChangeMarket("ETH-USD", quantity_max=10**10, orders_max=2_000),
            changes.HaltMarket("ETH-USD"),
            changes.ResumeMarket("ETH-USD"),
            changes.CloseMarket("ETH-USD"),
            changes.CancelAccount("ann"),
        ),
    ),
    changes.Approve(775, 773, 1),
    changes.Withdraw(776, 774),
]
ATTESTATION = Attestation(40, b"d" * 32)

packed = msgspec.msgpack.encode


def engine() -> Iterator[tuple[str, bytes]]:
    for command in COMMANDS:
        yield f"command {command.id}", packed(command)
    for number, event in enumerate(EVENTS):
        yield f"event {number}", packed(event)
    exchange = Exchange(MARKETS)
    exchange.advance(NOW_MS)
    yield "exchange, empty, digest", exchange.digest()
    exchange.apply_batch(COMMANDS[:3])
    yield "exchange, digest", exchange.digest()
    for key, piece in exchange.pieces():
        yield f"exchange, piece {key}", piece


def blocks() -> Iterator[tuple[str, bytes]]:
    yield "mesh id", CONFIG.id
    for block in genesis(CONFIG.committee):
        yield f"genesis {block.author}", block.ref.digest
    start = [block.ref for block in genesis(CONFIG.committee)]
    payload = encode_batch(1, [packed(entry) for entry in (*COMMANDS, SIGNED, REMOVAL, *VOTES)])
    sign = IDENTITIES[0].sign
    one = make(CONFIG.committee, 1, 0, tuple(start), payload, NOW_MS, ATTESTATION, sign)
    yield "block", one.frame


def texts() -> Iterator[tuple[str, bytes]]:
    for command in COMMANDS:
        text = signed.text_of(CONFIG.id.hex(), command, NOW_MS, NOW_MS + 1_000)
        yield f"text of {command.id}", text
    yield "statement", signed.statement_of("00ff", "peer1", OWNER, NOW_MS, NOW_MS + 1_000)


def state() -> Iterator[tuple[str, bytes]]:
    """A replica up to a checkpoint. Some of the commits carry the commands."""
    replica = Replica(MARKETS, Epoch.first(CONFIG))
    commits = lived(Committee(b"m" * 16, 3, Mode.CRASH), 1)[1][:CHECKPOINT_EVERY]
    signer = Signer(IDENTITIES[0], CONFIG.id.hex(), lambda: 1_000)
    waiting: list[signed.Item] = [
        Submit(0, "ann", "BTC-USD", Side.SELL, 5, 10_100),
        Submit(0, "cy", "BTC-USD", Side.BUY, 3, 10_200, client_id="c"),
        Submit(0, "böb", "ETH-USD", Side.BUY, 7, 99, tif=TimeInForce.GTD, expire_ms=2**50),
        Cancel(0, "ann", 999),
        signer.sign(Submit(0, OWNER, "ETH-USD", Side.BUY, 7, 98)),
        changes.Propose(0, (changes.HaltMarket("ETH-USD"), changes.RemoveMember(1))),
    ]
    for commit in commits:
        applied = replica.apply(_carrying(commit, waiting, replica))
        if applied.record is not None:
            yield f"record of {commit.number}", execution_record.encode(applied.record)
            for id_, piece in execution_record.pieces_of(applied.record).items():
                yield f"piece of {id_} in {commit.number}", execution_record.encode_piece(piece)
        if commit.checkpoint is not None:
            for key, piece in pieces_of(replica).items():
                yield f"piece {key:x} after {commit.number}", piece
            yield f"attestation {commit.number}", replica.attestation().digest
    assert not waiting
    assert replica.signers.seats
    yield (
        "piece, open",
        execution_record.encode_piece(execution_record.Piece(NOW_MS, [], None, OPEN)),
    )


def _carrying(commit: Commit, waiting: list[signed.Item], replica: Replica) -> Commit:
    """The commit with the next waiting command in its first block."""
    if not waiting or commit.number < 10 or not commit.blocks:
        return commit._replace(blocks=[_empty(block) for block in commit.blocks])
    first, *rest = commit.blocks
    seq = replica.expected[first.author]
    entry = signed.with_id(waiting.pop(0), seq * 256 + first.author)
    loaded = Block(first.ref, first.parents, encode_batch(seq, [packed(entry)]), first.time_ms)
    return commit._replace(blocks=[loaded, *(_empty(block) for block in rest)])


def _empty(block: Block) -> Block:
    return Block(block.ref, block.parents, b"", block.time_ms)


def messages() -> Iterator[tuple[str, bytes]]:
    yield "heartbeat", frames.encode(
        frames.Heartbeat(
            CONFIG.id, 0, 2, 4_000, (-1, 7, 2**40), 41, ATTESTATION, Attestation(41, b"e" * 32),
            NOW_MS, (True, False, True),
        )
    )  # fmt: skip
    yield "pull", b"".join(frames.request(Pull(1, (3, -1, 5), 2)))
    yield "orders forwarded", b"".join(frames.request(frames.ForwardWanted(1, 300, [SIGNED])))
    yield "chain wanted", b"".join(frames.request(frames.ChainWanted(1, 300)))
    after = Epoch.first(CONFIG).following(
        {1}, [("new", Identity(b"n" * 32).public)], 1, 41, NOW_MS, b"d" * 32
    )
    signatures = {0: b"s" * 64, 2: b"t" * 64}
    yield "certificate", epochs.encode(epochs.Certificate(after.origin, signatures))
    yield "seal", after.seal
    yield "statement of a seal", after.statement
    stated = handover.Stated(7, b"k" * 32, 64, b"d" * 32, b"s" * 64)
    yield "statement of a candidate", b"".join(frames.statement(stated))
    yield "text of a candidate", handover.statement_of(CONFIG.id, 64, b"d" * 32)
    yield "sealed", packed(handover.Sealed(7, 1, signatures))
    places = ROOT, Place(2 << 60, 60), Place(0x1230, 4), Place(0x1234, 0)
    yield "parts wanted", b"".join(frames.request(PartsWanted(1, 7, 40, places)))
    yield "introduction", b"".join(frames.introduction(4_001))
    yield "manifest", frames.encode(Manifest(40, b"d" * 32))
    yield "part of a leaf", leaf_part(0x1234, b"piece")
    yield "part of a node", node_part(4, 0x1200, {0: b"d" * 32, 3: b"e" * 32})


def local() -> Iterator[tuple[str, bytes]]:
    trade = MarketTrade(7, NOW_MS, 10_100, 2, 0, 256, 258)
    level, share = (10_100, 3, 1), (0, 3, 1)
    member = protocol.MemberView("m0", "00", "host:1", True, 5, 4, 12, None, 1, "floods", ["m1"], 2)
    reason = protocol.Reason("pending", "waits")
    said: list[msgspec.Struct] = [
        protocol.Execute([*COMMANDS, SIGNED, REMOVAL], "203.0.113.7"),
        protocol.GetState("BTC-USD", 5),
        protocol.GetOrders("ann"),
        protocol.GetMarkets(),
        protocol.GetAccounts(3),
        protocol.GetProposals(),
        queue_places.GetQueue("ann", [256, 513]),
        protocol.Govern(VOTES),
        protocol.Withdraw("ann", [256]),
        protocol.Subscribe(["market/BTC-USD", "account/ann", "commit", "mesh"]),
        protocol.Unsubscribe(),
        protocol.Queued([256, 512], [512]),
        protocol.Done(41, NOW_MS, [protocol.Result(256, EVENTS)]),
        protocol.Refused("busy", "later"),
        protocol.State("BTC-USD", 3, 41, NOW_MS, b"d", [level], [], [trade], [[share]], []),
        protocol.Orders("ann", 3, [OPEN], [(513, COMMANDS[4])]),
        protocol.Markets("m0", CONFIG.id.hex(), MARKETS, STATUSES),
        protocol.MarketList(3, MARKETS, STATUSES),
        protocol.Proposals(
            3,
            1,
            [proposal_views.Presence(0, "m0", True, 41, NOW_MS)],
            [proposal_views.ProposalView(773, "m0", ["halt"], ["m0"], [], 2, 5, 6, "waits")],
            [proposal_views.EndedView(774, "m1", ["resume"], "done", 7)],
        ),
        protocol.Accounts([("ann", 1)]),
        queue_places.Queue(41, [queue_places.Place(256, "BTC-USD", 3, 2, True)]),
        protocol.Withdrawn([256]),
        protocol.Unsubscribed(),
        protocol.Lost(),
        protocol.MarketUpdate("BTC-USD", 3, 41, NOW_MS, [], [level], [trade], [], [[share]]),
        protocol.PendingUpdate("ann", 3, NOW_MS, [(513, COMMANDS[4])], [256]),
        protocol.AccountUpdate("ann", 3, 41, NOW_MS, EVENTS),
        protocol.Committed(3, 41, 44, NOW_MS, b"d"),
        protocol.Mesh(
            3, "m0", "00", "crash", [member], 2, True, 44, 41, b"d", 1, 2.5, "", ["a"], "blocks",
            1, 2, 3, [reason],
            proposal_views.EpochView(
                1, [0], [None], [proposal_views.CandidateView("m9", "00", 773, 128, 256)]
            ),
        ),
    ]  # fmt: skip
    for message in said:
        yield f"local {msgspec.to_builtins(message)['type']}", packed(message)


Kind = Callable[[], Iterator[tuple[str, bytes]]]


@pytest.mark.parametrize("kind", [engine, blocks, texts, state, messages, local])
def test_encodings_have_not_changed(kind: Kind) -> None:
    prefix = f"{kind.__name__}: "
    now = {f"{prefix}{name}": data.hex() for name, data in kind()}
    golden = dict(line.rsplit(" ", 1) for line in GOLDEN.read_text().splitlines())
    before = {name: data for name, data in golden.items() if name.startswith(prefix)}
    if REWRITE:
        others = {name: data for name, data in golden.items() if name not in before}
        lines = (f"{name} {data}\n" for name, data in sorted((others | now).items()))
        GOLDEN.write_text("".join(lines))
        before = now
    assert now == before
