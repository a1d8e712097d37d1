"""What each cycle costs a signal in each part of the day, with the splits that suit it best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import F8, I8
from kernels.lane_cost import LEAST_EFFECTIVE_S, Goal
from kernels.split_bound import Scenarios, StageSignal
from kernels.splits import NOT_PROVEN, best_splits
from signals.model.network import Intersection, Network
from signals.model.phasing import StagePlan
from signals.model.plan import PlanRequest
from signals.timing.lane_groups import ApproachLane, approach_lanes, green_shares
from signals.timing.objective import ANALYSIS_PERIOD_H
from signals.timing.stages import changes_s

OCTAVE_S = (30, 34, 38, 42, 48, 54)
"""Cycles to choose from, and their doubles: about 12 % apart, each with its half among them or below 30 s."""
LONGEST_CYCLE_S = 240
BOXES = 30
"""Splits only tell cycles apart here: a proof isn't waited for."""
_DELAY = Goal(1.0, 0.0, ANALYSIS_PERIOD_H)


class Bounds(NamedTuple):
    """Shortest and longest cycle of a signal [s], of which `fixed_s` belong to changes."""

    shortest_s: int
    longest_s: int
    fixed_s: int


@dataclass(frozen=True, eq=False)
class CycleNeed:
    """What each cycle of a list costs a signal, in each window of the day.

    Fields
    ------
    cost : float64[n_window, n_cycle], vehicles waiting on average (veh·h an hour); infinite where the cycle doesn't fit
    wait_s : float64[n_window, n_cycle] by approach edge, uniform delay [s/veh]; 0 where the cycle doesn't fit
    halved : bool[n_window, n_cycle], where the signal does better at half the cycle, which it then has
    own : int64[n_window], position of the cycle that is best for this signal alone
    """

    cost: F8
    wait_s: Mapping[str, F8]
    halved: NDArray[np.bool_]
    own: I8


def cycle_list(longest_s: int) -> tuple[int, ...]:
    """Cycles worth comparing up to the longest that any signal may have, s."""
    top = min(longest_s, LONGEST_CYCLE_S)
    doubled = (c << k for k in range(4) for c in OCTAVE_S)
    return tuple(sorted({c for c in doubled if c <= top})) or (OCTAVE_S[0],)


def cycle_bounds(plan: StagePlan, program_cycle_s: float, request: PlanRequest) -> Bounds:
    """Cycles that a signal's stages allow: the request's bounds, or the field's where these are wider."""
    fixed = changes_s(plan)
    longest = int(max(request.max_cycle_s, program_cycle_s))
    least = sum(int(s.min_s) for s in plan.stages)
    most = sum(max(int(s.min_s), int(min(s.max_s, longest))) for s in plan.stages)
    shortest = max(fixed + least, math.ceil(min(request.min_cycle_s, program_cycle_s)))
    return Bounds(min(shortest, longest), max(min(fixed + most, longest), fixed + least), fixed)


def cycle_need(
    network: Network,
    intersection: Intersection,
    plan: StagePlan,
    bounds: Bounds,
    flows_vph: Sequence[Mapping[str, float]],
    cycles_s: Sequence[int],
) -> CycleNeed:
    """HCM delay of a signal at each cycle with its best splits, for the flows of each window by movement id.

    A cycle that the signal can only show as half of it counts as fitting.
    """
    fits = np.array([bounds.shortest_s <= c <= bounds.longest_s for c in cycles_s])
    shape = (len(flows_vph), len(cycles_s))
    cost = np.full(shape, np.inf)
    wait: dict[str, F8] = {a.edge: np.zeros(shape) for a in intersection.approaches}
    for w, flows in enumerate(flows_vph):
        lanes = approach_lanes(network, intersection, flows)
        signal = _signal(intersection, plan, lanes, bounds.longest_s)
        scenarios = Scenarios(np.array([[lane.flow_vph / 3600.0 for lane in lanes]]), np.ones(1), 0.0)
        for c in np.flatnonzero(fits).tolist():
            green = np.zeros(len(plan.stages), np.int64)
            code, value, _ = best_splits(
                signal, scenarios, _DELAY, cycles_s[c] - bounds.fixed_s, float(cycles_s[c]), BOXES, green
            )
            if code in (0, NOT_PROVEN):
                cost[w, c] = value
                _add_waits(wait, lanes, signal, green, cycles_s[c], (w, c))
    return _with_halves(cost, wait, cycles_s)


def _signal(
    intersection: Intersection, plan: StagePlan, lanes: tuple[ApproachLane, ...], longest_s: int
) -> StageSignal:
    share, fixed = green_shares(intersection, lanes, plan)
    least = np.array([int(s.min_s) for s in plan.stages], np.int64)
    most = np.array([int(min(s.max_s, longest_s)) for s in plan.stages], np.int64)
    return StageSignal(
        np.ascontiguousarray(np.array(share, np.float64).reshape(len(plan.stages), len(lanes))),
        np.array(fixed, np.float64),
        np.array([lane.saturation_vph / 3600.0 for lane in lanes], np.float64),
        least,
        np.maximum(least, most),
    )


def _add_waits(
    wait: Mapping[str, F8],
    lanes: tuple[ApproachLane, ...],
    signal: StageSignal,
    green: I8,
    cycle_s: int,
    at: tuple[int, int],
) -> None:
    """Uniform delay of each approach (HCM 7, Eq. 19-19), the mean of its lanes by flow."""
    flow = np.array([lane.flow_vph / 3600.0 for lane in lanes])
    open_s = np.clip(green @ signal.share + signal.fixed, LEAST_EFFECTIVE_S, cycle_s)
    ratio = open_s / cycle_s
    filled = np.minimum(1.0, flow / (signal.saturation_vps * ratio))
    d1 = 0.5 * cycle_s * (1.0 - ratio) ** 2 / np.maximum(1.0 - filled * ratio, 1e-9)
    total: dict[str, float] = {}
    for lane, q in zip(lanes, flow, strict=True):
        total[lane.approach] = total.get(lane.approach, 0.0) + float(q)
    for lane, q, delay in zip(lanes, flow, d1, strict=True):
        if total[lane.approach] > 0.0:
            wait[lane.approach][at] += delay * q / total[lane.approach]


def _with_halves(cost: F8, wait: Mapping[str, F8], cycles_s: Sequence[int]) -> CycleNeed:
    """Half of a cycle instead of it, where that costs less."""
    where = {c: k for k, c in enumerate(cycles_s)}
    own = np.argmin(cost, axis=1)
    best = cost.copy()
    halved = np.zeros(cost.shape, np.bool_)
    waits = {approach: rows.copy() for approach, rows in wait.items()}
    for k, c in enumerate(cycles_s):
        half = where.get(c // 2) if c % 2 == 0 else None
        if half is None:
            continue
        less = cost[:, half] < cost[:, k]
        halved[:, k] = less
        best[less, k] = cost[less, half]
        for approach, rows in waits.items():
            rows[less, k] = wait[approach][less, half]
    return CycleNeed(best, waits, halved, own)
