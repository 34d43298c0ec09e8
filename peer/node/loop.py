"""The node: one loop that owns a peer's sockets, journal, consensus and engine.

Owns the order of a turn: take everything in, propose, and carry out the results, always in the
order of `Effects`. Must never wait for anything but its sockets.
"""

import logging
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from discovery.service_tracker import Event as DiscoveryEvent
from peer.client import protocol
from peer.client.endpoint import Local
from peer.client.programs import Caller
from peer.membership.mesh_file import MeshConfig
from peer.network.mesh import Mesh, Message
from peer.node.condition import Condition
from peer.node.effects import Effects
from peer.node.epoch_change import EpochChange
from peer.node.forwarding import Forwarding
from peer.node.intake import Intake
from peer.node.ledger import KeyElsewhereError, Ledger
from peer.node.lifecycle import Lifecycle, State
from peer.node.mesh_status import MeshStatus
from peer.node.publisher import Publisher
from peer.node.request_handler import RequestHandler
from peer.node.responder import Responder
from peer.node.state_fetcher import StateFetcher
from peer.node.submissions import Submissions
from peer.node.timers import FOLLOW_MS, Clock, Timers
from peer.process.poller import Poller
from peer.replica.applied import Applied
from peer.replica.snapshot import InvalidSnapshotError
from peer.storage.data_folder import rejoining
from peer.storage.journal import JournalError, LostJournalError

_log = logging.getLogger(__name__)


class Wires(NamedTuple):
    """A node's sockets and its poller."""

    poller: Poller
    mesh: Mesh
    local: Local


