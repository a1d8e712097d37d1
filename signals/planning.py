"""From a scenario to a plan that has been proven: the whole path, as plain functions.

    network and demand → stages → search → safety check → race in simulation → plan set

No database, no settings, no console: everything is an argument, everything that comes back can be pickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from signals import __version__
from signals.controllers.mapping import cabinet_of, pattern_of
from signals.demand.turning import flows_vph, turning_counts
from signals.errors import InfeasiblePlan, InputError, UnmappablePlan, UnsafePlan
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.demand import record_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import write_plans
from signals.model.controller import Cabinet
from signals.model.demand import Demand, TurningCounts
from signals.model.network import Network
from signals.model.phasing import StagePlan
from signals.model.plan import (
    ControllerPolicy,
    Objective,
    OmittedStage,
    PlanRequest,
    PlanSet,
    StagePolicy,
    TimingPlan,
)
from signals.safety.check import Rule, check_plan, require_safe
from signals.simulation.run import RunResult, RunSpec, simulate_many
from signals.timing.coordination import coordination_groups
from signals.timing.schedule import find_periods, safe_switch_time
from signals.timing.search import (
    WORST_SHARE,
    Judged,
    Problem,
    Solution,
    judge,
    pose,
    search,
    search_work,
    weighed,
)
from signals.timing.stages import (
    droppable,
    omitted_stages,
    program_of,
    stage_plan,
    strands_turns,
    without_stages,
)

Progress = Callable[[str, int, int], None]
"""Called with the step's name, how much of it is done, and how much there is."""

SEARCH_WORK = 9e9
"""How much the search may simulate, in the units of `search_work`: about 12 s on two cores."""
FEWEST_EVALUATIONS = 50
MOST_EVALUATIONS = 4000
RACE_WORK = 1.1e7
"""How much the race may simulate, in vehicle-seconds on the road: about 22 s on two cores."""
RACE_SEEDS = 3
FINALISTS = 2
CLEARLY_WORSE = 1.15
"""An entrant behind the leader by this factor after the first seed runs no further."""
INCIDENT_PRICE = 0.05
"""Share of the objective's mean that each teleport and each emergency stop counts for."""
RACE_MARGIN = 0.005
"""A candidate must beat the plan in place by this share over the race's seeds to replace it."""
LATEST_SWITCH_S = 600.0
"""A signal that can't switch within so long after a period's start gets another offset."""
SWITCH_MARGIN = 0.01
"""A schedule of several plans must beat a single one by this share to pay for its switches and its upkeep."""
SIGNALS_NAMED = 8
"""As many ids as a message of an unknown signal gives."""
LEAD_IN_S = 600.0
"""Traffic of so long before a period is simulated with it, so that the period doesn't start empty."""


