"""From one epoch to the next: what this peer does when one ends, and what it says of it.

Owns the hand-over signatures on their way, and who the parts of the node take for members. Must
never decide that an epoch ends: the one order does.
"""

import logging
import queue
from collections.abc import Sequence

from discovery.service_tracker import Event as DiscoveryEvent
from discovery.service_tracker import Found, GrapeFound, GrapeLost
from peer.client import protocol
from peer.membership.epochs import SEATS_MAX, Certificate, ForgedChainError, UncertifiedError
from peer.membership.mesh_file import MeshConfig
from peer.network.mesh import Mesh
from peer.network.messages import ChainIn, SignedSeal
from peer.node.candidates import Candidates
from peer.node.effects import Effects
from peer.node.ledger import Ledger
from peer.node.lifecycle import Lifecycle, State
from peer.node.mesh_status import MeshStatus
from peer.node.notices import Notices
from peer.node.open_admission import Admission
from peer.node.own_votes import OwnVotes
from peer.node.submissions import Submissions

_log = logging.getLogger(__name__)


class EpochChange:
    def __init__(
        self,
        config: MeshConfig,
        ledger: Ledger,
        mesh: Mesh,
        submissions: Submissions,
        mesh_status: MeshStatus,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._mesh = mesh
        self._submissions = submissions
        self._mesh_status = mesh_status
        self._stands_in = ledger.epoch
        self._candidates = Candidates()
        self._has_learned = False  # of epochs whose members are not connected yet
        self._is_member = False  # in the epoch in which it stands
        self.due_ms: int | None = None  # when the next turn must be; None: not because of epochs
        self.notices = Notices(ledger, submissions, ledger.sign)
        self.admission = Admission(config, ledger)
        self.own_votes = OwnVotes(ledger, submissions, self.admission)
        self.services: dict[str, int] = {}  # the names of members at a Grape, with their seats

    def stand(self) -> None:
        """Tell all parts who the members are, and who may be. Must not be called while messages
        are taken in."""
        epochs, self._has_learned = self._ledger.epochs.connected, False
        seats = {seat.number: seat.key for epoch in epochs for seat in epoch.seats}
        candidates = self._candidates.followed(self._ledger.replica, seats.values())
        self.services = {
            self._config.service_of(key): number for number, key in {**candidates, **seats}.items()
        }
        self._mesh.stand_in(epochs, candidates)
        proposals = self._ledger.replica.governance.open()
        self._ledger.epochs.is_unsealed = any(each.unsealed for each in proposals)
        self._mesh_status.stand_in(epochs[0])
        if epochs[0] is not self._stands_in:
            self._stands_in = epochs[0]
            self.notices.begin_epoch()
        self._submissions.follow(self._ledger.replica.level)
        was_member, self._is_member = self._is_member, self._ledger.me is not None
        if self._ledger.me is not None:
            self._submissions.me = self._ledger.me
        elif was_member:
            until = "keep it running until `members` shows the epoch as sealed, then delete its key"
            _log.warning("this peer is no member any more: %s", until)

    @property
    def must_upgrade(self) -> str:
        """Why this peer cannot follow the mesh any further, and who runs a program that can; empty
        if it can."""
        level = self._ledger.epochs.newest.origin.level
        if not (why := self._ledger.levels.unknown(level)):
            return ""
        text = f"the mesh follows the rules of level {level}, and {why}"
        return "; ".join([text, *self._mesh_status.programs_of(level)])

    def turn(self, events: "queue.Queue[DiscoveryEvent]", now_ms: int, life: Lifecycle) -> None:
        """Handle the events from discovery, and what must not wait for a heartbeat."""
        self.due_ms = None
        self._discovered(events)
        if self._ledger.me is None:
            self._state(now_ms, again=False)
        elif life.takes_part and self.notices.has_news:
            self.notices.put_in(now_ms)

    def _discovered(self, events: "queue.Queue[DiscoveryEvent]") -> None:
        for _ in range(events.qsize()):  # only this thread takes from it
            match events.get_nowait():
                case Found(name, addresses):
                    self._mesh.found(self.services.get(name, -1), addresses)
                case GrapeLost(_, reason):
                    _log.warning("a Grape does not answer; known addresses are kept: %s", reason)
                case GrapeFound(grape):
                    _log.info("the Grape at %s answers", grape)
                case event:
                    _log.debug("%s", event)

    def enter_next(self, effects: Effects) -> None:
        """ORDER-45. The last commit has ended its epoch. This peer's commands that it has not
        ordered wait for blocks of the next one, and are stored with the next turn: until then the
        journal keeps their void blocks. Evidence of the one that ended halts nobody any
        more. Nothing is stored or signed of an epoch whose rules this program does not know: after
        an upgrade the same commits lead to it again."""
        ledger, submissions = self._ledger, self._submissions
        if (next_level := ledger.next_level) is None:
            return
        effects.halt, effects.send_again = "", False
        if ledger.me is not None:
            submissions.requeue(ledger.expected)
            submissions.follow(next_level)
        ledger.enter_next()
        self.stand()
        self.due_ms, effects.beat = 0, True  # others wait for this peer, or it can help them
        level = ledger.epoch.origin.level
        text = "epoch %d begins after commit %d, with the rules of level %d"
        _log.info(text, ledger.epoch.number, ledger.commit, level)
        if ledger.me is None:
            self._turn_away(effects)

    def skip_to_state(self, effects: Effects) -> None:
        """A member's state has replaced this peer's, perhaps one of a later epoch. Callers must ask
        for the results of commands that it contains."""
        self.due_ms = 0
        self.stand()
        if self._ledger.me is None:
            self._turn_away(effects)
            return
        text = "the command was ordered while this peer was away: query the state of the order"
        lost = protocol.Refused("result_lost", text)
        waited = self._submissions.skip(self._ledger.expected)
        self._submissions.follow(self._ledger.levels.of(self._ledger.epoch.origin.level))
        effects.replies += [(caller, lost) for caller in waited]
        effects.send_again = True

    def _turn_away(self, effects: Effects) -> None:
        text = "this peer is no member any more: its waiting commands are never ordered"
        gone = protocol.Refused("not_member", text)
        effects.replies += [(caller, gone) for caller in self._submissions.abandon()]

    def take(self, message: SignedSeal | ChainIn, effects: Effects, now_ms: int) -> None:
        """A member has sent signatures over a seal, or a chain of epochs."""
        if isinstance(message, SignedSeal):
            self._take_signatures(message)
        elif why := self.learn(message.certificates, now_ms):
            what = f"a forged chain of epochs: {why}"
            self._mesh_status.misbehaved(message.member, what)
            effects.cut.add(message.member)

    def _take_signatures(self, signed: SignedSeal) -> None:
        """Pass on at once what is new."""
        epoch = self._ledger.epoch
        self._ledger.epochs.compare(signed.epoch, signed.seal, signed.signatures)
        if signed.epoch != epoch.number:
            return
        if signed.seal != epoch.seal:
            self._mesh_status.sealed_otherwise(signed.member, signed.epoch, signed.seal)
        elif self._ledger.epochs.add(signed.signatures):
            self._hand_over()

    def _hand_over(self) -> None:
        """Send the known signatures over this epoch's seal to all, until they are ordered."""
        epoch, signatures = self._ledger.epoch, self._ledger.epochs.signatures
        if signatures and not self._ledger.replica.members.sealed:
            self._mesh.hand_over(epoch.number, epoch.seal, signatures)

    def learn(self, certificates: Sequence[Certificate], now_ms: int) -> str:
        """Take a chain of epochs from anywhere; `beat` connects to the members. Returns why it is
        forged; empty if it is not. What is good before that counts."""
        epochs = self._ledger.epochs
        last, forged = epochs.newest, ""
        try:
            epochs.learn(certificates)
        except UncertifiedError as error:
            epochs.seeker.failed(str(error), now_ms)
        except ForgedChainError as error:
            forged = str(error)
        if epochs.newest is not last:
            self._has_learned = True
            self._mesh_status.alarms.clear("chain")
        return forged

    def beat(self, now_ms: int, wall_ms: int, life: Lifecycle) -> None:
        """Tell the members what this peer has; now and then."""
        ledger = self._ledger
        if life.state is State.DISK_FAILED:
            return
        if self._has_learned or self._candidates.have_changed(ledger.replica):
            self.stand()
        is_candidate = ledger.journal.key in ledger.replica.candidates
        number = SEATS_MAX if ledger.seat is None and is_candidate else ledger.seat
        if number is not None:
            self._mesh.beat(self._mesh_status.heartbeat(number, now_ms, wall_ms))
        if ledger.seat is not None:
            self._hand_over()
        if ledger.me is None:
            self._state(now_ms, again=True)
            self._ask_admission(now_ms)
        elif life.takes_part:
            self.notices.put_in(now_ms)
            self.own_votes.put_in(now_ms)

    def _state(self, now_ms: int, again: bool) -> None:
        """As a candidate, show that the state is here. `again`: also if it was shown already."""
        stated = self.notices.statement(again, now_ms)
        if stated is not None and (heard := self._mesh.heard(now_ms)):
            self._mesh.state(self.notices.next_of(heard), stated)

    def _ask_admission(self, now_ms: int) -> None:
        """Ask to be a candidate, in a mesh that admits by itself."""
        asked = self.admission.request(self._mesh.heard(now_ms), now_ms)
        if asked is not None:
            self._mesh.ask_admission(*asked)
