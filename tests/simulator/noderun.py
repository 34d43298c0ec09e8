"""One run of whole nodes: a plan carried out, with clients, and a verdict.

Owns the nodes' referee and their clients. The phases of a run are those of `run`. Must never look
into a node where its peers, its clients and its disk can tell as much.
"""

import logging
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

from engine import Cancel, Command, Event, Reason, Rejected, Side, Submit, TimeInForce
from peer.client.programs import Caller
from peer.client.protocol import Done, Execute, Queued, Refused, Reply
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Mode
from peer.membership.mesh_file import MeshConfig
from peer.replica.applied import Applied
from peer.replica.state_machine import Replica
from tests.simulator.levels import NEXT_LEVELS
from tests.simulator.liars import HELPS, BadHelper
from tests.simulator.node import MARKETS, NodePeer, Witness, config_of
from tests.simulator.peer import Stage
from tests.simulator.plan import RIGHT_RATE, Plan
from tests.simulator.referee import Diverged
from tests.simulator.run import Ending, Options, Run, Verdict
from tests.simulator.world import EPOCH_MS, MS, World

LIVES_MS = (50, 800, 1_500, 86_400_000)  # of orders good till a date
DUE_MS_MAX = 1_000  # what is due is done after so long at most, once nothing is in the way
RETRY_US = 400 * MS  # a client that got no answer asks again
ASKS_TWO = 0.1  # of all orders are sent to two members at once
ASKS_ANOTHER = 0.4  # of those sent again go to another member
SYMBOL = MARKETS[0].symbol


class Mark(NamedTuple):
    """One commit, told by what every node must have of it."""

    leader: Ref
    time_ms: int
    blocks: tuple[Ref, ...]
    ids: tuple[int, ...]
    state: bytes


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
        self.promised: dict[int, set[tuple[int | None, int]]] = {}  # order -> members, ids told
        self.delays_us: list[int] = []
        self.blocks = 0
        self.highest_round = 0
        self.checks = 0
        self.takeovers = 0
        self._turns = 0
        self._check_every = check_every
        self._signed: dict[tuple[int, int, int], bytes] = {}
        self._shown: dict[int, int] = {}  # the newest commit, by peer
        self._twins: dict[int, Replica] = {}  # by peer: what its last checkpoint's pieces made

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
        if replica.checkpoint is not None and replica.checkpoint.commit == commit.number:
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
        must(not peer.node.halted or peer.broken, f"peer {peer.address}: {peer.node.halted}")
        if self._turns % self._check_every == 0:
            self.checks += 1
            peer.consensus.check()
            peer.node.ledger.replica.exchange.check()

    def told(self, peer: NodePeer, order: "Order", reply: Queued | Done) -> None:
        """A client was told something: it must be so, and stay so. All results name one order."""
        if isinstance(reply, Queued):
            self.promised.setdefault(order.number, set()).add((peer.member, reply.ids[0]))
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
        told = set().union(*self.promised.values())
        return all(id_ in self.results for member, id_ in told if member in alive)


def must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Diverged(otherwise)


class Order:
    """What a client wants, until it knows that it will happen."""

    def __init__(self, number: int, member: int, command: Command, born_us: int) -> None:
        self.number = number
        self.member = member
        self.command = command
        self.born_us = born_us
        self.queued = False
        self.refused = False  # its node is no member

    @property
    def name(self) -> str:
        """Empty for a cancel, which is sent only once."""
        return self.command.client_id if isinstance(self.command, Submit) else ""


class Clients:
    """Those of all members. Each asks its own member, again and again until it is told that its
    order is safe, always under the same name; some ask another member too, or after a while."""

    codes: tuple[str, ...] = ("result_lost", "halted", "busy")  # with which orders are refused

    def __init__(self, run: "NodeRun", random: Random) -> None:
        self._run = run
        self._random = random
        self._orders: list[Order] = []
        self._safe: dict[int, list[tuple[int, str]]] = {}  # by address: ids and accounts
        for peer in run.peers:
            self.know(peer)

    def know(self, peer: NodePeer) -> None:
        """A node that may have clients."""
        self._safe[peer.address] = []

    def submit(self, member: int) -> None:
        order = Order(len(self._orders), member, self._command(member), self._run.world.now_us)
        self._orders.append(order)
        self._ask(order, self._run.node_at(member))
        if order.name and self._random.random() < ASKS_TWO:
            self._ask(order, self._another())
        if order.name:
            self._run.world.after(RETRY_US, self._ask_again, order)

    def _another(self) -> NodePeer:
        """A member of the first epoch."""
        return self._random.choice([peer for peer in self._run.peers if peer.member is not None])

    def _command(self, member: int) -> Command:
        random = self._random
        if self._safe[member] and random.random() < 0.2:
            target, account = random.choice(self._safe[member])
            return Cancel(0, account, target)
        gtc, ioc, gtd = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.GTD
        tif = random.choice((gtc, gtc, ioc, gtd))
        now_ms = EPOCH_MS + self._run.world.now_us // MS
        return Submit(
            0,
            f"account-{random.randrange(4)}",
            SYMBOL,
            Side(random.randrange(2)),
            quantity=random.randint(1, 20),
            price=random.randint(95, 105),
            tif=tif,
            expire_ms=now_ms + random.choice(LIVES_MS) if tif is gtd else 0,
            client_id=f"{member}-{len(self._orders)}",
        )

    def _ask_again(self, order: Order) -> None:
        home = self._run.node_at(order.member)
        if order.queued or order.refused or home.lost:
            return
        changes = self._random.random() < ASKS_ANOTHER
        self._ask(order, self._another() if changes else home)
        self._run.world.after(RETRY_US, self._ask_again, order)

    def _ask(self, order: Order, peer: NodePeer) -> None:
        if not peer.lost:
            caller = Caller(b"client", order.number.to_bytes(8, "big"))
            peer.ask(caller, Execute([order.command]))

    def replied(self, peer: NodePeer, caller: Caller, reply: Reply) -> None:
        order = self._orders[int.from_bytes(caller.request, "big")]
        if isinstance(reply, Queued):
            order.queued = True
            if order.name:
                self._safe[peer.address].append((reply.ids[0], order.command.account))
        if isinstance(reply, Queued | Done):
            self._run.referee.told(peer, order, reply)
        elif isinstance(reply, Refused):
            must(reply.code in self.codes, f"{order.command} is refused: {reply}")
            order.refused |= reply.code == "not_member" and peer.address == order.member

    def waiting(self) -> list[Order]:
        """Of living members, those nobody has promised anything about."""
        waiting = (o for o in self._orders if o.name and not o.queued and not o.refused)
        return [order for order in waiting if self._run.node_at(order.member).up]


