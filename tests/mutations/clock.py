"""Time: the ordered clock, what moves it, and when a member may speak."""

from tests.mutations import BYZANTINE_RUNS, CRASH_RUNS, Mutation, edit
from tests.mutations.disk import CRASH_NODES

CLOCK = (
    Mutation(
        "the ordered clock goes back",
        "a clock that is set back takes the market with it",
        100,
        CRASH_RUNS,
        (
            edit(
                "consensus/committer",
                "max(self.time_ms, ordered_time_ms(self.times_ms))",
                "ordered_time_ms(self.times_ms)",
            ),
        ),
    ),
    Mutation(
        "the clock of one leader is the ordered one",
        "one wrong clock moves the market, for good",
        100,
        CRASH_RUNS,
        (edit("consensus/committer", "ordered_time_ms(self.times_ms))", "leader.time_ms)"),),
    ),
    Mutation(
        "the fastest clock is the ordered one",
        "one wrong clock moves the market, for good",
        100,
        BYZANTINE_RUNS,
        (edit("consensus/clock", "[(len(times_ms) - 1) // 2]", "[-1]"),),
    ),
    Mutation(
        "commands come without the time",
        "a mesh that slept takes its first orders into the past",
        400,
        CRASH_RUNS,
        (
            edit(
                "consensus/core",
                "return now_ms - self._spoke_ms <= self.timing.fresh_ms << doublings",
                "return True",
            ),
        ),
    ),
    Mutation(
        "a snapshot forgets what the clocks said",
        "who goes on from it has another time",
        60,
        CRASH_NODES,
        (
            edit(
                "consensus/committer",
                "self.times_ms = list(checkpoint.times_ms)",
                "self.times_ms = [self.committee.created_ms] * self.committee.size",
            ),
        ),
    ),
    Mutation(
        "nobody moves the mesh for what is due",
        "an order outlives its time until somebody trades",
        40,
        CRASH_NODES,
        (
            edit(
                "node/mesh_status",
                "return expiry_ms is not None and expiry_ms <= self.clocks.",
                "return False and self.clocks.",
            ),
        ),
    ),
    Mutation(
        "a member speaks before it has heard anybody",
        "an old copy of a journal signs what its key has signed otherwise",
        400,
        CRASH_RUNS,
        (edit("consensus/start", "        return self.over\n", "        return True\n"),),
    ),
)
