"""What is known before the day begins: what may be chosen, the typical day, and plans made for it beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from signals.demand.turning import turning_counts
from signals.errors import InfeasiblePlan
from signals.feedback import Feedback
from signals.model.demand import INTERVAL_S, Demand
from signals.model.network import Network
from signals.model.phasing import StagePlan
from signals.model.plan import PlanRequest
from signals.operation.decide import EVALUATIONS, MARGIN
from signals.operation.expectation import Expectation
from signals.operation.sumo_street import entry_edges
from signals.planning.case import LEAD_IN_S
from signals.planning.scope import stage_plans
from signals.timing.problem import Choice, Problem, Solution, pose
from signals.timing.search import search
from signals.timing.stages import changes_s
from signals.timing.stretches import coordination_groups

LIBRARY_PERIOD_S = 3600.0
"""A plan is made beforehand for each such part of the typical day."""
LIBRARY_RUNS = 1200
"""How many hours are simulated for each of them."""


@dataclass(frozen=True)
class OperateSettings:
    """What an operator sets.

    `margin` is the share of the delay that a change must save, `evaluations` how many moves are tried in a slot,
    `library_runs` how much the queue simulator runs for each plan made beforehand (0: none). The request's longest
    cycle binds the plan in force as well where `cycle_binds` says so.
    With `virtual_units` plans are pushed to virtual NEMA controllers. `cache` keeps recorded demand, none by default;
    `record` is where SUMO writes what signals show (XML, `tlsState`).
    """

    request: PlanRequest = field(default_factory=PlanRequest)
    slot_s: float = INTERVAL_S
    margin: float = MARGIN
    evaluations: int = EVALUATIONS
    library_runs: int = LIBRARY_RUNS
    cycle_binds: bool = False
    virtual_units: bool = False
    cache: Path | None = None
    record: Path | None = None


@dataclass
class Knowledge:
    """What the loop starts from and learns: `current` is the solution in force, `feedback` what was measured."""

    settings: OperateSettings
    problem: Problem
    expectation: Expectation
    current: Solution
    library: Mapping[str, Solution]
    feedback: Feedback = field(default_factory=Feedback)

    @property
    def min_green_s(self) -> dict[str, dict[str, float]]:
        """Shortest time of each stage's state, by signal."""
        return {s: {stage.state: stage.min_s for stage in p.stages} for s, p in self.problem.base.items()}


class BoundedProblem(Problem):
    """A problem in which the request's longest cycle binds, whatever the plan in force has."""

    def longest_cycle_s(self, signal: str) -> int:
        """The request's longest cycle, or the shortest that the signal can show where that is longer."""
        plan = self.base[signal]
        least = sum(int(s.min_s) for s in plan.stages) + changes_s(plan)
        return max(int(self.request.max_cycle_s), least)


def prepare(network: Network, day: Demand, settings: OperateSettings) -> Knowledge:
    """Learn the typical day, and make plans for it.

    Raises
    ------
    InfeasiblePlan
        Where no signal can be planned; the message gives each one's reason.
    """
    base, reasons = stage_plans(network, settings.request)
    if not base:
        raise InfeasiblePlan("no signal can be planned:\n  " + "\n  ".join(reasons.values()))
    problem = _posed(network, day, base, settings)
    current = {s: choice_of(p) for s, p in base.items()}
    expectation = Expectation((day,), entry_edges(network), settings.slot_s)
    return Knowledge(settings, problem, expectation, current, _library(problem, day, current, settings))


def choice_of(plan: StagePlan) -> Choice:
    """The choice that shows the stages of a program as it does, to the second."""
    rest = changes_s(plan) - plan.fixed_s
    green = [round(s.duration_s - (rest if k == 0 else 0.0)) for k, s in enumerate(plan.stages)]
    return Choice(tuple(range(len(green))), tuple(green), round(plan.offset_s))


def clock_text(time_s: float) -> str:
    """A time of the simulation's clock, hours and minutes."""
    return f"{int(time_s) // 3600}:{int(time_s) % 3600 // 60:02d}"


def _posed(
    network: Network, day: Demand, base: Mapping[str, StagePlan], settings: OperateSettings
) -> Problem:
    counts = turning_counts(network, day)
    groups = coordination_groups(network, counts)
    posed = pose(network, day, counts, base, groups, {}, _in_order, settings.request)
    return BoundedProblem(**vars(posed)) if settings.cycle_binds else posed


def _in_order(_plan: StagePlan, order: tuple[int, ...]) -> bool:
    """Stages keep the order of the street: nobody gets used to one that changes from slot to slot."""
    return list(order) == sorted(order)


def _library(
    problem: Problem, day: Demand, current: Solution, settings: OperateSettings
) -> dict[str, Solution]:
    """The plan in force at the start, and one for each part of the typical day."""
    library: dict[str, Solution] = {"the plan at the start": current}
    parts = max(1, round((day.end_s - day.begin_s) / LIBRARY_PERIOD_S)) if settings.library_runs else 0
    length_s = (day.end_s - day.begin_s) / max(parts, 1)
    for k in range(parts):
        begin, end = day.begin_s + k * length_s, day.begin_s + (k + 1) * length_s
        vehicles = tuple(v for v in day.vehicles if begin - LEAD_IN_S <= v.depart_s < end)
        if not vehicles:
            continue
        part = replace(day, begin_s=max(day.begin_s, begin - LEAD_IN_S), end_s=end, vehicles=vehicles)
        found = search(_posed(problem.network, part, problem.base, settings), runs=settings.library_runs)
        library[f"the plan for {clock_text(begin)} to {clock_text(end)}"] = found[0].solution
    return library
