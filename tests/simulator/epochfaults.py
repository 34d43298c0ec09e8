"""What goes wrong around the end of an epoch, beside crashes: lies, leaked keys, losses, cuts.

Owns when each happens in a run, and what of it nobody may be harmed by. Must never take more from
a mesh than it can do without.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from peer.consensus.block import Block, decode, make
from peer.consensus.committee import Mode
from peer.membership.epochs import DOMAIN, Epoch
from peer.network.messages import SignedSeal
from peer.replica.changes import AddMember, Approve, Propose
from peer.replica.governance import Proposal
from tests.simulator.equivocator import Equivocator
from tests.simulator.keys import address_of, identity_of
from tests.simulator.memory_disk import Disk, MemorySlots
from tests.simulator.network import CALM
from tests.simulator.node import NodePeer
from tests.simulator.peer import END_STAGES, STAGES, Stage
from tests.simulator.plan import CHANGING_ADDRESSES, Cut
from tests.simulator.world import MS

if TYPE_CHECKING:
    from tests.simulator.epochrun import EpochRun

NOBODY = CHANGING_ADDRESSES + 1  # a key of which nobody ever hears
LIES_US = (1 * MS, 20 * MS, 100 * MS, 300 * MS)  # after an epoch began
LOSS_TRIES = 20
LATE_US = 10 * MS
BROKEN_US = (5 * MS, 100 * MS, 600 * MS)  # until a disk that fails has been mended
BUSY_US = 20 * MS  # between orders while a peer waits for a state to go on from
AWAY_US_MAX = 1_500 * MS
GIVEN_UP_US = 5_000 * MS  # after a disk was put back


class Stopped(NamedTuple):
    """A peer that was shown evidence against a key of an epoch."""

    epoch: int
    peer: NodePeer


class Trouble:
    def __init__(self, run: "EpochRun", random: Random) -> None:
        self._run = run
        self._random = random
        self._stopped: list[Stopped] = []
        self._wiped: set[int] = set()  # epochs of steps in which a candidate's disk was lost
        self._proposed_in = self._approved_in = -1  # epochs
        self.rival = Propose(0, (AddMember("nobody", identity_of(NOBODY).public.hex()),), True)
        # In a mesh that lets everybody in, all would want the rival.
        self.has_rival = random.random() < 0.4 and run.config.admission == "vote"
        plan = run.plan
        is_calm = plan.weather == CALM and not (plan.cuts or plan.crashes or plan.slow)
        # Only while all others are there does an old copy of a journal show in time (ORDER-25). So
        # nothing else goes wrong in such a run.
        self.only_copies = is_calm and random.random() < 0.4
        self._restored: NodePeer | None = None

    # As a step begins

    def step(self, epoch: Epoch, joiners: Sequence[NodePeer]) -> None:
        """A change of the members of this epoch has begun."""
        random = self._random
        if self.only_copies:
            self._later(300, self._copy)
            return
        if random.random() < 0.15:
            sides = tuple(random.randrange(2) for _ in range(CHANGING_ADDRESSES))
            self._later(300, self._run.cut, Cut(0, random.randrange(100, 600) * MS, sides))
        if random.random() < 0.2:
            peers = [*self._run.members(), *joiners]
            self._later(300, self._delay, random.choice(peers), epoch.number)
        if random.random() < 0.15:
            peer = random.choice([*self._run.members(), *joiners])
            self._later(300, self._break, peer)
        if joiners and random.random() < 0.2:
            self._wiped.add(epoch.number)
            self._later(300, self._wipe, random.choice(joiners))

    def _later(self, ms: int, act, *args: object) -> None:  # type: ignore[no-untyped-def]
        self._run.world.after(self._random.randrange(ms) * MS, act, *args)

    def _delay(self, peer: NodePeer, epoch: int) -> None:
        """A peer hears nobody until the others are in a later epoch, and longer."""
        run = self._run
        links = [(peer.address, other) for other in range(CHANGING_ADDRESSES)]
        links += [(other, address) for address, other in links]
        run.network.cut.update(links)
        run.world.note(peer.address, "is cut off across the end of the epoch")
        until_us = run.world.now_us + AWAY_US_MAX

        def look() -> None:
            if run.newest.number > epoch or run.world.now_us >= until_us:
                run.world.after(self._random.randrange(600) * MS, join)
            else:
                run.world.after(20 * MS, look)

        def join() -> None:
            run.network.cut.difference_update(links)
            run.world.note(peer.address, "hears the others again")

        look()

    def _break(self, peer: NodePeer) -> None:
        """A disk refuses to write, at once or from the end of the epoch on, perhaps because it is
        full. Its peer is silent until somebody has made room and starts it again."""
        if not peer.up:
            return
        peer.full = self._random.random() < 0.5
        peer.breaks_at_end = self._random.random() < 0.5
        peer.broken = not peer.breaks_at_end
        peer.heals = self._random.random() < 0.5
        self._run.world.note(peer.address, "has a disk that fails" + " when full" * peer.full)
        life = peer.lives

        def mend() -> None:
            if peer.up and peer.lives == life:
                peer.crash(Stage.NOW)
                self._run.restart(peer, 0)

        self._run.world.after(self._random.choice(BROKEN_US), mend)

    def _lie_from_now_on(self, epoch: Epoch) -> None:
        """A member signs two blocks a round now and then, while the epoch can bear it."""
        run = self._run
        lost = run.unreliable.intersection(epoch.numbers)
        liars = set(run.equivocators.values()).intersection(epoch.numbers)
        if epoch.mode is Mode.CRASH or liars or len(lost) >= epoch.committee.faults:
            return
        able = [seat for seat in epoch.seats if seat.number not in lost]
        seat = self._random.choice(able)
        peer = run.node_at(address_of(seat.key))

        def may_lie() -> bool:
            """Not in epochs before, which others may have to bear."""
            now = peer.node.ledger.epoch
            gone = run.unreliable.intersection(now.numbers)
            return now.number >= epoch.number and len(gone) <= now.committee.faults

        peer.says = Equivocator(peer, self._random, may_lie)
        run.equivocators[peer.address] = seat.number
        run.world.note(peer.address, "equivocates from now on")

    def _wipe(self, peer: NodePeer) -> None:
        """A candidate loses its disk. It has said nothing that binds it, so it begins anew."""
        keys = {seat.key for epoch in self._run.referee.epochs for seat in epoch.seats}
        if peer.up and identity_of(peer.address).public not in keys:
            self._run.world.note(peer.address, "begins anew with an empty disk")
            peer.crash(Stage.NOW)
            peer.wipe()
            self._run.start_newcomer(peer)

    # As an epoch begins

    def entered(self, epoch: Epoch) -> None:
        """Somebody is the first in an epoch."""
        before = epoch.previous
        assert before is not None
        if self.only_copies:
            return
        random, after = self._random, self._run.world.after
        if random.random() < 0.3:
            self._lie_from_now_on(epoch)
        gone = [seat for seat in before.seats if epoch.author_of(seat.number) is None]
        gone = [seat for seat in gone if seat.number not in self._run.lost_seats]
        if gone and random.random() < 0.5:
            self._leak(before, random.choice(gone).number)
        if gone and before.number not in self._wiped and random.random() < 0.3:
            after(random.choice(LIES_US), self._lose, epoch, [s.number for s in gone], LOSS_TRIES)
        if epoch.mode is Mode.BYZANTINE and before.committee.faults and random.random() < 0.5:
            liar = random.choice(before.numbers)
            for at_us in LIES_US:
                after(at_us, self._lie, epoch, liar)

    def ends(self, peer: NodePeer) -> None:
        """A peer is about to close its epoch. If commands of it are under way, it may die there."""
        may_die = not (self.only_copies or self._run.is_healed)
        if may_die and peer.node.submissions.outstanding and self._random.random() < 0.3:
            peer.on_death = lambda: self._run.restart(peer, 0)
            peer.crash(self._random.choice(END_STAGES))

    def took_over(self, peer: NodePeer) -> None:
        """Perhaps it dies soon, when what it had before is no more needed."""
        if self._random.random() < 0.5 and not self.only_copies and not self._run.is_healed:
            peer.on_death = lambda: self._run.restart(peer, 0)
            self._later(60, peer.crash, self._random.choice(STAGES))

    def _leak(self, epoch: Epoch, seat: int) -> None:
        """Whoever has the key of a member that is gone signs a rival of one of its blocks. Peers
        that have left the epoch must not care. In crash mode one that has not stops, and so may
        those that are down now, to whom it hands the rival: only while the mesh can do without."""
        newest = self._run.newest
        members = [peer for peer in self._run.members() if peer.up]
        shown = [p for p in members if p.node.ledger.epoch.number > epoch.number]
        late = [p for p in members if p.node.ledger.epoch is epoch or self._is_in(p, epoch)]
        lost = self._run.unreliable  # of neither epoch too many may be silent: it has to be signed
        spare = [
            one.committee.faults - len(lost.intersection(one.numbers)) for one in (epoch, newest)
        ]
        down = [p for p in self._run.members() if not (p.up or p.lost)]
        if late and min(spare) > len({p.address for p in (*self.waiting, *down)}):
            shown.append(self._random.choice(late))
        able = (peer for peer in members if not peer.broken)  # whose disk can be read
        rival = next((r for p in able if (r := self._rival(p, epoch, seat))), None)
        for peer in shown if rival else []:
            if self._is_in(peer, epoch) and epoch.mode is Mode.CRASH:
                self._stopped.append(Stopped(epoch.number, peer))
                self._run.world.note(peer.address, f"is shown a rival of a block of seat {seat}")
            peer.deliver(address_of(_key(epoch, seat)), rival)
        if self._stopped:
            self._trade()

    @staticmethod
    def _is_in(peer: NodePeer, epoch: Epoch) -> bool:
        return peer.node.ledger.epoch.number == epoch.number

    @staticmethod
    def _rival(peer: NodePeer, epoch: Epoch, seat: int) -> Block | None:
        author = epoch.author_of(seat)
        frames = peer.node.ledger.journal.frames(epoch.number)
        blocks = [decode(frame, epoch.committee) for who, _, _, frame in frames if who == author]
        if not blocks:
            return None
        last, sign = blocks[-1], identity_of(address_of(_key(epoch, seat))).sign
        what = last.parents, b"", last.time_ms + 1, last.attestation
        return make(epoch.committee, last.round, last.author, *what, sign)

    @property
    def waiting(self) -> list[NodePeer]:
        """Peers that have stopped, and may, until they are in a later epoch."""
        return [p for number, p in self._stopped if p.node.ledger.epoch.number <= number]

    def may_stop(self, peer: NodePeer) -> bool:
        """Also one that comes late to the epoch of a leaked key may: others hand it the rival."""
        number, waiting = peer.node.ledger.epoch.number, self.waiting
        if peer.node.halted and peer not in waiting and number in {n for n, _ in self._stopped}:
            self._stopped.append(Stopped(number, peer))
            return True
        return peer in waiting or peer is self._restored

    def _copy(self) -> None:
        """A member's disk is copied, and put back later, perhaps in another epoch. It must not sign
        a round twice. Then it is given up, since it has lost what it had promised."""
        peers = [peer for peer in self._run.members() if peer.up]
        if self._restored is None and self._run.newest.committee.faults:
            peer = self._random.choice(peers)
            peer.crash(Stage.NOW)
            copy = peer.copy_disk()
            peer.start()
            self._later(1_500, self._put_back, peer, copy)

    def _put_back(self, peer: NodePeer, copy: tuple[Disk, MemorySlots]) -> None:
        run, epoch = self._run, self._run.newest
        seat = epoch.seat_of(identity_of(peer.address).public)
        is_safe = epoch.committee.faults and all(member.up for member in run.members())
        is_safe = is_safe and seat is not None and run.can_spare(seat)
        if seat is None or not is_safe or self._restored is not None or run.is_healed:
            return
        run.world.note(
            peer.address, f"has its disk of epoch {peer.node.ledger.epoch.number} put back"
        )
        self._restored = peer
        run.lost_seats.add(seat)
        peer.crash(Stage.NOW)
        peer.put_back(*copy)
        peer.start()
        key = identity_of(peer.address).public
        run.world.after(GIVEN_UP_US, run.lose_seat, key, seat)

    def _trade(self) -> None:
        """Whoever has stopped goes on from a state that a quorum of a later epoch has signed: until
        then orders come."""
        if self.waiting:
            up = [peer for peer in self._run.members() if peer.up]
            if up:
                self._run.submit(self._random.choice(up).address)
            self._run.world.after(BUSY_US, self._trade)

    def _lose(self, epoch: Epoch, gone: list[int], tries: int) -> None:
        """Members that are gone are switched off for good, once those that stay can do without:
        perhaps a quorum of the epoch before, perhaps before it has signed."""
        run = self._run
        if epoch is not run.newest or run.is_healed or self.waiting:
            return
        members = run.members()
        inside = [p for p in members if p.up and p.node.ledger.epoch.number >= epoch.number]
        alive = [peer for peer in members if not peer.lost]
        if all(p.up and (p in inside or self._knows_of(p, inside)) for p in alive):
            for seat in gone:
                run.lose_seat(_key(run.referee.epochs[epoch.number - 1], seat), seat)
        elif tries:
            run.world.after(20 * MS, self._lose, epoch, gone, tries - 1)

    @staticmethod
    def _knows_of(peer: NodePeer, others: Sequence[NodePeer]) -> bool:
        """Whether one of them is a member or a candidate for this peer."""
        ledger = peer.node.ledger
        known = {*ledger.replica.candidates, *(seat.key for seat in ledger.epoch.seats)}
        return any(identity_of(other.address).public in known for other in others)

    def _lie(self, epoch: Epoch, liar: int) -> None:
        """A member of the epoch before signs another seal, and hands on signatures of others that
        are none, over the right seal too."""
        before = epoch.previous
        assert before is not None
        sender = address_of(_key(before, liar))
        other = self._random.randbytes(32)
        signature = identity_of(sender).sign(DOMAIN + other)
        for seal in (other, epoch.seal):
            false = SignedSeal(sender, epoch.number, seal, dict.fromkeys(before.numbers, signature))
            for peer in self._run.members():
                if peer.address != sender:
                    self._run.network.send(sender, peer.address, false)

    # Votes

    def vote(self, peers: Sequence[NodePeer]) -> None:
        """Too few members for a quorum want a rival of each step, in each epoch anew others. One of
        them says so twice."""
        run, epoch = self._run, self._run.newest
        for peer in peers:  # perhaps the epoch ends while an order is under way
            if self._random.random() < 0.2:
                run.world.after(self._random.randrange(LATE_US), run.submit, peer.address)
        if not self.has_rival or not peers:
            return
        found = {peer.address: self._open(peer) for peer in peers}
        if not any(found.values()) and self._proposed_in < epoch.number:
            self._proposed_in = epoch.number
            run.say(self._random.choice(peers), self.rival)
        if self._approved_in == epoch.number or not all(found.values()):
            return
        self._approved_in = epoch.number
        few = self._random.sample(peers, min(epoch.committee.quorum - 1, len(peers)))
        for peer in few:
            proposal = found[peer.address]
            assert proposal is not None
            for _ in range(2):
                run.say(peer, Approve(0, proposal.id, epoch.number))

    def _open(self, peer: NodePeer) -> Proposal | None:
        found = peer.node.ledger.replica.governance.open()
        return next((each for each in found if each.changes == self.rival.changes), None)

    # In the end

    def fork(self) -> str:
        """A quorum of keys that are in one hand signs another seal of the last epoch: everybody
        must stop and say so, whose operator has not said which one to trust. Returns who does not.
        """
        run, epoch = self._run, self._run.newest
        before = epoch.previous
        if before is None:
            return ""
        other, keys = self._random.randbytes(32), [seat.key for seat in before.seats]
        signers = self._random.sample(before.numbers, before.committee.quorum)
        signatures = {
            seat: identity_of(address_of(keys[place])).sign(DOMAIN + other)
            for place, seat in enumerate(before.numbers)
            if seat in signers
        }
        run.referee.is_forked = True
        sender = address_of(self._random.choice(epoch.seats).key)
        for peer in run.alive:
            if peer.address != sender:
                said = SignedSeal(sender, epoch.number, other, signatures)
                run.network.send(sender, peer.address, said)
        run.world.run(run.world.now_us + 1_000 * MS)
        going = [
            peer.address
            for peer in run.alive
            if peer.address != sender
            and (peer.pin is None or peer.pin.epoch < epoch.number)
            and other.hex() not in peer.node.halted
        ]
        return f"peers {going} go on though there are two seals" if going else ""


def _key(epoch: Epoch, seat: int) -> bytes:
    return next(each.key for each in epoch.seats if each.number == seat)
