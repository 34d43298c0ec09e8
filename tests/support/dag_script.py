"""Graphs as text that a person can draw.

Owns the notation of `tests/golden/dags/*.txt`. A line at the margin has new blocks, the indented
lines under it have the decisions that follow. Members are A, B, C ...; B3 is B's block of round 3,
and B3' a second block of that round.

    crash 4                  the mode and how many members, before all others
    leaders ABCD             of rounds 1, 2, 3 ... in turn, instead of the real draw
    3  A[ABC] B[BC] C[ABC]   blocks of round 3 with their parents of round 2
    3  B'[ABD] D[AD B1]      a rival, and a block that refers to round 1 as well
    3  A D                   these refer to every first block of the round before
    4-9 A B C D              six such lines, and one line of what they decide

Rounds may come in any order: a late block stands late. An author's own last block is always a
parent, drawn or not.
"""

import re
from collections.abc import Iterable, Iterator

from peer.consensus.block import NO_ATTESTATION, Block, Ref, decode, digest_of, genesis, make
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Checkpoint, Commit, Committer
from peer.consensus.dag import Dag
from peer.consensus.decide import Status
from peer.consensus.schedule import Schedule

NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXY"
_CELL = re.compile(r"([A-Y])('*)(?:\[([^]]*)\])?")
_PARENT = re.compile(r"([A-Y])(\d*)('*)")


class Rota(Schedule):
    """Leaders in turn, so that a drawing can choose them."""

    def leader(self, round_: int) -> int:
        return self.eligible[(round_ - 1) % len(self.eligible)]


class Drawing:
    """The blocks drawn so far, and one committer that sees them."""

    def __init__(self, mode: Mode, size: int) -> None:
        self.committee = Committee(b"a drawn mesh....", size, mode)
        self.dag = Dag(self.committee)
        self.committer = Committer(self.committee, self.dag)
        self._drawn = {(b.round, b.author, 0): b.ref for b in genesis(self.committee)}
        self._names = {ref.digest: f"{NAMES[ref.author]}0" for ref in self._drawn.values()}
        self._accused: set[int] = set()

    def lead_by(self, schedule: Schedule) -> None:
        """Start with the leaders of this schedule, instead of the real draw."""
        first = Checkpoint.first(self.committee)._replace(schedule=schedule)
        self.committer = Committer(self.committee, self.dag, first)

    def add(self, round_: int, cell: "re.Match[str]") -> Iterator[str]:
        """Add a block; yields lines about blocks that wait, evidence, and blocks that no longer
        wait."""
        block = self._block(round_, NAMES.index(cell[1]), len(cell[2]), cell[3])
        accepted = self.dag.add(block)
        for each in accepted:
            self.committer.note(each)
        if block.ref.digest in self.dag.waiting:
            absent = (ref for ref in block.parents if not self.dag.has(ref))
            yield f"{self._name(block.ref)} waits for {self._list(absent)}"
        for author, (first, second) in self.dag.evidence.items():
            if author not in self._accused:
                self._accused.add(author)
                yield f"evidence: {self._list((first.ref, second.ref))}"
        if woken := [b.ref for b in accepted if b is not block]:
            yield f"no longer waiting: {self._list(woken)}"

    def _block(self, round_: int, author: int, rival: int, drawn: str | None) -> Block:
        name = f"{NAMES[author]}{round_}" + "'" * rival
        ref = Ref(round_, author, digest_of(name.encode()))
        if (round_, author, rival) in self._drawn:
            raise ValueError(f"{name} is drawn twice")
        parents = self._parents(round_, author, drawn)
        what = self.committee, round_, author, parents, b"x", round_, NO_ATTESTATION
        made = make(*what, lambda _: b"s" * 64)
        decode(made.frame, self.committee)  # InvalidBlockError if the rules do not allow it
        self._drawn[round_, author, rival] = ref
        self._names[ref.digest] = name
        return Block(ref, parents, b"x", round_)

    def _parents(self, round_: int, author: int, drawn: str | None) -> tuple[Ref, ...]:
        chosen: dict[int, Ref] = {}
        if drawn is None:
            found = (self._drawn.get((round_ - 1, a, 0)) for a in range(self.committee.size))
            chosen = {ref.author: ref for ref in found if ref is not None}
        for letter, at, marks in _PARENT.findall(drawn or ""):
            place = int(at) if at else round_ - 1, NAMES.index(letter), len(marks)
            name = f"{letter}{place[0]}{marks}"
            if place not in self._drawn:  # drawn later: until then it is missing
                self._names[digest_of(name.encode())] = name
            chosen[place[1]] = self._drawn.get(place, Ref(*place[:2], digest_of(name.encode())))
        own = [r for r in range(round_) if (r, author, 0) in self._drawn]
        first = chosen.pop(author, None) or self._drawn[own[-1], author, 0]
        return (first, *(chosen[a] for a in sorted(chosen)))

    def advance(self) -> Iterator[str]:
        """Yields the new decisions of the graph, as lines."""
        committer, decider = self.committer, self.committer.decider
        first = committer.next_round
        slots = decider.decide(first, self.dag.highest_round)
        commits = {commit.leader.round: commit for commit in committer.advance()}
        for slot in slots[: committer.next_round - first]:
            by = ""
            if decider.direct(slot.round).status is Status.UNDECIDED:
                anchor = decider.anchor(slots[decider.rule.anchors(slot.round) - first :])
                by = f" by {self._name(anchor.ref)}" if anchor else ""
            commit = commits.get(slot.round)
            skipped = f"{NAMES[slot.leader]}{slot.round} skipped{by}"
            yield skipped if commit is None else self._commit(commit, by)
            if commit is not None and commit.number % committer.rotation.commits == 0:
                break  # the slots after it have other leaders
        if committer.schedule != decider.schedule:
            members = "".join(NAMES[a] for a in committer.schedule.eligible)
            yield f"schedule {committer.schedule.number}: {members}"
            yield from self._rest(slot.round + 1, commits)
        if expired := committer.take_expired():
            yield f"expired: {self._list(block.ref for block in expired)}"
        if accepted := committer.collect_garbage():
            yield f"collected, so accepted: {self._list(block.ref for block in accepted)}"

    def _rest(self, first: int, commits: dict[int, Commit]) -> Iterator[str]:
        for round_ in range(first, self.committer.next_round):
            yield self._commit(commits[round_]) if round_ in commits else f"round {round_} skipped"

    def _commit(self, commit: Commit, by: str = "") -> str:
        return (
            f"{self._name(commit.leader)} commits{by}: {self._list(b.ref for b in commit.blocks)}"
        )

    def _name(self, ref: Ref) -> str:
        return self._names[ref.digest]

    def _list(self, refs: Iterable[Ref]) -> str:
        return " ".join(self._name(ref) for ref in refs)

    def open(self) -> str:
        """The undecided slots with blocks after them."""
        slots = self.committer.decider.decide(self.committer.next_round, self.dag.highest_round)
        undecided = (slot for slot in slots[:-1] if slot.status is Status.UNDECIDED)
        return " ".join(f"{NAMES[slot.leader]}{slot.round}" for slot in undecided)


