"""How well the queue simulator ranks plans as SUMO does: random plans, both simulators, rank correlation.

    python -m benchmarks.surrogate [NET ...] [--plans 16] [--seeds 1]

Each plan draws a cycle, splits around the field's, and offsets; every second one also leaves out stages.
SUMO runs each plan with a seed of its own, or several whose mean counts; then its own rank correlation from seed
to seed says what a perfect model could reach. Prints Spearman's rho, the median absolute error and the median
ratio of the mean delay, rho and median ratio of the stops a vehicle, and how many times faster the queue
simulator was, single-threaded, in this run.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.peers import RESCO, resco_configs
from kernels.queues import simulate
from signals.errors import InfeasiblePlan
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.programs import write_plans
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanRequest, PlanSet, StagePolicy, TimingPlan
from signals.planning import Case, read_case, safe_drops
from signals.simulation.run import RunSpec, simulate_many
from signals.timing.moves import may_drop
from signals.timing.pack import FLOW_RULES, pack_road, pack_signals, pack_traffic
from signals.timing.stages import program_of, stage_plan, without_stages

CYCLES_S = (40, 50, 60, 70, 80, 90, 100, 120)
SPLIT_SPREAD = 0.35
DROP_SHARE = 0.7


def random_programs(case: Case, generator: random.Random, drop: bool) -> dict[str, SignalProgram]:
    """Feasible programs for every signal that can be planned."""
    request = PlanRequest(stages=StagePolicy.DROP_PROTECTED if drop else StagePolicy.KEEP)
    cycle = generator.choice(CYCLES_S)
    programs = {}
    for signal, intersection in case.network.intersections.items():
        try:
            plan = stage_plan(intersection, request)
        except InfeasiblePlan:
            continue
        left_out: list[int] = []
        for k in safe_drops(case.network, plan, request) if drop else ():
            if generator.random() < DROP_SHARE and may_drop(plan, [*left_out, k]):
                left_out.append(k)
        plan = without_stages(plan, left_out)
        wish = [s.duration_s * np.exp(generator.gauss(0, SPLIT_SPREAD)) for s in plan.stages]
        greens = [s.min_s for s in plan.stages]
        while sum(greens) + plan.fixed_s < cycle:
            open_stages = [k for k, s in enumerate(plan.stages) if greens[k] < s.max_s]
            if not open_stages:
                break
            greens[max(open_stages, key=lambda k: wish[k] / (greens[k] + 1))] += 1
        stages = tuple(replace(s, duration_s=float(g)) for s, g in zip(plan.stages, greens, strict=True))
        offset = float(generator.randrange(int(plan.fixed_s + sum(greens))))
        programs[signal] = program_of(replace(plan, stages=stages, offset_s=offset), "random")
    return programs


def correlate(
    case: Case, n_plans: int, n_seeds: int, jobs: int
) -> tuple[float, float, float, float, float, float, float]:
    """Of delay rho, median error and ratio; of stops rho and ratio; speed ratio; rho of SUMO with itself."""
    generator = random.Random(case.scenario.name)
    drawn = [random_programs(case, generator, drop=bool(k % 2)) for k in range(n_plans)]
    road = pack_road(case.network, {t.vehicle_class for t in case.demand.types.values()} | {"passenger"})
    traffic = pack_traffic(case.network, road, case.demand, speed_spread=0.1, seed=1)
    n_link = len(road.connections)

    def modelled(programs: dict[str, SignalProgram]) -> tuple[float, float]:
        shown: dict[str, list[tuple[float, SignalProgram]]] = {}
        for signal in road.signals:
            program = programs.get(signal) or case.network.intersections[signal].program
            assert program is not None
            shown[signal] = [(-1e18, program)]
        signals = pack_signals(road, shown)
        lost, passed = np.zeros(n_link), np.zeros(n_link, np.int64)
        stops = np.zeros(traffic.depart.shape[0], np.int64)
        delay = simulate(
            road.arrays,
            traffic,
            signals,
            FLOW_RULES,
            case.demand.begin_s,
            case.demand.end_s,
            lost,
            passed,
            stops,
        )
        return float(delay.mean()), float(stops.mean())

    modelled(drawn[0])
    start = time.process_time()
    model, model_stops = np.array([modelled(p) for p in drawn]).T
    model_s = (time.process_time() - start) / n_plans
    with tempfile.TemporaryDirectory() as folder:
        specs = []
        for k, programs in enumerate(drawn):
            path = Path(folder) / f"{k}.add.xml"
            rows = {s: TimingPlan(p) for s, p in programs.items()}
            write_plans(PlanSet((rows,), {}, {}, k, "benchmark", "benchmark"), path)
            specs += [RunSpec(case.scenario, 100 + k + 1000 * n, (path,), light=True) for n in range(n_seeds)]
        runs = simulate_many(specs, jobs_at_once=jobs)
        by_seed = np.array([r.mean_delay_s for r in runs]).reshape(n_plans, n_seeds)
        sumo = by_seed.mean(axis=1)
        sumo_stops = np.array([r.stops_per_vehicle for r in runs]).reshape(n_plans, n_seeds).mean(axis=1)
        itself = float(spearmanr(by_seed[:, 0], by_seed[:, 1])[0]) if n_seeds > 1 else float("nan")
        start = children_cpu_s()
        simulate_many(specs[:1], jobs_at_once=1)
        sumo_s = children_cpu_s() - start
    return (
        float(spearmanr(model, sumo)[0]),
        float(np.median(np.abs(model / sumo - 1))),
        float(np.median(model / sumo)),
        float(spearmanr(model_stops, sumo_stops)[0]),
        float(np.median(model_stops / sumo_stops)),
        sumo_s / model_s,
        itself,
    )


def children_cpu_s() -> float:
    """CPU time of processes that have ended [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=RESCO)
    parser.add_argument("--plans", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    print(
        "| network | Spearman's rho | median error | median ratio | rho of stops | ratio of stops "
        "| times faster than SUMO | SUMO's own rho |\n|---|---|---|---|---|---|---|---|"
    )
    for name in options.networks:
        case = read_case(read_scenario(resco_configs()[name]))
        rho, error, ratio, stops_rho, stops_ratio, faster, itself = correlate(
            case, options.plans, options.seeds, options.jobs
        )
        print(
            f"| {name} | {rho:.3f} | {100 * error:.1f} % | {ratio:.2f} | {stops_rho:.3f} | {stops_ratio:.2f} "
            f"| {faster:.0f} | {itself:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
