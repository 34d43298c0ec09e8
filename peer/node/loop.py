"""The node: one loop that owns a peer's sockets, journal, consensus and engine.

Owns the order in which things happen in a turn: take everything in, propose, then carry out what
consensus says, always store, send, apply, publish. Must never wait for anything but its sockets.
"""

import logging
import queue
import time
from collections.abc import Callable
from typing import NamedTuple

import zmq

from discovery.service_tracker import Event as DiscoveryEvent
from discovery.service_tracker import Found, GrapeFound, GrapeLost
from peer.client import protocol
from peer.client.endpoint import Caller, Local
from peer.consensus.block import InvalidBlockError
from peer.consensus.committer import Commit
from peer.consensus.core import Ready
from peer.membership.mesh_file import MeshConfig
from peer.network.mesh import HEARTBEAT_MS, Flooded, Mesh, Message
from peer.network.messages import Answered, BlockIn, Heard, Heartbeat, Offered, PartIn
from peer.node.health import Status
from peer.node.ledger import KeyElsewhereError, Ledger
from peer.node.mesh_status import Overview
from peer.node.publisher import Publisher
from peer.node.responder import Helper
from peer.node.submissions import Submissions, client_id_of
from peer.replica.signed import Entry
from peer.replica.snapshot import InvalidSnapshotError
from peer.replica.state_machine import Applied, command_id
from peer.storage.journal import JournalError
from peer.storage.state_sync import CatchUp

TURN_MS_MAX = 100
MESH_VIEW_MS = 500
STOP_MS = 2_000  # that commands are given to be ordered before a peer stops

_log = logging.getLogger(__name__)


def _now_us() -> int:
    return time.monotonic_ns() // 1_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock(NamedTuple):
    """Where a node reads the time: one clock that never jumps and drives all timers, and the time
    of day."""

    now_us: Callable[[], int] = _now_us
    wall_ms: Callable[[], int] = _wall_ms

    def now_ms(self) -> int:
        return self.now_us() // 1_000


class Wires(NamedTuple):
    """A node's sockets, and what it waits on."""

    poller: zmq.Poller
    mesh: Mesh
    local: Local