class NodeRun(Run):
    """Real nodes in place of the consensus alone. All members are honest, but for one in byzantine
    mode that may lie about its state to those that catch up."""

    patience_rounds = 2_000  # clients bring what they still wait to be told of once faults stop

    def __init__(self, plan: Plan, options: Options, folder: Path) -> None:
        self._folder = folder
        super().__init__(plan, options)
        self._clients = Clients(self, Random(f"clients {plan.name}"))

    @cached_property
    def _config(self) -> MeshConfig:
        return config_of(self.plan)

    def _referee(self, honest: frozenset[int]) -> NodeReferee:
        del honest
        lies = frozenset(self._config.members[member].name for member in self._bad_helper)
        return NodeReferee(self.world, self.plan, self.options.check_every, lies)

    def _peer(self, address: int, member: int | None) -> NodePeer:
        plan = self.plan
        return NodePeer(
            self.world,
            self._config,
            address,
            member,
            self._folder,
            self.network.send,
            self._audience,
            self.referee,
            self._chance,
            lambda peer, caller, reply: self._clients.replied(peer, caller, reply),
            plan.fsync_us[address] if address < len(plan.fsync_us) else 0,
            plan.skew_ms[address] if address < len(plan.skew_ms) else 0,
            plan.rates[address] if address < len(plan.rates) else RIGHT_RATE,
            self._bad_helper.get(address, lambda parts: parts),
        )

    @property
    def _audience(self) -> int:
        """The addresses that hear what is published."""
        return self.plan.committee.size + self.plan.follower

    def node_at(self, address: int) -> NodePeer:
        """The node at an address."""
        return self._at[address]

    @cached_property
    def _bad_helper(self) -> dict[int, BadHelper]:
        """Of those that live to the end."""
        plan, random = self.plan, Random(f"helper {self.plan.name}")
        dead = {member for _, member in plan.dead}
        if plan.committee.mode is Mode.CRASH or len(dead) >= plan.committee.faults:
            return {}
        member = random.choice([m for m in range(plan.committee.size) if m not in dead])
        return {member: BadHelper(random.choice(HELPS), random)}

    def _schedule(self) -> None:
        super()._schedule()
        for at_us, member in self.plan.broken:
            self.world.after(at_us, self._break, self.peers[member])

    def _break(self, peer: NodePeer) -> None:
        self.world.note(peer.address, "its disk refuses to write from now on")
        peer.broken = True

    def _heal(self) -> None:
        for peer in self.peers:
            if peer.broken and peer.up:
                peer.crash(Stage.NOW)
        super()._heal()

    def _silence(self) -> tuple[Ending, str] | None:
        """Nothing that is due is left undone, though nobody asks for anything any more."""
        if found := super()._silence():
            return found
        if self._clock_may_stand:
            return None
        due_ms = EPOCH_MS + self.world.now_us // MS - DUE_MS_MAX
        for peer in self._alive:
            next_ms = peer.node.ledger.replica.exchange.next_expiry()
            if next_ms is not None and next_ms < due_ms:
                return Ending.NO_PROGRESS, f"an order of {next_ms} did not expire by {due_ms}"
        return None

    @property
    def _clock_may_stand(self) -> bool:
        """ORDER-20. Whether members that are down, whose time stands still, and those with wrong
        clocks are together too many for the ordered clock."""
        size = self.plan.committee.size
        silent = {member for member in range(size) if not self._at[member].up}
        return len(self.plan.wrong_clocks | silent) > (size - 1) // 2

    @property
    def _rounds_to_silence(self) -> int:
        """Orders expire meanwhile, each after a few rounds."""
        return 10 * super()._rounds_to_silence

    def _submit(self, member: int) -> None:
        self._clients.submit(member)

    def _settled(self) -> bool:
        return not self._clients.waiting() and super()._settled()

    def _phases(self) -> tuple[Ending, str]:
        """In the end all of them restart, and are where they were."""
        ending, reason = super()._phases()
        if ending is Ending.PASS:
            for peer in self._alive:
                peer.crash(Stage.NOW)
                peer.start()
            if not self._settled():
                return Ending.DIVERGED, f"a restart lost something\n  {self._stuck()}"
        return ending, reason


def verdict(plan: Plan, options: Options) -> Verdict:
    """Carry the plan out with whole nodes. They log their alarms, of which a broken disk is one."""
    logging.getLogger("peer").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        return NodeRun(plan, options, Path(folder)).verdict()
