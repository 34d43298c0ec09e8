"""Which blocks are requested from which member, and when."""

from peer.consensus.block import Block, Ref, digest_of
from peer.consensus.committee import Committee, Mode
from peer.consensus.dag import Dag
from peer.consensus.synchronizer import SCAN_MS, Pull, Synchronizer, Wanted

COMMITTEE = Committee(b"m" * 16, 4, Mode.BYZANTINE)
ME = 0
DELAY_MS, RETRY_MS, TIMEOUT_MS = 15, 200, 1_000
MISSING = Ref(1, 2, digest_of(b"missing"))


def synchronizer(dag: Dag) -> Synchronizer:
    return Synchronizer(dag, ME, DELAY_MS, RETRY_MS, TIMEOUT_MS)


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
