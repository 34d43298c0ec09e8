"""A peer's view of its mesh: which members are alive, which agree, what is wrong.

Owns the comparison of states and the mesh view for people. Must never act on any fault.
"""

import logging
import statistics
from collections import deque
from collections.abc import Iterable

from peer.client import protocol
from peer.consensus.block import NO_ATTESTATION, Attestation
from peer.consensus.dag import Evidence
from peer.membership.epochs import SEATS_MAX, Epoch, Seat
from peer.membership.mesh_file import MeshConfig
from peer.network.mesh import FLOOD_PAUSE_MS, Mesh
from peer.network.messages import Heartbeat
from peer.node.alarms import Alarms
from peer.node.clocks import SKEW_MS_MAX, Clocks
from peer.node.governance_views import epoch_view
from peer.node.health import Health, Status, reasons
from peer.node.hearing import Hearing, Hears
from peer.node.ledger import Ledger
from peer.version import VERSION

FINALITY_SAMPLES = 200
JUDGE_MS = 250  # between two checks of deaf members and wrong clocks
FLOOD_OVER_MS = 60_000  # a member that stops flooding is forgiven after being heard for this long

_log = logging.getLogger(__name__)


class MeshStatus:
    def __init__(self, config: MeshConfig, mesh: Mesh, ledger: Ledger) -> None:
        self._config = config
        self._epoch = ledger.epoch
        self._committee = ledger.committee
        self._mesh = mesh
        self._ledger = ledger
        self._agrees: dict[int, bool] = {}  # by member, at the last commit that was compared
        self._finality_ms: deque[float] = deque(maxlen=FINALITY_SAMPLES)
        self.alarms = Alarms()
        self._health = Health(self.alarms)
        self.quorum = self.hears_enough = False
        self.clocks = Clocks(self._committee.size, ledger.author)
        self._hearing = Hearing(self._committee, ledger.author)
        self._deaf: set[int] = set()
        self._judge_ms = 0
        self._ahead_ms: dict[int, int] = {}  # by author: its clock, before the median
        self._flooded_ms: dict[int, int] = {}  # members that flooded: the last time
        self.outvoted = ""  # why this peer's state is wrong
        self._contested = 0  # the last commit after which a member has another state
        self._others: dict[int, bytes] = {}  # and that state, by member
        self._told: dict[int, int] = {}  # by member, the last commit whose state an alarm named
        self._named: set[int] = set()  # members whose alarm names more than the digest
        self.differing: dict[int, Attestation] = {}  # by member, its newest state that differs
        self._beat_commit = 0  # the last one at the last heartbeat

    def stand_in(self, epoch: Epoch) -> None:
        """This peer stands in an epoch: judge only its members."""
        if epoch is self._epoch:
            return
        for seat in self._epoch.numbers:
            for kind in ("clock", "deaf", "flood"):
                self.alarms.clear(f"{kind} {seat}")
            self._flooded_ms.pop(seat, None)
        authors = ((a, epoch.author_of(seat)) for a, seat in enumerate(self._epoch.numbers))
        stay = {old: new for old, new in authors if new is not None}
        before, self._epoch, self._committee = self._epoch, epoch, epoch.committee
        self.clocks = Clocks(self._committee.size, self._ledger.author)
        self._hearing = self._hearing.after(self._committee, self._ledger.author, stay)
        self._note_newcomers(before)
        self._deaf, self._ahead_ms = set(), {}

    def _note_newcomers(self, before: Epoch) -> None:
        """Which of the members that are new to this peer hear it. As a candidate each said whom it
        hears. Nobody said so to a candidate: those that it hears count until they do."""
        own = before.author_of(before.seat_of(self._ledger.journal.key))
        for author, seat in enumerate(self._epoch.numbers):
            link = self._mesh.links.get(seat)
            if link is None or (said := link.heartbeat) is None:
                continue
            is_new = before.author_of(seat) is None
            is_judged = said.epoch == before.number and len(said.hears) == before.committee.size
            if own is None or (is_new and is_judged and said.hears[own]):
                self._hearing.note(author, link.heard_ms)

    @property
    def own_name(self) -> str:
        """A follower's is its own, so that no other follower takes a client's statement for it."""
        me = self._ledger.me
        return f"follower-{self._ledger.journal.key.hex()[:8]}" if me is None else self.name(me)

    def name(self, member: int) -> str:
        """The name of a seat, also of an earlier epoch."""
        return self._ledger.epochs.name_of(member)

    def took(self, finality_ms: float) -> None:
        """An own command was ordered; `finality_ms` is the time since it came."""
        self._finality_ms.append(finality_ms)

    def compare(
        self, member: int, attestation: Attestation, agrees: bool | None, is_whole: bool = True
    ) -> None:
        """All peers have the same state after the same commit, or one of them is wrong. This peer
        is wrong if a quorum agrees on another state. `is_whole`: the digest covers the whole state,
        as at checkpoints, not only the exchange's."""
        if agrees is not None:
            self._agrees[member] = agrees
        if agrees is not False:
            return
        if is_whole:
            self.differing[member] = attestation
        commit, digest = attestation
        if commit > self._told.get(member, 0) and member not in self._named:
            self._told[member] = commit
            self._tell_difference(member, commit, digest.hex())
        if self._epoch.author_of(member) is None:
            return
        if commit != self._contested:
            self._contested, self._others = commit, {}
        self._others[member] = digest
        if list(self._others.values()).count(digest) >= self._committee.quorum:
            self.outvoted = (
                f"a quorum has the state {digest.hex()} after commit {commit}, and this peer has "
                "another: its book is wrong. Keep its data folder for `python -m peer journal`"
            )

    def name_difference(self, member: int, commit: int, how: str) -> None:
        """The difference in a member's state is known."""
        self._named.add(member)
        self._tell_difference(member, commit, how)

    def _tell_difference(self, member: int, commit: int, how: str) -> None:
        text = f"{self.name(member)} has another state after commit {commit}: {how}"
        self.alarms.raise_alarm(f"state {member}", text)

    def hear(self, member: int, heartbeat: Heartbeat, now_ms: int) -> None:
        """Check what a member reports of itself; nothing of a candidate counts."""
        if member >= SEATS_MAX:
            return
        replica = self._ledger.replica
        attestation, latest = heartbeat.attestation, heartbeat.latest
        self.compare(member, attestation, replica.agrees(attestation))
        self.compare(member, latest, replica.agrees_latest(latest), is_whole=False)
        author = self._epoch.author_of(member)
        if author is not None:
            self.clocks.hear(author, heartbeat.time_ms, now_ms)
            if heartbeat.epoch == self._epoch.number:
                self._hearing.hear(author, heartbeat.hears, now_ms)

    def _compare_clocks(self, now_ms: int, wall_ms: int) -> None:
        """Report wrong clocks, this peer's included, while the other members still outvote them."""
        off = self.clocks.off(now_ms, wall_ms)
        self._ahead_ms = self.clocks.ahead(now_ms, wall_ms)
        for author, member in enumerate(self._epoch.numbers):
            if (by_ms := off.get(author)) is None:
                self.alarms.clear(f"clock {member}")
            else:
                which = "ahead of" if by_ms > 0 else "behind"
                text = (
                    f"the clock of {self.name(member)} is over {SKEW_MS_MAX} ms {which} the others"
                )
                self.alarms.raise_alarm(f"clock {member}", text)

    def flooded(self, member: int, now_ms: int) -> None:
        """A member sent too much; this peer does not hear it for a while."""
        self._flooded_ms[member] = now_ms
        pause_s = FLOOD_PAUSE_MS // 1_000
        text = f"{self.name(member)} floods: this peer ignores it for {pause_s} s at a time"
        self.alarms.raise_alarm(f"flood {member}", text)

    def misbehaved(self, member: int, what: str) -> None:
        """A member sent what no member may send; this peer cuts it off."""
        self.alarms.raise_alarm(f"cut {member}", f"{self.name(member)} is cut off: {what}")

    def helped_badly(self, member: int, what: str) -> None:
        """A member's answer was not acceptable."""
        self.alarms.raise_alarm(f"snapshot {member}", f"{self.name(member)} sent {what}")

    def equivocated(self, evidence: Iterable[Evidence], epoch: Epoch) -> None:
        for first, second in evidence:
            seat = epoch.numbers[first.author]
            text = f"{self.name(seat)} signed both {first!r} and {second!r}"
            self.alarms.raise_alarm(f"evidence {seat}", text)

    def untrusted(self, why: str) -> None:
        """The chain to the present members has a gap."""
        text = f"{why}. Ask an operator for the epoch and seal of today, and start with --trust"
        self.alarms.raise_alarm("chain", text)

    def forged_chain(self, place: str, why: str) -> None:
        """Somebody at this address has handed out a forged chain; this peer goes on with others."""
        text = f"at {place} somebody hands out a forged chain of epochs: {why}"
        self.alarms.raise_alarm("forged chain", text)

    def sealed_otherwise(self, member: int, epoch: int, seal: bytes) -> None:
        """A member has another seal for the epoch in which this peer stands."""
        text = f"{self.name(member)} has another seal for epoch {epoch}: {seal.hex()}"
        self.alarms.raise_alarm(f"seal {member}", text)

    def forged(self, members: Iterable[int]) -> None:
        for member in members:
            text = f"{self.name(member)} sent a forged command: the account's key has not signed it"
            self.alarms.raise_alarm(f"forgery {member}", text)

    def _clear_old_floods(self, now_ms: int) -> None:
        for member, since_ms in list(self._flooded_ms.items()):
            if now_ms - since_ms >= FLOOD_OVER_MS:
                del self._flooded_ms[member]
                self.alarms.clear(f"flood {member}")

    def heard(self, now_ms: int) -> tuple[bool, ...]:
        """The members this peer hears, by member; itself too."""
        me = self._ledger.me
        return tuple(n == me or self._mesh.alive(n, now_ms) for n in self._epoch.numbers)

    def _hears(self, now_ms: int) -> dict[int, Hears]:
        """What each heard member of this epoch hears, by author."""
        epoch, links = self._epoch, self._mesh.links
        found: dict[int, Hears] = {}
        for author, seat in enumerate(epoch.numbers):
            heartbeat = links[seat].heartbeat if seat in links else None
            if heartbeat is not None and self._mesh.alive(seat, now_ms):
                size = len(epoch.numbers)
                same = (heartbeat.epoch, len(heartbeat.hears)) == (epoch.number, size)
                found[author] = heartbeat.hears if same else (True,) * size
        return found

    def look(self, now_ms: int, wall_ms: int, running: bool) -> bool:
        """Whether a quorum is here. Logs a change since the last look."""
        self._clear_old_floods(now_ms)
        hears = self._hears(now_ms)
        if now_ms >= self._judge_ms:
            self._judge_ms = now_ms + JUDGE_MS
            self._judge(hears, now_ms)
            self._compare_clocks(now_ms, wall_ms)
        self.hears_enough = len(hears) + running >= self._committee.quorum
        before, self.quorum = self.quorum, self._hearing.has_quorum(hears, now_ms, running)
        if self.quorum != before:
            _log.info("quorum reached" if self.quorum else "NO QUORUM: commands wait")
        return self.quorum != before

    def is_due(self, now_ms: int, wall_ms: int) -> bool:
        """Whether the members' clocks have passed an order's expiry, or a change of members waits
        for a block of this member: in an idle mesh nothing else would bring one."""
        if self._ledger.replica.governance.awaits(self._ledger.me):
            return True
        expiry_ms = self._ledger.next_expiry_ms
        return expiry_ms is not None and expiry_ms <= self.clocks.ordered_ms(now_ms, wall_ms)

    def _judge(self, hears: dict[int, Hears], now_ms: int) -> None:
        numbers = self._epoch.numbers
        deaf = {numbers[one.member]: one.why for one in self._hearing.deaf(hears, now_ms)}
        for member, why in deaf.items():
            self.alarms.raise_alarm(f"deaf {member}", f"{self.name(member)} {why}")
        for member in self._deaf - deaf.keys():
            self.alarms.clear(f"deaf {member}")
        self._deaf = set(deaf)

    def view(
        self, seq: int, now_ms: int, status: Status, progress: tuple[int, ...]
    ) -> protocol.Mesh:
        """What people see, including alarms over lasting faults."""
        self._health.look(now_ms, status, progress, self._unanswered_ms(now_ms))
        replica = self._ledger.replica
        return protocol.Mesh(
            seq=seq,
            peer=self.own_name,
            mesh=self._config.id.hex(),
            mode=self._committee.mode,
            members=[self._member(seat, now_ms) for seat in self._epoch.seats],
            quorum_size=self._committee.quorum,
            quorum=self.quorum,
            round=self._ledger.round,
            commit=replica.commit,
            digest=replica.latest().digest,
            pending=status.pending,
            finality_ms=statistics.median(self._finality_ms) if self._finality_ms else 0.0,
            halted=status.halted,
            alarms=self.alarms.texts,
            catching_up=status.catching_up,
            refused=self._mesh.refused,
            unanswered=status.refused_requests,
            oldest_pending_ms=status.oldest_pending_ms,
            unready=reasons(status),
            role="follower" if self._ledger.me is None else "member",
            version=VERSION,
            level=self._epoch.origin.level,
            level_known=self._ledger.levels.highest,
            epoch=epoch_view(self._epoch, replica, self._ahead_ms),
        )

    def heartbeat(self, me: int, now_ms: int, wall_ms: int) -> Heartbeat:
        """What this peer reports of itself to all. Members have the same last commit at hardly any
        moment, unless the book rests. So only then is it worth a digest of its own."""
        replica = self._ledger.replica
        rests, self._beat_commit = replica.commit == self._beat_commit, replica.commit
        return Heartbeat(
            self._config.id,
            self._committee.epoch,
            me,
            self._mesh.fetch_port,
            self._ledger.rounds,
            replica.commit,
            replica.attestation(),
            replica.latest() if rests else NO_ATTESTATION,
            wall_ms,
            self.heard(now_ms),
            self._ledger.levels.highest,
            VERSION,
        )

    def _unanswered_ms(self, now_ms: int) -> dict[str, int]:
        links = self._mesh.links
        return {
            self.name(m): link.answer_timeout.unanswered_ms(now_ms) for m, link in links.items()
        }

    def _member(self, seat: Seat, now_ms: int) -> protocol.MemberView:
        number, key = seat.number, seat.key.hex()
        round_ = self._ledger.newest_round(number)
        if number == self._ledger.me:
            commit = self._ledger.replica.commit
            address = f"{self._mesh.host}:{self._mesh.port}"
            return protocol.MemberView(
                *(seat.name, key, address, True, round_, commit, 0, True),
                hears=self._names(self.heard(now_ms), number),
                version=VERSION,
                level=self._ledger.levels.highest,
            )
        link = self._mesh.links[number]
        heartbeat, alive = link.heartbeat, self._mesh.alive(number, now_ms)
        return protocol.MemberView(
            seat.name,
            key,
            link.address,
            alive,
            round_,
            heartbeat.commit if heartbeat else 0,
            now_ms - link.heard_ms if heartbeat else -1,
            self._agrees.get(number),
            link.unread,
            link.barred,
            self._names(heartbeat.hears, number) if alive and heartbeat else [],
            link.renewed,
            heartbeat.version if heartbeat else "",
            heartbeat.level if heartbeat else 0,
        )

    def programs_of(self, level: int) -> list[str]:
        """Which members have said that their program knows a level, and its version."""
        links = self._mesh.links.items()
        said = ((seat, link.heartbeat) for seat, link in links if link.heartbeat is not None)
        return [f"{self.name(seat)} runs {one.version}" for seat, one in said if one.level >= level]

    def _names(self, hears: Hears, but: int) -> list[str]:
        heard = zip(self._epoch.numbers, hears, strict=False)
        return [self.name(n) for n, is_heard in heard if is_heard and n != but]
