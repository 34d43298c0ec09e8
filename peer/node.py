"""The node: one loop that owns a peer's sockets, journal, consensus and engine.

Owns the order in which things happen in a turn: take everything in, propose, then carry out what
consensus says, always store, send, apply, publish. Must never wait for anything but its sockets.
"""

import logging
import queue
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from discovery.roster import Event as DiscoveryEvent
from discovery.roster import GrapesFound, GrapesLost, Joined, Left
from peer import api
from peer.block import SIGNATURE_BYTES, Audit, InvalidBlock, decode
from peer.config import MeshConfig
from peer.consensus import Consensus, Ready, Timing
from peer.identity import Identity, Verifier
from peer.journal import Journal
from peer.local import Caller, Local
from peer.mesh import (
    ANSWER_BLOCKS_MAX,
    ANSWER_BYTES_MAX,
    HEARTBEAT_MS,
    Answered,
    Asked,
    BlockIn,
    Heard,
    Heartbeat,
    Mesh,
)
from peer.publisher import Publisher
from peer.replica import Applied, Replica, command_id, decode_batch
from peer.submissions import Submissions

TURN_MS_MAX = 100
MESH_VIEW_MS = 500
ALARMS_MAX = 20
CLOCK_SKEW_MS_MAX = 2_000

_log = logging.getLogger(__name__)


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
        identity: Identity,
        journal: Journal,
        wires: Wires,
        discovered: "queue.Queue[DiscoveryEvent]",
        timing: Timing | None = None,
    ) -> None:
        self.config = config
        self.me = config.number_of(identity.public)
        self.journal = journal
        self.mesh = wires.mesh
        self.local = wires.local
        self.consensus = Consensus(config.committee, self.me, identity.sign, timing)
        self.replica = Replica(config.markets, len(config.members))
        self.submissions = Submissions(0 if self.me is None else self.me)
        self.publisher = Publisher(self.local, self.replica)
        self.alarms: deque[str] = deque(maxlen=ALARMS_MAX)
        self.halted = ""
        self._committee = config.committee
        self._verifiers = [Verifier(member.public) for member in config.members]
        self._poller = wires.poller
        self._discovered = discovered
        self._services = {config.service(n): n for n in range(len(config.members))}
        self._agrees: dict[int, bool] = {}  # by member, at the last commit that could be compared
        self._finality_ms: deque[float] = deque(maxlen=200)
        self._next_beat_ms = 0
        self._next_view_ms = 0
        self._had_quorum = False
        self._stopping = False
        self._watch: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """End the loop after the current turn; safe to call from a signal handler."""
        self._stopping = True

    def recover(self) -> None:
        """Take back what the journal holds. Call once, before `run`."""
        started = time.monotonic()
        blocks = [decode(frame, self._committee) for frame in self.journal.frames()]
        ready = self.consensus.restore(blocks, _monotonic_ms())
        for commit in ready.commits:
            self.replica.apply(commit)
        if self.me is not None:
            own = [block for block in blocks if block.author == self.me and block.payload]
            batches = [decode_batch(block) for block in own]
            expected = self.replica.expected[self.me]
            self.submissions.restore(batches, self.journal.pending(), expected)
        self.publisher.skip()
        self.mesh.publish(ready.publish)
        self._note_problems(ready)
        _log.info(
            "recovered %d blocks and %d commits in %.1f s",
            len(blocks),
            self.replica.commit,
            time.monotonic() - started,
        )

    def run(self, watch: Callable[[], None] = lambda: None) -> None:
        """Turn until `stop`; `watch` is called once a heartbeat."""
        self._watch = watch
        while not self._stopping:
            self._turn()
        self.journal.sync()

    def _turn(self) -> None:
        self._poller.poll(self._wait_ms())
        now_ms = _monotonic_ms()
        self._find()
        for message in self.mesh.receive(now_ms):
            match message:
                case BlockIn(member, frame):
                    self._receive(member, frame, now_ms)
                case Heard(member, heartbeat):
                    self._hear(member, heartbeat, now_ms)
                case Answered(member):
                    self.consensus.answered(member, now_ms)
                case Asked():
                    self._answer(message)
        for caller, request in self.local.receive():
            self._serve(caller, request, now_ms)
        self.consensus.tick(now_ms)
        self._propose(now_ms)
        self._execute(self.consensus.ready(), now_ms)
        self._beat(now_ms)

    def _wait_ms(self) -> int:
        now_ms = _monotonic_ms()
        due = [self._next_beat_ms, now_ms + TURN_MS_MAX]
        if (tick_ms := self.consensus.next_tick_ms(now_ms)) is not None:
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
                case Joined(name, address):
                    self.mesh.joined(self._services[name], address)
                case Left(name, address):
                    self.mesh.left(self._services[name], address)
                case GrapesLost():
                    _log.warning("no grape answers; known peers are kept: %s", event)
                case GrapesFound():
                    _log.info("a grape answers")
                case _:
                    _log.debug("%s", event)

    def _receive(self, member: int, frame: bytes, now_ms: int) -> None:
        try:
            block = decode(frame, self._committee)
        except InvalidBlock as error:
            self._alarm(f"{self._name(member)} sent a bad block: {error}")
            return
        if self.consensus.knows(block.ref):
            return
        verifier = self._verifiers[block.author]
        if not verifier.verify(frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]):
            self._alarm(f"{self._name(member)} sent a block with a bad signature")
            return
        if block.author == self.me and block.round > self._own_round():
            self._halt(
                f"{self._name(member)} has a block of round {block.round} under this peer's key, "
                f"but its own journal ends at {self._own_round()}: it is an old copy, or the key "
                "runs somewhere else too. Rejoin under a new key"
            )
            return
        self._compare(block.author, block.audit)
        self.consensus.receive(block, now_ms)

    def _own_round(self) -> int:
        own = self.consensus.own_newest
        return own.round if own is not None else 0

    def _hear(self, member: int, heartbeat: Heartbeat, now_ms: int) -> None:
        self.consensus.hear(member, heartbeat.rounds, now_ms)
        self._compare(member, heartbeat.audit)
        self._compare(member, heartbeat.latest)
        skew_ms = heartbeat.time_ms - _wall_ms()
        if abs(skew_ms) > CLOCK_SKEW_MS_MAX:
            self._alarm(f"the clock of {self._name(member)} is off by {skew_ms // 1000} s or more")

    def _compare(self, member: int, audit: Audit) -> None:
        """Self-audit: all peers have the same state after the same commit, or something is wrong
        with one of them."""
        agrees = self.replica.agrees(audit)
        if agrees is not None:
            self._agrees[member] = agrees
        if agrees is False:
            self._alarm(f"{self._name(member)} has another state after commit {audit.commit}")

    def _answer(self, asked: Asked) -> None:
        if asked.rounds is None:
            frames = self.journal.find(asked.digests, ANSWER_BYTES_MAX)
        else:
            frames = self.journal.above(asked.rounds, ANSWER_BLOCKS_MAX, ANSWER_BYTES_MAX)
        self.mesh.answer(asked, frames)

    def _serve(self, caller: Caller, request: api.Request, now_ms: int) -> None:
        match request:
            case api.Execute(commands):
                refused = self._refusal() or self.submissions.take(caller, commands, now_ms)
                if refused is not None:
                    self.local.reply(caller, refused)
            case api.Withdraw(account, ids):
                self.local.reply(caller, self._withdraw(account, ids))
            case api.GetState(market, depth):
                self.local.reply(caller, self.publisher.state(market, depth))
            case api.GetOrders(account):
                pending = self.submissions.pending_of(account)
                self.local.reply(caller, self.publisher.orders(account, pending))
            case api.GetMarkets():
                name = "observer" if self.me is None else self._name(self.me)
                markets = api.Markets(name, self.config.id.hex(), self.config.markets)
                self.local.reply(caller, markets)

    def _withdraw(self, account: str, ids: list[int]) -> api.Withdrawn:
        withdrawn = self.submissions.withdraw(account, ids)
        self.journal.add_pending(withdrawn.items())
        self.journal.sync()
        return api.Withdrawn([command_id(seq, self.me or 0) for seq in withdrawn])

    def _refusal(self) -> api.Refused | None:
        if self.me is None:
            text = "this peer follows the mesh but is no member: send orders to a member"
            return api.Refused("not_member", text)
        why = self._why()
        return api.Refused("halted", f"this peer has stopped: {why}") if why else None

    def _why(self) -> str:
        return self.halted or self.consensus.halted

    def _propose(self, now_ms: int) -> None:
        if self.halted:
            return
        audit = self.replica.audit()
        while (round_ := self.consensus.proposal(now_ms, self.submissions.waiting)) is not None:
            payload = self.submissions.next_payload()
            self.consensus.propose(round_, payload, now_ms, audit, _wall_ms())

    def _execute(self, ready: Ready, now_ms: int) -> None:
        """Carry out what consensus decided, in safety order."""
        self._persist(ready)
        self.mesh.publish(ready.publish)
        self.mesh.ask(ready.requests)
        for caller, ids in self.submissions.acknowledge():
            self.local.reply(caller, api.Queued(ids))
        for commit in ready.commits:
            applied = self.replica.apply(commit)
            if self.me is not None:
                self._answer_submitters(applied, now_ms)
            self.publisher.add(applied)
        if ready.lost:
            self.submissions.resend()
        if ready.commits:
            self.publisher.flush(self.consensus.dag.quorum_round)
        self._note_problems(ready)

    def _persist(self, ready: Ready) -> None:
        """Own blocks, all they refer to, and commands in no block yet: durable before anyone hears
        of them. Blocks of others alone can wait for the next own one: their authors have them."""
        if ready.persist:
            self.journal.add_blocks(ready.persist)
        if unsaved := self.submissions.unsaved:
            self.journal.add_pending(unsaved)
        if ready.publish:
            self.journal.drop_pending_below(self.submissions.first_waiting)
        if ready.publish or unsaved:
            self.journal.sync()

    def _answer_submitters(self, applied: Applied, now_ms: int) -> None:
        commit = applied.commit
        done = self.submissions.done(applied.ids, applied.results)
        for caller, (results, taken_ms) in done.items():
            self._finality_ms.append(now_ms - taken_ms)
            self.local.reply(caller, api.Done(commit.number, commit.time_ms, results))

    def _note_problems(self, ready: Ready) -> None:
        for evidence in ready.evidence:
            first, second = evidence
            self._alarm(f"{self._name(first.author)} signed {first!r} and {second!r}")
        if self.consensus.halted and not self.halted:
            self._halt(self.consensus.halted)

    def _halt(self, why: str) -> None:
        self.halted = self.halted or why
        self._alarm(f"halted: {why}")

    def _alarm(self, text: str) -> None:
        if text not in self.alarms:
            self.alarms.append(text)
            _log.error("ALARM %s", text)

    def _name(self, member: int) -> str:
        return self.config.members[member].name

    def _beat(self, now_ms: int) -> None:
        if now_ms >= self._next_beat_ms:
            self._next_beat_ms = now_ms + HEARTBEAT_MS
            self.journal.sync()
            self._watch()
            if self.me is not None:
                self.mesh.beat(self._heartbeat(self.me))
        quorum = self._alive(now_ms) >= self._committee.quorum
        if now_ms >= self._next_view_ms or quorum != self._had_quorum:
            if quorum != self._had_quorum:
                _log.info("quorum is here" if quorum else "NO QUORUM: commands wait")
            self._next_view_ms = now_ms + MESH_VIEW_MS
            self._had_quorum = quorum
            self.local.publish(self._view(now_ms), "mesh")

    def _heartbeat(self, me: int) -> Heartbeat:
        return Heartbeat(
            self.config.id,
            self._committee.epoch,
            me,
            self.mesh.fetch_port,
            self.consensus.heartbeat(),
            self.replica.commit,
            self.replica.audit(),
            self.replica.latest(),
            _wall_ms(),
        )

    def _alive(self, now_ms: int) -> int:
        mine = self.me is not None and not self.halted
        return mine + sum(self.mesh.alive(member, now_ms) for member in self.mesh.links)

    def _view(self, now_ms: int) -> api.Mesh:
        return api.Mesh(
            seq=self.local.next_seq("mesh"),
            peer="observer" if self.me is None else self._name(self.me),
            mesh=self.config.id.hex(),
            mode=self._committee.mode,
            members=[self._member(n, now_ms) for n in range(len(self.config.members))],
            quorum_size=self._committee.quorum,
            quorum=self._had_quorum,
            round=self.consensus.dag.quorum_round,
            commit=self.replica.commit,
            digest=self.replica.latest().digest,
            pending=self.submissions.outstanding,
            finality_ms=statistics.median(self._finality_ms) if self._finality_ms else 0.0,
            halted=self._why(),
            alarms=list(self.alarms),
        )

    def _member(self, number: int, now_ms: int) -> api.MemberView:
        member = self.config.members[number]
        round_ = self.consensus.dag.newest[number].round
        if number == self.me:
            commit = self.replica.commit
            address = f"{self.mesh.host}:{self.mesh.port}"
            return api.MemberView(member.name, member.key, address, True, round_, commit, 0, True)
        link = self.mesh.links[number]
        heartbeat = link.heartbeat
        return api.MemberView(
            member.name,
            member.key,
            link.address,
            self.mesh.alive(number, now_ms),
            round_,
            heartbeat.commit if heartbeat else 0,
            now_ms - link.heard_ms if heartbeat else -1,
            self._agrees.get(number),
        )


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