@dataclass(frozen=True)
class Case:
    """A scenario read: its network, who drives in it, and what that means at each signal.

    `vehicle_seconds` is the time that all vehicles together spend on the road under the plan in place.
    """

    scenario: Scenario
    network: Network
    demand: Demand
    counts: TurningCounts
    vehicle_seconds: float

    def flows_vph(self, time_s: float) -> dict[str, dict[str, float]]:
        """The flow of each movement by signal, in the interval of counting that a time lies in, or the nearest."""
        counts = self.counts
        k = min(max(int((time_s - counts.begin_s) // counts.interval_s), 0), counts.n_intervals - 1)
        return {signal: flows_vph(counts, signal, k, k) for signal in self.network.intersections}


@dataclass(frozen=True)
class Raced:
    """How a candidate fared in simulation: mean delay [s/veh] and stops of everybody due, seed by seed.

    `modelled` is what the search's simulator says of it, in the unit of the request's objective.
    """

    name: str
    modelled: float
    delays_s: tuple[float, ...]
    stops: tuple[float, ...]
    teleports: int
    emergency_stops: int

    @property
    def mean_s(self) -> float:
        """Mean delay over the seeds."""
        return float(np.mean(self.delays_s))

    @property
    def mean_stops(self) -> float:
        """Mean over the seeds of stops a vehicle."""
        return float(np.mean(self.stops))


@dataclass(frozen=True)
class Planned:
    """A plan set, and the evidence that led to it. `kept` says that the plan in place was not beaten."""

    case: Case
    request: PlanRequest
    plans: PlanSet
    race: tuple[Raced, ...]
    chosen: str
    kept: bool
    evaluations: int


def read_case(scenario: Scenario, *, seed: int = 1, cache: Path | None = None) -> Case:
    """Read a scenario's network and demand, and count turning movements at the time vehicles reach them.

    Raises
    ------
    InputError
        Where a file is broken or the network has no signals.
    SimulationError
        Where SUMO can't run the scenario.
    """
    network = read_network(scenario)
    if not network.intersections:
        raise InputError(f"{scenario.net}: has no signals, so there is nothing to time")
    demand, exit_times = record_demand(scenario, seed=seed, cache=cache)
    spent = sum(exit_times[v.id][-1] - v.depart_s for v in demand.vehicles if exit_times.get(v.id))
    return Case(scenario, network, demand, turning_counts(network, demand), spent)


def plan_case(
    case: Case, request: PlanRequest, *, jobs_at_once: int = 2, on_progress: Progress | None = None
) -> Planned:
    """The best safe plan for a whole scenario, raced in simulation against the one in place.

    Best is what the request's objective makes smallest over the whole network, whichever signals are retimed.
    The same case, request and version give the same plan set. Where no candidate beats the plan in place,
    that one comes back under a new name, and `Planned.kept` is set.

    Raises
    ------
    InputError
        Where the request names a signal that the network doesn't have.
    InfeasiblePlan
        Where no signal can be planned; the message gives each one's reason.
    UnsafePlan
        Where every candidate fails the safety check, which would be a fault of the search.
    UnmappablePlan
        Where it is for NEMA controllers and they can't show the result after all, which would be one as well.
    SimulationError
        Where SUMO can't run the scenario.
    """
    report = on_progress or (lambda _step, _done, _of: None)
    scope = in_scope(case.network, request)
    base, unplanned = _stage_plans(scope, request)
    cabinets: dict[str, Cabinet] = {}
    if request.controllers is ControllerPolicy.NEMA:
        cabinets, unmapped = _cabinets(case.network, base)
        base = {s: p for s, p in base.items() if s in cabinets}
        unplanned |= unmapped
    if not base:
        raise InfeasiblePlan("no signal can be planned:\n  " + "\n  ".join(unplanned.values()))
    retimed = {s: rows for s, rows in case.counts.counts.items() if s in scope.intersections}
    several = case.demand.vehicles and request.controllers is ControllerPolicy.ANY
    breaks = find_periods(replace(case.counts, counts=retimed)) if several else ()
    candidates: list[tuple[str, PlanSet, float]] = []
    beside_delay = request.objective is not Objective.DELAY
    work = SEARCH_WORK / (1 + bool(breaks) + beside_delay)
    problem, found = _searched(case, request, base, cabinets, work, report)
    for number, judged in enumerate(found):
        candidates.append(
            (
                f"candidate {number + 1}",
                _plan_set(case, request, problem, [judged.solution], (), unplanned),
                judged.value,
            )
        )
    if beside_delay:
        # the search's simulator knows delay better than stops: the race decides between both
        delay_alone = replace(request, objective=Objective.DELAY)
        _, for_delay = _searched(case, delay_alone, base, cabinets, work, report)
        solution = for_delay[0].solution
        plans = _plan_set(case, request, problem, [solution], (), unplanned)
        candidates.insert(1, ("best for delay", plans, judge(problem, solution)[0]))
    if breaks:
        scheduled = _scheduled(case, request, base, breaks, found[0].solution, unplanned, work, report)
        candidates.append((f"{len(breaks) + 1} periods", scheduled, float("nan")))
    in_place = _in_place(case, request, base, unplanned)
    safe = [c for c in candidates if _is_safe(scope, c[1], request)]
    if not safe:
        require_safe(scope, candidates[0][1], request)
    first_seed_runs = RACE_WORK / max(case.vehicle_seconds, 1.0) - FINALISTS * (RACE_SEEDS - 1)
    most = int(min(max(first_seed_runs - 1, FINALISTS + beside_delay), len(safe)))
    entrants = [("in place", in_place, judge(problem, {})[0]), *_shortlist(safe, most)]
    raced = _race(case.scenario, request, entrants, jobs_at_once, report)
    by_name = {name: plans for name, plans, _ in entrants}
    best = min(
        (r for r in raced[1:] if len(r.delays_s) == RACE_SEEDS),
        key=lambda r: _worth(r, request) * (1 + SWITCH_MARGIN * (len(by_name[r.name].periods) > 1)),
    )
    kept = _worth(best, request) >= _worth(raced[0], request) * (1 - RACE_MARGIN)
    winner = raced[0] if kept else best
    plans = by_name[winner.name]
    require_safe(scope, plans, request)
    for signal, cabinet in cabinets.items():
        pattern_of(cabinet, plans.periods[0][signal].program)
    return Planned(case, request, plans, tuple(raced), winner.name, kept, problem.evaluations)


def in_scope(network: Network, request: PlanRequest) -> Network:
    """The network with none but the signals to be retimed, as the safety check of a plan set needs it.

    Raises
    ------
    InputError
        Where the request names a signal that the network doesn't have.
    """
    if not request.signals:
        return network
    unknown = [s for s in request.signals if s not in network.intersections]
    if unknown:
        some = ", ".join(sorted(network.intersections)[:SIGNALS_NAMED])
        more = ", …" if len(network.intersections) > SIGNALS_NAMED else ""
        raise InputError(
            f"signals to be retimed: {network.source} has no signal {', '.join(unknown[:SIGNALS_NAMED])}; "
            f"it has {some}{more}"
        )
    return replace(network, intersections={s: network.intersections[s] for s in request.signals})


def _stage_plans(network: Network, request: PlanRequest) -> tuple[dict[str, StagePlan], dict[str, str]]:
    """Stages of each signal that can be planned, and the reason for each that can't."""
    plans: dict[str, StagePlan] = {}
    reasons: dict[str, str] = {}
    for signal, intersection in network.intersections.items():
        try:
            plans[signal] = stage_plan(intersection, request, network.connections)
        except InfeasiblePlan as reason:
            reasons[signal] = str(reason)
    return plans, reasons


def _cabinets(network: Network, base: Mapping[str, StagePlan]) -> tuple[dict[str, Cabinet], dict[str, str]]:
    """The controller of each signal whose program phases can show, and the reason for each other one."""
    cabinets: dict[str, Cabinet] = {}
    reasons: dict[str, str] = {}
    for signal in base:
        try:
            cabinets[signal] = cabinet_of(network.intersections[signal], network)
        except UnmappablePlan as reason:
            reasons[signal] = str(reason)
    return cabinets, reasons


def is_showable(cabinet: Cabinet, base: StagePlan, plan: StagePlan) -> bool:
    """Whether a controller's phases can show stages in an order, at the lengths that the field gives them."""
    field_s = {s.state: s.duration_s for s in base.stages}
    stages = [replace(s, duration_s=max(s.min_s, field_s.get(s.state, 0.0))) for s in plan.stages]
    try:
        pattern_of(cabinet, program_of(replace(plan, stages=tuple(stages)), "trial"))
    except UnmappablePlan:
        return False
    return True


def is_safe_order(
    network: Network, base: StagePlan, plan: StagePlan, order: tuple[int, ...], request: PlanRequest
) -> bool:
    """Whether stages in an order strand no turns and, with their changes, pass the safety check; the cycle aside."""
    intersection = network.intersections[plan.intersection]
    if strands_turns(intersection, network.connections, base, order):
        return False
    left_out = [k for k in range(len(base.stages)) if k not in order]
    trial = TimingPlan(program_of(plan, "trial"), omitted_stages(intersection, base, left_out))
    findings = check_plan(intersection, trial, request, connections=network.connections)
    return all(f.rule is Rule.CYCLE for f in findings)


def safe_drops(network: Network, plan: StagePlan, request: PlanRequest) -> tuple[int, ...]:
    """Stages that may be left out as far as the safety check is concerned, each judged alone."""
    n = len(plan.stages)
    # leaving stages out is what is asked about, whatever the request's own policy is
    allowed = replace(request, stages=StagePolicy.DROP_PROTECTED)
    return tuple(
        k
        for k in droppable(plan)
        if is_safe_order(
            network, plan, without_stages(plan, [k]), tuple(s for s in range(n) if s != k), allowed
        )
    )


def _searched(
    case: Case,
    request: PlanRequest,
    base: Mapping[str, StagePlan],
    cabinets: Mapping[str, Cabinet],
    work: float,
    report: Progress,
    near: Solution | None = None,
) -> tuple[Problem, list[Judged]]:
    groups = coordination_groups(case.network, case.counts)
    drops = {}
    if request.stages is StagePolicy.DROP_PROTECTED:
        drops = {s: safe_drops(case.network, p, request) for s, p in base.items()}

    def acceptable(plan: StagePlan, order: tuple[int, ...]) -> bool:
        if not is_safe_order(case.network, base[plan.intersection], plan, order, request):
            return False
        cabinet = cabinets.get(plan.intersection)
        return cabinet is None or is_showable(cabinet, base[plan.intersection], plan)

    problem = pose(case.network, case.demand, case.counts, base, groups, drops, acceptable, request)
    budget = int(min(max(work / search_work(problem), FEWEST_EVALUATIONS), MOST_EVALUATIONS))

    def progress(done: int, planned: int, _best: float) -> None:
        report("searching", min(done, planned), planned)

    return problem, search(problem, evaluations=budget, near=near, on_progress=progress)


def _scheduled(
    case: Case,
    request: PlanRequest,
    base: Mapping[str, StagePlan],
    breaks: Sequence[float],
    near: Solution,
    unplanned: Mapping[str, str],
    work: float,
    report: Progress,
) -> PlanSet:
    """A plan for each period, each found near the one for the whole window."""
    edges = [case.demand.begin_s, *breaks, case.demand.end_s]
    parts = [
        _searched(_part(case, start, end), request, base, {}, work / (len(edges) - 1), report, near)
        for start, end in pairwise(edges)
    ]
    return _plan_set(case, request, parts[0][0], [found[0].solution for _, found in parts], breaks, unplanned)


def _part(case: Case, start_s: float, end_s: float) -> Case:
    """The case as it is from `start_s` to `end_s`, with some traffic from before."""
    begin = max(case.demand.begin_s, start_s - LEAD_IN_S)
    demand = replace(
        case.demand,
        begin_s=begin,
        end_s=end_s,
        vehicles=tuple(v for v in case.demand.vehicles if begin <= v.depart_s < end_s),
    )
    return replace(case, demand=demand, counts=turning_counts(case.network, demand))


def _plan_set(
    case: Case,
    request: PlanRequest,
    problem: Problem,
    solutions: Sequence[Solution],
    breaks: Sequence[float],
    unplanned: Mapping[str, str],
) -> PlanSet:
    periods = []
    for solution in solutions:
        rows = {}
        for signal, choice in solution.items():
            plan = problem.base[signal]
            left_out = [k for k in range(len(plan.stages)) if k not in choice.order]
            omitted: tuple[OmittedStage, ...] = omitted_stages(
                case.network.intersections[signal], plan, left_out
            )
            rows[signal] = TimingPlan(problem.program(signal, choice), omitted)
        periods.append(rows)
    switches: dict[str, tuple[float, ...]] = {}
    for signal in periods[0] if breaks else ():
        shortest = {s.state: s.min_s for s in problem.base[signal].stages}
        times: list[float] = []
        for k, after in enumerate(breaks):
            start = max(after, times[-1] + 1 if times else after)
            old, new = periods[k][signal], periods[k + 1][signal]
            time, periods[k + 1][signal] = _switched(old, new, float(np.ceil(start)), shortest)
            times.append(time)
        switches[signal] = tuple(times)
    return PlanSet(
        tuple(periods),
        switches,
        dict(unplanned),
        request.seed,
        __version__,
        case.scenario.content_hash(),
        case.demand.remarks,
    )


def _switched(
    old: TimingPlan, new: TimingPlan, after_s: float, min_green_s: Mapping[str, float]
) -> tuple[float, TimingPlan]:
    """When to switch, and to what: the new plan, moved by as little as lets it take over without harm.

    Where no offset does within LATEST_SWITCH_S, the signal keeps its old plan for the next period.
    """
    cycle = new.program.cycle_s
    for size in range(int(cycle) // 2 + 1):
        for step in (size, -size) if size else (0,):
            moved = replace(new, program=replace(new.program, offset_s=(new.program.offset_s + step) % cycle))
            time = safe_switch_time(
                old.program, moved.program, after_s, min_green_s=min_green_s, horizon_s=LATEST_SWITCH_S
            )
            if time is not None:
                return time, moved
    return after_s, old


def _in_place(
    case: Case, request: PlanRequest, base: Mapping[str, StagePlan], unplanned: Mapping[str, str]
) -> PlanSet:
    """The programs in place as a plan set."""
    rows = {}
    for signal in base:
        program = case.network.intersections[signal].program
        assert program is not None
        rows[signal] = TimingPlan(replace(program, offset_s=program.offset_s % program.cycle_s))
    return PlanSet((rows,), {}, dict(unplanned), request.seed, __version__, case.scenario.content_hash())


def _is_safe(network: Network, plans: PlanSet, request: PlanRequest) -> bool:
    try:
        require_safe(network, plans, request)
    except UnsafePlan:
        return False
    return True


def training_seeds(request: PlanRequest) -> tuple[int, ...]:
    """Seeds of the race: drawn from the request's own, far from the small numbers people compare with."""
    generator = np.random.default_rng((request.seed, 20261122))
    return tuple(int(s) for s in generator.integers(10**6, 2**31 - 1, RACE_SEEDS))


def _shortlist(
    candidates: Sequence[tuple[str, PlanSet, float]], most: int
) -> list[tuple[str, PlanSet, float]]:
    """The first `most` different plans; one with several periods always comes along."""
    chosen: list[tuple[str, PlanSet, float]] = []
    for candidate in sorted(candidates, key=lambda c: -len(c[1].periods)):
        if len(chosen) < most and all(candidate[1].periods != c[1].periods for c in chosen):
            chosen.append(candidate)
    return chosen


def _race(
    scenario: Scenario,
    request: PlanRequest,
    entrants: Sequence[tuple[str, PlanSet, float]],
    jobs_at_once: int,
    report: Progress,
) -> list[Raced]:
    """Simulate each entrant with the first seed, and those close to the lead with the others.

    The first entrant is the plan in place, run as the scenario's files say.
    """
    seeds = training_seeds(request)
    results: list[list[RunResult]] = [[] for _ in entrants]

    def raced(number: int) -> Raced:
        name, _, modelled = entrants[number]
        rows = results[number]
        return Raced(
            name,
            modelled,
            tuple(r.mean_delay_s for r in rows),
            tuple(r.stops_per_vehicle for r in rows),
            sum(r.teleports for r in rows),
            sum(r.emergency_stops for r in rows),
        )

    with tempfile.TemporaryDirectory(prefix="greensplit-race-") as folder:
        files: list[tuple[Path, ...]] = [()]
        for number, (_, plans, _) in enumerate(entrants[1:], start=1):
            path = Path(folder) / f"{number}.add.xml"
            write_plans(plans, path)
            files.append((path,))

        def run(numbers: Sequence[int], with_seeds: Sequence[int], step: str) -> None:
            done = 0
            specs = [RunSpec(scenario, seed, files[n], light=True) for n in numbers for seed in with_seeds]

            def count(_index: int, _result: object) -> None:
                nonlocal done
                done += 1
                report(step, done, len(specs))

            for k, result in enumerate(simulate_many(specs, jobs_at_once=jobs_at_once, on_done=count)):
                results[numbers[k // len(with_seeds)]].append(result)

        run(range(len(entrants)), seeds[:1], "racing in SUMO")
        order = sorted(range(len(entrants)), key=lambda n: _worth(raced(n), request))
        finalists = [n for n in order if n != 0][:FINALISTS]
        if _worth(raced(0), request) < CLEARLY_WORSE * _worth(raced(order[0]), request):
            finalists = [0, *finalists]
        run(finalists, seeds[1:], "racing the finalists")
    return [raced(n) for n in range(len(entrants))]


def _worth(raced: Raced, request: PlanRequest) -> float:
    """The objective's mean with a share of the worst seed's excess, and a price on teleports and emergency stops."""
    values = [weighed(request, d, n) for d, n in zip(raced.delays_s, raced.stops, strict=True)]
    mean = float(np.mean(values))
    incidents = (raced.teleports + raced.emergency_stops) / len(values)
    return mean + WORST_SHARE * (max(values) - mean) + INCIDENT_PRICE * mean * incidents
