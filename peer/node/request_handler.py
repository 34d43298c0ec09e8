"""Handles the requests of programs on this machine.

Owns which commands are taken and how questions are answered. Must never answer or store a command
at once: both are effects of the turn.
"""

from collections.abc import Callable

from msgspec.structs import replace

from engine import ACCOUNT_LENGTH_MAX
from peer.client import protocol
from peer.client.endpoint import Local
from peer.client.programs import Caller
from peer.client.protocol import Mesh, Refused, Reply, Request, Streamed
from peer.client.queue_places import GetQueue
from peer.membership.mesh_file import MeshConfig
from peer.node.command_names import ClientId, Taken, client_id_of
from peer.node.effects import Effects
from peer.node.forwarding import Forwarding
from peer.node.ledger import Ledger
from peer.node.lifecycle import Lifecycle
from peer.node.mesh_status import MeshStatus
from peer.node.publisher import Publisher
from peer.node.submissions import Submissions
from peer.node.timers import Clock
from peer.replica.batch import command_id, seq_and_member
from peer.replica.changes import Activate, Approve, Propose, Vote
from peer.replica.client_ids import has_name
from peer.replica.refusals import first_refused
from peer.replica.signed import Entry, command_of


class RequestHandler:
    def __init__(
        self,
        config: MeshConfig,
        ledger: Ledger,
        local: Local,
        submissions: Submissions,
        forwarding: Forwarding,
        publisher: Publisher,
        life: Lifecycle,
        mesh_status: MeshStatus,
        clock: Clock,
        view: Callable[[int, int], Mesh],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._local = local
        self._submissions = submissions
        self._forwarding = forwarding
        self._publisher = publisher
        self._life = life
        self._mesh_status = mesh_status
        self._clock = clock
        self._view = view  # the mesh view, for a seq and a time

    def take(self, caller: Caller, request: Request, now_ms: int, effects: Effects) -> None:
        """A request came. A question is answered at once, before this turn's changes."""
        match request:
            case protocol.Execute(commands, source):
                refused = self._execute(caller, commands, now_ms, source)
                if refused is not None:
                    effects.replies.append((caller, refused))
            case protocol.Govern(votes):
                refused = self._refusal() or self._govern(caller, votes, now_ms)
                if refused is not None:
                    effects.replies.append((caller, refused))
            case protocol.Withdraw(account, ids):
                if (refused := self._refusal()) is not None:
                    effects.replies.append((caller, refused))
                else:
                    self._withdraw(caller, account, ids, effects)
            case protocol.Subscribe(topics):
                self._local.subscribe(caller, topics, lambda topic: self._state(topic, now_ms))
            case _:
                self._local.reply(caller, self._answer(request))

    def _execute(
        self, caller: Caller, commands: list[Entry], now_ms: int, source: str
    ) -> Refused | None:
        if self._ledger.me is None and not caller.is_peer:
            is_valid = self._ledger.replica.signers.signature_cache.is_valid
            refused = self._life.refusal()
            return refused or self._forwarding.take(caller, commands, source, now_ms, is_valid)
        return self._refusal() or self._submit(caller, commands, now_ms, source)

    def _refusal(self) -> Refused | None:
        if self._ledger.me is None:
            text = "this peer follows the mesh and is no member: a member can do that"
            return Refused("not_member", text)
        return self._life.refusal()

    def _submit(
        self, caller: Caller, commands: list[Entry], now_ms: int, source: str
    ) -> Refused | None:
        known = self._ordered_before(commands)
        wall_ms = self._clock.wall_ms()
        members_ms = (
            self._mesh_status.clocks.ordered_ms(now_ms, wall_ms) or wall_ms
        )  # too few heard
        clock_ms = max(self._ledger.replica.time_ms, members_ms)
        signers, key_orders = self._ledger.replica.signers, self._ledger.replica.key_orders
        found = first_refused(
            *(signers, key_orders, commands, clock_ms, self._submissions.me),
            lambda entry: self._is_known(entry, known),
        )
        if found is not None:
            place, reason = found
            text = f"command {place + 1} would be rejected: {reason.name}"
            return Refused(reason.name.lower(), text)
        return self._submissions.take(caller, commands, now_ms, known, source)

    def _ordered_before(self, commands: list[Entry]) -> dict[ClientId, Taken]:
        """The names among these that the state remembers, with the first order of each."""
        known = {}
        for command in map(command_of, commands):
            if has_name(command) and (first := self._ledger.replica.client_ids.find(command)):
                known[ClientId(first.account, first.client_id)] = Taken(first.order, first.digest)
        return known

    def _is_known(self, entry: Entry, known: dict[ClientId, Taken]) -> bool:
        """Whether an order of this name is ordered, or waits here."""
        name = client_id_of(entry)
        return name is not None and (name in known or self._submissions.waits(name))

    def _govern(self, caller: Caller, votes: list[Vote], now_ms: int) -> Refused | None:
        replica, levels = self._ledger.replica, self._ledger.levels
        for vote in votes:
            if isinstance(vote, Propose):
                wanted = [one.level for one in vote.changes if isinstance(one, Activate)]
                unknown = next(filter(None, map(levels.unknown, wanted)), "")
                if why := replica.rules.impossible(vote.changes) or unknown:
                    return Refused("impossible", why)
            elif isinstance(vote, Approve) and vote.proposal < 0:
                pass  # of an earlier vote of this request
            elif not self._may_be_open(vote.proposal):
                text = f"expected an open proposal, got {protocol.format_id(vote.proposal)}"
                return Refused("unknown_proposal", text)
        said = [replace(v, level=levels.highest) if isinstance(v, Approve) else v for v in votes]
        return self._submissions.take(caller, said, now_ms)

    def _may_be_open(self, proposal: int) -> bool:
        """Whether a proposal is open, or may be on its way here: its member knows it first, and may
        have told its id to the one who votes here. Then the order judges the vote."""
        replica = self._ledger.replica
        if proposal in replica.governance.proposals:
            return True
        _, seat = seq_and_member(proposal)
        is_of_member = replica.members.epoch.author_of(seat) is not None
        return is_of_member and not replica.is_ordered(proposal)

    def _withdraw(self, caller: Caller, account: str, ids: list[int], effects: Effects) -> None:
        withdrawn = self._submissions.withdraw(account, ids)
        effects.commands.update(withdrawn)
        gone = [command_id(seq, self._submissions.me) for seq in withdrawn]
        effects.taken_back.setdefault(account, []).extend(gone)
        effects.promises.append((caller, protocol.Withdrawn(gone)))

    def _answer(self, question: Request) -> Reply:
        match question:
            case protocol.GetState(market, depth):
                return self._publisher.state(market, depth)
            case protocol.GetOrders(account):
                return self._orders(account)
            case protocol.GetAccounts(limit):
                return self._publisher.accounts(limit)
            case GetQueue(account, ids):
                return self._publisher.queue(account, ids)
            case protocol.GetMarkets():
                name, mesh = self._mesh_status.own_name, self._config.id.hex()
                found = self._publisher.markets()
                return protocol.Markets(name, mesh, found.markets, found.statuses)
            case protocol.GetProposals():
                return self._publisher.proposals()
        raise AssertionError(f"expected a query, got {type(question).__name__}")

    def _orders(self, account: str) -> protocol.Orders:
        """The orders of an account. What has ended before can be read in the journal by then."""
        journal = self._ledger.journal
        if not journal.failed:
            journal.settle()
        return self._publisher.orders(account, self._submissions.pending_of(account))

    def _state(self, topic: str, now_ms: int) -> Streamed | Refused:
        """The state that a topic's updates start from."""
        match topic.split("/", 1):
            case ["market", symbol]:
                return self._publisher.state(symbol, protocol.DEPTH_MAX)
            case ["account", account] if 1 <= len(account) <= ACCOUNT_LENGTH_MAX:
                return self._orders(account)
            case ["commit"]:
                return self._publisher.committed(self._ledger.round)
            case ["markets"]:
                return self._publisher.markets()
            case ["proposals"]:
                return self._publisher.proposals()
            case ["mesh"]:
                return self._view(self._local.seq("mesh"), now_ms)
        return Refused("unknown", f"there is no topic {topic!r:.80}")
