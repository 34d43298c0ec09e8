"""Random graphs, as hostile as the rules allow, and many observers of each.

Owns the drawing of graphs without any network: every block is valid, but who refers to whom is
chosen to split opinions. All observers of one graph, each with its own part of it in its own order,
must commit prefixes of one sequence. A graph takes milliseconds, so this looks where a simulated
mesh rarely gets.
"""

from collections.abc import Iterator, Sequence
from random import Random

from peer.consensus.block import Block, Ref, digest_of, genesis
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit, Committer
from peer.consensus.dag import Dag
from tests.simulator.styles import styles

RIVALS_MAX = 3
VIEWS = 12  # parts of the graph, each what one block's author had seen


class Graph:
    """All blocks ever made, parents before children."""

    def __init__(self, committee: Committee, random: Random, rounds: int) -> None:
        self.committee = committee
        self.random = random
        self.blocks: list[Block] = []
        faulty = random.sample(range(committee.size), committee.faults)
        self.liars = frozenset(faulty if committee.mode is Mode.BYZANTINE else ())
        self._salt = random.randbytes(8)
        self._rounds: list[dict[int, list[Block]]] = [{b.author: [b] for b in genesis(committee)}]
        self._own = [[b, b] for b in genesis(committee)]  # by author and, of liars, camp
        self._schedule = Checkpoint.first(committee).schedule
        ways = styles(random, committee, self.liars)
        for round_, self.style in zip(range(1, rounds + 1), ways, strict=False):
            self._grow(round_)

    def _grow(self, round_: int) -> None:
        presence, size = self.style.presence, self.committee.size
        authors = [a for a in range(size) if self.random.random() < presence[a]]
        while len(authors) < self.committee.quorum:  # else the mesh would stand still
            authors.append(self.random.choice([a for a in range(size) if a not in authors]))
        made = {a: self._blocks(round_, a) for a in authors}
        for author, blocks in made.items():
            twins = self.style.camp and author in self.liars
            chosen = self.random.choice(blocks)
            self._own[author] = [blocks[0], blocks[-1]] if twins else [chosen, chosen]
        self._rounds.append(made)

    def _blocks(self, round_: int, author: int) -> list[Block]:
        if author not in self.liars:
            camp = self.style.camp[author] if self.style.camp else 0
            return [self._block(round_, author, camp)]
        if self.style.camp:
            as_both = self.random.choice(((0, 1), (0, 1), (0, 1, 1), (0, 0, 1), (1, 1)))
            return [self._block(round_, author, camp) for camp in as_both]
        count = self.random.randint(1, RIVALS_MAX)
        return [self._block(round_, author, self.random.randrange(2)) for _ in range(count)]

    def _block(self, round_: int, author: int, camp: int) -> Block:
        name = self._salt + f"{round_} {author} {len(self.blocks)}".encode()
        place = Ref(round_, author, digest_of(name))
        block = Block(place, self._parents(round_, author, camp), b"x", round_)
        self.blocks.append(block)
        return block

    def _parents(self, round_: int, author: int, camp: int) -> tuple[Ref, ...]:
        random, own, previous = self.random, self._own[author][camp], self._rounds[round_ - 1]
        others = {a: self._choose(previous[a], camp) for a in previous if a != author}
        speaks_as = author
        if self.style.camp and author in self.liars and camp in self.style.camp:
            speaks_as = self.style.camp.index(camp)
        ranked = sorted(others, key=lambda other: self._rank(others[other], speaks_as))
        count = self.committee.quorum - (own.round == round_ - 1)
        while count < len(ranked) and random.random() < self.style.generosity:
            count += 1
        refs = {other: others[other].ref for other in ranked[:count]}
        for other in range(self.committee.size):
            if other not in refs and other != author and random.random() < self.style.late:
                older = self._rounds[random.randrange(round_)].get(other)
                if older and older[0].round < round_ - 1:
                    refs[other] = random.choice(older).ref
        return (own.ref, *(refs[a] for a in sorted(refs)))

    def _choose(self, rivals: list[Block], camp: int) -> Block:
        """Which of an equivocator's blocks an author has seen first."""
        return rivals[-camp] if self.style.camp else self.random.choice(rivals)

    def _rank(self, parent: Block, author: int) -> float:
        """Whom an author refers to first: the lowest."""
        rank = self.style.taste[author][parent.author]
        rank -= 2 * self.style.support[author] * self._supports(parent)
        if parent.author == self._schedule.leader(parent.round):
            rank -= 8 * self.style.leader[author]
        return rank

    def _supports(self, block: Block) -> int:
        """1 for a vote for the leader of the round before and, in the three-round rule, 2 more for
        a certificate of the one before that."""
        if block.round == 0:
            return 0
        leader = self._schedule.leader(block.round - 1)
        voted = block.parent(block.round - 1, leader) is not None
        if self.committee.mode is Mode.CRASH or block.round < 3:
            return voted
        leader = self._schedule.leader(block.round - 2)
        parents = {ref.digest for ref in block.parents}
        voters = [b for bs in self._rounds[block.round - 1].values() for b in bs]
        votes = [b.parent(b.round - 1, leader) for b in voters if b.ref.digest in parents]
        most = max((votes.count(ref) for ref in votes if ref), default=0)
        return voted + 2 * (most >= self.committee.quorum)


