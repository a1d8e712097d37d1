"""From a scenario to a plan that has been proven: the whole path, as plain functions.

    network and demand → stages → search → safety check → race in simulation → plan set

No database, no settings, no console: everything is an argument, everything that comes back can be pickled.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from signals.controllers.mapping import pattern_of
from signals.errors import InfeasiblePlan
from signals.model.controller import Cabinet
from signals.model.phasing import StagePlan
from signals.model.plan import (
    ControllerPolicy,
    Objective,
    PlanRequest,
    PlanSet,
    Refinement,
    StagePolicy,
)
from signals.planning.case import Case, part_of
from signals.planning.race import (
    FINALISTS,
    Course,
    Entrant,
    Progress,
    Raced,
    race,
    training_seeds,
)
from signals.planning.refine import REFINE_SEEDS, refine
from signals.planning.scope import (
    cabinets_of,
    in_scope,
    is_safe_order,
    is_showable,
    safe_drops,
    stage_plans,
)
from signals.planning.sets import in_place, is_safe, plan_set
from signals.safety.check import require_safe
from signals.timing.periods import find_periods
from signals.timing.problem import DEMAND_SEEDS, Judged, Problem, Solution, judge, pose, search_work
from signals.timing.search import different, search
from signals.timing.stretches import coordination_groups

SEARCH_WORK = 1.4e10
"""How much the search may simulate, in the units of `search_work`: about 12 s on two cores that are free."""
FEWEST_EVALUATIONS = 50
MOST_EVALUATIONS = 4000
EVALUATIONS_PER_SIGNAL = 400
"""A search of one or two signals has converged by then."""
RACE_WORK = 1.1e7
"""How much the race may simulate, in vehicle-seconds on the road: about 22 s on two cores."""
RACE_MARGIN = 0.005
"""A candidate must beat the plan in place by this share over the race's seeds to replace it."""
SWITCH_MARGIN = 0.01
"""A schedule of several plans must beat a single one by this share to pay for its switches and its upkeep."""
RACE_SEEDS = 3
MOST_ENTRANTS = 3
MOST_TO_POLISH = 6
"""Candidates of the search that may race: more of them where SUMO decides between them at length."""
LEADERS = 3
"""Candidates that are tried with every seed before one of them is polished."""
FINAL_SEEDS = 8
"""Seeds that no change was chosen on, by which a polished plan is told from the rest."""


@dataclass(frozen=True)
class Planned:
    """A plan set, and the evidence that led to it. `kept` says that the plan in place was not beaten.

    `race` gives no delays where SUMO wasn't asked. `model_runs` counts hours simulated by the queue simulator,
    `sumo_runs` those by SUMO.
    """

    case: Case
    request: PlanRequest
    plans: PlanSet
    race: tuple[Raced, ...]
    chosen: str
    kept: bool
    model_runs: int
    sumo_runs: int


@dataclass(frozen=True)
class _Candidate:
    """A plan set that is safe, and the solution that it shows; None for a schedule of several.

    Those that `always` race come along however little time there is.
    """

    entrant: Entrant
    found: Judged | None
    always: bool


