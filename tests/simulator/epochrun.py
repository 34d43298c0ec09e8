"""One run of whole nodes whose mesh changes: members join, leave, die and are replaced.

Owns the change of members step by step, and what must hold across epochs: one seal an epoch, no
seat and no key twice, nobody proposes in an epoch that it has closed, nothing that a member which
stays has acknowledged is lost, and the mesh can always shrink back.
"""

import logging
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

from peer.consensus.block import Block
from peer.consensus.committee import Committee
from peer.membership.epochs import Epoch, Pin, UncertifiedError
from peer.replica.changes import AddMember, Approve, Change, Propose, RemoveMember, ReplaceMember
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.governance import Proposal
from peer.replica.members import presence_wanted
from peer.replica.state_machine import Replica
from tests.simulator.liars import BadHelper
from tests.simulator.node import NodePeer, address_of, identity_of
from tests.simulator.noderun import Clients, NodeReferee, NodeRun, must
from tests.simulator.peer import END_STAGES, STAGES, Stage
from tests.simulator.plan import CHANGING_ADDRESSES, Plan
from tests.simulator.run import Ending, Options, Verdict
from tests.simulator.world import MS

ASK_US = 60 * MS  # between two looks at a step that is not done yet
SIZE_MAX = 7
DOWN_US = (5 * MS, 40 * MS, 300 * MS)
DOOM_US = 2_000 * MS


