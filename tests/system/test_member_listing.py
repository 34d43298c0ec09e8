"""What `python -m peer members` lists of each state, in words."""

import time
from collections.abc import Iterator

import pytest

from peer.cli.member_listing import advice, listing, when
from peer.client.mesh_views import MemberView, Mesh, Reason
from peer.client.proposal_views import (
    CandidateView,
    EndedView,
    EpochView,
    Presence,
    ProposalView,
)
from peer.client.protocol import Proposals
from peer.consensus.committee import Mode

NOW_MS = 1_795_000_000_000


def seen(name: str, age_ms: int, alive: bool = True) -> MemberView:
    return MemberView(name, "00", "", alive, 9, 9, age_ms, True)


def view(*members: MemberView, role: str = "member", candidates: list[CandidateView]) -> Mesh:
    fields = "bob", "00", "crash", list(members), 2, True, 9, 70, b"\xab" * 32, 0, 0.0, "", []
    unready = [Reason("no_quorum", "There is no quorum: orders wait.")]
    epoch = EpochView(1, [0, 1, 3], [], candidates)
    return Mesh(1, *fields, role=role, unready=unready, epoch=epoch)


@pytest.fixture
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_each_state_has_its_words(utc: None) -> None:
    members = [
        Presence(0, "ann", True, 69, NOW_MS - 7_000),
        Presence(1, "bob", False, 0, 0),
        Presence(3, "cid", True, 12, NOW_MS - 90_000),
        Presence(4, "dan", False, 0, 0),
    ]
    add = ProposalView(
        256 + 1, "bob", ["add member eve with key ff"], ["bob"], ["ann"], 2, 0, NOW_MS, "waits"
    )
    gone = EndedView(512 + 1, "bob", ["remove member cid"], "seat_gone", NOW_MS)
    found = Proposals(1, 1, members, [add], [gone], b"\xcd" * 32, False)
    late = CandidateView("eve", "ee" * 32, 257, 64, 192)
    new = CandidateView("fay", "ff" * 32, 257, None, 192)
    heard = [seen("ann", 5_000, alive=False), seen("bob", 0), seen("cid", -1, alive=False)]
    assert list(listing(found, view(*heard, candidates=[late, new]), NOW_MS)) == [
        "epoch 1, 4 members, not sealed by a quorum of epoch 0 yet\nto trust it: --trust 1:"
        + "cd" * 32,
        "this peer is bob, at commit 70 with digest abababababababab",
        "  There is no quorum: orders wait.",
        "    1  ann          away since 2026-11-18 11:06:35",
        "    2  bob          present",
        "    4  cid          away, not heard since this peer's start; its last block is of "
        "2026-11-18 11:05:10",
        "    5  dan          away, not heard since this peer's start",
        "  candidate eve with key eeeeeeeeeeeeeeee…: has shown the state after commit 64, "
        "128 before the newest",
        "  candidate fay with key ffffffffffffffff…: has not shown the state yet",
        "proposals:",
        "  2-1  by bob: add member eve with key ff",
        "        waits, until 2026-11-18 11:06:40",
        "        against: ann",
        "  2-2  seat gone at 2026-11-18 11:06:40, by bob: remove member cid",
    ]
    assert when(0) == "1970-01-01 00:00:00"
    follower = list(listing(found, view(role="follower", candidates=[]), NOW_MS))
    assert follower[1].startswith("this peer follows the mesh and is no member, at commit 70")


@pytest.mark.parametrize(
    ("mode", "before", "after", "said"),
    [
        (Mode.CRASH, 1, 2, "with 2 members the mesh may lose no member, as with 1"),
        (Mode.CRASH, 3, 4, "with 4 members the mesh may lose 1 member, as with 3"),
        (Mode.CRASH, 3, 5, ""),
        (Mode.CRASH, 4, 3, ""),
        (Mode.CRASH, 5, 4, "with 4 members the mesh may lose 1 member, and 2 with 5"),
        (Mode.CRASH, 3, 3, ""),
        (
            Mode.BYZANTINE,
            4,
            5,
            "with 5 members the mesh may bear the loss or lies of 1 member, as with 4",
        ),
        (Mode.BYZANTINE, 3, 4, ""),
    ],
)
def test_a_change_of_the_size_says_what_the_mesh_withstands(
    mode: Mode, before: int, after: int, said: str
) -> None:
    """ORDER-49."""
    assert advice(mode, before, after) == said