def plan_case(
    case: Case,
    request: PlanRequest,
    *,
    refinement: Refinement = Refinement.RACE,
    budget_s: float = 0.0,
    jobs_at_once: int = 2,
    on_progress: Progress | None = None,
) -> Planned:
    """The best safe plan for a whole scenario, raced in simulation against the one in place.

    Best is what the request's objective makes smallest over the whole network, whichever signals are retimed.
    The same case, request and version give the same plan set, unless SUMO polishes it for `budget_s` of clock time.
    Where no candidate beats the plan in place, that one comes back under a new name, and `Planned.kept` is set.

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
    base, unplanned, cabinets = _plannable(case, request)
    problem, candidates = _candidates(case, request, base, unplanned, cabinets, refinement, report)
    field = Entrant("in place", None, judge(problem, {}, days=problem.fresh).value)
    runs = 0
    if refinement is Refinement.NONE:
        winner = candidates[0].entrant
        kept = winner.modelled >= field.modelled * (1 - RACE_MARGIN)
        raced = tuple(e.raced(()) for e in (field, *(c.entrant for c in candidates)))
    else:
        with tempfile.TemporaryDirectory(prefix="greensplit-race-") as folder:
            course = Course(case.scenario, Path(folder), jobs_at_once, busy_seeds(request))
            entrants = [field, *(c.entrant for c in candidates)]
            seeds: Sequence[int] = training_seeds(request, RACE_SEEDS)
            finalists = race(course, request, entrants, seeds, report)
            if refinement is Refinement.SUMO:
                polished = _polished(course, case, problem, candidates, unplanned, budget_s, report)
                seeds = training_seeds(request, RACE_SEEDS + REFINE_SEEDS + FINAL_SEEDS)[-FINAL_SEEDS:]
                # where no change helped, it is one of the candidates
                entrants += [polished] if polished not in entrants else []
                finalists = [field, *(e for e in finalists if e is not field and e is not polished), polished]
                course.run(finalists, seeds, lambda done, of: report("last race in SUMO", done, of))
            runs = course.runs
        winner = min((e for e in finalists if e is not field), key=lambda e: _price(e, request, seeds))
        kept = field in finalists and _price(winner, request, seeds) >= field.worth(request, seeds) * (
            1 - RACE_MARGIN
        )
        usual = [s for s in seeds if s not in course.busy]
        raced = tuple(
            e.raced(usual if e in finalists else training_seeds(request, RACE_SEEDS)) for e in entrants
        )
    plans = winner.plans
    if kept or plans is None:
        winner, plans = field, in_place(case, request, base, unplanned)
    require_safe(in_scope(case.network, request), plans, request)
    for signal, cabinet in cabinets.items():
        pattern_of(cabinet, plans.periods[0][signal].program)
    return Planned(case, request, plans, raced, winner.name, kept, problem.runs, runs)


def busy_seeds(request: PlanRequest) -> frozenset[int]:
    """Every other seed of those that come after the race's: a polished plan must stand a busier day as well."""
    return frozenset(training_seeds(request, RACE_SEEDS + REFINE_SEEDS + FINAL_SEEDS)[RACE_SEEDS::2])


def _price(entrant: Entrant, request: PlanRequest, seeds: Sequence[int]) -> float:
    """An entrant's worth; a schedule pays for its switches."""
    several = entrant.plans is not None and len(entrant.plans.periods) > 1
    return entrant.worth(request, seeds) * (1 + SWITCH_MARGIN * several)


def _plannable(
    case: Case, request: PlanRequest
) -> tuple[dict[str, StagePlan], dict[str, str], dict[str, Cabinet]]:
    """Stages of each signal that is to be planned, the reason for each that can't be, and NEMA controllers."""
    base, unplanned = stage_plans(in_scope(case.network, request), request)
    cabinets: dict[str, Cabinet] = {}
    if request.controllers is ControllerPolicy.NEMA:
        cabinets, unmapped = cabinets_of(case.network, base)
        base = {s: p for s, p in base.items() if s in cabinets}
        unplanned |= unmapped
    if not base:
        raise InfeasiblePlan("no signal can be planned:\n  " + "\n  ".join(unplanned.values()))
    return base, unplanned, cabinets