def play(script: str) -> str:
    """The script with the decisions that follow from its blocks, in place of those it had."""
    out: list[str] = []
    drawing = None
    for line in script.splitlines():
        words = line.partition("#")[0].split(maxsplit=1)
        if line.startswith(" "):
            continue
        out.append(line.rstrip())
        if not words:
            continue
        if words[0] in list(Mode):
            drawing = Drawing(Mode(words[0]), int(words[1]))
            continue
        if drawing is None:
            raise ValueError(f"the mode comes first, not {line!r}")
        if words[0] == "leaders":
            eligible = tuple(NAMES.index(letter) for letter in words[1].strip())
            drawing.lead_by(Rota(0, eligible))
            continue
        out += [f"  {text}" for text in _rounds(drawing, *words)]
    if drawing is not None and (undecided := drawing.open()):
        out += [f"  open: {undecided}"]
    return "\n".join(out) + "\n"


def _rounds(drawing: Drawing, rounds: str, cells: str) -> list[str]:
    first, _, last = rounds.partition("-")
    if _CELL.sub("", cells).strip():
        raise ValueError(f"expected blocks like A[BC] or A, got {cells!r}")
    said: list[str] = []
    for round_ in range(int(first), int(last or first) + 1):
        for cell in _CELL.finditer(cells):
            said += drawing.add(round_, cell)
        said += drawing.advance()
        drawing.committer.check()
    return _shortened(said) if last else said


def _shortened(said: list[str]) -> list[str]:
    commits = [text for text in said if " commits" in text]
    skipped = [text for text in said if " skipped" in text]
    rest = [text for text in said if text not in commits and text not in skipped]
    return [f"{len(commits)} commits, {len(skipped)} slots skipped", *rest]
