"""What must hold of whole nodes, told by what they report.

Owns the one order as the first node has it. Must never look into a node where its peers, its
clients and its disk can tell as much.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine import Event, Reason, Rejected, Submit
from peer.client.protocol import Done, Queued
from peer.consensus.block import Block, Ref
from peer.replica.applied import Applied
from peer.replica.state_machine import Replica
from tests.simulator.levels import NEXT_LEVELS
from tests.simulator.node import NodePeer, Witness
from tests.simulator.plan import Plan
from tests.simulator.referee import Diverged
from tests.simulator.world import EPOCH_MS, MS, World

if TYPE_CHECKING:
    from tests.simulator.clients import Order


class Mark(NamedTuple):
    """One commit, told by what every node must have of it."""

    leader: Ref
    time_ms: int
    blocks: tuple[Ref, ...]
    ids: tuple[int, ...]
    state: bytes


class Promise(NamedTuple):
    """What a client was told: that its order is safe."""

    member: int | None  # that told it
    name: str  # empty for a cancel
    id: int


def state_of(replica: Replica) -> bytes:
    """All that follows from the commits so far, but for seats that have ordered nothing: they may
    be of the next epoch."""
    expected = {seat: seq for seat, seq in enumerate(replica.expected) if seq > 1}
    counts = repr((expected, replica.trade_numbers, replica.time_ms))
    return replica.latest().digest + counts.encode()


class NodeReferee(Witness):
    """`highest_round`, `blocks`, `promised` and the like are what `Run` reports."""

    def __init__(self, world: World, plan: Plan, check_every: int, lies: frozenset[str]) -> None:
        self.world = world
        self._lies = lies  # names of members that lie about their states
        self._committee = plan.committee
        self._clocks_outvoted = len(plan.wrong_clocks) <= (plan.committee.size - 1) // 2
        self.order: list[Mark] = []
        self.results: dict[int, list[Event]] = {}
        self.names: dict[str, int] = {}  # client id -> the first command under it
        self.promised: dict[int, set[Promise]] = {}  # by order
        self._carried: dict[int, str] = {}  # by id: the client id of an order
        self.delays_us: list[int] = []
        self.blocks = 0
        self.highest_round = 0
        self.checks = 0
        self.takeovers = 0
        self._turns = 0
        self._check_every = check_every
        self._signed: dict[tuple[int, int, int], bytes] = {}
        self._shown: dict[int, int] = {}  # the newest commit, by peer
        self._twins: dict[int, Replica] = {}  # by peer: what a checkpoint's pieces made
        self._twinned = 0  # the last of those checkpoints; one peer's are enough

    @property
    def digests(self) -> list[bytes]:
        return [mark.state for mark in self.order]

    def published(self, peer: NodePeer, block: Block) -> None:
        """Nobody signs two blocks for one round, in all its lives; a broken disk is silent."""
        self.blocks += 1
        self.highest_round = max(self.highest_round, block.round)
        place = peer.node.ledger.epoch.number, block.author, block.round
        before = self._signed.setdefault(place, block.ref.digest)
        must(before == block.ref.digest, f"member {block.author} equivocates: {block!r}")
        must(not peer.node.ledger.journal.failed, f"peer {peer.address} speaks without a disk")

    def applied(self, peer: NodePeer, applied: Applied, replica: Replica) -> None:
        commit = applied.commit
        refs = tuple(block.ref for block in commit.blocks)
        ids = tuple(applied.ids)
        mark = Mark(commit.leader, commit.time_ms, refs, ids, state_of(replica))
        if commit.number == len(self.order) + 1:
            self._extend(mark, applied)
        must(
            commit.number <= len(self.order) and self.order[commit.number - 1] == mark,
            f"peer {peer.address} has another commit {commit.number}: {mark}",
        )
        self._follow(peer, applied, replica)

    def _follow(self, peer: NodePeer, applied: Applied, replica: Replica) -> None:
        """What is made of a checkpoint's pieces goes on as the replica itself does."""
        commit, twin = applied.commit, self._twins.get(peer.address)
        if twin is not None and twin.commit == commit.number - 1:
            if twin.members.epoch.number < replica.members.epoch.number:
                twin.begin_epoch(replica.members.epoch)
            again = twin.apply(commit)
            same = (again.results, again.timed) == (applied.results, applied.timed)
            same = same and twin.attestation() == replica.attestation()
            what = f"peer {peer.address} does not go on after {commit.number} as its pieces do"
            must(same and state_of(twin) == state_of(replica), what)
        is_next = self._twinned < commit.number
        if (
            replica.checkpoint is not None
            and replica.checkpoint.commit == commit.number
            and is_next
        ):
            self._twinned = max(self._twinned, commit.number)
            pieces = {key: replica.piece(key) for key, _ in replica.tree}
            self._twins[peer.address] = Replica.restore(replica.members.epoch, pieces, NEXT_LEVELS)

    def _extend(self, mark: Mark, applied: Applied) -> None:
        must(
            not self._clocks_outvoted or mark.time_ms <= EPOCH_MS + self.world.now_us // MS,
            f"commit {len(self.order) + 1} is ahead, at {mark.time_ms}",
        )
        self.order.append(mark)
        rows = zip(applied.ids, applied.entries, applied.results, strict=True)
        for id_, entry, events in rows:
            must(id_ not in self.results, f"command {id_} is applied twice")
            self.results[id_] = events
            if isinstance(entry, Submit):
                self._name(entry, events, applied.firsts)

    def _name(self, order: Submit, events: list[Event], firsts: dict[int, int]) -> None:
        """ORDER-59. Only the first order of a name is executed."""
        first, name = self.names.setdefault(order.client_id, order.id), order.client_id
        self._carried[order.id] = name
        repeated = events == [Rejected(order.id, order.account, Reason.SENT_BEFORE)]
        must(repeated == (first != order.id), f"{name} is {first}, and {order.id} made {events}")
        must(firsts.get(order.id) == first, f"{name} is said to be {firsts}, and is {first}")

    def showed(self, peer: NodePeer, commit: int) -> None:
        """A node has told clients of a commit."""
        self._shown[peer.address] = max(self._shown.get(peer.address, 0), commit)

    def lost_power(self, peer: NodePeer) -> None:
        """It may show an older market until it has caught up."""
        self._shown.pop(peer.address, None)

    def stands(self, peer: NodePeer, replica: Replica) -> None:
        """A node came back, or took over a snapshot."""
        shown = self._shown.get(peer.address, 0)
        what = f"peer {peer.address} is at commit {replica.commit}, but it has shown {shown}"
        must(replica.commit >= shown, what)
        if replica.commit:
            mark = self.order[replica.commit - 1]
            what = f"peer {peer.address} came to another state after commit {replica.commit}"
            must(mark.state == state_of(replica), what)

    def took_over(self, peer: NodePeer) -> None:
        self.takeovers += 1
        alarms = (text.split(" sent ") for text in peer.node.mesh_status.alarms.texts)
        accused = {first for first, *rest in alarms if rest}
        must(accused <= self._lies, f"peer {peer.address} accuses {accused} of a lie")
        self.world.note(peer.address, f"took over the state after commit {peer.commits}")

    def forgets(self, peer: NodePeer) -> None:
        """A node loses its disk before it has promised anything."""
        self._shown.pop(peer.address, None)
        self._twins.pop(peer.address, None)

    def fetched_wrong(self, peer: NodePeer) -> None:
        """Each part is verified when it comes, so this cannot be."""
        raise Diverged(f"peer {peer.address} has fetched another state than a quorum has signed")

    def turned(self, peer: NodePeer) -> None:
        self._turns += 1
        must(not peer.node.halted or peer.has_failed, f"peer {peer.address}: {peer.node.halted}")
        if self._turns % self._check_every == 0:
            self.checks += 1
            peer.consensus.check()
            peer.node.ledger.replica.exchange.check()

    def told(self, peer: NodePeer, order: "Order", reply: Queued | Done) -> None:
        """A client was told something: it must be so, and stay so. All results name one order."""
        if isinstance(reply, Queued):
            self.promised.setdefault(order.number, set()).add(
                Promise(peer.member, order.name, reply.ids[0])
            )
            return
        for result in reply.results:
            counts = result.first or result.id
            must(result.events == self.results[counts], f"a wrong result of {result.id}")
            first = self.names.get(order.name, counts)
            must(counts == first, f"{order.name} is {first}, its client was told of {counts}")
            self.delays_us.append(self.world.now_us - order.born_us)

    def settled(self, peers: Sequence[NodePeer]) -> bool:
        """Whether all peers applied all that was promised, and as much as each other."""
        if any(peer.commits < len(self.order) for peer in peers):
            return False
        alive = {peer.member for peer in peers}
        told = (each for told in self.promised.values() for each in told)
        return all(self.is_kept(each) for each in told if each.member in alive)

    def is_kept(self, promise: Promise) -> bool:
        """Whether what a client was told is safe has happened: that order, not another one of the
        same id."""
        if promise.id not in self.results:
            return False
        name = self._carried.get(promise.id, promise.name)
        must(name == promise.name, f"{promise.name} was to be {promise.id}, which is {name}")
        return True


def must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Diverged(otherwise)
