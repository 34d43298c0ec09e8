"""The mutations, those of the protocol's own list first."""

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
        (edit("committer", "            self._leaders.clear()\n", ""),),
    ),
    Mutation(
        "stale decisions after a schedule change",
        "peers that decided more at once before the change decide otherwise",
        400,
        CRASH_RUNS,
        (
            edit(
                "committer",
                "                if self.schedule != schedule:",
                "                if False:",
            ),
        ),
    ),
    Mutation(
        "disjoint quorums",
        "two halves of four members each carry every step alone",
        100,
        f"graphs {CRASH_GRAPHS}",
        (edit("committee", "return self.size - self.faults", "return (self.size + 1) // 2"),),
    ),
    Mutation(
        "skip at q blames in the two-round rule",
        "a leader that is skipped here has votes enough there",
        200,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "committee",
                "self.size - self.shared + 1 if self.mode is Mode.CRASH else self.quorum",
                "self.quorum",
            ),
        ),
    ),
    Mutation(
        "two-round rule with an equivocator",
        "crash faults are all that rule survives",
        400,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit("committee", "return 2 if self.mode is Mode.CRASH else 3", "return 2"),
            edit(
                "committee",
                "self.size - self.shared + 1 if self.mode is Mode.CRASH else self.quorum",
                "self.size - self.shared + 1",
            ),
            edit(
                "committer",
                "supports = self._vote if self.committee.mode is Mode.CRASH else self._certificate",
                "supports = self._vote",
            ),
            edit(
                "committer",
                "self.committee.shared if self.committee.mode is Mode.CRASH else 1",
                "self.committee.shared",
            ),
        ),
    ),
    Mutation(
        "three-round rule with a bare majority",
        "two quorums need not share an honest member",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "committee",
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
                "committer",
                "            if decision is not SKIPPED:\n                return decision\n"
                "        return None",
                "            if decision not in (SKIPPED, None):\n                return decision\n"
                "        return None",
            ),
        ),
    ),
    Mutation(
        "jumping rounds",
        "what a peer missed stays without its votes and certificates",
        400,
        BYZANTINE_RUNS,
        (edit("consensus", "CATCH_UP_ROUNDS = 20", "CATCH_UP_ROUNDS = 0"),),
    ),
    Mutation(
        "plain rotation of leaders",
        "with one dead member anchors of its slots fall on its slots again",
        100,
        CRASH_RUNS,
        (
            edit(
                "committer",
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
        (edit("consensus", "            or self.dag.highest_round >= round_\n", ""),),
    ),
    Mutation(
        "fewer than f + 1 eligible leaders",
        "all of them may be dead",
        400,
        CRASH_RUNS,
        (
            edit(
                "committer",
                "ranked[: max(enough, self.committee.faults + 1)]",
                "ranked[:1]",
            ),
            edit(
                "committer",
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
                "committer",
                "for digest in {supports(block, round_, leader) for block in blocks}:",
                "for digest in [supports(block, round_, leader) for block in blocks]:",
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
                "committer",
                "sum(any(b.parent(round_, leader) is None for b in blocks) for blocks in authors)",
                "sum(b.parent(round_, leader) is None for blocks in authors for b in blocks)",
            ),
        ),
    ),
)

RULE = (
    Mutation(
        "direct commit with one vote less",
        "an anchor's history need not hold enough of them",
        200,
        f"graphs {CRASH_GRAPHS}",
        (
            edit(
                "committer",
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
                "committer",
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
        (edit("committee", "self.size - self.shared + 1 if", "self.size - self.shared if"),),
    ),
    Mutation(
        "direct skip with one blame less (byzantine)",
        "the liar blames and votes",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("committee", "Mode.CRASH else self.quorum", "Mode.CRASH else self.quorum - 1"),),
    ),
    Mutation(
        "certificate with one vote less",
        "two rivals may both be certified",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "committer",
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
                "committer",
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
                "committer",
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
        (edit("committer", "+ self.committee.wave :]", "+ self.committee.wave - 1 :]"),),
    ),
    Mutation(
        "anchor one round too early (byzantine)",
        "its history need not hold the certificates",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (edit("committer", "+ self.committee.wave :]", "+ self.committee.wave - 1 :]"),),
    ),
    Mutation(
        "a vote is for a slot, not for a block",
        "votes for one rival count for the other",
        4000,
        f"graphs {BYZANTINE_GRAPHS}",
        (
            edit(
                "committer",
                "        return None if ref is None else ref.digest\n",
                "        return ref and self.dag.slot(round_, leader)[0].ref.digest\n",
            ),
            edit(
                "committer", "    @staticmethod\n    def _vote(block", "    def _vote(self, block"
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
                "committer",
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
                "committer",
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
                "committer",
                "self._raise_floor(leader.round - GARBAGE_ROUNDS)",
                "self._raise_floor(self.dag.highest_round - GARBAGE_ROUNDS)",
            ),
        ),
    ),
    Mutation(
        "the commit's clock may run backwards",
        "good-till-date orders would come back to life",
        100,
        CRASH_RUNS,
        (edit("committer", "max(self.time_ms, self._time(leader))", "self._time(leader)"),),
    ),
    Mutation(
        "the leader's clock alone in byzantine mode",
        "one liar moves the time of all",
        200,
        BYZANTINE_RUNS,
        (
            edit(
                "committer",
                "        if self.committee.mode is Mode.CRASH:\n            return leader.time",
                "        if True:\n            return leader.time",
            ),
        ),
    ),
)

LIFE = (
    Mutation(
        "no weak links",
        "what comes late is never committed",
        1000,
        CRASH_RUNS,
        (
            edit(
                "consensus",
                "if block is not None and self.committer.wants(block.ref):",
                "if block is not None and block.round == round_ - 1:",
            ),
        ),
    ),
    Mutation(
        "leaders are waited for without end",
        "a dead leader stops the mesh",
        100,
        CRASH_RUNS,
        (
            edit(
                "consensus",
                "return since_ms + self._leader_timeout_ms() - now_ms",
                "return self._leader_timeout_ms()",
            ),
        ),
    ),
    Mutation(
        "rounds without need",
        "an idle mesh makes blocks",
        20,
        CRASH_RUNS,
        (edit("consensus", "            commands_wait\n", "            True\n"),),
    ),
    Mutation(
        "rounds for own commands only",
        "others' commands are never finished",
        100,
        CRASH_RUNS,
        (
            edit(
                "consensus",
                "            or bool(self.committer.uncommitted_payloads)\n",
                "",
            ),
        ),
    ),
    Mutation(
        "heartbeats are not read",
        "a lost last message stays lost",
        100,
        CRASH_RUNS,
        (
            edit(
                "fetch",
                "return self._ask_above(member, now_ms) if self._lacks(overdue) else None",
                "return None",
            ),
        ),
    ),
    Mutation(
        "missing blocks are asked of their author only",
        "a liar need not hand out what it made some refer to",
        400,
        BYZANTINE_RUNS,
        (
            edit(
                "fetch",
                "return others[(start + question.tries) % len(others)]",
                "return others[start]",
            ),
        ),
    ),
    Mutation(
        "a helper that does not help is asked again and again",
        "one liar keeps a peer from catching up",
        400,
        BYZANTINE_RUNS,
        (
            edit(
                "fetch",
                "self._shunned_ms[member] = now_ms + self._pull_timeout_ms",
                "pass",
            ),
        ),
    ),
    Mutation(
        "what finds no room to wait is forgotten",
        "a block that others wait for is never asked for again",
        400,
        CRASH_RUNS,
        (
            edit(
                "dag",
                "        if self._held[block.author] >= WAITING_MAX and",
                "        self.missing.pop(block.ref.digest, None)\n"
                "        if self._held[block.author] >= WAITING_MAX and",
            ),
        ),
    ),
    Mutation(
        "rivals are never taken",
        "honest blocks that refer to one wait for ever",
        100,
        BYZANTINE_RUNS,
        (edit("dag", "            if not needed:\n", "            if True:\n"),),
    ),
    Mutation(
        "lost blocks are not reported",
        "their commands are never sent again",
        1000,
        BYZANTINE_RUNS,
        (
            edit(
                "consensus",
                "self._ready.lost += [b for b in self.committer.lost if b.author == self.me]",
                "pass",
            ),
        ),
    ),
    Mutation(
        "a name need not fit its block",
        "a liar stands where no quorum stood before it",
        400,
        BYZANTINE_RUNS,
        (edit("dag", "if block is not None and block.ref == ref:", "if block is not None:"),),
    ),
    Mutation(
        "settled at another round on every peer",
        "what one accepts unseen another waits for for ever",
        1000,
        BYZANTINE_RUNS,
        (
            edit(
                "committer",
                "(next_round - 1 - KEPT_ROUNDS) // SETTLE_ROUNDS * SETTLE_ROUNDS",
                "next_round - 1 - KEPT_ROUNDS",
            ),
            edit(
                "committer",
                "        if line <= max(self.dag.floor):",
                "        if line < max(self.dag.floor) + SETTLE_ROUNDS:",
            ),
        ),
    ),
)

MUTATIONS = ORDER + RULE + LIFE
