"""The commit rule, the order within a commit and the clock."""

from tests.mutations import (
    BYZANTINE_GRAPHS,
    BYZANTINE_RUNS,
    CRASH_GRAPHS,
    CRASH_RUNS,
    Mutation,
    edit,
)

RULE = (
    Mutation(
        "direct commit with one vote less",
        "an anchor's history need not hold enough of them",
        200,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/committer",
                "return self._supported(round_, voices, self.committee.quorum)",
                "return self._supported(round_, voices, self.committee.quorum - 1)",
            ),
        ),
    ),
    Mutation(
        "direct commit with one certificate less",
        "an anchor's history need not hold one of them",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/committer",
                "return self._supported(round_, voices, self.committee.quorum)",
                "return self._supported(round_, voices, self.committee.quorum - 1)",
            ),
        ),
    ),
    Mutation(
        "direct skip with one blame less (crash)",
        "an anchor may still find t votes",
        200,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/committee",
                "self.size - self.shared + 1 if",
                "self.size - self.shared if",
            ),
        ),
    ),
    Mutation(
        "direct skip with one blame less (byzantine)",
        "the liar blames and votes",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/committee",
                "Mode.CRASH else self.quorum",
                "Mode.CRASH else self.quorum - 1",
            ),
        ),
    ),
    Mutation(
        "certificate with one vote less",
        "two rivals may both be certified",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/committer",
                "if count >= self.committee.quorum]",
                "if count >= self.committee.quorum - 1]",
            ),
        ),
    ),
    Mutation(
        "indirect commit needs one vote more",
        "a directly committed leader is skipped by whoever sees less",
        200,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/committer",
                "enough = self.committee.shared if",
                "enough = self.committee.shared + 1 if",
            ),
        ),
    ),
    Mutation(
        "indirect commit needs one vote less",
        "a directly skipped leader is committed by whoever sees less",
        1000,
        "graphs --mode crash --n 4,6",
        (
            edit(
                "consensus/committer",
                "enough = self.committee.shared if",
                "enough = max(self.committee.shared - 1, 1) if",
            ),
        ),
    ),
    Mutation(
        "anchor one round too early (crash)",
        "its history need not hold the votes",
        200,
        f"graphs {CRASH_GRAPHS}",
        (edit("consensus/committer", "+ self.committee.wave :]", "+ self.committee.wave - 1 :]"),),
    ),
    Mutation(
        "anchor one round too early (byzantine)",
        "its history need not hold the certificates",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("consensus/committer", "+ self.committee.wave :]", "+ self.committee.wave - 1 :]"),),
    ),
    Mutation(
        "a vote is for a slot, not for a block",
        "votes for one rival count for the other",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/committer",
                "        return None if ref is None else ref.digest\n",
                "        return ref and self.dag.slot(round_, leader)[0].ref.digest\n",
            ),
            edit(
                "consensus/committer",
                "    @staticmethod\n    def _vote(block",
                "    def _vote(self, block",
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
                "for author, head in enumerate(self.heads):",
                "for author, head in enumerate(b.ref for b in self.dag.newest):",
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
                "consensus/committer",
                "        return tuple(sorted(found, key=place))",
                "        here = list(self.dag.blocks)\n"
                "        return tuple(sorted(found, key=lambda b: here.index(b.ref.digest)))",
            ),
        ),
    ),
    Mutation(
        "garbage line by what is here, not by the leader",
        "peers that saw more collect more",
        400,
        BYZANTINE_RUNS,
        (
            edit(
                "consensus/committer",
                "self._raise_floor(leader.round - GARBAGE_ROUNDS)",
                "self._raise_floor(self.dag.highest_round - GARBAGE_ROUNDS)",
            ),
        ),
    ),
)
