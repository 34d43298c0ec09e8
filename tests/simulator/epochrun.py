"""One run of whole nodes whose mesh changes: members join, leave, die and are replaced.

Owns the change of members step by step, and that the mesh can always shrink back. What else must
hold is the referee's.
"""

import logging
import tempfile
from functools import cached_property
from pathlib import Path
from random import Random

import msgspec

from peer.membership.epochs import Epoch, Pin
from peer.membership.mesh_file import MeshConfig
from peer.replica.changes import (
    Activate,
    Approve,
    Change,
    Propose,
    RemoveMember,
    Withdraw,
)
from peer.replica.governance import PROPOSALS_OPEN_MAX, Proposal
from peer.replica.state_machine import Replica
from tests.simulator.clients import Clients, Order
from tests.simulator.epochfaults import Trouble
from tests.simulator.epochreferee import EpochReferee
from tests.simulator.farewells import Farewells
from tests.simulator.keys import address_of, identity_of
from tests.simulator.liars import BadHelper
from tests.simulator.lone_witness import LoneWitness
from tests.simulator.node import NodePeer, config_of
from tests.simulator.node_referee import NodeReferee
from tests.simulator.noderun import MEMORY, NodeRun
from tests.simulator.peer import END_STAGES, STAGES, Stage
from tests.simulator.plan import CHANGING_ADDRESSES, Cut, Plan
from tests.simulator.run import Ending, Options, Verdict
from tests.simulator.steps import Step, Steps
from tests.simulator.upgrades import Upgrades
from tests.simulator.world import MS

CHAIN_US = 500 * MS  # between two looks for the chain
ASK_US = 60 * MS  # between two looks at a step that is not done yet
TURNS_US = (0, 300, 1_000)  # that a turn of a peer takes
DOWN_US = (5 * MS, 40 * MS, 300 * MS)
DOOM_US = 2_000 * MS
SHORT_QUIET_US = 1_200 * MS  # longer than any answer is waited for


class EpochClients(Clients):
    """Those of a node that is no member are turned away."""

    codes = ("result_lost", "halted", "busy", "not_member")

    def waiting(self) -> list[Order]:
        return [order for order in super().waiting() if order.member not in self._run.equivocators]