def _candidates(
    case: Case,
    request: PlanRequest,
    base: Mapping[str, StagePlan],
    unplanned: Mapping[str, str],
    cabinets: Mapping[str, Cabinet],
    refinement: Refinement,
    report: Progress,
) -> tuple[Problem, list[_Candidate]]:
    """Safe plan sets that differ, as many as the race has time for, the search's best first."""
    scope = in_scope(case.network, request)
    retimed = {s: rows for s, rows in case.counts.counts.items() if s in scope.intersections}
    several = (
        case.demand.vehicles
        and request.controllers is ControllerPolicy.ANY
        and refinement is not Refinement.NONE
    )
    breaks = find_periods(replace(case.counts, counts=retimed)) if several else ()
    beside_delay = request.objective is not Objective.DELAY
    work = SEARCH_WORK / (1 + bool(breaks) + beside_delay)
    problem, found = _searched(case, request, base, cabinets, work, report)
    most = MOST_TO_POLISH if refinement is Refinement.SUMO else MOST_ENTRANTS
    candidates: list[_Candidate] = []

    def enter(name: str, plans: PlanSet, judged: Judged | None, always: bool = True) -> None:
        if all(plans.periods != c.entrant.plans.periods for c in candidates if c.entrant.plans):
            value = judged.value if judged else float("nan")
            candidates.append(_Candidate(Entrant(name, plans, value), judged, always))

    for judged in different(problem, found, most):
        name = f"candidate {len(candidates) + 1}"
        enter(name, plan_set(case, problem, [judged.solution], unplanned), judged, always=False)
    if beside_delay:
        # the search's simulator knows delay better than stops: the race decides between both
        delay_alone = replace(request, objective=Objective.DELAY)
        _, for_delay = _searched(case, delay_alone, base, cabinets, work, report)
        judged = judge(problem, for_delay[0].solution, days=problem.fresh)
        enter("best for delay", plan_set(case, problem, [judged.solution], unplanned), judged)
    if breaks:
        scheduled = _scheduled(case, request, base, breaks, found[0].solution, unplanned, work, report)
        enter(f"{len(breaks) + 1} periods", scheduled, None)
    safe = [c for c in candidates if c.entrant.plans and is_safe(scope, c.entrant.plans, request)]
    if not safe and candidates[0].entrant.plans:
        require_safe(scope, candidates[0].entrant.plans, request)
    if refinement is Refinement.SUMO:
        return problem, safe
    first_seed_runs = RACE_WORK / max(case.vehicle_seconds, 1.0) - FINALISTS * (RACE_SEEDS - 1)
    room = int(min(max(first_seed_runs - 1, FINALISTS + beside_delay), len(safe)))
    always = [c for c in safe if c.always]
    return problem, [*[c for c in safe if not c.always][: room - len(always)], *always]


def _polished(
    course: Course,
    case: Case,
    problem: Problem,
    candidates: Sequence[_Candidate],
    unplanned: Mapping[str, str],
    budget_s: float,
    report: Progress,
) -> Entrant:
    """The best that SUMO leads to within a time from the candidates that it liked best so far."""
    request = problem.request
    first, *seeds = training_seeds(request, RACE_SEEDS + REFINE_SEEDS)
    seeds = seeds[RACE_SEEDS - 1 :]
    single = sorted(
        (c for c in candidates if c.found is not None), key=lambda c: c.entrant.worth(request, [first])
    )
    scope = in_scope(case.network, request)
    start = time.monotonic()

    def spent() -> float:
        return time.monotonic() - start

    def told() -> None:
        report("polishing in SUMO, seconds", min(int(spent()), int(budget_s)), int(budget_s))

    return refine(
        course,
        problem,
        [(c.found, c.entrant) for c in single[:LEADERS] if c.found is not None],
        seeds,
        lambda solution: plan_set(case, problem, [solution], unplanned),
        lambda plans: is_safe(scope, plans, request),
        lambda: spent() < budget_s,
        told,
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
    most = min(MOST_EVALUATIONS, EVALUATIONS_PER_SIGNAL * len(base))
    budget = int(min(max(work / search_work(problem), FEWEST_EVALUATIONS), most))

    def progress(done: int, planned: int, _best: float) -> None:
        report("searching", min(done, planned), planned)

    return problem, search(problem, runs=DEMAND_SEEDS * budget, near=near, on_progress=progress)


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
        _searched(part_of(case, start, end), request, base, {}, work / (len(edges) - 1), report, near)
        for start, end in pairwise(edges)
    ]
    return plan_set(case, parts[0][0], [found[0].solution for _, found in parts], unplanned, breaks)
