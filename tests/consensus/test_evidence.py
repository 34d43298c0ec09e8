"""Two blocks for one place are noticed at once, even if no other block comes."""

import pytest

from peer.consensus.block import NO_ATTESTATION, Block, genesis, make
from peer.consensus.committee import Committee, Mode
from peer.consensus.core import Consensus

AUTHOR = 2


def sign(data: bytes) -> bytes:
    return data[:32] * 2


def rivals(committee: Committee) -> list[Block]:
    own, *others = (genesis(committee)[n].ref for n in (AUTHOR, 0, 1, 3))
    return [
        make(committee, 1, AUTHOR, (own, *others), b"", time_ms, NO_ATTESTATION, sign)
        for time_ms in (1, 2)
    ]


@pytest.mark.parametrize("mode", Mode)
def test_a_second_block_for_a_round_is_evidence_at_once(mode: Mode) -> None:
    """ORDER-5."""
    committee = Committee(b"evidence".ljust(16), 4, mode)
    consensus = Consensus(committee, None, sign)
    first, second = rivals(committee)
    consensus.receive(first, 0)
    assert consensus.ready().evidence == []
    consensus.receive(second, 0)
    assert consensus.ready().evidence == [(first, second)]
    assert bool(consensus.halted) == (mode is Mode.CRASH)
    consensus.receive(second, 0)
    assert consensus.ready().evidence == [], "said once"


@pytest.mark.parametrize("mode", Mode)
def test_evidence_from_before_a_restart_counts(mode: Mode) -> None:
    """ORDER-5."""
    committee = Committee(b"evidence".ljust(16), 4, mode)
    before, after = Consensus(committee, None, sign), Consensus(committee, None, sign)
    for block in rivals(committee):
        before.receive(block, 0)
    [evidence] = before.ready().evidence
    after.accuse(evidence)
    assert after.ready().evidence == [evidence]
    assert bool(after.halted) == (mode is Mode.CRASH)
