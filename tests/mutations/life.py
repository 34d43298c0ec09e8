"""Whatever keeps a mesh going, and quiet."""

from tests.mutations import BYZANTINE_RUNS, CRASH_RUNS, Mutation, edit

LIFE = (
    Mutation(
        "no weak links",
        "what comes late is never committed",
        1000,
        CRASH_RUNS,
        (
            edit(
                "consensus/core",
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
                "consensus/core",
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
        (edit("consensus/core", "            or commands_wait\n", "            or True\n"),),
    ),
    Mutation(
        "rounds for own commands only",
        "others' commands are never finished",
        100,
        CRASH_RUNS,
        (
            edit(
                "consensus/core",
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
                "consensus/synchronizer",
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
                "consensus/synchronizer",
                "return others[(start + question.tries) % len(others)]",
                "return others[start]",
            ),
        ),
    ),
    Mutation(
        "a helper that does not help is asked again and again",
        "one liar keeps a peer from catching up",
        400,
        f"{BYZANTINE_RUNS} --lies claims",
        (
            edit(
                "consensus/synchronizer",
                "self._excluded_ms[member] = now_ms + self._pull_timeout_ms",
                "pass",
            ),
        ),
    ),
    Mutation(
        "rivals are never taken",
        "honest blocks that refer to one wait for ever",
        100,
        BYZANTINE_RUNS,
        (edit("consensus/dag", "if not (restored or self._is_needed(block)):", "if True:"),),
    ),
    Mutation(
        "expired blocks are not reported",
        "their commands are never sent again",
        400,
        "--mode byzantine --n 4",
        (
            edit(
                "consensus/core",
                "expired = self.committer.take_expired()",
                "expired = self.committer.take_expired()[:0]",
            ),
        ),
    ),
    Mutation(
        "a name need not fit its block",
        "a liar stands where no quorum stood before it",
        400,
        f"{BYZANTINE_RUNS} --lies garbage",
        (
            edit(
                "consensus/dag",
                "if block is not None and block.ref == ref:",
                "if block is not None:",
            ),
        ),
    ),
    Mutation(
        "collected by what is here, not by what is committed",
        "what one accepts unseen another waits for for ever",
        400,
        "--mode byzantine --n 4",
        (
            edit(
                "consensus/committer",
                "        self._gc_round = gc_round(leader.round)",
                "        self._gc_round = gc_round(self.dag.highest_round)",
            ),
        ),
    ),
)
