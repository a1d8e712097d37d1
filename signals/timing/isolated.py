"""Cycle and splits of isolated intersections with eight phases in two rings, proven best.

Greens divide whole seconds of split; the best division at every cycle is found exactly, not searched for. Where all
left turns are protected, demand may be given as several scenarios: what is made small is then the mean over them, or
the mean of the worst share of them (conditional value at risk). Where one is protected-permitted, it is the delay of
one scenario.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kernels import dual_ring, dual_ring_cvar
from kernels.arrays import F8, I8
from kernels.left_turn_delay import DualRing
from signals.errors import InfeasiblePlan, InputError
from signals.model.plan import MOST_STOP_WEIGHT_S, Objective
from signals.timing.isolated_left_turns import LeftTurnArrays, best_cycle, dual_ring_of, measure_left_turns
from signals.timing.isolated_phases import IsolatedIntersection
from signals.timing.measures import level_of_service
from signals.timing.objective import goal_of
from signals.timing.rings import BARRIERS, RINGS

CHUNK = 128
"""Intersections that a thread takes at a time: some tens of milliseconds."""
CHUNK_LEFT_TURNS = 8
"""Likewise where left turns go through gaps."""
LONGEST_CYCLE_S = 600

OnProgress = Callable[[int, int], None]
"""Called with how many intersections are planned, and how many there are."""


@dataclass(frozen=True, slots=True)
class IsolatedRequest:
    """What is asked for: cycles to try and what to make small.

    `stop_weight_s` is the delay that a stop is worth in the index. With `cvar_alpha` the mean over the worst
    1 − alpha of the scenarios counts, without it the mean over all.
    """

    objective: Objective = Objective.DELAY
    stop_weight_s: float = 20.0
    min_cycle_s: int = 60
    max_cycle_s: int = 180
    period_h: float = 0.25
    cvar_alpha: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.min_cycle_s <= self.max_cycle_s <= LONGEST_CYCLE_S:
            raise ValueError(
                f"cycles from {self.min_cycle_s} to {self.max_cycle_s} s: need 1 <= min <= max <= {LONGEST_CYCLE_S}"
            )
        if not 0 <= self.stop_weight_s <= MOST_STOP_WEIGHT_S:
            raise ValueError(
                f"stop weight of {self.stop_weight_s:g} s: a stop is worth 0 to {MOST_STOP_WEIGHT_S:g} s of delay"
            )
        if not (math.isfinite(self.period_h) and self.period_h > 0):
            raise ValueError(f"analysis period of {self.period_h:g} h: must be above 0")
        if self.cvar_alpha is not None and not 0 <= self.cvar_alpha < 1:
            raise ValueError(f"alpha of {self.cvar_alpha:g}: must be 0 or more, and below 1")


@dataclass(frozen=True, slots=True)
class PhaseTiming:
    """What a phase gets and how it fares.

    `split_s` holds green and clearance. `vc_ratio` is the highest of all scenarios, the others are means over
    their vehicles: control delay d1 + d2 [s/veh], stops a vehicle.
    """

    number: int
    split_s: int
    green_s: float
    vc_ratio: float
    delay_s: float
    stops: float
    level_of_service: str


@dataclass(frozen=True, slots=True)
class IsolatedPlan:
    """The best cycle and splits of an intersection.

    `value` is what was made small, a vehicle of the mean demand: delay or index [s/veh], or stops. `bound` is what
    no plan of any cycle can go below: equal to `value` where the proof was finished, which only very many
    scenarios under CVaR can prevent. `curve` has the least value at each cycle from `first_cycle_s` on, infinite
    where the cycle fits no greens. `delay_s` and `stops` are means over all vehicles.
    """

    name: str
    cycle_s: int
    phases: tuple[PhaseTiming, ...]
    value: float
    bound: float
    delay_s: float
    stops: float
    level_of_service: str
    first_cycle_s: int
    curve: tuple[float, ...]

    def __post_init__(self) -> None:
        split = {phase.number: phase.split_s for phase in self.phases}
        sides = [
            {sum(split.get(n, 0) for n in ring if n in side) for ring in RINGS} - {0} for side in BARRIERS
        ]
        if any(len(side) > 1 for side in sides) or sum(sum(side) for side in sides) != self.cycle_s:
            raise ValueError(
                f"{self.name}: splits {split} don't fill a cycle of {self.cycle_s} s in both rings"
            )

    @property
    def proven(self) -> bool:
        """Whether no other plan is better."""
        return self.bound >= self.value


@dataclass(frozen=True, eq=False)
class IntersectionArrays:
    """n intersections as kernels read them; `pack_intersections` makes them of objects.

    Fields
    ------
    flow_vph : float64[n, n_scenario, 8]
    probability : float64[n, n_scenario]; 0 where an intersection has fewer scenarios than another
    phases : 8 phases each, in whole seconds: the tenths that clearances lack to the next second count as yellow used
    left_turns : those that are protected-permitted, None where there aren't any
    """

    flow_vph: F8
    probability: F8
    phases: dual_ring.Phases
    left_turns: LeftTurnArrays | None = None


@dataclass(frozen=True, eq=False)
class PlanArrays:
    """Plans of n intersections.

    Fields
    ------
    cycle_s : int64[n]; 0 where no cycle fits
    green_s : int64[n, 8], whole seconds of green
    cost : float64[n, n_cycle], least cost of each cycle, mean or CVaR: vehicles waiting, or stops a second; or both
    bound : float64[n], cost that no plan goes below
    vc_ratio, delay_s, stops : float64[n, 8]; see `PhaseTiming`
    """

    cycle_s: I8
    green_s: I8
    cost: F8
    bound: F8
    vc_ratio: F8
    delay_s: F8
    stops: F8


def plan_isolated(
    intersection: IsolatedIntersection, request: IsolatedRequest = IsolatedRequest()
) -> IsolatedPlan:
    """The best cycle and splits.

    Raises
    ------
    InfeasiblePlan
        Where no cycle fits the phases' bounds; the message says which.
    """
    plan = plan_all([intersection], request)[0]
    if plan is None:
        raise InfeasiblePlan(why_no_cycle(intersection, request))
    return plan


def plan_all(
    intersections: Sequence[IsolatedIntersection],
    request: IsolatedRequest = IsolatedRequest(),
    *,
    threads: int = 1,
    on_progress: OnProgress | None = None,
) -> list[IsolatedPlan | None]:
    """The best cycle and splits of each; None where no cycle fits, `why_no_cycle` says why."""
    if not intersections:
        return []
    plans = plan_arrays(pack_intersections(intersections), request, threads=threads, on_progress=on_progress)
    return [_unpacked(one, request, plans, at) for at, one in enumerate(intersections)]


def plan_arrays(
    arrays: IntersectionArrays,
    request: IsolatedRequest,
    *,
    threads: int = 1,
    on_progress: OnProgress | None = None,
) -> PlanArrays:
    """Plan n intersections on several threads; the same bits, whatever their number.

    Raises
    ------
    InputError
        Where protected-permitted left turns are to be planned for anything but delay.
    """
    n, n_cycle = len(arrays.flow_vph), request.max_cycle_s - request.min_cycle_s + 1
    cost, bound = np.empty((n, n_cycle)), np.empty((n, n_cycle))
    cycle, green = np.zeros(n, np.int64), np.zeros((n, 8), np.int64)
    vc_ratio, delay_s, stops = np.zeros((3, n, 8))
    demand = arrays.flow_vph, arrays.probability, arrays.phases
    cycles = request.min_cycle_s, request.max_cycle_s
    left_turns = arrays.left_turns
    through_gaps = np.zeros(n, bool) if left_turns is None else left_turns.decides(arrays.flow_vph)
    if through_gaps.any() and request.objective is not Objective.DELAY:
        raise InputError(
            f"{through_gaps.sum()} of {n} intersections have protected-permitted left turns, which are planned for "
            "delay alone; ask for the objective delay, or make them protected"
        )
    chunk = min(CHUNK, CHUNK_LEFT_TURNS) if through_gaps.any() else CHUNK

    def plan_protected(start: int, end: int) -> None:
        if request.cvar_alpha is None:
            dual_ring.best_cycles(
                *demand, goal_of(request, request.period_h), *cycles, start, end, cost, cycle, green
            )
            bound[start:end] = cost[start:end]
        else:
            tail = 1.0 - request.cvar_alpha
            dual_ring_cvar.best_cycles(
                *demand,
                tail,
                goal_of(request, request.period_h),
                *cycles,
                start,
                end,
                cost,
                bound,
                cycle,
                green,
            )

    def plan_rows(start: int) -> int:
        rows = start, min(start + chunk, n)
        rings = {at: _ring(arrays, at, request.period_h) for at in range(*rows) if through_gaps[at]}
        if not rings:
            plan_protected(*rows)
        for at in range(*rows) if rings else ():
            if at in rings:
                cycle[at] = best_cycle(rings[at], *cycles, cost[at], green[at])
                bound[at] = cost[at]
            else:
                plan_protected(at, at + 1)
        dual_ring.measure(*demand, cycle, green, request.period_h, *rows, vc_ratio, delay_s, stops)
        for at, ring in rings.items():
            if cycle[at] > 0:
                measure_left_turns(ring, int(cycle[at]), green[at], vc_ratio[at], delay_s[at], stops[at])
        return rows[1] - rows[0]

    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for planned in pool.map(plan_rows, range(0, n, chunk)):
            done += planned
            if on_progress is not None:
                on_progress(done, n)
    return PlanArrays(cycle, green, cost, bound.min(axis=1), vc_ratio, delay_s, stops)


def _ring(arrays: IntersectionArrays, at: int, period_h: float) -> DualRing:
    """Intersection `at`, which has a left turn through gaps."""
    assert arrays.left_turns is not None
    return dual_ring_of(arrays.flow_vph[at, 0], arrays.phases, arrays.left_turns, at, period_h)


def pack_intersections(intersections: Sequence[IsolatedIntersection]) -> IntersectionArrays:
    """Objects as arrays."""
    n, n_scenario = len(intersections), max(len(one.probability) for one in intersections)
    flow, probability = np.zeros((n, n_scenario, 8)), np.zeros((n, n_scenario))
    saturation, filtering, used = np.ones((n, 8)), np.ones((n, 8)), np.zeros((n, 8))
    least, most, clearance = np.zeros((3, n, 8), np.int64)
    left_turns = LeftTurnArrays(np.zeros((n, 8), bool), np.zeros(n), np.zeros(n))
    for at, one in enumerate(intersections):
        probability[at, : len(one.probability)] = one.probability
        for phase, times in zip(one.phases, one.whole_times(), strict=True):
            p = phase.number - 1
            flow[at, : len(phase.flow_vph), p] = phase.flow_vph
            saturation[at, p], filtering[at, p] = phase.saturation_flow_vph, phase.upstream_filtering
            least[at, p], most[at, p], clearance[at, p] = times.least_s, times.most_s, times.cleared_s
            used[at, p] = phase.extension_s - phase.startup_lost_s + times.tenths_s
            if phase.permitted:
                left_turns.permitted[at, p] = True
                left_turns.startup_s[at] = phase.startup_lost_s
                left_turns.extension_s[at] = phase.extension_s + times.tenths_s
    phases = dual_ring.Phases(saturation, least, most, clearance, used, filtering)
    return IntersectionArrays(flow, probability, phases, left_turns if left_turns.permitted.any() else None)


def why_no_cycle(intersection: IsolatedIntersection, request: IsolatedRequest) -> str:
    """Why an intersection has no plan, and what to do."""
    numbers = [phase.number for phase in intersection.phases]
    times = dict(zip(numbers, intersection.whole_times(), strict=True))
    shortest, longest = 0, 0
    for side in BARRIERS:
        least: dict[str, int] = {}
        most: dict[str, int] = {}
        for ring in RINGS:
            own = {n: times[n] for n in sorted(times) if n in side and n in ring}
            if own:
                name = " and ".join(str(n) for n in own)
                least[name] = sum(phase.cleared_s + phase.least_s for phase in own.values())
                most[name] = sum(phase.cleared_s + phase.most_s for phase in own.values())
        if not least:
            continue
        slow, quick = max(least, key=least.__getitem__), min(most, key=most.__getitem__)
        if least[slow] > most[quick]:
            return (
                f"{intersection.name}: phases {slow} take {least[slow]} s at least, and {quick} beside them "
                f"{most[quick]} s at most; raise max greens of {quick} or lower min greens of {slow}"
            )
        shortest, longest = shortest + least[slow], longest + most[quick]
    if shortest > request.max_cycle_s:
        return (
            f"{intersection.name}: min greens and clearances need a cycle of {shortest} s, the longest allowed is "
            f"{request.max_cycle_s} s; raise it or lower min greens"
        )
    return (
        f"{intersection.name}: max greens and clearances fill a cycle of {longest} s, the shortest allowed is "
        f"{request.min_cycle_s} s; lower it or raise max greens"
    )


def _unpacked(
    one: IsolatedIntersection, request: IsolatedRequest, plans: PlanArrays, at: int
) -> IsolatedPlan | None:
    """One row as a plan."""
    cycle = int(plans.cycle_s[at])
    if cycle == 0:
        return None
    timings = []
    flows = []
    measured = (field[at].tolist() for field in (plans.green_s, plans.vc_ratio, plans.delay_s, plans.stops))
    by_phase = list(zip(*measured, strict=True))
    pairs = zip(one.phases, one.whole_times(), strict=True)
    for phase, times in sorted(pairs, key=lambda pair: pair[0].number):
        green_s, vc_ratio, delay_s, stops = by_phase[phase.number - 1]
        timings.append(
            PhaseTiming(
                phase.number, green_s + times.cleared_s, round(green_s + times.tenths_s, 6), vc_ratio, delay_s,
                stops, level_of_service(delay_s, vc_ratio),
            )
        )  # fmt: skip
        flows.append(sum(q * f for q, f in zip(one.probability, phase.flow_vph, strict=True)))
    total = sum(flows) or 1.0
    delay_s = sum(f * t.delay_s for f, t in zip(flows, timings, strict=True)) / total
    per_vehicle = 3600.0 / total
    curve = plans.cost[at] * per_vehicle
    return IsolatedPlan(
        one.name,
        cycle,
        tuple(timings),
        float(curve[cycle - request.min_cycle_s]),
        float(plans.bound[at] * per_vehicle),
        delay_s,
        sum(f * t.stops for f, t in zip(flows, timings, strict=True)) / total,
        level_of_service(delay_s),
        request.min_cycle_s,
        tuple(curve.tolist()),
    )
