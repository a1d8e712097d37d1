"""Cycle and splits of isolated intersections with eight protected phases in two rings, proven best.

Greens divide whole seconds of split; the best division at every cycle is found exactly (`kernels.dual_ring`), not
searched for. Left turns have a green of their own. Demand may be given as several scenarios: what is made small is
then the mean over them, or the mean of the worst share of them (conditional value at risk).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kernels import dual_ring, dual_ring_cvar
from kernels.arrays import F8, I8
from kernels.lane_cost import Goal
from signals.errors import InfeasiblePlan
from signals.model.plan import MOST_STOP_WEIGHT_S, Objective
from signals.timing.measures import EXTENSION_S, STARTUP_LOST_S, level_of_service
from signals.timing.rings import BARRIERS, RINGS

CHUNK = 128
"""Intersections that a thread takes at a time: some tens of milliseconds."""
LONGEST_CYCLE_S = 600
SAME_S = 1e-6
"""Times closer than this are the same."""

OnProgress = Callable[[int, int], None]
"""Called with how many intersections are planned, and how many there are."""


@dataclass(frozen=True, slots=True)
class IsolatedPhase:
    """A protected phase: its demand in each scenario, and what its green may be.

    `clearance_s` is yellow and red clearance. Effective green is the green shown less `startup_lost_s`, plus
    `extension_s` of the yellow. `upstream_filtering` is the HCM's factor I.
    """

    number: int
    flow_vph: tuple[float, ...]
    saturation_flow_vph: float
    min_green_s: float
    max_green_s: float
    clearance_s: float
    startup_lost_s: float = STARTUP_LOST_S
    extension_s: float = EXTENSION_S
    upstream_filtering: float = 1.0

    def __post_init__(self) -> None:
        where = f"phase {self.number}"
        if self.number not in range(1, 9):
            raise ValueError(f"{where}: NEMA phases are 1 to 8")
        for name, value, least in (
            *(("flow", flow, 0.0) for flow in self.flow_vph),
            ("clearance", self.clearance_s, 0.0),
            ("start-up loss", self.startup_lost_s, 0.0),
            ("extension", self.extension_s, 0.0),
            ("min green", self.min_green_s, 0.0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{where}: {name} {value:g}: give a number, {least:g} or more")
        if not self.flow_vph:
            raise ValueError(f"{where}: no flow; give one, or one for each scenario")
        if not (math.isfinite(self.saturation_flow_vph) and self.saturation_flow_vph > 0):
            raise ValueError(f"{where}: saturation flow {self.saturation_flow_vph:g} veh/h: must be above 0")
        if not (math.isfinite(self.max_green_s) and self.max_green_s >= self.min_green_s):
            raise ValueError(
                f"{where}: max green {self.max_green_s:g} s is below min green {self.min_green_s:g} s; raise it"
            )
        if self.extension_s > self.clearance_s:
            raise ValueError(
                f"{where}: clearance {self.clearance_s:g} s is shorter than the {self.extension_s:g} s of it that "
                "drivers use as green; yellow and red clearance take 3 s and more"
            )
        if self.min_green_s + self.extension_s <= self.startup_lost_s:
            raise ValueError(
                f"{where}: min green {self.min_green_s:g} s passes nobody: start-up takes {self.startup_lost_s:g} s; "
                "raise it"
            )
        if not 0 < self.upstream_filtering <= 1:
            raise ValueError(
                f"{where}: filtering factor {self.upstream_filtering:g}: must be above 0, at most 1"
            )
        if self.least_s > self.most_s:
            raise ValueError(
                f"{where}: no split in whole seconds has a green of {self.min_green_s:g} to {self.max_green_s:g} s "
                f"with a clearance of {self.clearance_s:g} s; widen the bounds"
            )

    @property
    def tenths_s(self) -> float:
        """Green that a split in whole seconds leaves beside whole seconds of green, below 1 s."""
        return math.ceil(self.clearance_s - SAME_S) - self.clearance_s

    @property
    def least_s(self) -> int:
        """Fewest whole seconds of green."""
        return max(0, math.ceil(self.min_green_s - self.tenths_s - SAME_S))

    @property
    def most_s(self) -> int:
        """Most whole seconds of green."""
        return math.floor(self.max_green_s - self.tenths_s + SAME_S)


@dataclass(frozen=True, slots=True)
class IsolatedIntersection:
    """An intersection that nothing coordinates; `probability` has one entry a scenario and sums to 1."""

    name: str
    phases: tuple[IsolatedPhase, ...]
    probability: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        numbers = [phase.number for phase in self.phases]
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{self.name}: phases {numbers}: give at least one, and each once")
        if any(len(phase.flow_vph) != len(self.probability) for phase in self.phases):
            raise ValueError(
                f"{self.name}: give each phase a flow for each of {len(self.probability)} scenarios"
            )
        if not (min(self.probability) > 0 and math.isclose(sum(self.probability), 1.0, abs_tol=1e-9)):
            raise ValueError(f"{self.name}: probabilities must be above 0 and sum to 1")

    @property
    def mean_flow_vph(self) -> float:
        """Vehicles an hour over all phases, mean over scenarios."""
        return sum(
            p * flow
            for phase in self.phases
            for p, flow in zip(self.probability, phase.flow_vph, strict=True)
        )


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

    @property
    def goal(self) -> Goal:
        """As kernels read it."""
        return Goal(
            0.0 if self.objective is Objective.STOPS else 1.0,
            {Objective.DELAY: 0.0, Objective.STOPS: 1.0, Objective.INDEX: self.stop_weight_s}[self.objective],
            self.period_h,
        )


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
    """

    flow_vph: F8
    probability: F8
    phases: dual_ring.Phases


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
    """Plan n intersections on several threads; the same bits, whatever their number."""
    n, n_cycle = len(arrays.flow_vph), request.max_cycle_s - request.min_cycle_s + 1
    cost, bound = np.empty((n, n_cycle)), np.empty((n, n_cycle))
    cycle, green = np.zeros(n, np.int64), np.zeros((n, 8), np.int64)
    vc_ratio, delay_s, stops = np.zeros((3, n, 8))
    demand = arrays.flow_vph, arrays.probability, arrays.phases

    def plan_rows(start: int) -> int:
        rows = start, min(start + CHUNK, n)
        cycles = request.min_cycle_s, request.max_cycle_s
        if request.cvar_alpha is None:
            dual_ring.best_cycles(*demand, request.goal, *cycles, *rows, cost, cycle, green)
            bound[slice(*rows)] = cost[slice(*rows)]
        else:
            dual_ring_cvar.best_cycles(
                *demand, 1.0 - request.cvar_alpha, request.goal, *cycles, *rows, cost, bound, cycle, green
            )
        dual_ring.measure(*demand, cycle, green, request.period_h, *rows, vc_ratio, delay_s, stops)
        return rows[1] - rows[0]

    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for planned in pool.map(plan_rows, range(0, n, CHUNK)):
            done += planned
            if on_progress is not None:
                on_progress(done, n)
    return PlanArrays(cycle, green, cost, bound.min(axis=1), vc_ratio, delay_s, stops)


