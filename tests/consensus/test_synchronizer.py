"""Which blocks are requested from which member, and when."""

from peer.consensus.block import Block, Ref, digest_of
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag
from peer.consensus.delays import Bounds, Delays, Estimate
from peer.consensus.synchronizer import FAR_ROUNDS, SCAN_MS, Pull, Synchronizer, Wanted

COMMITTEE = Committee(b"m" * 16, 4, Mode.BYZANTINE)
ME = 0
DELAY_MS, RETRY_MS, TIMEOUT_MS = 15, 200, 1_000
MISSING = Ref(1, 2, digest_of(b"missing"))
BOUNDS = Bounds(DELAY_MS, 500), Bounds(RETRY_MS, 2_000)


def synchronizer(dag: Dag, delays: Delays | None = None) -> Synchronizer:
    return Synchronizer(dag, ME, delays or Delays(COMMITTEE.size, *BOUNDS), TIMEOUT_MS)


def lacking() -> Dag:
    """A graph in which a block waits for one of member 2."""
    dag = Dag(COMMITTEE)
    zero = [block.ref for block in dag.newest]
    dag.add(Block(Ref(1, 1, digest_of(b"there")), (zero[1], zero[0], zero[2])))
    refs = (Ref(1, 1, digest_of(b"there")), zero[0], MISSING)
    dag.add(Block(Ref(2, 1, digest_of(b"waits")), refs))
    assert list(dag.missing.values()) == [MISSING]
    return dag


def test_a_missing_block_is_asked_of_its_author_and_then_of_others_in_turn() -> None:
    """ORDER-37. Less and less often once all members were asked without success."""
    sync = synchronizer(lacking())
    asked = [(now, *one) for now in range(0, 2_000, SCAN_MS) for one in sync.tick(now)]
    times_ms = [DELAY_MS + n * RETRY_MS for n in (0, 1, 2, 3, 5, 7, 9)]
    assert asked == [
        (now, member, (MISSING,)) for now, member in zip(times_ms, (2, 3, 1) * 3, strict=False)
    ]


def test_a_block_that_comes_by_itself_is_not_requested() -> None:
    """ORDER-37."""
    dag = lacking()
    sync = synchronizer(dag)
    assert sync.tick(0) == []
    zero = [block.ref for block in dag.newest if block.round == 0]
    dag.add(Block(MISSING, (zero[1], zero[0], zero[2])))
    assert not dag.missing
    assert sync.tick(DELAY_MS) == []
    assert sync.next_ms() is None


def test_missing_blocks_named_in_a_heartbeat_are_requested() -> None:
    """ORDER-38. The sender's own newest block at once; blocks of others when it names them again,
    as they may be on their way."""
    sync = synchronizer(Dag(COMMITTEE))
    assert sync.hear(1, (0, 0, 9, 0), 0) is None
    assert sync.hear(2, (0, 0, 9, 0), 0) == Pull(2, (0, 0, 0, 0))
    other = synchronizer(Dag(COMMITTEE))
    assert other.hear(1, (0, 0, 9, 0), 0) is None
    assert other.hear(1, (0, 0, 9, 0), 250) == Pull(1, (0, 0, 0, 0))


def test_a_member_that_claims_blocks_but_does_not_send_them_loses_its_turn() -> None:
    """ORDER-38."""
    sync = synchronizer(Dag(COMMITTEE))
    assert sync.hear(1, (0, 9, 0, 0), 0) == Pull(1, (0, 0, 0, 0))
    assert sync.hear(2, (0, 0, 9, 0), 10) is None, "one at a time"
    assert sync.answered(1, 20) is None, "it gave nothing"
    assert sync.hear(1, (0, 9, 0, 0), 30) is None
    assert sync.hear(2, (0, 0, 9, 0), 40) == Pull(2, (0, 0, 0, 0))
    assert sync.hear(1, (0, 9, 0, 0), 40 + TIMEOUT_MS) == Pull(1, (0, 0, 0, 0)), "2 did not answer"


