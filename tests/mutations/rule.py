"""The commit rule, the order within a commit and the clock."""

from tests.mutations import (
    BYZANTINE_GRAPHS,
    BYZANTINE_RUNS,
    CRASH_GRAPHS,
    CRASH_RUNS,
    Mutation,
    edit,
)

ANCHOR_TOO_EARLY = edit(
    "consensus/decide", "return slot + self.wave\n", "return slot + self.wave - 1\n"
)

RULE = (
    Mutation(
        "direct commit with one vote less",
        "an anchor's history need not hold enough of them",
        200,
        f"graphs {CRASH_GRAPHS}",
        (edit("consensus/decide", "wave=2, direct=q,", "wave=2, direct=q - 1,"),),
    ),
    Mutation(
        "direct commit with one certificate less",
        "an anchor's history need not hold one of them",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("consensus/decide", "wave=3, direct=q,", "wave=3, direct=q - 1,"),),
    ),
    Mutation(
        "direct skip with one blame less (crash)",
        "an anchor may still find t votes",
        200,
        f"graphs {CRASH_GRAPHS}",
        (edit("consensus/decide", "skip=n - t + 1,", "skip=n - t,"),),
    ),
    Mutation(
        "direct skip with one blame less (byzantine)",
        "the liar blames and votes",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("consensus/decide", "skip=q,", "skip=q - 1,"),),
    ),
    Mutation(
        "certificate with one vote less",
        "two rivals may both be certified",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("consensus/decide", "if count >= quorum]", "if count >= quorum - 1]"),),
    ),
    Mutation(
        "indirect commit needs one vote more",
        "a directly committed leader is skipped by whoever sees less",
        200,
        f"graphs {CRASH_GRAPHS}",
        (edit("consensus/decide", "indirect=t,", "indirect=t + 1,"),),
    ),
    Mutation(
        "indirect commit needs one vote less",
        "a directly skipped leader is committed by whoever sees less",
        1000,
        "graphs --mode crash --n 4,6",
        (edit("consensus/decide", "indirect=t,", "indirect=max(t - 1, 1),"),),
    ),
    Mutation(
        "anchor one round too early (crash)",
        "its history need not hold the votes",
        200,
        f"graphs {CRASH_GRAPHS}",
        (ANCHOR_TOO_EARLY,),
    ),
    Mutation(
        "anchor one round too early (byzantine)",
        "its history need not hold the certificates",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (ANCHOR_TOO_EARLY,),
    ),
    Mutation(
        "a vote is for a slot, not for a block",
        "votes for one rival count for the other",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/decide",
                "return None if ref is None else ref.digest",
                "return ref and self.dag.slot(round_, leader)[0].ref.digest",
            ),
        ),
    ),
    Mutation(
        "schedule from what is here, not from what is committed",
        "peers that saw more choose other leaders",
        400,
        CRASH_RUNS,
        (
            edit(
                "consensus/committer",
                "self.rotation.present(round_, self.heads)",
                "self.rotation.present(round_, [b.ref for b in self.dag.newest])",
            ),
        ),
    ),
    Mutation(
        "order inside a commit by arrival",
        "blocks reach peers in different orders",
        100,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/linearize",
                "return tuple(sorted(found, key=place))",
                "return tuple(sorted(found, key=lambda b: [*blocks].index(b.ref.digest)))",
            ),
        ),
    ),
    Mutation(
        "expiry by what is here, not by the leader",
        "what expires at peers that saw more is committed by others",
        400,
        BYZANTINE_RUNS,
        (
            edit(
                "consensus/committer",
                "self._expire(expiry_round(self.committee.mode, leader.round))",
                "self._expire(expiry_round(self.committee.mode, self.dag.highest_round))",
            ),
        ),
    ),
)
