"""Solutions of a search as plan sets, with times at which a signal may switch from one period to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from signals import __version__
from signals.errors import UnsafePlan
from signals.model.network import Network
from signals.model.phasing import StagePlan
from signals.model.plan import OmittedStage, PlanRequest, PlanSet, TimingPlan
from signals.planning.case import Case
from signals.safety.check import require_safe
from signals.timing.problem import Problem, Solution
from signals.timing.stages import omitted_stages
from signals.timing.switches import safe_switch_time

LATEST_SWITCH_S = 600.0
"""A signal that can't switch within so long after a period's start gets another offset."""


def plan_set(
    case: Case,
    problem: Problem,
    solutions: Sequence[Solution],
    unplanned: Mapping[str, str],
    breaks: Sequence[float] = (),
) -> PlanSet:
    """Solutions, one a period, as a plan set; `breaks` are the times between periods [s]."""
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
    return PlanSet(
        tuple(periods),
        switch_times(periods, breaks, problem.base),
        dict(unplanned),
        problem.request.seed,
        __version__,
        case.scenario.content_hash(),
        case.demand.remarks,
    )


def switch_times(
    periods: Sequence[dict[str, TimingPlan]], breaks: Sequence[float], base: Mapping[str, StagePlan]
) -> dict[str, tuple[float, ...]]:
    """When each signal leaves each period for the next, at `breaks` or soon after [s].

    Plans of the periods are moved in place, by as little as lets them take over without harm.
    """
    switches: dict[str, tuple[float, ...]] = {}
    for signal in periods[0] if breaks else ():
        shortest = {s.state: s.min_s for s in base[signal].stages}
        times: list[float] = []
        for k, after in enumerate(breaks):
            start = max(after, times[-1] + 1 if times else after)
            old, new = periods[k][signal], periods[k + 1][signal]
            time, periods[k + 1][signal] = _switched(old, new, float(np.ceil(start)), shortest)
            times.append(time)
        switches[signal] = tuple(times)
    return switches


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


def with_offsets(case: Case, offsets_s: Mapping[str, float], unplanned: Mapping[str, str]) -> PlanSet:
    """The programs in place of the signals that are given an offset [s], moved to it; nothing is drawn for it."""
    rows = {}
    for signal, offset_s in offsets_s.items():
        program = case.network.intersections[signal].program
        assert program is not None
        rows[signal] = TimingPlan(replace(program, offset_s=offset_s))
    return PlanSet(
        (rows,), {}, dict(unplanned), 0, __version__, case.scenario.content_hash(), case.demand.remarks
    )


def in_place(
    case: Case, request: PlanRequest, base: Mapping[str, StagePlan], unplanned: Mapping[str, str]
) -> PlanSet:
    """The programs in place as a plan set."""
    rows = {}
    for signal in base:
        program = case.network.intersections[signal].program
        assert program is not None
        rows[signal] = TimingPlan(replace(program, offset_s=program.offset_s % program.cycle_s))
    return PlanSet((rows,), {}, dict(unplanned), request.seed, __version__, case.scenario.content_hash())


def is_safe(network: Network, plans: PlanSet, request: PlanRequest) -> bool:
    """Whether a plan set passes the safety check."""
    try:
        require_safe(network, plans, request)
    except UnsafePlan:
        return False
    return True