def test_a_member_never_asks_itself() -> None:
    """ORDER-37."""
    dag = Dag(COMMITTEE)
    zero = [block.ref for block in dag.newest]
    own = Ref(1, ME, digest_of(b"own"))
    dag.add(Block(Ref(2, 1, digest_of(b"waits")), (zero[1], own, zero[2])))
    sync = synchronizer(dag)
    wanted = [one for now in range(0, 1_000, SCAN_MS) for one in sync.tick(now)]
    assert {one.member for one in wanted} == {1, 2, 3}
    assert all(one == Wanted(one.member, (own,)) for one in wanted)


def test_an_estimate_covers_what_came_and_stays_within_its_bounds() -> None:
    """ORDER-58."""
    bounds = Bounds(15, 500)
    estimate = Estimate()
    assert estimate.within(bounds) == 15, "nothing is known"
    for took_ms in (50, 60, 40, 55) * 10:
        estimate.add(took_ms)
    assert 60 <= estimate.within(bounds) <= 100
    for _ in range(50):
        estimate.add(10_000)
    assert estimate.within(bounds) == 500
    for _ in range(100):
        estimate.add(0)
    assert estimate.within(bounds) == 15


def test_a_block_that_comes_late_by_itself_is_awaited_longer_next_time() -> None:
    """ORDER-58. One that was asked for tells how long an answer takes, and nothing else."""
    delays = Delays(COMMITTEE.size, *BOUNDS)
    sync = synchronizer(lacking(), delays)
    sync.tick(0)
    sync.came(MISSING, None, 60)
    assert (delays.late_ms(2), delays.late_ms(1)) == (180, DELAY_MS)
    sync = synchronizer(lacking(), delays)
    assert [now for now in range(0, 300, SCAN_MS) if sync.tick(now)] == [180]
    sync.came(MISSING, 2, 580)
    assert (delays.late_ms(2), delays.answer_ms(2)) == (180, 1_200)
    assert delays.answer_ms(1) == RETRY_MS


def test_the_nearest_member_that_has_a_missing_block_is_asked_first() -> None:
    """ORDER-58. Member 1 has it too, since a block of it refers to that."""
    delays = Delays(COMMITTEE.size, *BOUNDS)
    delays.answered(2, 300)
    sync = synchronizer(lacking(), delays)
    asked = [one for now in range(0, 300, SCAN_MS) for one in sync.tick(now)]
    assert asked == [Wanted(1, (MISSING,)), Wanted(2, (MISSING,))]


def test_a_gap_in_the_chain_of_an_author_is_not_awaited() -> None:
    """ORDER-58. Its messages keep their order: what it sent before is lost."""
    delays = Delays(COMMITTEE.size, *BOUNDS)
    delays.came(2, 100)
    dag = lacking()
    zero = [block.ref for block in dag.newest if block.round == 0]
    dag.add(Block(Ref(2, 2, digest_of(b"later")), (MISSING, zero[0], zero[1])))
    sync = synchronizer(dag, delays)
    assert [now for now in range(0, 100, SCAN_MS) if sync.tick(now)] == [DELAY_MS]


def test_a_claim_is_overdue_once_its_blocks_could_have_come_and_been_asked_for() -> None:
    """ORDER-38, ORDER-58. Blocks that wait for others are on no list of losses."""
    delays = Delays(COMMITTEE.size, *BOUNDS)
    delays.answered(1, 100)
    sync = synchronizer(lacking(), delays)
    assert sync.hear(1, (0, 2, 1, 0), 0) is None, "its newest block is here, and waits"
    assert sync.hear(1, (0, 2, 1, 0), 250) is None, "an answer takes 300 ms"
    assert sync.hear(1, (0, 2, 1, 0), 500) == Pull(1, (0, 1, 0, 0))


def test_a_member_that_is_far_ahead_is_asked_at_once_though_its_newest_block_waits() -> None:
    """ORDER-38. As for a peer that was away: each block that it hears waits for older ones."""
    for ahead, asked in ((FAR_ROUNDS, None), (FAR_ROUNDS + 1, Pull(1, (0, 1, 0, 0)))):
        sync = synchronizer(lacking())
        assert sync.hear(1, (0, 1 + ahead, 0, 0), 0) == asked
