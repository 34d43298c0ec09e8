"""What must hold across epochs, counted again without the modules that are tested.

Owns who may have ended an epoch and what its end made: one seal an epoch, no seat and no key twice,
nobody proposes in an epoch that it has closed, a quorum of this epoch's approvals for each change,
one change of members in a commit, enough members present, certificates of a quorum that was. And
nothing that a member which stays has acknowledged is lost.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from peer.consensus.block import Block, digest_of
from peer.consensus.committee import Mode
from peer.membership.epochs import DOMAIN, Epoch
from peer.membership.identity import Verifier
from peer.replica.applied import Applied
from peer.replica.batch import seq_and_member
from peer.replica.changes import Activate, AddMember, Approve, RemoveMember, ReplaceMember, Withdraw
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.governance import Proposal
from peer.replica.handover import Sealed, Stated
from peer.replica.state_machine import Replica
from tests.simulator.levels import NEXT_LEVELS
from tests.simulator.node import NodePeer
from tests.simulator.node_referee import NodeReferee, must

if TYPE_CHECKING:
    from tests.simulator.epochrun import EpochRun

STATED_COMMITS = 128
PRESENT_COMMITS = 10


class EpochReferee(NodeReferee):
    def __init__(self, run: "EpochRun", *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._run = run
        self.epochs: list[Epoch] = [Epoch.first(run.config)]
        self.is_forked = False  # a quorum of old keys has signed a second seal
        self._closed: dict[int, int] = {}  # by address: the epoch that it has entered for good
        self._keys: dict[bytes, int] = {}  # of all members ever: their seats
        self._ends: list[tuple[Applied, bytes]] = []  # the last commit of each epoch, its digest
        self._approvals: defaultdict[int, set[int]] = defaultdict(set)  # in this epoch
        self._seen: dict[int, int] = {}  # by seat: the last commit with a block, in this epoch
        self._stated: dict[bytes, int] = {}  # by key: the commit whose state it has shown
        first = Replica(run.config.markets, self.epochs[0])
        self._digests = {0: first.exchange.digest()}  # at boundaries
        self._is_sealed = True
        self.certified: set[int] = set()  # epochs whose begin is certified in the order

    # Epochs

    def ends(self, peer: NodePeer) -> None:
        self._run.trouble.ends(peer)

    def entered(self, peer: NodePeer) -> None:
        epoch = peer.node.ledger.epoch
        self._closed[peer.address] = max(epoch.number, self._closed.get(peer.address, 0))
        is_first = epoch.number == len(self.epochs)
        if is_first:
            self._check_origin(epoch)
            self.epochs.append(epoch)
            self.world.note(peer.address, f"is the first in epoch {epoch.number} {epoch.numbers}")
        known = self.epochs[epoch.number]
        must(known.seal == epoch.seal, f"peer {peer.address} has another seal of {epoch.number}")
        for seat in epoch.seats:
            before = self._keys.setdefault(seat.key, seat.number)
            must(before == seat.number, f"{seat.name} has seat {before} and {seat.number}")
        self._run.entered(peer, epoch, is_first=is_first)

    def _check_origin(self, epoch: Epoch) -> None:
        """The epoch is what its commit has made of the one before, and its seal covers all."""
        before, (end, digest) = self.epochs[-1], self._ends[epoch.number - 1]
        assert end.epoch_end is not None
        seats, level = _following(before, end.epoch_end)
        commit, origin = end.commit, epoch.origin
        made = [(seat.number, seat.key) for seat in epoch.seats]
        must(made == seats, f"epoch {epoch.number} has the seats {made}, not {seats}")
        names = [[s.number, s.name, s.key] for s in epoch.seats]
        ever = max([origin.seats_ever, *(number + 1 for number, _ in seats)])
        fields = (before.origin.mesh, before.seal, epoch.number, level, names, ever)
        data = msgspec.msgpack.encode((*fields, commit.number, commit.time_ms, digest))
        must(
            epoch.seal == digest_of(data), f"the seal of epoch {epoch.number} is of something else"
        )

    def forgets(self, peer: NodePeer) -> None:
        super().forgets(peer)
        self._closed.pop(peer.address, None)

    def published(self, peer: NodePeer, block: Block) -> None:
        number = peer.node.ledger.epoch.number
        must(number >= self._closed.get(peer.address, 0), f"peer {peer.address} speaks in {number}")
        super().published(peer, block)

    def took_over(self, peer: NodePeer) -> None:
        super().took_over(peer)
        self._run.trouble.took_over(peer)

    # Commits, the first time that one is seen

    def applied(self, peer: NodePeer, applied: Applied, replica: Replica) -> None:
        is_new = applied.commit.number == len(self.order) + 1
        super().applied(peer, applied, replica)
        if is_new:
            self._count(applied, replica)

    def _count(self, applied: Applied, replica: Replica) -> None:
        commit, epoch = applied.commit, replica.members.epoch
        numbers, wanted = epoch.numbers, set(applied.ids)
        level = NEXT_LEVELS.of(epoch.origin.level)
        for block in commit.blocks:
            seat = numbers[block.author]
            self._seen[seat] = commit.number
            batch = level.read(block, seat).commands if block.payload else []
            for entry in batch:
                if entry.id in wanted:
                    self._take(entry, epoch)
        if replica.checkpoint is not None and replica.checkpoint.commit == commit.number:
            self._digests[commit.number] = replica.tree.digest
        must(replica.members.sealed == self._is_sealed, "the begin of an epoch is certified by few")
        for proposal in applied.done:
            seats, own = self._approvals[proposal.id], proposal.seat
            waits = not (proposal.force or proposal.unsealed)
            leaves = waits and proposal.changes == (RemoveMember(own),) and own in seats
            what = f"commit {commit.number}: {proposal} has the approvals {seats} of this epoch"
            must(leaves or len(seats) >= epoch.committee.quorum, what)
        ends = [proposal for proposal in applied.done if proposal.ends_epoch]
        must(len(ends) <= 1, f"commit {commit.number} ends its epoch twice")
        if applied.epoch_end is not None:
            self._end(applied, replica)

    def _take(self, entry: object, epoch: Epoch) -> None:
        match entry:
            case Approve(id=id_, proposal=proposal, epoch=number) if number == epoch.number:
                self._approvals[proposal].add(seq_and_member(id_)[1])
            case Withdraw(id=id_, proposal=proposal):
                self._approvals[proposal].discard(seq_and_member(id_)[1])
            case Stated(key=key, commit=commit, digest=digest):
                if self._digests.get(commit) == digest:
                    self._stated[key] = max(commit, self._stated.get(key, 0))
            case Sealed(epoch=number, signatures=signatures) if number == epoch.number > 0:
                before = self.epochs[number - 1]
                text = DOMAIN + epoch.seal
                keys = {seat.number: seat.key for seat in before.seats}
                good = [
                    s
                    for s in keys.keys() & signatures
                    if Verifier(keys[s]).verify(text, signatures[s])
                ]
                if len(good) >= before.committee.quorum:
                    self._is_sealed = True
                    self.certified.add(number)

    def _end(self, applied: Applied, replica: Replica) -> None:
        epoch, proposal = replica.members.epoch, applied.epoch_end
        assert proposal is not None
        seats, _ = _following(epoch, proposal)
        must(
            self._is_sealed or proposal.unsealed, "an epoch ends though its begin is not certified"
        )
        if not proposal.force:
            now = applied.commit.number
            here = [
                number
                for number, key in seats
                if now - self._seen.get(number, -PRESENT_COMMITS) < PRESENT_COMMITS
                or (
                    epoch.author_of(number) is None
                    and now - self._stated.get(key, -now - STATED_COMMITS - 1)
                    <= STATED_COMMITS + 64
                )
            ]
            size = len(seats)
            faults = (size - 1) // (2 if epoch.mode is Mode.CRASH else 3)
            least = size - faults if size <= 2 else min(size - faults + 1, size)
            what = f"commit {now}: only {here} of {seats} are present at the end of the epoch"
            must(len(here) >= least, what)
        self._ends.append((applied, replica.tree.digest))
        self._approvals.clear()
        self._seen.clear()
        self._is_sealed = False

    # Peers

    def turned(self, peer: NodePeer) -> None:
        if not (self.is_forked or self._run.may_stop(peer)):
            super().turned(peer)

    def settled(self, peers: Sequence[NodePeer]) -> bool:
        """What members that stayed have acknowledged is applied once, everywhere."""
        last = self.epochs[-1]
        if any(peer.commits < len(self.order) for peer in peers):
            return False
        if any(peer.node.ledger.epoch.number < last.number for peer in peers):
            return False
        if not all(map(self.has_chain, peers)):
            return False
        stayed = set(last.numbers) - self._run.unreliable
        told = (each for told in self.promised.values() for each in told)
        return all(self.is_kept(each) for each in told if each.id % MEMBERS_SPACE in stayed)

    def has_chain(self, peer: NodePeer) -> bool:
        """Whether it can prove to newcomers each epoch whose begin is certified in the order."""
        chain = {
            each.origin.number: each.signatures for each in peer.node.ledger.epochs.certificates(0)
        }
        return all(
            self.epochs[number - 1].certifies(self.epochs[number].seal, chain.get(number, {}))
            for number in self.certified
        )


def _following(before: Epoch, proposal: Proposal) -> tuple[list[tuple[int, bytes]], int]:
    """The seats and keys after a change, and the level."""
    seats = {seat.number: seat.key for seat in before.seats}
    ever, level = before.origin.seats_ever, before.origin.level
    for change in proposal.changes:
        if isinstance(change, RemoveMember | ReplaceMember):
            del seats[change.seat]
        if isinstance(change, AddMember | ReplaceMember):
            seats[ever], ever = bytes.fromhex(change.key), ever + 1
        if isinstance(change, Activate):
            level = change.level
    return list(seats.items()), level
