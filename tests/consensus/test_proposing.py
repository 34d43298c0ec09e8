"""When a member makes a block, and its parents."""

import pytest

from peer.consensus.block import Block, Ref, digest_of
from peer.consensus.committee import Committee, Mode
from peer.consensus.core import CATCH_UP_ROUNDS, LAGGING_ROUNDS, Consensus, Timing
from peer.consensus.schedule import Schedule

COMMITTEE = Committee(b"m" * 16, 4, Mode.CRASH)
TIMING = Timing(start_wait_ms=0)
ME = 0
SCHEDULE = Schedule(0, (0, 1, 2, 3))


class Member:
    """Member 0 of four, and a helper that makes the blocks of the others."""

    def __init__(self) -> None:
        self.consensus = Consensus(COMMITTEE, ME, lambda _: bytes(64), TIMING)
        self.made = {(0, block.author): block.ref for block in self.consensus.dag.newest}
        for other in (1, 2, 3):
            self.says(other, (0, 0, 0, 0))

    def says(self, other: int, rounds: tuple[int, ...], now_ms: int = 0) -> None:
        self.consensus.hear(other, rounds, now_ms)

    def hears(self, round_: int, *authors: int, payload: bytes = b"", now_ms: int = 0) -> None:
        """Blocks of these members for a round, each with all blocks of the previous round as
        parents."""
        below = {a: self.made[round_ - 1, a] for a in range(4) if (round_ - 1, a) in self.made}
        for author in authors:
            own = max(ref for (_, a), ref in self.made.items() if a == author)
            parents = (own, *(below[a] for a in below if a != author))
            ref = Ref(round_, author, digest_of(f"{round_} {author}".encode()))
            self.consensus.receive(Block(ref, parents, payload), now_ms)
            self.made[round_, author] = ref

    def round(self, commands_wait: bool = False, now_ms: int = 0) -> int | None:
        """The round for which it would make a block."""
        place = self.consensus.proposal(now_ms, commands_wait)
        return None if place is None else place.round

    def makes(self, round_: int, now_ms: int = 0) -> Block:
        block = self.consensus.propose(round_, b"", now_ms)
        self.made[round_, ME] = block.ref
        return block


@pytest.fixture
def member() -> Member:
    return Member()


def leader_of(first: int, leader: int) -> int:
    """The first round from `first` on that this member leads."""
    return next(r for r in range(first, first + 99) if SCHEDULE.leader(r) == leader)


def grown(member: Member, top: int) -> None:
    """All members make all rounds up to `top`."""
    for round_ in range(1, top + 1):
        member.makes(round_)
        member.hears(round_, 1, 2, 3)


def test_an_idle_member_is_silent_until_a_command_waits(member: Member) -> None:
    """ORDER-8."""
    assert member.round() is None
    assert member.round(commands_wait=True) == 1


def test_a_round_started_by_a_member_is_finished(member: Member) -> None:
    """ORDER-8."""
    member.hears(1, 1)
    assert member.round() == 1


def test_a_round_needs_a_quorum_in_the_previous_one(member: Member) -> None:
    """ORDER-8. Three of four members."""
    member.makes(1)
    member.hears(1, 1)
    assert member.round(commands_wait=True, now_ms=9_999) is None
    member.hears(1, 2)
    assert member.round(commands_wait=True, now_ms=9_999) == 2


def test_rounds_continue_until_all_known_commands_are_committed(member: Member) -> None:
    """ORDER-8. Also those of another member."""
    member.makes(1)
    member.hears(1, 1, 2, 3, payload=b"command")
    round_ = 2
    while (place := member.round(now_ms=9_999)) is not None:
        assert place == round_
        member.makes(round_)
        member.hears(round_, 1, 2, 3)
        round_ += 1
    assert not member.consensus.committer.uncommitted_payloads
    assert round_ < 10


def test_a_proposal_waits_for_the_leader_of_the_previous_round(member: Member) -> None:
    """ORDER-9. It waits from the moment when that round has a quorum."""
    top = leader_of(3, 3)
    grown(member, top - 1)
    member.makes(top)
    member.hears(top, 1, 2, now_ms=1_000)
    wait_ms = TIMING.leader_timeout_ms
    assert member.round(commands_wait=True, now_ms=1_000 + wait_ms - 1) is None
    assert member.consensus.next_tick_ms(1_000) == 1_000 + wait_ms
    assert member.round(commands_wait=True, now_ms=1_000 + wait_ms) == top + 1
    member.hears(top, 3, now_ms=1_000)
    assert member.round(commands_wait=True, now_ms=1_000) == top + 1


@pytest.mark.parametrize("halts", [False, True])
def test_a_peer_that_makes_no_blocks_waits_for_nothing(halts: bool) -> None:
    """Else it would look again and again whether its start or the wait for a leader is over."""
    starting = Consensus(COMMITTEE, ME, lambda _: bytes(64), Timing(start_wait_ms=50))
    for other in (1, 2):
        starting.hear(other, (0, 0, 0, 0), 1_000)
    assert starting.proposal(1_000, commands_wait=True) is None
    assert starting.next_tick_ms(2_000) == 2_000
    if halts:
        first = starting.dag.newest[1].ref
        for text in (b"one", b"two"):
            starting.receive(Block(Ref(1, 1, digest_of(text)), (first,), text), 1_000)
        assert starting.halted
    assert starting.next_tick_ms(2_000, proposes=halts) is None


def test_a_proposal_does_not_wait_for_a_leader_far_behind(member: Member) -> None:
    """ORDER-9."""
    top = leader_of(LAGGING_ROUNDS + 2, 3)
    for round_ in range(1, top + 1):
        member.makes(round_, now_ms=0)
        member.hears(round_, 1, 2)
    assert member.round(commands_wait=True) == top + 1


def test_missed_rounds_are_proposed_too(member: Member) -> None:
    """ORDER-10."""
    for round_ in range(1, 31):
        member.hears(round_, 1, 2, 3)
    made = []
    while (round_or_none := member.round()) is not None:
        made.append(member.makes(round_or_none).round)
    assert made == list(range(31 - CATCH_UP_ROUNDS, 31))


def test_a_member_far_behind_catches_up_first(member: Member) -> None:
    """ORDER-10. More than f members claim the higher round."""
    far = (0, 500, 400, 0)
    member.says(1, far)
    assert member.round(commands_wait=True) == 1
    member.says(2, far)
    assert member.round(commands_wait=True) is None
    assert member.consensus.far_ahead(0) == 400


def places(block: Block) -> list[tuple[int, int]]:
    return [(ref.round, ref.author) for ref in block.parents]


def test_a_block_refers_to_the_newest_block_of_each_author_until_it_is_committed(
    member: Member,
) -> None:
    """ORDER-11. The fourth member made one block, which came late, and fell silent."""
    member.makes(1)
    member.hears(1, 1, 2)
    assert places(member.makes(2)) == [(1, 0), (1, 1), (1, 2)]
    member.hears(2, 1, 2)
    member.hears(1, 3)
    assert places(member.makes(3)) == [(2, 0), (2, 1), (2, 2), (1, 3)]
    for round_ in range(3, 13):
        member.hears(round_, 1, 2)
        block = member.makes(round_ + 1)
    assert places(block) == [(12, 0), (12, 1), (12, 2)]