class Node:
    """`discovered` is where the discovery thread leaves its events."""

    def __init__(
        self,
        config: MeshConfig,
        ledger: Ledger,
        wires: Wires,
        discovered: "queue.Queue[DiscoveryEvent]",
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.ledger = ledger
        self.mesh = wires.mesh
        self.local = wires.local
        self.submissions = Submissions(ledger.me or 0)
        self.publisher = Publisher(self.local, ledger.replica)
        self.overview = Overview(config, self.mesh, ledger)
        self.halted = ""
        self._clock = clock or Clock()
        self._catch_up = CatchUp()
        self._poller = wires.poller
        self._discovered = discovered
        self._services = {config.service(n): n for n in range(len(config.members))}
        self._misbehaved: set[int] = set()
        self._helper = Helper(self.mesh, ledger.journal, self._clock.now_us)
        self._next_beat_ms = 0
        self._next_view_ms = 0
        self._stopping = False
        self._watch: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """End the loop, once what waits is ordered or after STOP_MS; safe to call from a signal
        handler."""
        self._stopping = True

    def recover(self) -> None:
        """Take back what the journal holds. Call once, before `run`."""
        started_ms = self._clock.now_ms()
        recovered = self.ledger.recover(self._clock.now_ms())
        if self.ledger.me is not None:
            expected = self.ledger.replica.expected[self.ledger.me]
            pending = self.ledger.journal.pending()
            self.submissions.restore(recovered.own, pending, expected, self._clock.now_ms())
            self.submissions.requeue(self.ledger.next_to_send())
        self.publisher.reset(self.ledger.replica)
        self.mesh.publish(recovered.ready.publish)
        self._note_problems(recovered.ready)
        _log.info(
            "recovered up to commit %d, with %d blocks, in %.1f s",
            self.ledger.replica.commit,
            recovered.blocks,
            (self._clock.now_ms() - started_ms) / 1_000,
        )

    def run(self, watch: Callable[[], None] = lambda: None) -> None:
        """Turn until `stop`; `watch` is called once a heartbeat."""
        self._watch = watch
        while not self._stopping:
            self._turn()
        deadline_ms = self._clock.now_ms() + STOP_MS
        while self._may_finish() and self._clock.now_ms() < deadline_ms:
            self._turn()
        self._tell_what_stays()
        if not self.ledger.journal.failed:
            self.ledger.journal.sync()

    def _may_finish(self) -> bool:
        """Whether there are commands that may still be ordered."""
        can_order = self.overview.quorum and not self.halted
        return bool(self.submissions.outstanding) and can_order

    def _tell_what_stays(self) -> None:
        """The loop ends: whoever waits for a command learns that it is kept."""
        for caller, request in self.local.receive():
            self._serve(caller, request, self._clock.now_ms())
        if not self.submissions.outstanding:
            return
        count = self.submissions.outstanding
        _log.warning("%d commands are not ordered yet: kept, and sent after the next start", count)
        text = "this peer stops: the command is on its disk and is ordered after its next start"
        for caller in self.submissions.callers():
            self.local.reply(caller, protocol.Refused("result_lost", text))

    def _turn(self) -> None:
        self._poller.poll(self._wait_ms())
        now_ms = self._clock.now_ms()
        try:
            if self.ledger.journal.failed:
                self._hand_out(now_ms)
            else:
                self._take_part_in(now_ms)
        except JournalError as error:
            self._lose_journal(str(error))

    def _hand_out(self, now_ms: int) -> None:
        """A turn without a disk: nothing is taken in or said, only what is stored handed out."""
        for _ in self.mesh.receive(now_ms):
            pass
        for caller, request in self.local.receive():
            self._serve(caller, request, now_ms)
        self.publisher.greet()
        self._helper.help(now_ms)
        self._beat(now_ms)

    def _lose_journal(self, why: str) -> None:
        """The journal has failed. What was to be stored in this turn may be in it or not."""
        self._halt(why)
        text = f"the disk failed; it may be ordered once this peer is started again: {why}"
        for caller, *_ in self.submissions.acknowledge():
            self.local.reply(caller, protocol.Refused("result_lost", text))

    def _take_part_in(self, now_ms: int) -> None:
        self._find()
        for message in self.mesh.receive(now_ms, self.ledger.consensus.dag.quorum_round):
            self._take(message, now_ms)
        while self._misbehaved:
            self.mesh.cut(self._misbehaved.pop())
        for caller, request in self.local.receive():
            self._serve(caller, request, now_ms)
        self.publisher.greet()
        self.ledger.consensus.tick(now_ms)
        self._propose(now_ms)
        self._execute(self.ledger.consensus.ready(), now_ms)
        self._helper.help(now_ms)
        self._beat(now_ms)

    def _wait_ms(self) -> int:
        now_ms = self._clock.now_ms()
        due = [self._next_beat_ms, now_ms + TURN_MS_MAX]
        if (help_ms := self._helper.due_ms) is not None:
            due.append(help_ms)
        if self.ledger.journal.failed:
            return max(min(due) - now_ms, 0)
        if (tick_ms := self.ledger.consensus.next_tick_ms(now_ms)) is not None:
            due.append(tick_ms)
        return max(min(due) - now_ms, 0)

    def _find(self) -> None:
        """Follow up what discovery found."""
        while True:
            try:
                event = self._discovered.get_nowait()
            except queue.Empty:
                return
            match event:
                case Found(name, addresses):
                    self.mesh.found(self._services[name], addresses)
                case GrapeLost(_, reason):
                    _log.warning("a Grape does not answer; all that is known stays: %s", reason)
                case GrapeFound(grape):
                    _log.info("the Grape at %s answers", grape)
                case _:
                    _log.debug("%s", event)

    def _take(self, message: Message, now_ms: int) -> None:
        match message:
            case BlockIn(member, frame):
                self._receive(member, frame, now_ms)
            case Heard(member, heartbeat):
                self.ledger.consensus.hear(member, heartbeat.rounds, now_ms)
                self.overview.hear(member, heartbeat, now_ms)
            case Answered(member):
                self.ledger.consensus.answered(member, now_ms)
            case Offered(member, manifest, certificate):
                if manifest.commit > self.ledger.replica.commit and self.ledger.is_certified(
                    manifest, certificate
                ):
                    self._catch_up.offer(member, manifest, certificate, now_ms)
            case PartIn():
                self._take_part(message, now_ms)
            case Flooded(member):
                self.overview.flooded(member, now_ms)

    def _receive(self, member: int, frame: bytes, now_ms: int) -> None:
        try:
            block = self.ledger.read(frame)
            if block is not None:
                agrees = self.ledger.replica.agrees(block.attestation)
                self.overview.compare(block.author, block.attestation, agrees)
                self.ledger.receive(block, now_ms)
        except InvalidBlockError as error:
            # Its links carry only what it sent on purpose: CURVE lets nothing be altered.
            text = f"{self.overview.name(member)} is cut off: a bad block: {error}"
            self.overview.alarms.raise_alarm(f"cut {member}", text)
            self._misbehaved.add(member)
        except KeyElsewhereError as error:
            self._halt(str(error))

    def _take_part(self, part: PartIn, now_ms: int) -> None:
        fetched = self._catch_up.part(*part)
        if fetched is None or fetched.manifest.commit <= self.ledger.replica.commit:
            return  # not all of it yet, or its blocks came meanwhile: never go back
        try:
            ready = self.ledger.install(fetched, now_ms)
        except InvalidSnapshotError as error:
            text = f"{self.overview.name(part.member)} sent a bad snapshot: {error}"
            self.overview.alarms.raise_alarm(f"snapshot {part.member}", text)
            self._catch_up.shun(part.member, now_ms)
        except KeyElsewhereError as error:
            self._halt(str(error))
        else:
            _log.info("took over the state after commit %d", fetched.manifest.commit)
            self._skip_to_state()
            self._execute(ready, now_ms)

    def _skip_to_state(self) -> None:
        """The state has changed other than by commits: tell those who thought they knew it."""
        self.publisher.reset(self.ledger.replica)
        if self.ledger.me is not None:
            text = "ordered while this peer was away; ask for the order's state"
            for caller in self.submissions.skip(self.ledger.replica.expected[self.ledger.me]):
                self.local.reply(caller, protocol.Refused("result_lost", text))
            self.submissions.requeue(self.ledger.next_to_send())

    def _serve(self, caller: Caller, request: protocol.Request, now_ms: int) -> None:
        match request:
            case protocol.Execute(commands, source):
                refused = self._refusal() or self._submit(caller, commands, now_ms, source)
                if refused is not None:
                    self.local.reply(caller, refused)
            case protocol.Withdraw(account, ids):
                self.local.reply(caller, self._refusal() or self._withdraw(account, ids))
            case protocol.GetState(market, depth):
                self.local.reply(caller, self.publisher.state(market, depth))
            case protocol.GetOrders(account):
                pending = self.submissions.pending_of(account)
                self.local.reply(caller, self.publisher.orders(account, pending))
            case protocol.GetAccounts(limit):
                self.local.reply(caller, self.publisher.accounts(limit))
            case protocol.GetMarkets():
                name, mesh = self.overview.own_name, self.config.id.hex()
                self.local.reply(caller, protocol.Markets(name, mesh, self.config.markets))

    def _submit(
        self, caller: Caller, commands: list[Entry], now_ms: int, source: str
    ) -> protocol.Refused | None:
        names = [name for name in map(client_id_of, commands) if name is not None]
        known = self.ledger.journal.client_ids(names) if names else {}
        members_ms = self._members_time_ms(now_ms) or self._clock.wall_ms()  # or too few are heard
        clock_ms = max(self.ledger.replica.time_ms, members_ms)
        found = self.ledger.replica.first_refused(
            commands, clock_ms, self.ledger.me or 0, lambda entry: client_id_of(entry) in known
        )
        if found is not None:
            place, reason = found
            text = f"command {place + 1} would be rejected: {reason.name}"
            return protocol.Refused(reason.name.lower(), text)
        return self.submissions.take(caller, commands, now_ms, known, source)

    def _withdraw(self, account: str, ids: list[int]) -> protocol.Withdrawn:
        withdrawn = self.submissions.withdraw(account, ids)
        self.ledger.journal.add_pending(withdrawn.items())
        self.ledger.journal.drop_client_ids(withdrawn)
        self.ledger.journal.sync()
        return protocol.Withdrawn([command_id(seq, self.ledger.me or 0) for seq in withdrawn])

    def _refusal(self) -> protocol.Refused | None:
        if self.ledger.me is None:
            text = "this peer follows the mesh but is no member: send orders to a member"
            return protocol.Refused("not_member", text)
        if self.halted:
            return protocol.Refused("halted", f"this peer has stopped: {self.halted}")
        if self._stopping:
            return protocol.Refused("stopping", "this peer is stopping: send it to another")
        return None

    def _propose(self, now_ms: int) -> None:
        if self.halted:
            return
        consensus, attestation = self.ledger.consensus, self.ledger.replica.attestation()
        wall_ms, is_due = self._clock.wall_ms(), self._is_due(now_ms)
        while place := consensus.proposal(now_ms, self.submissions.waiting, is_due):
            payload = self.submissions.next_payload() if place.carries else b""
            consensus.propose(place.round, payload, now_ms, attestation, wall_ms)

    def _is_due(self, now_ms: int) -> bool:
        """Whether an order expires at a time that the members' clocks have passed."""
        expiry_ms = self.ledger.replica.exchange.next_expiry()
        if expiry_ms is None:
            return False
        return expiry_ms <= self._members_time_ms(now_ms)

    def _members_time_ms(self, now_ms: int) -> int:
        """What blocks made now would make the ordered clock show, as far as this peer hears."""
        return self.overview.clocks.ordered_ms(now_ms, self._clock.wall_ms())

    def _execute(self, ready: Ready, now_ms: int) -> None:
        """Carry out what consensus decided, in safety order."""
        self._persist(ready)
        self.mesh.publish(ready.publish)
        self.mesh.ask(ready.requests)
        for caller, ids, again in self.submissions.acknowledge():
            self.local.reply(caller, protocol.Queued(ids, again))
        for caller, reply in self.submissions.known_results():
            self.local.reply(caller, reply)
        for commit in ready.commits:
            self._apply(commit, now_ms)
        if ready.expired_blocks:
            self.submissions.requeue(self.ledger.next_to_send())
        if ready.commits:
            self.publisher.flush(self.ledger.consensus.dag.quorum_round)
            self.ledger.tidy()
        self._note_problems(ready)

    def _persist(self, ready: Ready) -> None:
        """Own blocks, all they refer to, commands in no block yet, and what commits rest on are
        durable before anyone hears of them: after a crash nothing that was shown is gone. Blocks of
        others alone can wait for the next of these: their authors have them."""
        journal = self.ledger.journal
        self.ledger.persist(ready)
        if unsaved := self.submissions.unsaved:
            journal.add_pending(unsaved)
        if self.submissions.new_client_ids:
            journal.add_client_ids(self.submissions.new_client_ids.items())
        if ready.publish:
            journal.drop_pending_below(self.submissions.first_waiting)
        if ready.publish or ready.commits or unsaved or ready.evidence:
            journal.sync()

    def _apply(self, commit: Commit, now_ms: int) -> None:
        applied = self.ledger.apply(commit)
        self.publisher.add(applied)
        for member in applied.forgers:
            name = self.overview.name(member)
            text = f"{name} forged: it sent a command that its trader had not signed"
            self.overview.alarms.raise_alarm(f"forgery {member}", text)
        if self.ledger.me is not None:
            self._answer_submitters(applied, now_ms)

    def _answer_submitters(self, applied: Applied, now_ms: int) -> None:
        commit = applied.commit
        done = self.submissions.done(applied.ids, applied.results, commit.number, commit.time_ms)
        for caller, (results, taken_ms) in done.items():
            self.overview.took(now_ms - taken_ms)
            self.local.reply(caller, protocol.Done(commit.number, commit.time_ms, results))

    def _note_problems(self, ready: Ready) -> None:
        for first, second in ready.evidence:
            text = f"{self.overview.name(first.author)} signed both {first!r} and {second!r}"
            self.overview.alarms.raise_alarm(f"evidence {first.author}", text)
        if why := self.ledger.consensus.halted or self.overview.outvoted:
            self._halt(why)

    def _halt(self, why: str) -> None:
        if not self.halted:
            self.halted = why
            self.overview.alarms.raise_alarm("halted", f"halted: {why}")

    def _beat(self, now_ms: int) -> None:
        """What happens at its time rather than when something comes."""
        wanted = None if self.ledger.journal.failed else self._catch_up.request(now_ms)
        if wanted is not None:
            self.mesh.ask([wanted])
        if now_ms >= self._next_beat_ms:
            self._next_beat_ms = now_ms + HEARTBEAT_MS
            self._watch()
            if not self.ledger.journal.failed:
                self.ledger.tidy()
                self.ledger.journal.sync()
            if self.ledger.me is not None and not self.ledger.journal.failed:
                self.mesh.beat(self._heartbeat(self.ledger.me, now_ms))
        changed = self.overview.look(now_ms, self._clock.wall_ms(), not self.halted)
        if changed or now_ms >= self._next_view_ms:
            self._next_view_ms = now_ms + MESH_VIEW_MS
            seq, progress = self.local.next_seq("mesh"), self._progress()
            view = self.overview.view(seq, now_ms, self._status(now_ms), progress)
            self.local.publish(view, "mesh")

    def _status(self, now_ms: int) -> Status:
        return Status(
            is_member=self.ledger.me is not None,
            halted=self.halted,
            is_stopping=self._stopping,
            quorum=self.overview.quorum,
            hears_enough=self.overview.hears_enough,
            catching_up=self._catching_up(now_ms),
            pending=self.submissions.outstanding,
            oldest_pending_ms=self.submissions.oldest_ms(now_ms),
            refused_requests=self._helper.dropped,
        )

    def _progress(self) -> tuple[int, ...]:
        """Numbers of which one grows whenever catching up gets on."""
        dag, commit = self.ledger.consensus.dag, self.ledger.replica.commit
        return (sum(dag.highest), commit, self._catch_up.received)

    def _catching_up(self, now_ms: int) -> str:
        """How far this peer is in catching up, for people; empty when it is not."""
        ahead = self.ledger.consensus.far_ahead(now_ms)
        blocks = f"fetching blocks: at round {self.ledger.consensus.dag.quorum_round} of {ahead}"
        return self._catch_up.progress or (blocks if ahead else "")

    def _heartbeat(self, me: int, now_ms: int) -> Heartbeat:
        return Heartbeat(
            self.config.id,
            self.config.committee.epoch,
            me,
            self.mesh.fetch_port,
            self.ledger.consensus.heartbeat(),
            self.ledger.replica.commit,
            self.ledger.replica.attestation(),
            self.ledger.replica.latest(),
            self._clock.wall_ms(),
            self.overview.heard(now_ms),
        )
