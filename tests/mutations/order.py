"""What the protocol warns of by name."""

from tests.mutations import (
    BYZANTINE_GRAPHS,
    BYZANTINE_RUNS,
    CRASH_GRAPHS,
    CRASH_RUNS,
    Mutation,
    edit,
)

ORDER = (
    Mutation(
        "send before fsync",
        "a crash forgets what others saw, so the peer signs the round again",
        100,
        f"{CRASH_RUNS} --habit send-before-sync",
    ),
    Mutation(
        "flush only own blocks",
        "after a crash an own block stands on parents that nobody may have any more",
        100,
        f"{CRASH_RUNS} --habit sync-own-only",
    ),
    Mutation(
        "stale leaders after a schedule change",
        "peers that looked at a slot before the change decide another leader than those after",
        400,
        CRASH_RUNS,
        (
            edit(
                "consensus/committer",
                "            self.decider = Decider(self.dag, schedule, self._rule)\n",
                "            leaders = self.decider._leaders\n"
                "            self.decider = Decider(self.dag, schedule, self._rule)\n"
                "            self.decider._leaders = leaders\n",
            ),
        ),
    ),
    Mutation(
        "stale decisions after a schedule change",
        "peers that decided more at once before the change decide otherwise",
        400,
        CRASH_RUNS,
        (
            edit(
                "consensus/committer",
                "                if self.decider is not decider:",
                "                if False:",
            ),
        ),
    ),
    Mutation(
        "disjoint quorums",
        "two halves of four members each carry every step alone",
        100,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/committee",
                "return self.size - self.faults",
                "return (self.size + 1) // 2",
            ),
        ),
    ),
    Mutation(
        "skip at q blames in the two-round rule",
        "a leader that is skipped here has votes enough there",
        200,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/decide",
                "skip=n - t + 1, ",
                "skip=q, ",
            ),
        ),
    ),
    Mutation(
        "two-round rule with an equivocator",
        "crash faults are all that rule survives",
        400,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("consensus/decide", "if committee.mode is Mode.BYZANTINE:", "if False:"),),
    ),
    Mutation(
        "three-round rule with a bare majority",
        "two quorums need not share an honest member",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/committee",
                "(self.size - 1) // (2 if self.mode is Mode.CRASH else 3)",
                "(self.size - 1) // 2",
            ),
        ),
    ),
    Mutation(
        "anchor search passes over an undecided slot",
        "it may turn out to be the anchor",
        400,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "consensus/decide",
                "if slot.status is not Status.SKIP:",
                "if slot.status is Status.COMMIT:",
            ),
        ),
    ),
    Mutation(
        "jumping rounds",
        "what a peer missed stays without its votes and certificates",
        400,
        BYZANTINE_RUNS,
        (edit("consensus/core", "CATCH_UP_ROUNDS = 20", "CATCH_UP_ROUNDS = 0"),),
    ),
    Mutation(
        "plain rotation of leaders",
        "with one dead member anchors of its slots fall on its slots again",
        100,
        CRASH_RUNS,
        (
            edit(
                "consensus/schedule",
                "self.eligible[draw % len(self.eligible)]",
                "self.eligible[round_ % len(self.eligible)]",
            ),
        ),
    ),
    Mutation(
        "nobody finishes what another started",
        "a peer that used up its round waits for ever",
        1000,
        CRASH_RUNS,
        (edit("consensus/core", "            or self.dag.highest_round >= round_\n", ""),),
    ),
    Mutation(
        "fewer than f + 1 eligible leaders",
        "all of them may be dead",
        400,
        CRASH_RUNS,
        (
            edit(
                "consensus/schedule",
                "ranked[: max(enough, least)]",
                "ranked[:1]",
            ),
            edit(
                "consensus/committer",
                "        assert len(self.schedule.eligible) >= self.committee.faults + 1\n",
                "",
            ),
        ),
    ),
    Mutation(
        "support counted over blocks",
        "an equivocator's blocks each count as a voice",
        4000,
        "graphs --mode byzantine --n 4",
        (
            edit(
                "consensus/decide",
                "for digest in {support(self, block, round_, leader) for block in blocks}:",
                "for digest in [support(self, block, round_, leader) for block in blocks]:",
            ),
        ),
    ),
    Mutation(
        "blames counted over blocks",
        "an equivocator's blocks each count as a voice",
        2000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "consensus/decide",
                "sum(any(b.parent(round_, leader) is None for b in blocks) for blocks in authors)",
                "sum(b.parent(round_, leader) is None for blocks in authors for b in blocks)",
            ),
        ),
    ),
)
