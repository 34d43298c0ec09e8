"""The commit rule once more, from what `docs/ordering.md` says of it and from nothing else.

Owns an oracle that reads kinds of blocks, so it also shows that a kind says all that a decision
reads. Must never use the modules it checks.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

UNKNOWN, SKIPPED = 0, -1  # any other decision is the number of the leader's block


class Read(Protocol):
    """What it reads of a block: see `graphs.Kind`."""

    round: int
    author: int
    vote: int
    certifies: int
    past: Collection[tuple[int, ...]]


def decisions(
    blocks: Mapping[int, Read], leaders: Mapping[int, int], size: int, byzantine: bool
) -> dict[int, int]:
    """By slot. `blocks` are by number; `leaders` has every slot that may be an anchor."""
    decided: dict[int, int] = {}
    for slot in sorted(leaders, reverse=True):
        direct = _direct(blocks.values(), slot, size, byzantine)
        decided[slot] = direct or _by_anchor(blocks, decided, slot, size, byzantine)
    return decided


def _quorum(size: int, byzantine: bool) -> int:
    return size - (size - 1) // (3 if byzantine else 2)


def _direct(blocks: Collection[Read], slot: int, size: int, byzantine: bool) -> int:
    quorum = _quorum(size, byzantine)
    after = [block for block in blocks if block.round == slot + 1]
    blames = {block.author for block in after if not block.vote}
    if len(blames) >= (quorum if byzantine else size - (2 * quorum - size) + 1):
        return SKIPPED
    if byzantine:
        voices = [(b.certifies, b.author) for b in blocks if b.round == slot + 2 and b.certifies]
    else:
        voices = [(b.vote, b.author) for b in after if b.vote]
    return _enough(voices, quorum)


def _by_anchor(
    blocks: Mapping[int, Read], decided: Mapping[int, int], slot: int, size: int, byzantine: bool
) -> int:
    wave = 3 if byzantine else 2
    later = [decided[s] for s in sorted(decided) if s >= slot + wave]
    anchor = next((decision for decision in later if decision != SKIPPED), UNKNOWN)
    if anchor == UNKNOWN:
        return UNKNOWN
    facts = [fact[1:] for fact in blocks[anchor].past if fact[0] == slot]
    if byzantine:
        return facts[0][0] if facts else SKIPPED
    shared = 2 * _quorum(size, byzantine) - size
    return _enough([(leader, author) for leader, author in facts], shared) or SKIPPED


def _enough(voices: Collection[tuple[int, int]], wanted: int) -> int:
    """What enough authors say, each of them heard once for each thing it says."""
    for about in {about for about, _ in voices}:
        if len({author for said, author in voices if said == about}) >= wanted:
            return about
    return 0
