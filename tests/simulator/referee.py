"""What must hold, told apart from how it comes about.

Owns the one order all honest peers have to follow and what was promised to submitters. Must never
help a peer: it only listens.
"""

from collections.abc import Callable

from peer.consensus.block import Block
from peer.consensus.committee import Mode
from peer.consensus.committer import Commit
from peer.consensus.core import Ready
from tests.simulator import book
from tests.simulator.peer import Observer, Peer
from tests.simulator.plan import Plan
from tests.simulator.world import EPOCH_MS, MS, World

LATE_MS_MAX = 1_200  # a member that spoke within the last second says the time no earlier


class Diverged(Exception):
    """Something that must never happen did."""


class Referee(Observer):
    """`check_every`: so many steps of a peer lie between two calls of its `check()`."""

    def __init__(
        self,
        world: World,
        plan: Plan,
        machine: Callable[[], book.Machine],
        honest: frozenset[int],
        check_every: int,
    ) -> None:
        self.world = world
        self.plan = plan
        self.mode = plan.committee.mode
        self.honest = honest
        self.check_every = check_every
        self.order: list[Commit] = []
        self.digests: list[bytes] = []
        self.promised: dict[tuple[int, int], bytes] = {}
        self.born_us: dict[bytes, int] = {}
        self.delays_us: list[int] = []
        self.blocks = 0
        self.highest_round = 0
        self.checks = 0
        self.takeovers = 0  # the consensus alone hands over no snapshots
        self.steps = 0
        self._final = book.Book(plan.committee.size, machine())
        self._applied: list[list[tuple[int, list[int]]]] = []
        self._position: dict[int, int] = {}
        self._signed: dict[tuple[int, int], bytes] = {}
        self._newest = [0] * plan.committee.size  # the newest published round of each member
        # The newest committed block of each member: its round and time.
        self._said = [(0, plan.committee.created_ms)] * plan.committee.size
        self._timed: set[tuple[int, int]] = set()
        self._gc_rounds: dict[int, tuple[int, ...]] = {}
        self._parts: dict[int, list[tuple[int, list[int]]]] = {}

    def started(self, peer: Peer) -> None:
        """A peer comes up, with all it has ever said, unless its disk is an old copy."""
        self._position[peer.address] = 0
        if peer.member in self.honest and not peer.restored:
            own = (block.round for block in peer.disk.blocks if block.author == peer.member)
            said, knows = self._newest[peer.member], max(own, default=0)
            self._must(said <= knows, f"member {peer.member} forgot its block of round {said}")

    def accepted(self, peer: Peer, sequence: int, command: bytes) -> None:
        """The submitter was told that its command is safe."""
        if peer.member in self.honest and not peer.restored:
            before = self.promised.setdefault((peer.member, sequence), command)
            self._must(before == command, f"two commands {sequence} of member {peer.member}")

    def published(self, peer: Peer, block: Block) -> None:
        """An honest member signs one block a round, and tells the truth about its state."""
        if peer.member not in self.honest:
            return
        self.blocks += 1
        self.highest_round = max(self.highest_round, block.round)
        self._newest[block.author] = max(self._newest[block.author], block.round)
        place = (block.author, block.round)
        before = self._signed.setdefault(place, block.ref.digest)
        self._must(before == block.ref.digest, f"member {block.author} equivocates: {block!r}")
        commit, digest = block.attestation
        self._must(
            commit == 0 or self.digests[commit - 1] == digest,
            f"{block!r} carries another state after commit {commit}",
        )

    def committed(self, peer: Peer, ready: Ready) -> None:
        """Every peer's commits are the first of the one order."""
        if not ready.commits:
            return
        for commit in ready.commits:
            self._position[peer.address] += 1
            self._must(
                commit.number == self._position[peer.address],
                f"peer {peer.address} commits {commit.number} after "
                f"{self._position[peer.address] - 1}",
            )
            if commit.number > len(self.order):
                self._extend(commit)
            self._compare(peer, self.order[commit.number - 1], commit)
        done = self._parts.pop(peer.address, [])
        first = ready.commits[0].number
        expected = [part for parts in self._applied[first - 1 : peer.commits] for part in parts]
        self._must(done == expected, f"peer {peer.address} applied {done}, not {expected}")
        self._must(
            peer.book.machine.digest() == self.digests[peer.commits - 1],
            f"peer {peer.address} has another state after commit {peer.commits}",
        )
        self._check_collected(peer)

    def _check_collected(self, peer: Peer) -> None:
        """In byzantine mode, what is accepted unseen must be the same for all that committed as
        much: else one waits for ever for what another built on."""
        if self.mode is Mode.BYZANTINE:
            rounds = tuple(peer.consensus.dag.gc_rounds)
            before = self._gc_rounds.setdefault(peer.commits, rounds)
            self._must(
                before == rounds,
                f"peer {peer.address} has collected up to {rounds} after commit {peer.commits}, "
                f"another up to {before}",
            )

    def _extend(self, commit: Commit) -> None:
        self._check_time(commit)
        self.order.append(commit)
        self._final.machine.advance(commit.time_ms)
        applied = []
        for block in commit.blocks:
            if not block.payload:
                continue
            first, commands = book.decode(block.payload)
            self._check_prompt(commit, commands)
            sequences = self._final.apply(block.author, block.payload)
            applied.append((block.author, sequences))
            for sequence in sequences:
                promise = self.promised.get((block.author, sequence))
                command = commands[sequence - first]
                self._must(
                    promise in (None, command),
                    f"command {sequence} of member {block.author} is not what was accepted",
                )
        self._applied.append(applied)
        self.digests.append(self._final.machine.digest())

    def _check_time(self, commit: Commit) -> None:
        """The ordered clock is the lower median of what all members last said; so a minority of
        wrong clocks moves it neither beyond the time it is nor, where nothing else is wrong, into a
        past before what is ordered was asked for."""
        for block in commit.blocks:
            if block.round > self._said[block.author][0]:
                self._said[block.author] = block.round, block.time_ms
        times = sorted(time_ms for _, time_ms in self._said)
        before_ms = self.order[-1].time_ms if self.order else 0
        self._must(
            commit.time_ms == max(before_ms, times[(len(times) - 1) // 2]),
            f"commit {commit.number} is at {commit.time_ms}, of {times} after {before_ms}",
        )
        now_ms = EPOCH_MS + self.world.now_us // MS
        if len(self.plan.wrong_clocks) <= (len(times) - 1) // 2:
            self._must(
                commit.time_ms <= now_ms, f"commit {commit.number} is ahead, at {commit.time_ms}"
            )

    def _check_prompt(self, commit: Commit, commands: list[bytes]) -> None:
        """No command is taken into yesterday."""
        for command in commands if self.plan.prompt else ():
            born_ms = EPOCH_MS + self.born_us[command] // MS
            self._must(
                commit.time_ms >= born_ms - LATE_MS_MAX,
                f"commit {commit.number} takes a command of {born_ms} to {commit.time_ms}",
            )

    def _compare(self, peer: Peer, ours: Commit, theirs: Commit) -> None:
        if ours is theirs:
            return
        same = (ours.leader, ours.time_ms) == (theirs.leader, theirs.time_ms) and [
            b.ref for b in ours.blocks
        ] == [b.ref for b in theirs.blocks]
        self._must(
            same,
            f"peer {peer.address} has commit {theirs.number} as\n  {_show(theirs)}\nand not as\n"
            f"  {_show(ours)}",
        )

    def applied(self, peer: Peer, commit: int, author: int, sequences: list[int]) -> None:
        self._parts.setdefault(peer.address, []).append((author, sequences))
        if author != peer.member:
            return
        for sequence in sequences:
            if (author, sequence) not in self._timed:
                self._timed.add((author, sequence))
                born = self.born_us.get(peer.commands[sequence - 1])
                if born is not None:
                    self.delays_us.append(self.world.now_us - born)

    def stepped(self, peer: Peer) -> None:
        """Each peer's own invariants, every so many steps."""
        self.steps += 1
        if self.steps % self.check_every == 0:
            self.checks += 1
            peer.consensus.check()
        if peer.member in self.honest:
            self._must(not peer.consensus.halted, f"an honest mesh halts: {peer.consensus.halted}")

    def settled(self, peers: list[Peer]) -> bool:
        """Whether all these peers applied all that was promised by any of them."""
        last: dict[int, int] = {}
        for member, sequence in self.promised:
            last[member] = max(last.get(member, 0), sequence)
        alive = {peer.member for peer in peers}
        return all(
            peer.book.expected[member] > sequence
            for member, sequence in last.items()
            if member in alive
            for peer in peers
        )

    @staticmethod
    def _must(holds: bool, otherwise: str) -> None:
        if not holds:
            raise Diverged(otherwise)


def _show(commit: Commit) -> str:
    blocks = " ".join(f"{b.round}/{b.author}:{b.ref.digest[:3].hex()}" for b in commit.blocks)
    return f"leader {commit.leader.round}/{commit.leader.author} at {commit.time_ms}: {blocks}"
