"""Many runs: the table and the one digest over all of them.

Owns the command line. A run is named by mode, size and seed, and replays by that alone.
"""

import argparse
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from peer.consensus.committee import Mode
from tests.simulator import book, dags, delays, epochrun, noderun, wide
from tests.simulator.liars import KINDS
from tests.simulator.peer import Habits
from tests.simulator.plan import committee, draw, draw_changing, draw_long
from tests.simulator.run import Ending, Options, Run, Verdict

HABITS = {
    "send-before-sync": Habits(send_before_sync=True),
    "sync-own-only": Habits(sync_own_only=True),
}


@dataclass
class Row:
    """The runs of one mode and size."""

    endings: dict[Ending, int] = field(default_factory=lambda: dict.fromkeys(Ending, 0))
    rounds: int = 0
    commits: int = 0
    commands: int = 0
    blocks: int = 0
    checks: int = 0
    takeovers: int = 0
    heal_rounds: list[int] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.endings[verdict.ending] += 1
        self.rounds += verdict.rounds
        self.commits += verdict.commits
        self.commands += verdict.promised
        self.blocks += verdict.blocks
        self.checks += verdict.checks
        self.takeovers += verdict.takeovers
        self.heal_rounds.append(verdict.heal_rounds)


HEADER = (
    f"{'mode':>9} {'n':>2} {'Pass':>6} {'NoProgress':>10} {'Diverged':>8} {'rounds':>8}"
    f" {'blocks':>9} {'commits':>8} {'commands':>8} {'checks':>8} {'takeovers':>9}"
    "  rounds from healing to done: p50 / p99 / max"
)


def show(mode: Mode, size: int, row: Row) -> str:
    done = sorted(row.heal_rounds)
    passed, stuck, diverged = (row.endings[ending] for ending in Ending)
    return (
        f"{mode:>9} {size:>2} {passed:>6} {stuck:>10} {diverged:>8} {row.rounds:>8}"
        f" {row.blocks:>9} {row.commits:>8} {row.commands:>8} {row.checks:>8}"
        f" {row.takeovers:>9}"
        f"  {done[len(done) // 2]:>4} / {done[len(done) * 99 // 100]} / {done[-1]}"
    )


Case = tuple[int, Mode]


def cases(sizes: Sequence[int], modes: Sequence[Mode]) -> list[Case]:
    return [(size, mode) for size in sizes for mode in modes]


def verdict(seed: int, case: Case, options: Options) -> Verdict:
    size, mode = case
    if options.epochs:
        return epochrun.verdict(draw_changing(seed, size, mode), options)
    if options.nodes:
        return noderun.verdict(draw_long(seed, size, mode), options)
    lies = options.lies if mode is Mode.BYZANTINE else ()
    return Run(draw(seed, size, mode, lies), options).verdict()


def verdicts(seeds: range, among: Sequence[Case], options: Options) -> Iterator[Verdict]:
    """One run a seed, the cases in turn."""
    for seed in seeds:
        yield verdict(seed, among[seed % len(among)], options)


def runs(seeds: range, among: Sequence[Case], options: Options, first: bool) -> bool:
    """Run, report; whether all passed. `first`: stop at the first that did not."""
    rows = {case: Row() for case in among}
    digest = blake2b(digest_size=16)
    failed = False
    for done in verdicts(seeds, among, options):
        plan = done.plan
        rows[plan.committee.size, plan.committee.mode].add(done)
        digest.update(done.digest)
        if done.ending is not Ending.PASS:
            failed = True
            print(f"{plan.name} {done.ending.value}: {done.reason}")
            print(
                f"  replay: python -m tests.simulator --trace {plan.seed} "
                f"--n {plan.committee.size} --mode {plan.committee.mode}"
                f"{' --nodes' * options.nodes}{' --epochs' * options.epochs}"
                f"{' --lies ' + ','.join(options.lies) if options.lies != KINDS else ''}"
            )
            if first:
                return False
    print(HEADER)
    for (size, mode), row in sorted(rows.items(), key=lambda item: (item[0][1], item[0][0])):
        if row.heal_rounds:
            print(show(mode, size, row))
    print(f"digest of {len(seeds)} runs: {digest.hexdigest()}")
    return not failed


def graphs(seeds: range, among: Sequence[Case], first: bool) -> bool:
    """Random graphs; whether the observers of each agreed."""
    failed = False
    for seed in seeds:
        size, mode = among[seed % len(among)]
        if found := dags.contradiction(seed, committee(size, mode)):
            failed = True
            print(f"graph {mode}-{size}-{seed} Diverged: {found}")
            if first:
                break
    print(f"{len(seeds)} graphs: {'not all observers agree' if failed else 'all observers agree'}")
    return not failed


def kinds(text: str) -> tuple[str, ...]:
    """Kinds of lies, as the command line names them."""
    chosen = tuple(text.split(","))
    if unknown := set(chosen).difference(KINDS):
        raise argparse.ArgumentTypeError(f"no such lie: {', '.join(sorted(unknown))}")
    return chosen


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator",
        description="Run the consensus modules on a simulated clock, network and disk.",
    )
    parser.add_argument(
        "--seeds", type=int, default=200, help="how many runs (default %(default)s)"
    )
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--n", default="1,3,4,5,7", help="mesh sizes, in turn (default %(default)s)"
    )
    parser.add_argument("--mode", default="both", choices=("crash", "byzantine", "both"))
    parser.add_argument(
        "--lies", type=kinds, default=KINDS, metavar="KIND,...", help=f"among {', '.join(KINDS)}"
    )
    parser.add_argument("--trace", type=int, metavar="SEED", help="replay one run and tell all")
    parser.add_argument("--engine", action="store_true", help="run the real engine on top")
    parser.add_argument("--nodes", action="store_true", help="run whole nodes, for longer")
    parser.add_argument("--epochs", action="store_true", help="whole nodes that come and go")
    parser.add_argument("--graphs", type=int, default=0, help="random graphs instead of runs")
    parser.add_argument("--delays", action="store_true", help="only measure message delays")
    parser.add_argument("--wide", action="store_true", help="only measure long distances")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    parser.add_argument("--check-every", type=int, default=Options.check_every, metavar="STEPS")
    parser.add_argument("--habit", choices=HABITS, help="break the node on purpose")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    gc.set_threshold(50_000, 20, 20)  # a run makes many objects and few cycles
    among = cases(
        [int(size) for size in given.n.split(",")],
        list(Mode) if given.mode == "both" else [Mode(given.mode)],
    )
    options = Options(
        habits=HABITS.get(given.habit, Habits()),
        machine=book.Market if given.engine else book.Tally,
        command=book.order if given.engine else book.count,
        nodes=given.nodes,
        epochs=given.epochs,
        lies=given.lies,
        check_every=1 if given.trace is not None else given.check_every,
        trace=print if given.trace is not None else None,
    )
    seeds = range(given.start, given.start + given.seeds)
    if given.trace is not None:
        passed = all(
            runs(range(given.trace, given.trace + 1), [case], options, first=True) for case in among
        )
    elif given.graphs:
        passed = graphs(range(given.start, given.start + given.graphs), among, given.first)
    elif given.wide:
        for line in wide.table():
            print(line, flush=True)
        passed = True
    else:
        passed = given.delays or runs(seeds, among, options, given.first)
        if not (given.first or given.nodes or given.epochs):
            print(delays.table())
    return not passed