class EpochRun(NodeRun):
    """`plan` says what goes wrong; the steps are drawn while the run goes on."""

    def __init__(self, plan: Plan, options: Options, folder: Path) -> None:
        self._random = Random(f"epochs {plan.name}")
        self._steps_left = self._random.randint(2, 6)
        self._step: Step | None = None
        self._next_address = plan.committee.size
        self.lost_seats: set[int] = set()
        self.is_healed = False
        self.equivocators: dict[int, int] = {}  # by address: the seat
        self.plan = plan
        self._is_open = self._random.random() < 0.25
        self.steps = Steps(self, self._random, self._is_open)
        self.trouble = Trouble(self, Random(f"trouble {plan.name}"))
        self._upgrades = Upgrades(self, Random(f"upgrades {plan.name}"))
        self._farewells = Farewells(self, Random(f"farewells {plan.name}"))
        self._lone_witness = LoneWitness(self, Random(f"lone witness {plan.name}"))
        super().__init__(plan, options, folder)
        self._clients = EpochClients(self, Random(f"clients {plan.name}"))
        self.world.after(CHAIN_US, self._tell_unsealed)

    @cached_property
    def config(self) -> MeshConfig:
        return msgspec.structs.replace(
            config_of(self.plan), admission="open" if self._is_open else "vote"
        )

    @property
    def _config(self) -> MeshConfig:  # type: ignore[override]
        return self.config

    @property
    def unreliable(self) -> set[int]:
        """Seats that are lost or lie: no more of an epoch than its bound."""
        return self.lost_seats | set(self.equivocators.values())

    def _referee(self, honest: frozenset[int]) -> NodeReferee:
        del honest
        return EpochReferee(self, self.world, self.plan, self.options.check_every, frozenset[str]())

    @cached_property
    def _bad_helper(self) -> dict[int, BadHelper]:
        return {}

    def _submit(self, member: int) -> None:
        if (
            (peer := self._at.get(member)) is not None
            and peer.up
            and member not in self.equivocators
        ):
            super()._submit(member)

    # What troubles see and do

    def cut(self, cut: Cut) -> None:
        """The links are cut for a while."""
        self._cut(cut)

    def submit(self, address: int) -> None:
        """A client of a node has an order."""
        self._submit(address)

    @property
    def alive(self) -> list[NodePeer]:
        """All honest nodes that are up, members or not."""
        return self._alive

    @property
    def _alive(self) -> list[NodePeer]:  # type: ignore[override]
        return [peer for peer in self.peers if peer.up and peer.address not in self.equivocators]

    def entered(self, peer: NodePeer, epoch: Epoch, *, is_first: bool) -> None:
        """A peer has entered an epoch, perhaps before all others."""
        if is_first:
            self.trouble.entered(epoch)
        self._lone_witness.entered(peer, epoch)

    def may_stop(self, peer: NodePeer) -> bool:
        """Whether a peer has a reason to have stopped."""
        return peer.address in self.equivocators or self.trouble.may_stop(peer)

    # The steps

    @property
    def newest(self) -> Epoch:
        return self.referee.epochs[-1]

    def members(self) -> list[NodePeer]:
        """The nodes of the newest epoch's members, by seat."""
        return [self._at[address_of(seat.key)] for seat in self.newest.seats]

    def _schedule(self) -> None:
        super()._schedule()
        self.world.after(self._random.randrange(150 * MS), self._drive)
        for peer in self.peers:
            self.world.after(CHAIN_US, self._tell_chain, peer)

    def _drive(self) -> None:
        """Bring the present step forward, or begin the next one."""
        self._drop_done()
        if self._step is None and self._steps_left > 0:
            self.joiners: list[NodePeer] = []
            self._upgrades.perhaps()
            self._step = self._level_step()
            if self._step is None:
                self._steps_left -= 1
                self._step = self.steps.draw()
            self._doom()
            if self._step is not None:
                self.trouble.step(self.newest, self.joiners)
        if self._step is not None:
            if self.is_unsealed(self.newest):  # too many may have been lost meanwhile
                self._step = self._step._replace(unsealed=True)
            self._vote(self._step)
        pause = ASK_US if self._step else self._random.randrange(400 * MS)
        if self._step or self._steps_left:
            self.world.after(pause, self._drive)

    def _level_step(self) -> Step | None:
        """Activate the next level, if that can be done."""
        epoch = self.newest
        level = None if self.trouble.waiting else self._upgrades.level(epoch)
        if level is None:
            return None
        self.world.note("world", f"level {level} in epoch {epoch.number}")
        return Step(epoch.number, (Activate(level),), self.is_unsealed(epoch))

    def _peer(self, address: int, member: int | None) -> NodePeer:
        peer = super()._peer(address, member)
        peer.turn_us = self._random.choice(TURNS_US)
        self._upgrades.install(peer, member is not None)
        return peer

    def _restart(self, peer: NodePeer) -> None:  # type: ignore[override]
        self._upgrades.restarts(peer)
        super()._restart(peer)

    def restart(self, peer: NodePeer, after_us: int) -> None:
        """A peer that is down starts again."""
        self.world.after(after_us, self._restart, peer)

    def is_unsealed(self, epoch: Epoch) -> bool:
        before = epoch.previous
        states = [peer.node.ledger.replica.members for peer in self._alive]
        if before is None or any(s.sealed and s.epoch.number == epoch.number for s in states):
            return False
        return len(set(before.numbers) - self.lost_seats) < before.committee.quorum

    def has_room(self, new: int) -> bool:
        """Whether so many new nodes can still come."""
        return self._next_address + new <= CHANGING_ADDRESSES

    def can_spare(self, seat: int) -> bool:
        """Whether the present step can be done without a member."""
        step = self._step
        if step is None or step.epoch != self.newest.number:
            return True
        return self.steps.can_spare(step, seat)

    def kill(self, epoch: Epoch) -> list[int]:
        """A member dies for good, its disk with it."""
        seats = [s for s in epoch.seats if s.number not in self.unreliable]
        seats = [s for s in seats if self._is_known_without(s.key, epoch)]
        if not seats:
            return []
        seat = self._random.choice(seats)
        self.lose_seat(seat.key, seat.number)
        return [seat.number]

    def _is_known_without(self, key: bytes, epoch: Epoch) -> bool:
        """Whether the begin of the epoch outlives one more member. A member of the epoch before may
        be among its only ones to know it, as in a mesh of one that grows."""
        before = epoch.previous
        if before is None or key not in (seat.key for seat in before.seats):
            return True
        lost = len(set(before.numbers) & self.lost_seats)
        others = (p for p in self.members() if p.up and p.address != address_of(key))
        return lost < before.committee.faults or any(
            peer.node.ledger.epoch.number >= epoch.number for peer in others
        )

    def lose_seat(self, key: bytes, seat: int) -> None:
        """A member, or one that was, dies for good."""
        self.lost_seats.add(seat)
        self.world.note(address_of(key), "is lost for good")
        self._lose(address_of(key))

    def joiner(self, asks: bool = False) -> tuple[str, str]:
        """A new node, which follows from now on; its name and key."""
        address, self._next_address = self._next_address, self._next_address + 1
        peer = self._peer(address, None)
        peer.wanted_name = f"m{address}" if asks else ""
        self.peers.append(peer)
        self._at[address] = peer
        self._clients.know(peer)
        self.joiners.append(peer)
        self.start_newcomer(peer)
        return f"m{address}", identity_of(address).public.hex()

    def start_newcomer(self, peer: NodePeer) -> None:
        """A peer with an empty journal begins to follow."""
        peer.start()
        self._tell_chain(peer)

    def _tell_chain(self, peer: NodePeer) -> None:
        """What discovery would find; again and again, as `ChainFinder` asks."""
        self.world.after(CHAIN_US, self._tell_chain, peer)
        if not peer.up:
            return
        node, epochs = peer.node, peer.node.ledger.epochs
        if epochs.lacks_pin or epochs.seeker.gap or not node.mesh_status.quorum:
            asked = self._random.choice(self._alive).node
            if not (asked.halted or node.halted):
                node.epochs.learn(asked.ledger.epochs.certificates(0), node._clock.now_ms())

    def _tell_unsealed(self) -> None:
        """An epoch was left `unsealed`: the operators of peers that come late are told."""
        if self.referee.is_forked:  # what they are told now might be the rival
            return
        self.world.after(CHAIN_US, self._tell_unsealed)
        self._trust_unsealed()
        chains = (peer.node.ledger.epochs.certificates(0) for peer in self._alive)
        known = max((chain[-1].origin.number for chain in chains if chain), default=0)
        for peer in self._alive:
            next_ = peer.node.ledger.epochs.newest.number + 1
            if next_ <= known and next_ not in self.referee.certified:
                self._pin(peer, known)

    def _trust_unsealed(self) -> None:
        """Too few are in it to propose anything: then their operators trust it, and hand it on."""
        epoch = self.newest
        inside = [p for p in self.members() if p.up and p.node.ledger.epoch.number == epoch.number]
        if self.is_unsealed(epoch) and len(inside) < epoch.committee.quorum:
            for peer in inside:
                self._pin(peer, epoch.number)

    def _pin(self, peer: NodePeer, number: int) -> None:
        """An operator starts a peer with `--trust`, once."""
        pin = Pin(number, self.referee.epochs[number].seal)
        if peer.pin != pin:
            peer.pin = pin
            peer.crash(Stage.NOW)
            self._restart(peer)

    def _doom(self) -> None:
        """Some die at the end of the epoch, or around it; perhaps all."""
        random = self._random
        if self._step is None or random.random() < 0.4 or self.trouble.only_copies:
            return
        some = [peer for peer in (*self.members(), *self.joiners) if peer.up]
        for peer in random.sample(some, random.randint(0, len(some))):
            down_us = random.choice(DOWN_US)
            peer.on_death = lambda p=peer, d=down_us: self.world.after(d, self._restart, p)
            peer.crash(random.choice((*END_STAGES, *END_STAGES, *STAGES[1:])), DOOM_US)

    def _vote(self, step: Step) -> None:
        """Somebody proposes it, and all approve."""
        up = [p for p in self.members() if p.up and p.address not in self.equivocators]
        up = [p for p in up if p.node.ledger.me is not None]
        up = [p for p in up if p.node.ledger.epoch.number == step.epoch]
        if not up:
            return
        if step.by is not None and self._may_be_alone(step):
            self.trouble.vote(up)
            return
        for changes in step.wanted:
            if not any(self._open(peer, changes, step) for peer in up):
                peer = self._random.choice(up)
                self._propose(peer, Propose(0, changes, unsealed=step.unsealed))
        for peer in up:
            found = [self._open(peer, changes, step) for changes in step.wanted]
            for proposal in found if all(found) else []:
                assert proposal is not None
                if (vote := self._upgrades.approval(peer, proposal)) is not None:
                    self.say(peer, vote)
        self.trouble.vote(up)

    def _may_be_alone(self, step: Step) -> bool:
        """Whether the peer that wants this step is there. Else the others help."""
        assert step.by is not None
        return not step.by.lost and step.by not in self.trouble.waiting and not step.unsealed

    @staticmethod
    def _open(peer: NodePeer, changes: tuple[Change, ...], step: Step) -> Proposal | None:
        found = peer.node.ledger.replica.governance.open()
        wanted = changes, step.unsealed
        return next((each for each in found if (each.changes, each.unsealed) == wanted), None)

    def _propose(self, peer: NodePeer, proposal: Propose) -> None:
        """A member without room for it withdraws its oldest proposal before."""
        open_ = peer.node.ledger.replica.governance.open()
        mine = [each.id for each in open_ if each.seat == peer.node.ledger.me]
        if len(mine) >= PROPOSALS_OPEN_MAX:
            self.say(peer, Withdraw(0, min(mine)))
        self.say(peer, proposal)

    def say(self, peer: NodePeer, vote: Propose | Approve | Withdraw) -> None:
        """A member's operator votes, if the member takes part."""
        if peer.node.life.refusal() is None and peer.node.submissions.outstanding < 1_000:
            peer.node.submissions.put(vote, peer.node._clock.now_ms())
            peer._turn_at(self.world.now_us)

    # The phases

    def _may_be_late(self, peer: NodePeer) -> bool:  # type: ignore[override]
        """If a member has shown it another last block than the rest, and no command waits there."""
        return bool(self.equivocators) and not peer.consensus.committer.uncommitted_payloads

    @property
    def _clock_may_stand(self) -> bool:
        """All clocks are right; members of the newest epoch may be down for good."""
        silent = [peer for peer in self.members() if not peer.up]
        return len(silent) > (self.newest.committee.size - 1) // 2

    def _heal(self) -> None:
        """What was begun is finished, and no more is begun."""
        self._steps_left, self.is_healed = 0, True
        super()._heal()

    def _settled(self) -> bool:
        self._drop_done()
        return self._step is None and not self.trouble.waiting and super()._settled()

    def _drop_done(self) -> None:
        if self._step is not None and self._step.epoch != self.newest.number:
            if self._step.by is not None:
                self._step.by.leaves = False
            self._step = None

    def _wake(self) -> tuple[Ending, str] | None:
        """The mesh shrinks back to one member, or stays as it is; then one command at each."""
        if why := self._farewells.perhaps():
            return Ending.NO_PROGRESS, f"{why}: {self._stuck()}"
        if found := self._shrink():
            return found
        for peer in self.members():
            if peer.up and peer.address not in self.equivocators:
                self.world.note("world", f"a lone command at {peer.address}")
                promised = len(self.referee.promised) + 1
                self._submit(peer.address)
                if not self._finish(promised):
                    return Ending.NO_PROGRESS, f"of a lone command: {self._stuck()}"
        return None

    def _phases(self) -> tuple[Ending, str]:
        """At the very end, perhaps, the keys of a quorum that is gone sign a second seal."""
        ending, reason = super()._phases()
        if ending is Ending.PASS and self._random.random() < 0.2 and (why := self.trouble.fork()):
            return Ending.DIVERGED, why
        return ending, reason

    def _silence(self) -> tuple[Ending, str] | None:
        """After the lone commands a shorter one, in most runs: it takes longer than all these."""
        found = super()._silence()
        if self._random.random() < 0.75:
            self._quiet_us = SHORT_QUIET_US
        return found

    def _shrink(self) -> tuple[Ending, str] | None:
        alive = [seat for seat in self.newest.numbers if seat not in self.unreliable]
        gone = set(self.newest.numbers) - {self._random.choice(alive)}
        if self._random.random() < 0.5 or not gone:
            return None
        changes = tuple(RemoveMember(seat) for seat in sorted(gone))
        self._step = Step(self.newest.number, changes, self.is_unsealed(self.newest))
        self._drive()
        if not self._finish(0):
            return Ending.NO_PROGRESS, f"the mesh does not shrink back: {self._stuck()}"
        return None

    def _stuck(self) -> str:
        step = f"\n  step: {self._step}" if self._step else ""
        about = [
            f"peer {p.address}: epoch {p.node.ledger.epoch.number} seat {p.node.ledger.me} "
            f"sealed {p.node.ledger.replica.members.sealed} "
            f"accepted {p.node.ledger.replica.governance.accepted} "
            f"waits {self._waits(p.node.ledger.replica)}"
            for p in self._alive
        ]
        return super()._stuck() + step + "\n  " + "\n  ".join(about)

    @staticmethod
    def _waits(replica: Replica) -> list[str]:
        """Why accepted proposals have not taken effect."""
        governance = replica.governance
        return [replica.rules.waits(governance.proposals[id_]) for id_ in governance.accepted]


def verdict(plan: Plan, options: Options) -> Verdict:
    """Carry the plan out with whole nodes whose mesh changes."""
    logging.getLogger("peer").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        return EpochRun(plan, options, Path(folder)).verdict()