def pack_intersections(intersections: Sequence[IsolatedIntersection]) -> IntersectionArrays:
    """Objects as arrays."""
    n, n_scenario = len(intersections), max(len(one.probability) for one in intersections)
    flow, probability = np.zeros((n, n_scenario, 8)), np.zeros((n, n_scenario))
    saturation, filtering, used = np.ones((n, 8)), np.ones((n, 8)), np.zeros((n, 8))
    least, most, clearance = np.zeros((3, n, 8), np.int64)
    for at, one in enumerate(intersections):
        probability[at, : len(one.probability)] = one.probability
        for phase in one.phases:
            p = phase.number - 1
            flow[at, : len(phase.flow_vph), p] = phase.flow_vph
            saturation[at, p], filtering[at, p] = phase.saturation_flow_vph, phase.upstream_filtering
            least[at, p], most[at, p] = phase.least_s, phase.most_s
            clearance[at, p] = round(phase.clearance_s + phase.tenths_s)
            used[at, p] = phase.extension_s - phase.startup_lost_s + phase.tenths_s
    return IntersectionArrays(
        flow, probability, dual_ring.Phases(saturation, least, most, clearance, used, filtering)
    )


def why_no_cycle(intersection: IsolatedIntersection, request: IsolatedRequest) -> str:
    """Why an intersection has no plan, and what to do."""
    shortest, longest = 0, 0
    for side in BARRIERS:
        least: dict[str, int] = {}
        most: dict[str, int] = {}
        for ring in RINGS:
            own = [phase for phase in intersection.phases if phase.number in side and phase.number in ring]
            if own:
                name = " and ".join(str(phase.number) for phase in sorted(own, key=lambda p: p.number))
                cleared = sum(round(phase.clearance_s + phase.tenths_s) for phase in own)
                least[name] = cleared + sum(phase.least_s for phase in own)
                most[name] = cleared + sum(phase.most_s for phase in own)
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
    for phase in sorted(one.phases, key=lambda phase: phase.number):
        p = phase.number - 1
        green_s = int(plans.green_s[at, p]) + phase.tenths_s
        x, delay = float(plans.vc_ratio[at, p]), float(plans.delay_s[at, p])
        timings.append(
            PhaseTiming(
                phase.number, round(green_s + phase.clearance_s), round(green_s, 6), x, delay,
                float(plans.stops[at, p]), level_of_service(delay, x),
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
