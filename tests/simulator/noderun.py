"""One run of whole nodes: a plan carried out, with clients, and a verdict.

Owns the assembly of nodes, referee and clients. The phases of a run are those of `run`.
"""

import logging
import tempfile
from functools import cached_property
from pathlib import Path
from random import Random

from peer.consensus.committee import Mode
from peer.membership.mesh_file import MeshConfig
from tests.simulator.clients import Clients
from tests.simulator.liars import HELPS, BadHelper
from tests.simulator.node import NodePeer, config_of
from tests.simulator.node_referee import NodeReferee
from tests.simulator.peer import Stage
from tests.simulator.plan import RIGHT_RATE, Plan
from tests.simulator.run import Ending, Options, Run, Verdict
from tests.simulator.world import EPOCH_MS, MS

DUE_MS_MAX = 1_000  # what is due is done after so long at most, once nothing is in the way
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # for files that need no disk


class NodeRun(Run):
    """Real nodes in place of the consensus alone. All members are honest, but for one in byzantine
    mode that may lie about its state to those that catch up."""

    patience_rounds = 2_000  # clients bring what they still wait to be told of once faults stop

    def __init__(self, plan: Plan, options: Options, folder: Path) -> None:
        self._folder = folder
        super().__init__(plan, options)
        self._clients = Clients(self, Random(f"clients {plan.name}"))

    @cached_property
    def _config(self) -> MeshConfig:
        return config_of(self.plan)

    def _referee(self, honest: frozenset[int]) -> NodeReferee:
        del honest
        lies = frozenset(self._config.members[member].name for member in self._bad_helper)
        return NodeReferee(self.world, self.plan, self.options.check_every, lies)

    def _peer(self, address: int, member: int | None) -> NodePeer:
        plan = self.plan
        return NodePeer(
            self.world,
            self._config,
            address,
            member,
            self._folder,
            self.network.send,
            lambda: self._at,
            self.referee,
            self._chance,
            lambda peer, caller, reply: self._clients.replied(peer, caller, reply),
            plan.fsync_us[address] if address < len(plan.fsync_us) else 0,
            plan.skew_ms[address] if address < len(plan.skew_ms) else 0,
            plan.rates[address] if address < len(plan.rates) else RIGHT_RATE,
            self._bad_helper.get(address, lambda parts: parts),
        )

    def node_at(self, address: int) -> NodePeer:
        """The node at an address."""
        return self._at[address]

    @cached_property
    def _bad_helper(self) -> dict[int, BadHelper]:
        """Of those that live to the end."""
        plan, random = self.plan, Random(f"helper {self.plan.name}")
        dead = {member for _, member in plan.dead}
        if plan.committee.mode is Mode.CRASH or len(dead) >= plan.committee.faults:
            return {}
        member = random.choice([m for m in range(plan.committee.size) if m not in dead])
        return {member: BadHelper(random.choice(HELPS), random)}

    def _schedule(self) -> None:
        super()._schedule()
        for at_us, member in self.plan.broken:
            self.world.after(at_us, self._break, self.peers[member])

    def _break(self, peer: NodePeer) -> None:
        self.world.note(peer.address, "its disk refuses to write from now on")
        peer.broken = True

    def _heal(self) -> None:
        for peer in self.peers:
            if peer.broken and peer.up:
                peer.crash(Stage.NOW)
        super()._heal()

    def _silence(self) -> tuple[Ending, str] | None:
        """Nothing that is due is left undone, though nobody asks for anything any more."""
        if found := super()._silence():
            return found
        if self._clock_may_stand:
            return None
        due_ms = EPOCH_MS + self.world.now_us // MS - DUE_MS_MAX
        for peer in self._alive:
            node = peer.node
            if not node.ledger.consensus.start.is_over(node._clock.now_ms()):
                continue  # ORDER-25: it says nothing yet
            next_ms = node.ledger.replica.exchange.next_expiry()
            if next_ms is not None and next_ms < due_ms:
                return Ending.NO_PROGRESS, f"an order of {next_ms} did not expire by {due_ms}"
        return None

    @property
    def _clock_may_stand(self) -> bool:
        """ORDER-20. Whether members that are down, whose time stands still, and those with wrong
        clocks are together too many for the ordered clock."""
        size = self.plan.committee.size
        silent = {member for member in range(size) if not self._at[member].up}
        return len(self.plan.wrong_clocks | silent) > (size - 1) // 2

    @property
    def _rounds_to_silence(self) -> int:
        """Orders expire meanwhile, each after a few rounds."""
        return 10 * super()._rounds_to_silence

    def _submit(self, member: int) -> None:
        self._clients.submit(member)

    def _settled(self) -> bool:
        return not self._clients.waiting() and super()._settled()

    def _phases(self) -> tuple[Ending, str]:
        """In the end all of them restart, and are where they were."""
        ending, reason = super()._phases()
        if ending is Ending.PASS:
            for peer in self._alive:
                peer.crash(Stage.NOW)
                peer.start()
            if not self._settled():
                return Ending.DIVERGED, f"a restart lost something\n  {self._stuck()}"
        return ending, reason


def verdict(plan: Plan, options: Options) -> Verdict:
    """Carry the plan out with whole nodes. They log their alarms, of which a broken disk is one."""
    logging.getLogger("peer").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        return NodeRun(plan, options, Path(folder)).verdict()
