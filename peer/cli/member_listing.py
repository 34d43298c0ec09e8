"""What `python -m peer members` lists: the epoch, who is away since when, candidates, proposals.

Owns the words. Pure: the time is an argument, and nothing is asked for here.
"""

import time
from collections.abc import Iterator

from peer.client.mesh_views import MemberView, Mesh
from peer.client.proposal_views import CandidateView, EndedView, Presence, ProposalView
from peer.client.protocol import Proposals, format_id
from peer.consensus.committee import Committee, Mode

_NEVER = MemberView("", "", "", False, 0, 0, -1, None)  # of a member that the mesh view lacks yet


def listing(found: Proposals, view: Mesh, now_ms: int) -> Iterator[str]:
    """The lines. `view` is of about the same moment, `now_ms` the wall clock."""
    size = f"{len(found.members)} member{'s' * (len(found.members) != 1)}"
    yield f"epoch {found.epoch}, {size}{_seal(found)}"
    yield from _itself(view)
    seen = {member.name: member for member in view.members}
    for member in found.members:
        presence = _presence(member, seen.get(member.name, _NEVER), now_ms)
        yield f"  {member.seat + 1:>3}  {member.name:<12} {presence}"
    candidates = view.epoch.candidates if view.epoch else []
    for candidate in candidates:
        yield f"  candidate {candidate.name} with key {candidate.key[:16]}…: {_shown(candidate)}"
    yield "proposals:" if found.open else "no open proposals"
    for proposal in found.open:
        yield from _open(proposal)
    for ended in found.ended:
        yield f"  {format_id(ended.id)}  {ended_text(ended)}"


def _seal(found: Proposals) -> str:
    if not found.epoch:
        return ""
    who = f"a quorum of epoch {found.epoch - 1}"
    certified = f"sealed by {who}" if found.sealed else f"not sealed by {who} yet"
    return f", {certified}\nto trust it: --trust {found.epoch}:{found.seal.hex()}"


def _itself(view: Mesh) -> Iterator[str]:
    """This peer: where it is, and what holds it up."""
    what = "follows the mesh and is no member" if view.role == "follower" else f"is {view.peer}"
    yield f"this peer {what}, at commit {view.commit} with digest {view.digest.hex()[:16]}"
    yield from (f"  {reason.text}" for reason in view.unready)


def _presence(member: Presence, seen: MemberView, now_ms: int) -> str:
    """In an idle mesh nobody makes a block: whether a member is there, heartbeats tell."""
    if seen.alive:
        return "present"
    if seen.age_ms >= 0:
        return f"away since {when(now_ms - seen.age_ms)}"
    last = f"; its last block is of {when(member.time_ms)}" if member.commit else ""
    return f"away, not heard since this peer's start{last}"


def _shown(candidate: CandidateView) -> str:
    """What a candidate has shown of the state."""
    shown, boundary = candidate.shown, candidate.boundary
    if shown is None:
        return "has not shown the state yet"
    behind = (boundary or 0) - shown
    late = f", {behind} before the newest" if behind > 0 else ", the newest"
    return f"has shown the state after commit {shown}{late}"


def _open(proposal: ProposalView) -> Iterator[str]:
    changes = "; ".join(proposal.changes)
    yield f"  {format_id(proposal.id)}  by {proposal.proposer}: {changes}"
    yield f"        {proposal.state}, until {when(proposal.ends_ms)}"
    if proposal.against:
        yield f"        against: {', '.join(proposal.against)}"


def ended_text(ended: EndedView) -> str:
    """How a proposal ended, and when."""
    outcome, changes = ended.outcome.replace("_", " "), "; ".join(ended.changes)
    return f"{outcome} at {when(ended.time_ms)}, by {ended.proposer}: {changes}"


def when(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms / 1_000))


def advice(mode: Mode, before: int, after: int) -> str:
    """What a mesh of this many members withstands after a change; empty if it is no less, or more
    as expected."""
    old, new = (Committee(b"", size, mode).faults for size in (before, after))
    if new > old or (new == old and after <= before):
        return ""
    faults = "lose" if mode is Mode.CRASH else "bear the loss or lies of"
    few = "no member" if not new else f"{new} member{'s' if new > 1 else ''}"
    than = f"as with {before}" if new == old else f"and {old} with {before}"
    return f"with {after} members the mesh may {faults} {few}, {than}"