class EpochReferee(NodeReferee):
    """What must hold across epochs."""

    def __init__(self, run: "EpochRun", *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._run = run
        self.epochs: list[Epoch] = [Epoch.first(run.config)]
        self._closed: dict[int, int] = {}  # by address: the epoch that it has entered for good
        self._keys: dict[bytes, int] = {}  # of all members ever: their seats

    def entered(self, peer: NodePeer) -> None:
        epoch = peer.node.ledger.epoch
        self._closed[peer.address] = max(epoch.number, self._closed.get(peer.address, 0))
        if epoch.number == len(self.epochs):
            self.epochs.append(epoch)
            self.world.note(peer.address, f"is the first in epoch {epoch.number} {epoch.numbers}")
        known = self.epochs[epoch.number]
        must(known.seal == epoch.seal, f"peer {peer.address} has another seal of {epoch.number}")
        for seat in epoch.seats:
            before = self._keys.setdefault(seat.key, seat.number)
            must(before == seat.number, f"{seat.name} has seat {before} and {seat.number}")

    def published(self, peer: NodePeer, block: Block) -> None:
        number = peer.node.ledger.epoch.number
        must(number >= self._closed.get(peer.address, 0), f"peer {peer.address} speaks in {number}")
        super().published(peer, block)

    def settled(self, peers: Sequence[NodePeer]) -> bool:
        """What members that stayed have acknowledged is applied once, everywhere."""
        last = self.epochs[-1]
        if any(peer.commits < len(self.order) for peer in peers):
            return False
        if any(peer.node.ledger.epoch.number < last.number for peer in peers):
            return False
        stayed = set(last.numbers) - self._run.lost_seats
        return all(
            id_ in self.results and self.names.get(name, id_) == id_
            for _, name, id_ in self.promised.values()
            if id_ % MEMBERS_SPACE in stayed
        )


class Step(NamedTuple):
    """Changes of the members of an epoch, wanted by everybody."""

    epoch: int
    changes: tuple[Change, ...]
    unsealed: bool = False  # too many of the epoch before are lost to certify its end


class EpochClients(Clients):
    """Those of a node that is no member are turned away."""

    codes = ("result_lost", "halted", "busy", "not_member")


class EpochRun(NodeRun):
    """`plan` says what goes wrong; the steps are drawn while the run goes on."""

    def __init__(self, plan: Plan, options: Options, folder: Path) -> None:
        self._random = Random(f"epochs {plan.name}")
        self._steps_left = self._random.randint(2, 6)
        self._step: Step | None = None
        self._next_address = plan.committee.size
        self.lost_seats: set[int] = set()
        super().__init__(plan, options, folder)
        self._clients = EpochClients(self, Random(f"clients {plan.name}"))

    @property
    def config(self):  # type: ignore[no-untyped-def]
        return self._config

    @property
    def _audience(self) -> int:
        return CHANGING_ADDRESSES

    def _referee(self, honest: frozenset[int]) -> NodeReferee:
        del honest
        return EpochReferee(self, self.world, self.plan, self.options.check_every, frozenset[str]())

    @cached_property
    def _bad_helper(self) -> dict[int, BadHelper]:
        return {}

    def _submit(self, member: int) -> None:
        if (peer := self._at.get(member)) is not None and peer.up:
            super()._submit(member)

    # The steps

    @property
    def newest(self) -> Epoch:
        return self.referee.epochs[-1]

    def _members(self) -> list[NodePeer]:
        """The nodes of the newest epoch's members, by seat."""
        return [self._at[address_of(seat.key)] for seat in self.newest.seats]

    def _schedule(self) -> None:
        super()._schedule()
        self.world.after(self._random.randrange(150 * MS), self._drive)

    def _drive(self) -> None:
        """Bring the present step forward, or begin the next one."""
        if self._step is not None and self._step.epoch != self.newest.number:
            self._step = None
        if self._step is None and self._steps_left > 0:
            self._steps_left -= 1
            self._step = self._draw()
            self._doom()
        if self._step is not None:
            self._vote(self._step)
        pause = ASK_US if self._step else self._random.randrange(400 * MS)
        if self._step or self._steps_left:
            self.world.after(pause, self._drive)

    def _draw(self) -> Step | None:
        """A step that can be done: enough of the members that are not lost are there for it."""
        random, epoch = self._random, self.newest
        dead = [seat for seat in epoch.numbers if seat in self.lost_seats]
        if random.random() < 0.3 and len(dead) < epoch.committee.faults:
            dead += self._kill(epoch)
        for _ in range(20):
            removed, added, replaced = self._choice(epoch, dead)
            if self._is_possible(epoch, removed | replaced, added + len(replaced)):
                changes: list[Change] = [RemoveMember(seat) for seat in sorted(removed)]
                changes += [ReplaceMember(seat, *self._joiner()) for seat in sorted(replaced)]
                changes += [AddMember(*self._joiner()) for _ in range(added)]
                self.world.note("world", f"a step in epoch {epoch.number}: {changes}")
                return Step(epoch.number, tuple(changes), self._is_unsealed(epoch))
        return None

    def _is_unsealed(self, epoch: Epoch) -> bool:
        before = epoch.previous
        states = [peer.node.ledger.replica.members for peer in self._alive]
        if before is None or any(s.sealed and s.epoch.number == epoch.number for s in states):
            return False
        return len(set(before.numbers) - self.lost_seats) < before.committee.quorum

    def _choice(self, epoch: Epoch, dead: list[int]) -> tuple[set[int], int, set[int]]:
        """Removed seats, how many new ones, replaced seats."""
        random, numbers = self._random, list(epoch.numbers)
        if dead and random.random() < 0.6:  # bury the dead
            buried = set(dead)
            return (buried, 0, set()) if random.random() < 0.5 else (set(), 0, buried)
        match random.choice(("grow", "grow", "shrink", "replace", "mix")):
            case "grow":
                return set(), random.choice((1, 2, 2)), set()
            case "shrink":
                return set(random.sample(numbers, min(2, len(numbers)))), 0, set()
            case "replace":
                return set(), 0, {random.choice(numbers)}
            case _:
                return {random.choice(numbers)}, random.choice((1, 2)), set()

    def _is_possible(self, epoch: Epoch, gone: set[int], new: int) -> bool:
        size = epoch.committee.size - len(gone) + new
        if not (1 <= size <= SIZE_MAX and new + len(gone) > 0):
            return False
        if self._next_address + new > CHANGING_ADDRESSES:
            return False
        alive = [seat for seat in epoch.numbers if seat not in self.lost_seats]
        stay = len(set(alive) - gone) + new
        committee = Committee(epoch.committee.mesh, size, epoch.mode)
        return stay >= max(presence_wanted(committee), committee.quorum)

    def _kill(self, epoch: Epoch) -> list[int]:
        """A member dies for good, its disk with it."""
        seat = self._random.choice([s for s in epoch.seats if s.number not in self.lost_seats])
        self.lost_seats.add(seat.number)
        self.world.note(address_of(seat.key), "is lost for good")
        self._lose(address_of(seat.key))
        return [seat.number]

    def _joiner(self) -> tuple[str, str]:
        """A new node, which follows from now on; its name and key."""
        address, self._next_address = self._next_address, self._next_address + 1
        peer = self._peer(address, None)
        self.peers.append(peer)
        self._at[address] = peer
        self._clients.know(peer)
        peer.start()
        chain = self._certificates()
        try:
            peer.node.epochs.learn(chain)
        except UncertifiedError:  # an epoch in between was left `unsealed`: its operator is told
            number = chain[-1].origin.number
            peer.pin = Pin(number, self.referee.epochs[number].seal)
            peer.crash(Stage.NOW)
            peer.start()
            peer.node.epochs.learn(chain[peer.node.ledger.epochs.newest.number :])
        return f"m{address}", identity_of(address).public.hex()

    def _certificates(self):  # type: ignore[no-untyped-def]
        """What discovery would find: the chain, as far as somebody has it."""
        chains = [p.node.ledger.epochs.certificates(0) for p in self._alive if p.node.ledger]
        return max(chains, key=len, default=[])

    def _doom(self) -> None:
        """Some die at the end of the epoch, or around it; perhaps all."""
        random = self._random
        if self._step is None or random.random() < 0.4:
            return
        members = [peer for peer in self._members() if peer.up]
        for peer in random.sample(members, random.randint(0, len(members))):
            down_us = random.choice(DOWN_US)
            peer.on_death = lambda p=peer, d=down_us: self.world.after(d, self._restart, p)
            peer.crash(random.choice((*END_STAGES, *END_STAGES, *STAGES[1:])), DOOM_US)

    def _vote(self, step: Step) -> None:
        """Somebody proposes it, and all approve."""
        up = [p for p in self._members() if p.up and p.node.ledger.me is not None]
        up = [p for p in up if p.node.ledger.epoch.number == step.epoch]
        if not up:
            return
        if not any(self._open(peer, step) for peer in up):
            self._say(self._random.choice(up), Propose(0, step.changes, unsealed=step.unsealed))
        for peer in up:
            proposal = self._open(peer, step)
            if proposal is not None and peer.node.ledger.me not in proposal.approvals:
                self._say(peer, Approve(0, proposal.id, step.epoch))

    @staticmethod
    def _open(peer: NodePeer, step: Step) -> Proposal | None:
        found = peer.node.ledger.replica.governance.open()
        wanted = step.changes, step.unsealed
        return next((each for each in found if (each.changes, each.unsealed) == wanted), None)

    def _say(self, peer: NodePeer, vote: Propose | Approve) -> None:
        if peer.node.life.refusal() is None and peer.node.submissions.outstanding < 1_000:
            peer.node.submissions.put(vote, peer.node._clock.now_ms())
            peer._turn_at(self.world.now_us)

    # The phases

    @property
    def _clock_may_stand(self) -> bool:
        """All clocks are right; members of the newest epoch may be down for good."""
        silent = [peer for peer in self._members() if not peer.up]
        return len(silent) > (self.newest.committee.size - 1) // 2

    def _heal(self) -> None:
        """What was begun is finished, and no more is begun."""
        self._steps_left = 0
        super()._heal()

    def _settled(self) -> bool:
        self._drop_done()
        return self._step is None and super()._settled()

    def _drop_done(self) -> None:
        if self._step is not None and self._step.epoch != self.newest.number:
            self._step = None

    def _wake(self) -> tuple[Ending, str] | None:
        """The mesh shrinks back to one member, or stays as it is; then one command at each."""
        if found := self._shrink():
            return found
        for peer in self._members():
            if peer.up:
                self.world.note("world", f"a lone command at {peer.address}")
                promised = len(self.referee.promised) + 1
                self._submit(peer.address)
                if not self._finish(promised):
                    return Ending.NO_PROGRESS, f"of a lone command: {self._stuck()}"
        return None

    def _shrink(self) -> tuple[Ending, str] | None:
        alive = [seat for seat in self.newest.numbers if seat not in self.lost_seats]
        gone = set(self.newest.numbers) - {self._random.choice(alive)}
        if self._random.random() < 0.5 or not gone:
            return None
        changes = tuple(RemoveMember(seat) for seat in sorted(gone))
        self._step = Step(self.newest.number, changes, self._is_unsealed(self.newest))
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
    with tempfile.TemporaryDirectory() as folder:
        return EpochRun(plan, options, Path(folder)).verdict()
