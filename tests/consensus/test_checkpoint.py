"""A peer that continues from a checkpoint commits the same as one that never stopped."""

import itertools
import random

import pytest

from peer.consensus.block import Block, decode
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Commit
from peer.consensus.core import Consensus, Ready

STEPS = 700
STEP_MS = 40


def sign(_data: bytes) -> bytes:
    return b"s" * 64


def members_of(committee: Committee) -> list[Consensus]:
    """All members, after each has received all blocks."""
    peers = [Consensus(committee, n, sign) for n in range(committee.size)]
    for hears, says in itertools.permutations(range(committee.size), 2):
        peers[hears].hear(says, peers[says].heartbeat(), 0)
    return peers


def lived(committee: Committee, seed: int) -> tuple[list[Block], list[Commit]]:
    """The blocks and commits of one member over many rounds, in which other members were late,
    paused, and came back."""
    rng = random.Random(seed)
    peers = members_of(committee)
    rests_until = [0] * committee.size
    inboxes: list[list[Block]] = [[] for _ in peers]
    accepted: list[Block] = []
    commits: list[Commit] = []
    for step in range(STEPS):
        if rng.random() < 0.03:
            rests_until[rng.randrange(1, committee.size)] = step + rng.randint(1, 300)
        if sum(until > step for until in rests_until) > committee.faults:
            rests_until = [0] * committee.size
        for n, peer in enumerate(peers):
            if rests_until[n] > step:
                continue
            ready = live_a_step(peer, inboxes[n], step * STEP_MS, rng)
            for block in ready.publish:
                for m, inbox in enumerate(inboxes):
                    if m != n:
                        inbox.append(decode(block.frame, committee))
            if n == 0:
                accepted += ready.persist
                commits += ready.commits
    return accepted, commits


def live_a_step(peer: Consensus, inbox: list[Block], now_ms: int, rng: random.Random) -> Ready:
    for block in inbox:
        peer.receive(block, now_ms)
    inbox.clear()
    while place := peer.proposal(now_ms, True):
        payload = rng.randbytes(rng.randrange(3)) if place.carries else b""
        peer.propose(place.round, payload, now_ms)
    if rng.random() < 0.02:
        peer.check()
    return peer.ready()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("seed", range(2))
def test_a_peer_that_starts_at_any_checkpoint_commits_the_same(mode: Mode, seed: int) -> None:
    """ORDER-32."""
    committee = Committee(b"m" * 16, 4, mode)
    blocks, commits = lived(committee, seed)
    checkpoints = [commit.checkpoint for commit in commits if commit.checkpoint]
    assert len(checkpoints) > 3
    for checkpoint in checkpoints:
        later = Consensus(committee, None, sign, checkpoint=checkpoint)
        later.check()
        for block in blocks:
            if block.round > later.dag.gc_rounds[block.author]:
                later.receive(block, 0)
        later.check()
        assert later.ready().commits == commits[checkpoint.commit :]


@pytest.mark.parametrize("mode", Mode)
def test_a_restart_at_a_checkpoint_publishes_the_whole_own_last_block(mode: Mode) -> None:
    """The newest own block can be the checkpoint's head; then the graph has only its name."""
    committee = Committee(b"m" * 16, 4, mode)
    blocks, commits = lived(committee, 0)
    restarts = 0
    for commit in commits:
        if commit.checkpoint is not None:
            head = commit.checkpoint.heads[0]
            own = [b for b in blocks if b.author == 0 and b.round <= head.round][-1:]
            later = Consensus(committee, 0, sign, checkpoint=commit.checkpoint)
            assert later.restore(own, 0).publish == own
            restarts += bool(own)
    assert restarts > 3
