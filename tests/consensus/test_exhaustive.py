"""No two views of any graph decide differently, up to a depth that takes seconds; with a broken
rule some do. `make exhaustive` goes deeper."""

from collections.abc import Callable
from itertools import combinations

import pytest

from peer.consensus.committee import Mode
from tests.exhaustive import mutants, rule
from tests.exhaustive.graphs import Contradiction, Family, numbers
from tests.exhaustive.lenses import Commits, Decisions, mesh, patterns

CRASH, BYZANTINE = Mode.CRASH, Mode.BYZANTINE
LIAR = (0,)
IN_TURN = {1: 0, 2: 1, 3: 2}


def by_name(leaders: dict[int, int]) -> str:
    return "".join("ABCD"[member] for member in leaders.values())


@pytest.mark.parametrize("leaders", list(patterns((1, 2, 3), (), 3)), ids=by_name)
def test_three_members(leaders: dict[int, int]) -> None:
    """ORDER-12 to ORDER-14, ORDER-16. All graphs of four rounds; the oracle agrees about each."""
    family = Decisions(mesh(CRASH, 3), 4, leaders)
    family.grow()
    assert len(family.outcomes) > 1_000
    assert all(family.expected(graph) == found for graph, found in family.outcomes.items())


def test_four_members() -> None:
    """ORDER-12 to ORDER-14, ORDER-16."""
    family = Decisions(mesh(CRASH, 4), 4, {1: 0, 3: 1})
    family.grow()
    assert len(family.outcomes) > 5_000
    assert all(family.expected(graph) == found for graph, found in family.outcomes.items())


@pytest.mark.parametrize(
    ("rounds", "leaders"),
    [(3, {1: 0}), (4, {1: 1, 4: 1})],
    ids=["the liar leads", "an anchor above three rounds"],
)
def test_four_members_with_one_byzantine(rounds: int, leaders: dict[int, int]) -> None:
    """ORDER-12 to ORDER-16."""
    family = Decisions(mesh(BYZANTINE, 4), rounds, leaders, LIAR, crown=rounds in leaders)
    family.grow()
    assert len(family.outcomes) > 15_000
    assert all(family.expected(graph) == found for graph, found in family.outcomes.items())


@pytest.mark.parametrize("commits", [1, 2])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_schedules_that_change(first: int, commits: int) -> None:
    """ORDER-16, ORDER-17, ORDER-19. Compares all results: blocks, their order, times, and the next
    leaders."""
    family = Commits(mesh(CRASH, 3), 3, first, commits, punctual_rounds=0)
    family.grow()
    assert max(len(outcome.commits) for outcome in family.outcomes.values()) == 2


def test_pairs_of_views() -> None:
    """Checks directly what `tests.exhaustive` argues step by step."""
    family = Decisions(mesh(CRASH, 3), 4, {1: 0, 3: 1})
    family.grow()
    compared = 0
    for graph in family.outcomes:
        seen = {family.outcomes[view] for view in family.views(graph)}
        for one, other in combinations(seen, 2):
            assert all(
                rule.UNKNOWN in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True)
            )
            compared += 1
    assert compared > 1_000


def test_a_view_has_all_parents_of_its_blocks() -> None:
    family = Decisions(mesh(CRASH, 3), 3, {1: 0, 2: 1})
    family.grow()
    for graph in family.outcomes:
        assert {0, graph} <= family.views(graph)
        for view in family.views(graph):
            blocks = [family.kinds[number] for number in numbers(view)]
            for block in blocks:
                previous = {b.author for b in blocks if b.round == block.round - 1}
                assert len(previous) >= family.committee.quorum or block.round == 1
            voted = {b.vote for b in blocks if b.vote}
            assert voted <= set(numbers(view))


Broken = Callable[[], Family]
CRASH_RULE: dict[str, Broken] = {
    "skip at q blames": lambda: Decisions(mesh(CRASH, 3), 4, IN_TURN, rule=mutants.skip_at_quorum),
    "t - 1 votes in the anchor's history": lambda: Decisions(
        mesh(CRASH, 4), 4, {1: 0, 3: 1}, rule=mutants.indirect_one_less
    ),
    "t + 1 votes in the anchor's history": lambda: Decisions(
        mesh(CRASH, 3), 4, IN_TURN, rule=mutants.indirect_one_more
    ),
    "disjoint quorums": lambda: Decisions(mesh(CRASH, 2, mutants.DisjointQuorums), 4, {1: 0, 3: 1}),
    "q - 1 votes": lambda: Decisions(mesh(CRASH, 3), 4, IN_TURN, rule=mutants.direct_one_less),
    "the anchor passes over an open slot": lambda: Decisions(
        mesh(CRASH, 3), 5, {1: 0, 3: 1, 4: 2}, decider=mutants.PassesOver
    ),
    "an equivocator among three": lambda: Decisions(mesh(CRASH, 3), 3, {1: 0, 2: 1}, LIAR),
    "an equivocator among four": lambda: Decisions(mesh(CRASH, 4), 4, {1: 0, 3: 1}, LIAR),
}
BYZANTINE_RULE: dict[str, Broken] = {
    "skip at q - 1 blames": lambda: Decisions(
        mesh(BYZANTINE, 4), 4, {1: 1, 4: 1}, LIAR, crown=True, rule=mutants.skip_one_less
    ),
    "q - 1 certificates": lambda: Decisions(
        mesh(BYZANTINE, 4), 4, {1: 1, 4: 1}, LIAR, crown=True, rule=mutants.direct_one_less
    ),
}
SCHEDULE: dict[str, Broken] = {
    "decisions outlive their schedule": lambda: Commits(
        mesh(CRASH, 3), 4, 1, 1, 1, mutants.StaleDecisions
    ),
    "leaders by what is here": lambda: Commits(
        mesh(CRASH, 3), 4, 1, 1, 1, mutants.CountsWhatIsHere
    ),
}
BROKEN = CRASH_RULE | BYZANTINE_RULE | SCHEDULE


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_seen(broken: Broken) -> None:
    with pytest.raises(Contradiction):
        broken().grow()
