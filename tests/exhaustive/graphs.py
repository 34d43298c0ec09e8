"""Grows every graph, one block at a time.

Owns which blocks an author may make next, and the step from one graph to one with a block more.
Must never decide anything: a lens does, by asking the commit rule.

A block may refer to its author's newest block and to any block of every other author, or none, as
long as a quorum stands at the round before; a liar may go on from any of its own blocks, and makes
up to two a round. Nearly all of these choices come to the same for the commit rule. So blocks are
told apart by their kind only: what a decision can read of them. That loses nothing: what the kinds
of the parents are decides the kind of a block, and a graph of kinds stands for every graph with
blocks of these kinds. It can do without a block if all the others can be had without it.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Generic, NamedTuple, TypeVar

from peer.consensus.block import NO_ATTESTATION, Block, Ref, decode, genesis, make
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag

LIES_MAX = 2  # blocks that a liar makes in a round

Fact = tuple[int, ...]  # begins with a round; what else, the lens knows
OutcomeT = TypeVar("OutcomeT")


class Contradiction(AssertionError):
    """Two views of one graph decide differently. The text has the larger and the smaller."""


class Kind(NamedTuple):
    """What a decision can read of a block."""

    round: int
    author: int
    vote: int  # the number of the leader's block of the round before that it refers to; 0: none
    certifies: int  # the number of the leader's block two rounds before that its parents vote for
    past: frozenset[Fact]  # what it has of the blocks below it
    twin: int = 0  # 1: a liar's second block, otherwise like the first


class Node(NamedTuple):
    """A block in a graph."""

    number: int  # of its kind
    kind: Kind
    block: Block
    facts: frozenset[Fact]  # what a block has of this one that refers to it


class Choice(NamedTuple):
    """A kind of block that an author can make, and one way to do it."""

    kind: Kind
    parents: tuple[Node, ...]
    ways: int  # in how many ways it can


class Sum(NamedTuple):
    """What some parents come to."""

    authors: int = 0  # of the round before, counted up to a quorum
    vote: int = 0
    votes: tuple[int, ...] = ()  # of the parents, for the leader of two rounds before
    facts: frozenset[Fact] = frozenset()


class UndoableDag(Dag):
    """A graph whose newest block can be taken out again."""

    def __init__(self, committee: Committee) -> None:
        super().__init__(committee)
        self._before: list[tuple[Block, Block, int]] = []

    @property
    def pushed(self) -> list[Block]:
        """In the order they came, parents before children."""
        return [block for block, _, _ in self._before]

    def push(self, block: Block) -> None:
        self._before.append((block, self.newest[block.author], self.quorum_round))
        accepted = self.add(block, restored=True)
        assert accepted == [block]

    def pop(self) -> Block:
        block, newest, self.quorum_round = self._before.pop()
        self.newest[block.author] = newest
        by_author = self.rounds[block.round]
        by_author[block.author].pop()
        if not by_author[block.author]:
            del by_author[block.author]
        del self.blocks[block.ref.digest]
        return block


class Family(Generic[OutcomeT]):
    """All graphs of `rounds` rounds. `leaders` are those of the slots whose decisions count, as far
    as the lens wants them told apart."""

    def __init__(
        self,
        committee: Committee,
        rounds: int,
        leaders: Mapping[int, int] | None = None,
        liars: tuple[int, ...] = (),
    ) -> None:
        self.committee = committee
        self.rounds = rounds
        self.leaders = dict(leaders or {})
        self.liars = liars
        self.kinds: list[Kind] = [Kind(0, 0, 0, 0, frozenset())]  # by number; from 1
        self.outcomes: dict[int, OutcomeT] = {}  # by the graph: a bit for the number of each kind
        self.steps = 0  # so many pairs of a graph and a view of it with a block less
        self.stands_for = 0  # so many graphs of blocks, at least
        self.dag = UndoableDag(committee)
        self.nodes = [
            [Node(0, Kind(0, block.author, 0, 0, frozenset()), block, frozenset())]
            for block in genesis(committee)
        ]  # by author, oldest first
        self._numbers: dict[Kind, int] = {}
        self._known: dict[OutcomeT, OutcomeT] = {}  # one object for all that are equal

    # What a lens says

    def judge(self) -> OutcomeT:
        """What is decided in the graph as it is now."""
        raise NotImplementedError

    def extends(self, more: OutcomeT, less: OutcomeT) -> bool:
        """Whether what is decided in a graph still is in one with a block more."""
        raise NotImplementedError

    def past(self, round_: int, author: int, facts: frozenset[Fact]) -> frozenset[Fact]:
        """Which facts a decision can still read of a block in this place."""
        raise NotImplementedError

    def facts(self, kind: Kind, number: int) -> frozenset[Fact]:
        """What a block itself adds to its past, for those who refer to it."""
        raise NotImplementedError

    # Growing

    def grow(self) -> None:
        """Fill `outcomes`. Contradiction at the first one."""
        self._visit(0, 1)
        self._grow(1, 0, 1)

    def _grow(self, round_: int, graph: int, ways: int) -> None:
        choices = [list(self._choices(round_, a)) for a in range(self.committee.size)]
        self._fill(round_, choices, graph, ways, 0)

    def _fill(
        self, round_: int, choices: list[list[Choice]], graph: int, ways: int, present: int
    ) -> None:
        """Let the first author of `choices` make its blocks, or none, and then the others."""
        if not choices:
            if present >= self.committee.quorum:
                self._close(round_, graph, ways)
            return
        first, rest = choices[0], choices[1:]
        self._fill(round_, rest, graph, ways, present)
        most = LIES_MAX if first and first[0].kind.author in self.liars else 1
        for made in (some for n in range(1, most + 1) for some in combinations(first, n)):
            with_it, product = graph, ways
            for choice in made:
                with_it |= 1 << self.push(choice.kind, choice.parents)
                product *= choice.ways
            self._visit(with_it, product)
            self._fill(round_, rest, with_it, product, present + 1)
            for _ in made:
                self.pop()

    def _visit(self, graph: int, ways: int) -> None:
        """Judge a graph, and compare with all views of it that lack one block: they came before."""
        assert graph not in self.outcomes, "a graph is grown in one way only"
        self.stands_for += ways
        outcome = self.judge()
        for view in self.less(graph):
            self.steps += 1
            self.compare(graph, outcome, view)
        self.outcomes[graph] = self._known.setdefault(outcome, outcome)

    def compare(self, graph: int, outcome: OutcomeT, view: int) -> None:
        if not self.extends(outcome, self.outcomes[view]):
            raise Contradiction(
                f"{self.describe(graph)}: {outcome}\n{self.describe(view)}: {self.outcomes[view]}"
            )

    def _close(self, round_: int, graph: int, ways: int) -> None:
        """A round is complete, and a quorum stands at it."""
        if round_ < self.rounds:
            self._grow(round_ + 1, graph, ways)

    def push(self, kind: Kind, parents: tuple[Node, ...]) -> int:
        """Put a block into the graph; the number of its kind."""
        number = self._numbers.get(kind) or self._number(kind, parents)
        ref = Ref(kind.round, kind.author, number.to_bytes(32, "big"))
        block = Block(ref, _refs(parents), time_ms=_time_ms(kind))
        self.dag.push(block)
        facts = kind.past | self.facts(kind, number)
        self.nodes[kind.author].append(Node(number, kind, block, facts))
        return number

    def pop(self) -> None:
        """Take the newest block out again."""
        self.nodes[self.dag.pop().author].pop()

    def _number(self, kind: Kind, parents: tuple[Node, ...]) -> int:
        """Of a new kind; the first block of it has to be valid by the rules of `block`."""
        frame = make(
            self.committee, kind.round, kind.author, _refs(parents), b"", 0, NO_ATTESTATION, _sign
        ).frame
        decode(frame, self.committee)
        number = self._numbers[kind] = len(self.kinds)
        self.kinds.append(kind)
        return number

    # What an author can make

    def _choices(self, round_: int, author: int) -> Iterator[Choice]:
        """One for each kind of block."""
        found: dict[Kind, Choice] = {}
        for total, (parents, ways) in self._sums(round_, author).items():
            if total.authors < self.committee.quorum:
                continue
            past = self.past(round_, author, total.facts)
            kind = Kind(round_, author, total.vote, self._winner(total.votes), past)
            known = found.get(kind)
            found[kind] = Choice(kind, parents, ways + (known.ways if known else 0))
        for kind, choice in found.items():
            yield choice
            if author in self.liars and self.leaders.get(round_) == author:
                yield choice._replace(kind=kind._replace(twin=1))

    def _sums(self, round_: int, author: int) -> dict[Sum, tuple[tuple[Node, ...], int]]:
        """What any valid parents come to, with an example and how many there are."""
        own = self.nodes[author]
        sums: dict[Sum, tuple[tuple[Node, ...], int]] = {}
        for first in own if author in self.liars else own[-1:]:
            if first.kind.round < round_:
                _count(sums, self._plus(Sum(), first, round_), (first,), 1)
        for other in range(self.committee.size):
            if other == author:
                continue
            longer = dict(sums)  # without a block of this author
            for total, (parents, ways) in sums.items():
                for node in self.nodes[other]:
                    if node.kind.round < round_:
                        _count(longer, self._plus(total, node, round_), (*parents, node), ways)
            sums = longer
        return sums

    def _plus(self, total: Sum, parent: Node, round_: int) -> Sum:
        authors, vote, votes, facts = total
        if parent.kind.round == round_ - 1:
            authors = min(authors + 1, self.committee.quorum)
            if self.leaders.get(round_ - 1) == parent.kind.author:
                vote = parent.number
            if self.committee.mode is Mode.BYZANTINE and parent.kind.vote:
                votes = tuple(sorted((*votes, parent.kind.vote)))
        return Sum(authors, vote, votes, facts | parent.facts)

    def _winner(self, votes: tuple[int, ...]) -> int:
        return next((v for v in set(votes) if votes.count(v) >= self.committee.quorum), 0)

    # What was grown

    def less(self, graph: int) -> Iterator[int]:
        """The views of a graph that lack one block of it."""
        for number in numbers(graph):
            if (view := graph & ~(1 << number)) in self.outcomes:
                yield view

    def views(self, graph: int) -> set[int]:
        """All views of a graph, itself among them."""
        found = {graph}
        edge = [graph]
        while edge:
            new = set(self.less(edge.pop())) - found
            found |= new
            edge += new
        return found

    def describe(self, graph: int) -> str:
        """The blocks of a graph with their numbers, for people."""
        return " ".join(f"{n}:{_described(self.kinds[n])}" for n in numbers(graph))


def numbers(graph: int) -> Iterator[int]:
    """Of the kinds of a graph's blocks."""
    while graph:
        lowest = graph & -graph
        yield lowest.bit_length() - 1
        graph ^= lowest


def _count(
    sums: dict[Sum, tuple[tuple[Node, ...], int]], total: Sum, parents: tuple[Node, ...], ways: int
) -> None:
    known = sums.get(total)
    sums[total] = (known[0], known[1] + ways) if known else (parents, ways)


def _refs(parents: tuple[Node, ...]) -> tuple[Ref, ...]:
    others = sorted((node.block.ref for node in parents[1:]), key=lambda ref: ref.author)
    return (parents[0].block.ref, *others)


def _described(kind: Kind) -> str:
    votes = f" votes {kind.vote}" if kind.vote else ""
    certifies = f" certifies {kind.certifies}" if kind.certifies else ""
    past = f" has {sorted(kind.past)}" if kind.past else ""
    name = "ABCDEFG"[kind.author] + str(kind.round) + "'" * kind.twin
    return f"{name}({(votes + certifies + past).strip()})" if votes or certifies or past else name


def _time_ms(kind: Kind) -> int:
    """Clocks that differ: the second author's is behind, the third's ahead."""
    return 10 * kind.round + (0, -15, 15)[kind.author % 3] + 20


def _sign(_: bytes) -> bytes:
    return bytes(64)
