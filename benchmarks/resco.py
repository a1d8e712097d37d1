"""The main measurement: optimise each RESCO network, then compare with seeds that the search never saw.

    python -m benchmarks.resco [NET ...] [--stages keep|drop-protected] [--seeds 5] [--first-seed 501]
        [--refine none|race|sumo] [--budget MINUTES]

Prints the built-in plan's mean delay, Greensplit's with its paired interval, teleports, and how long
`optimize` took. The peers' figures come from `python -m benchmarks.peers`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import RESCO, resco_configs
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.programs import write_plans
from signals.model.plan import PlanRequest, Refinement, StagePolicy
from signals.planning import plan_case, read_case
from signals.simulation.compare import compare


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=RESCO)
    parser.add_argument("--stages", choices=[s.value for s in StagePolicy], default=StagePolicy.KEEP.value)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=501)
    parser.add_argument("--refine", choices=[r.value for r in Refinement], default=Refinement.RACE.value)
    parser.add_argument("--budget", type=float, default=10.0, help="minutes of polishing with --refine sumo")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep-plans", type=Path, help="folder to keep the plan files in")
    options = parser.parse_args(arguments)
    folder = options.keep_plans or Path(tempfile.mkdtemp(prefix="greensplit-resco-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(
        "| network | built-in, s/veh | Greensplit | gain | 95 % interval | worst seed | teleports "
        "| chosen | signals planned | optimize, s |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in options.networks:
        start = time.perf_counter()
        scenario = read_scenario(resco_configs()[name])
        case = read_case(scenario)
        planned = plan_case(
            case,
            PlanRequest(stages=StagePolicy(options.stages)),
            refinement=Refinement(options.refine),
            budget_s=60.0 * options.budget,
            jobs_at_once=options.jobs,
        )
        path = folder / f"{name}.{options.stages}.{options.refine}.add.xml"
        write_plans(planned.plans, path)
        spent = time.perf_counter() - start
        result = compare(
            scenario,
            {"built-in": None, "Greensplit": path},
            seeds=range(options.first_seed, options.first_seed + options.seeds),
            jobs_at_once=options.jobs,
        )
        other = result.alternatives[0]
        before, after = result.current.measure("mean_delay_s"), other.figures.measure("mean_delay_s")
        print(
            f"| {name} | {before.mean:.1f} ± {before.sd:.1f} | {after.mean:.1f} ± {after.sd:.1f} "
            f"| {other.gain_percent:.1f} % | {other.difference.low:.1f} … {other.difference.high:.1f} s "
            f"| {after.worst:.1f} | {result.current.total('teleports')} → {other.figures.total('teleports')} "
            f"| {planned.chosen} | {len(planned.plans.periods[0])}/{len(case.network.intersections)} | {spent:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