class Node:
    """The discovery thread puts its events into `discovered`."""

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
        self.life = Lifecycle()
        self.submissions = Submissions(ledger.me or 0, ledger.replica.level)
        self.publisher = Publisher(self.local, ledger.replica, ledger.epochs.name_of)
        self.mesh_status = MeshStatus(config, self.mesh, ledger)
        self._clock = clock or Clock()
        self._timers = Timers()
        self._fetcher = StateFetcher(ledger, self.mesh_status)
        self._poller = wires.poller
        self._discovered = discovered
        self.epochs = EpochChange(config, ledger, self.mesh, self.submissions, self.mesh_status)
        self.forwarding = Forwarding(ledger.journal.key[0])
        waiting = self.submissions, self.forwarding
        state = ledger, self.life, self.mesh_status, self._fetcher
        self._condition = Condition(*state, *waiting, lambda: self._responder.dropped)
        parts = *waiting, self.publisher, self.life, self.mesh_status, self._clock
        self._requests = RequestHandler(config, ledger, self.local, *parts, self._condition.view)
        said = self.epochs.notices, self.epochs.admission
        now_us = self._clock.now_us
        self._responder = Responder(self.mesh, ledger, *said, now_us, self._take_forwarded)
        taking = self._fetcher, self.forwarding, self._halt
        self._intake = Intake(ledger, self.mesh_status, self.epochs, *taking)
        self._effects = Effects()  # of this turn, so far
        self._stop_asked = False
        self._watch: Callable[[], None] = lambda: None
        self.epochs.stand()

    @property
    def halted(self) -> str:
        """Why this peer has stopped; empty while it takes part."""
        return self.life.halted

    def stop(self) -> None:
        """End the loop, once waiting commands are ordered or after STOP_MS. Safe in a signal
        handler."""
        self._stop_asked = True

    def recover(self) -> None:
        """Restore what the journal holds. Call once, before `run`."""
        started_ms = self._clock.now_ms()
        recovered = self.ledger.recover(started_ms)
        self.epochs.stand()
        if self.ledger.me is not None:
            own, pending, expected = recovered.own, recovered.pending, self.ledger.expected
            self.submissions.restore(own, pending, expected, started_ms)
            self.submissions.requeue(self.ledger.next_to_send())
        self.publisher.reset(self.ledger.replica)
        self._effects.add(recovered.ready)
        took_s = (self._clock.now_ms() - started_ms) / 1_000
        text = "recovered up to commit %d, with %d blocks, in %.1f s"
        _log.info(text, self.ledger.commit, recovered.blocks, took_s)

    def run(self, watch: Callable[[], None] = lambda: None) -> None:
        """Run turns until `stop`; calls `watch` once per heartbeat."""
        self._watch = watch
        while not self._stop_asked:
            self._turn()
        self.life.enter(State.STOPPING)
        self._timers.stop(self._clock.now_ms())
        while self._may_finish():
            self._turn()
        self._keep_unordered_commands()

    def _may_finish(self) -> bool:
        """Whether there are commands that may still be ordered."""
        may = self.life.state is State.STOPPING and self.mesh_status.quorum
        in_time = not self._timers.is_over(self._clock.now_ms())
        return may and in_time and bool(self.submissions.outstanding)

    def _keep_unordered_commands(self) -> None:
        """The loop ends: store commands that are not ordered, then tell their callers."""
        for caller, request in self.local.receive():
            self._requests.take(caller, request, self._clock.now_ms(), self._effects)
        if self.life.state is not State.DISK_FAILED:
            self.ledger.persist(Effects(commands=dict(self.submissions.unsaved)))
            self.ledger.journal.sync()
        if count := self.submissions.outstanding:
            kept = "%d commands are not ordered yet: stored, and sent after the next start"
            _log.warning(kept, count)
        text = "this peer is stopping: the command is stored, and is ordered after its next start"
        lost = protocol.Refused("result_lost", text)
        self._effects.replies += [(caller, lost) for caller in self.submissions.callers()]
        self._effects.replies += self.forwarding.stop()
        self._answer(self._effects)

    # One turn

    def _turn(self) -> None:
        if self._poller.poll(self._wait_ms()) and self._can_rest():
            self.local.rest(FOLLOW_MS)
        now_ms = self._clock.now_ms()
        try:
            if self.life.state is State.DISK_FAILED:
                self._serve_stored_data(now_ms)
            else:
                self._take_part_in(now_ms)
        except JournalError as error:
            is_lost = isinstance(error, LostJournalError)
            self._stop_without_disk(f"{error}. {rejoining()}" if is_lost else str(error))

    def _can_rest(self) -> bool:
        """A peer that only follows need not be at once where the members are: what comes within
        FOLLOW_MS takes one turn. Programs and forwarded orders do not wait."""
        is_behind = self.life.state is State.CATCHING_UP
        return self.ledger.me is None and not is_behind and not self.forwarding.outstanding

    def _wait_ms(self) -> int:
        now_ms = self._clock.now_ms()
        due = [self._responder.due_ms]
        if self.life.state is not State.DISK_FAILED:
            due += [self.ledger.next_tick_ms(now_ms, self.life.takes_part), self.epochs.due_ms]
            due.append(self.submissions.save_ms)
        return self._timers.wait_ms(now_ms, due)

    def _take_part_in(self, now_ms: int) -> None:
        self.epochs.turn(self._discovered, now_ms, self.life)
        for message in self.mesh.receive(now_ms, self.ledger.round):
            self._take(message, now_ms)
        for caller, request in self.local.receive():
            self._requests.take(caller, request, now_ms, self._effects)
        self._propose(now_ms)
        self._carry_out(now_ms)
        self._responder.respond(now_ms)

    def _serve_stored_data(self, now_ms: int) -> None:
        """A turn without a disk: take nothing in and say nothing, only serve stored data."""
        for _ in self.mesh.receive(now_ms):
            pass
        for caller, request in self.local.receive():
            self._requests.take(caller, request, now_ms, self._effects)
        self._effects.beat = self._timers.beats(now_ms)
        self._answer(self._effects)
        self._report(self._effects, now_ms)
        self._effects = Effects()
        self._responder.respond(now_ms)

    def _stop_without_disk(self, why: str) -> None:
        """The journal has failed. It may or may not hold what this turn was to persist."""
        self._halt(why, State.DISK_FAILED)
        text = f"the disk failed: the command may be ordered after a restart of this peer: {why}"
        refused = protocol.Refused("result_lost", text)
        self._effects.lose(refused)
        self._effects.promises += [(caller, refused) for caller in self.submissions.lose()]
        self.publisher.reset(self.ledger.replica)  # a commit may be published only in part
        self._answer(self._effects)
        self._effects = Effects()

    # Taking in

    def _take(self, message: Message, now_ms: int) -> None:
        self._intake.take(message, self._effects, now_ms)

    def _take_forwarded(self, caller: Caller, request: protocol.Execute) -> None:
        self._requests.take(caller, request, self._clock.now_ms(), self._effects)

    def _propose(self, now_ms: int) -> None:
        if not self.life.takes_part:
            return
        wall_ms = self._clock.wall_ms()
        is_due = self.mesh_status.is_due(now_ms, wall_ms)
        while place := self.ledger.proposal(now_ms, self.submissions.waiting, is_due):
            payload = self.submissions.next_payload() if place.carries else b""
            self.ledger.propose(place.round, payload, now_ms, wall_ms)

    def _collect(self, now_ms: int) -> Effects:
        """The effects of this turn, complete."""
        effects, submissions = self._effects, self.submissions
        effects.add(self.ledger.ready(now_ms))
        effects.requests += self.ledger.requests(now_ms)
        heard = self.mesh.heard(now_ms)
        effects.requests += self._fetcher.requests(heard, now_ms)
        effects.requests += self.forwarding.wanted(heard, now_ms)
        effects.takes_over = self._fetcher.is_complete and not self.epochs.must_upgrade
        at_once = bool(effects.commands) or effects.takes_over
        effects.commands.update(submissions.save(now_ms, at_once))
        effects.first_waiting = submissions.first_waiting
        is_heard = bool(self.local.heard("account"))
        effects.taken, acknowledged = submissions.acknowledge(with_commands=is_heard)
        for caller, ids, again in acknowledged:
            effects.promises.append((caller, protocol.Queued(ids, again)))
        effects.replies += submissions.known_results()
        effects.beat = self._timers.beats(now_ms)
        if effects.beat:
            effects.replies += self.forwarding.forget(self.ledger.replica, now_ms)
        return effects

    # Carrying out

    def _carry_out(self, now_ms: int) -> None:
        """Carry out this turn's effects, in the order of safety."""
        effects, epoch = self._collect(now_ms), self.ledger.epoch
        self.ledger.persist(effects)
        self._send(effects)
        self._apply(effects, now_ms)
        self._answer(effects)
        self.mesh_status.equivocated(effects.evidence, epoch)
        if effects.halt:
            self._halt(effects.halt, epoch=epoch.number)
        self._report(effects, now_ms)
        self._effects = Effects()
        if effects.commits and self.submissions.save_ms != 0:  # else a block is all that has some
            self.ledger.tidy()
        if effects.beat and self._timers.settles(now_ms):
            self.ledger.journal.settle()
        if effects.takes_over:
            self._take_over(now_ms)
        for member, frame in self.ledger.take_early():
            self._intake.receive(member, frame, self._effects, now_ms)

    def _send(self, effects: Effects) -> None:
        self.mesh.publish(effects.publish)
        self.mesh.ask(effects.requests)
        for member in effects.cut:
            self.mesh.cut(member)

    def _apply(self, effects: Effects, now_ms: int) -> None:
        for commit in effects.commits:
            applied = self.ledger.apply(commit)
            self.publisher.add(applied)
            self.mesh_status.forged(applied.forgers)
            effects.replies += self.forwarding.applied(applied)
            if self.ledger.me is not None:
                effects.replies += self._results(applied, now_ms)
                effects.replies += self.submissions.known_results()
            if self.ledger.ends:  # the commits that follow are void
                self.epochs.enter_next(effects)
                return
        if effects.send_again:
            self.submissions.requeue(self.ledger.next_to_send())

    def _results(self, applied: Applied, now_ms: int) -> Iterator[tuple[Caller, protocol.Done]]:
        """The results of a commit, for the callers that wait for them."""
        number, time_ms = applied.commit.number, applied.commit.time_ms
        told = number, time_ms, applied.numbers, applied.firsts
        done = self.submissions.done(applied.ids, applied.results, *told)
        for caller, (results, taken_ms) in done.items():
            self.mesh_status.took(now_ms - taken_ms)
            yield caller, protocol.Done(number, time_ms, results)

    def _answer(self, effects: Effects) -> None:
        """Tell programs what is persisted, then what has changed, and only then the results."""
        self.publisher.pending(effects.taken, effects.taken_back, self._clock.wall_ms())
        self._tell(effects.promises)
        if effects.commits:
            self.publisher.flush(self.ledger.round)
        self._tell(effects.replies)

    def _tell(self, replies: Iterable[tuple[Caller, protocol.Reply]]) -> None:
        """Answer programs, and peers that forward orders: these derive the results themselves."""
        for caller, reply in replies:
            if not caller.is_peer:
                self.local.reply(caller, reply)
            elif isinstance(reply, protocol.Queued | protocol.Refused):
                self._responder.answer_forwarded(caller, reply)

    def _report(self, effects: Effects, now_ms: int) -> None:
        """Report this peer's condition to people and members."""
        wall_ms = self._clock.wall_ms()
        lasting = self.mesh_status.outvoted or self.ledger.epochs.forked
        if why := lasting or self.epochs.must_upgrade:
            self._halt(why)
        if self.life.go_on(self.ledger.epoch.number):
            self.mesh_status.alarms.clear("halted")
        if effects.beat:
            self._watch()
            self.epochs.beat(now_ms, wall_ms, self.life)
        looks = self._timers.looks(now_ms, effects.heard)
        changed = looks and self.mesh_status.look(now_ms, wall_ms, self.life.takes_part)
        if self._timers.shows(now_ms, changed):
            view = self._condition.view(self.local.seq("mesh") + 1, now_ms)
            self.local.publish(view, "mesh")

    def _halt(self, why: str, state: State = State.HALTED, epoch: int | None = None) -> None:
        """`epoch`: what happened counts only in this epoch."""
        if self.life.halt(why, state, epoch):
            self.mesh_status.alarms.raise_alarm("halted", f"halted: {why}")

    def _take_over(self, now_ms: int) -> None:
        """Continue from a member's state, if all its differences are here."""
        if (fetched := self._fetcher.fetched()) is None:
            return
        try:
            self._effects.add(self.ledger.install(fetched, now_ms))
        except InvalidSnapshotError as error:
            self._fetcher.refused(fetched, str(error), now_ms)
        except KeyElsewhereError as error:
            self._fetcher.end()
            self._halt(str(error))
        else:
            _log.info("took over the state after commit %d", fetched.manifest.commit)
            self._fetcher.end()
            self.publisher.reset(self.ledger.replica)  # it has changed without commits
            self._effects.replies += self.forwarding.skip(self.ledger.replica)
            self.epochs.skip_to_state(self._effects)
            self._carry_out(now_ms)