def seen_from(graph: Graph, tips: Sequence[Block]) -> list[Block]:
    """Some blocks and their ancestors, parents before children."""
    wanted = {tip.ref.digest for tip in tips}
    chosen = []
    for block in reversed(graph.blocks):
        if block.ref.digest in wanted:
            chosen.append(block)
            wanted.update(ref.digest for ref in block.parents)
    return chosen[::-1]


def observe(committee: Committee, blocks: Sequence[Block], all_rivals: bool) -> list[Commit]:
    """What somebody commits to whom the blocks come in this order."""
    dag = Dag(committee)
    committer = Committer(committee, dag)
    commits: list[Commit] = []
    for block in blocks:
        for accepted in dag.add(block, restored=all_rivals):
            committer.note(accepted)
        commits += committer.advance()
    committer.check()
    return commits


def shuffled(random: Random, blocks: Sequence[Block]) -> list[Block]:
    """A little out of order, as a network does it; now and then much."""
    reach = random.choice((0, 3, 20))
    return sorted(blocks, key=lambda b: b.round + random.random() * reach)


def views(random: Random, graph: Graph) -> Iterator[Sequence[Block]]:
    """Parts of a graph as peers might have them: all that one or two blocks stand on."""
    yield graph.blocks
    yield shuffled(random, graph.blocks)
    for _ in range(VIEWS):
        tips = random.sample(graph.blocks, min(random.choice((1, 1, 2)), len(graph.blocks)))
        yield seen_from(graph, tips)


def contradiction(seed: int, committee: Committee, rounds: int = 12) -> str:
    """Empty if all observers of the seed's graph agree; otherwise what two of them say."""
    random = Random(f"graph {seed} {committee.size} {committee.mode}")
    graph = Graph(committee, random, random.randint(4, rounds))
    longest: list[tuple[Ref, list[Ref]]] = []
    for blocks in views(random, graph):
        found = observe(committee, blocks, all_rivals=random.random() < 0.5)
        commits = [(c.leader, [b.ref for b in c.blocks]) for c in found]
        for number, (one, other) in enumerate(zip(commits, longest, strict=False), 1):
            if one != other:
                return f"commit {number}: {_show(one)} and {_show(other)}"
        longest = max(commits, longest, key=len)
    return ""


def _show(commit: tuple[Ref, list[Ref]]) -> str:
    leader, blocks = commit
    names = " ".join(f"{ref.round}/{ref.author}:{ref.digest[:2].hex()}" for ref in blocks)
    return f"{leader.round}/{leader.author} with {names}"
