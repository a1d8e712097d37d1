"""The timing of a whole network as a problem: what may be chosen, and what a choice is worth.

A solution gives each signal its stages, their greens, and an offset. It is judged by the mesoscopic simulator on
several demand seeds, by the objective's mean (delay, stops, or both weighed) over everybody due and a share of
the worst seed, so that a plan doesn't hang on one day's arrivals.

Signals outside `Problem.base` are simulated with the program in place and never moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from kernels.arrays import F8, I8, SignalArrays, TrafficArrays
from kernels.queues import simulate
from kernels.split_bound import Scenarios, StageSignal
from kernels.splits import BOX_LIMIT, NOT_PROVEN, best_splits
from signals.model.demand import Demand, TurningCounts
from signals.model.network import Network
from signals.model.phasing import SignalProgram, StagePlan
from signals.model.plan import PlanRequest
from signals.timing.coordination import offsets
from signals.timing.lane_groups import approach_lanes, green_shares
from signals.timing.objective import ANALYSIS_PERIOD_H, goal_of, weighed
from signals.timing.pack import FLOW_RULES, RoadPack, pack_road, pack_traffic, state_table
from signals.timing.stages import changes_s, program_of, reordered, with_greens
from signals.timing.stretches import movement_flows_vph

WORST_SHARE = 0.3
"""Weight of the worst demand seed's excess over the mean."""
DEMAND_SEEDS = 4
"""Days that every candidate is tried on."""
FRESH_SEEDS = 8
"""Further days that the best candidates are told apart by, which no move has seen."""
DEPARTURE_SPREAD_S = 20.0
"""Standard deviation by which departures move between demand seeds."""
BUSY_DAY_SHARE = 0.15
"""Part of the vehicles that drive twice on every other day: what lies beside the edge of capacity must not win."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The timing of one signal: which stages of the field in which order, their greens, and the offset."""

    order: tuple[int, ...]
    green_s: tuple[int, ...]
    offset_s: int


Solution = Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Judged:
    """A solution with what the mesoscopic simulator says of it, in the unit of the objective.

    `by_seed` is the objective on each day, `lost` the delay before each link over all of them [veh-s].
    """

    value: float
    solution: Solution
    by_seed: tuple[float, ...] = ()
    lost: F8 = field(default_factory=lambda: np.zeros(0), compare=False)


@dataclass
class Problem:
    """What doesn't change during a search. `base` holds the stages of every signal that can be planned."""

    network: Network
    base: Mapping[str, StagePlan]
    groups: tuple[tuple[str, ...], ...]
    drops: Mapping[str, tuple[int, ...]]
    acceptable: Callable[[StagePlan, tuple[int, ...]], bool]
    counts: TurningCounts
    request: PlanRequest
    begin_s: float
    end_s: float
    road: RoadPack
    traffic: tuple[TrafficArrays, ...]
    fresh: tuple[TrafficArrays, ...]
    flows_vph: Mapping[str, Mapping[str, float]]
    variants: dict[tuple[str, tuple[int, ...]], StagePlan] = field(default_factory=dict)
    accepted: dict[tuple[str, tuple[int, ...]], bool] = field(default_factory=dict)
    tables: dict[
        tuple[str, tuple[int, ...], tuple[int, ...]], np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    ] = field(default_factory=dict)
    runs: int = 0

    def structure(self, signal: str, order: tuple[int, ...]) -> StagePlan:
        """Stages and changes of a signal for a choice of stages."""
        key = (signal, order)
        if key not in self.variants:
            self.variants[key] = reordered(self.base[signal], order)
        return self.variants[key]

    def accepts(self, signal: str, order: tuple[int, ...]) -> bool:
        """Whether a choice of stages is safe with each stage at its shortest, so at any length."""
        key = (signal, order)
        if key not in self.accepted:
            plan = self.structure(signal, order)
            shortest = tuple(replace(s, duration_s=s.min_s) for s in plan.stages)
            self.accepted[key] = self.acceptable(replace(plan, stages=shortest), order)
        return self.accepted[key]

    def program(self, signal: str, choice: Choice, program_id: str = "greensplit") -> SignalProgram:
        """The program that shows a choice."""
        plan = with_greens(self.structure(signal, choice.order), choice.green_s)
        return program_of(replace(plan, offset_s=float(choice.offset_s)), program_id)

    def fixed_s(self, signal: str, order: tuple[int, ...]) -> int:
        """Whole seconds of the cycle that belong to changes."""
        return changes_s(self.structure(signal, order))

    def cycle_s(self, signal: str, choice: Choice) -> int:
        """Cycle of a choice."""
        return self.fixed_s(signal, choice.order) + sum(choice.green_s)

    def bounds(self, signal: str, order: tuple[int, ...]) -> tuple[I8, I8]:
        """Least and most green of each stage, int64[n_stage]."""
        stages = self.structure(signal, order).stages
        longest = self.longest_cycle_s(signal)
        least = np.array([int(s.min_s) for s in stages], np.int64)
        most = np.array([int(min(s.max_s, longest)) for s in stages], np.int64)
        return least, np.maximum(least, most)

    def longest_cycle_s(self, signal: str) -> int:
        """The request's longest cycle, or the field's where that is longer."""
        program = self.network.intersections[signal].program
        assert program is not None
        return int(max(self.request.max_cycle_s, program.cycle_s))

    def shortest_cycle_s(self, signal: str) -> int:
        """The request's shortest cycle, or the field's where that is shorter."""
        program = self.network.intersections[signal].program
        assert program is not None
        return math.ceil(min(self.request.min_cycle_s, program.cycle_s))


def pose(
    network: Network,
    demand: Demand,
    counts: TurningCounts,
    base: Mapping[str, StagePlan],
    groups: tuple[tuple[str, ...], ...],
    drops: Mapping[str, tuple[int, ...]],
    acceptable: Callable[[StagePlan, tuple[int, ...]], bool],
    request: PlanRequest,
) -> Problem:
    """Lay a network and its demand out for a search.

    `groups` are the signals that may share a cycle; `drops` the stages of each signal that may be left out;
    `acceptable` says of stages in a new order, given with that order, whether their changes are safe.
    """
    road = pack_road(network, {t.vehicle_class for t in demand.types.values()} | {"passenger"})
    days = tuple(
        pack_traffic(
            network,
            road,
            _busier(demand, request.seed * 1000 + k) if k % 2 else demand,
            speed_spread=0.1,
            departure_spread_s=DEPARTURE_SPREAD_S if k else 0.0,
            seed=request.seed * 1000 + k,
        )
        for k in range(DEMAND_SEEDS + FRESH_SEEDS)
    )
    flows = movement_flows_vph(counts)
    return Problem(
        network,
        base,
        groups,
        drops,
        acceptable,
        counts,
        request,
        demand.begin_s,
        demand.end_s,
        road,
        days[:DEMAND_SEEDS],
        days[DEMAND_SEEDS:],
        flows,
    )


def _busier(demand: Demand, seed: int) -> Demand:
    """A demand in which some of the vehicles have a second one of their kind with them."""
    n = len(demand.vehicles)
    picked = np.random.default_rng((seed, 8)).random(n) < BUSY_DAY_SHARE
    more = (replace(v, id=f"{v.id}+") for v, twice in zip(demand.vehicles, picked, strict=True) if twice)
    return replace(demand, vehicles=tuple(sorted((*demand.vehicles, *more), key=lambda v: v.depart_s)))


def search_work(problem: Problem) -> float:
    """What one evaluation costs, in steps of the simulator: lanes and links each second, and vehicles passing."""
    road = problem.road.arrays
    seconds = problem.end_s - problem.begin_s
    still: float = seconds * (road.lane_length.shape[0] + 4 * len(problem.road.signals))
    moving: float = 0.0
    for traffic in problem.traffic:
        lengths = np.diff(traffic.route_edge)
        moving += float(lengths[traffic.route].sum())
    return len(problem.traffic) * still + 150.0 * moving


def run_day(problem: Problem, signals: SignalArrays, traffic: TrafficArrays) -> tuple[float, F8]:
    """The objective on one day, and the delay before each link [veh-s], float64[n_link]."""
    lost = np.zeros(len(problem.road.connections))
    passed = np.zeros(lost.shape[0], np.int64)
    stops = np.zeros(traffic.depart.shape[0], np.int64)
    delay = simulate(
        problem.road.arrays,
        traffic,
        signals,
        FLOW_RULES,
        problem.begin_s,
        problem.end_s,
        lost,
        passed,
        stops,
    )
    if not delay.size:
        return 0.0, lost
    return weighed(problem.request, float(delay.mean()), float(stops.mean())), lost


def judge(
    problem: Problem,
    solution: Solution,
    pool: ThreadPoolExecutor | None = None,
    days: Sequence[TrafficArrays] = (),
) -> Judged:
    """A solution tried on every day of `days`, those of the search by default."""
    days = days or problem.traffic
    signals = signal_arrays(problem, solution)
    runs = list((pool.map if pool else map)(partial(run_day, problem, signals), days))
    problem.runs += len(days)
    return judged(solution, [value for value, _ in runs], [lost for _, lost in runs])


def judged(solution: Solution, values: Sequence[float], lost: Sequence[F8]) -> Judged:
    """The objective with a share of the worst seed's excess over the mean."""
    mean = float(np.mean(values))
    worth = mean + WORST_SHARE * (max(values) - mean)
    return Judged(worth, solution, tuple(values), np.sum(lost, axis=0))


def signal_arrays(problem: Problem, solution: Solution) -> SignalArrays:
    """What every signal shows under a solution; those that it leaves out, their program in place."""
    tables, cycles, offset, rows = [], [], [], [0]
    for signal in problem.road.signals:
        choice = solution.get(signal)
        if choice is None:
            key: tuple[str, tuple[int, ...], tuple[int, ...]] = (signal, (), ())
            program = problem.network.intersections[signal].program
            assert program is not None
            cycle, start = program.cycle_s, program.offset_s
        else:
            key = (signal, choice.order, choice.green_s)
            cycle, start = float(problem.cycle_s(signal, choice)), float(choice.offset_s)
        if key not in problem.tables:
            shown = (
                problem.program(signal, choice) if choice else problem.network.intersections[signal].program
            )
            assert shown is not None
            problem.tables[key] = state_table(shown)
        tables.append(problem.tables[key])
        cycles.append(cycle)
        offset.append(start)
        rows.append(rows[-1] + tables[-1].shape[0])
    state = np.zeros((rows[-1] or 1, max((t.shape[1] for t in tables), default=1)), np.uint8)
    for table, row in zip(tables, rows, strict=False):
        state[row : row + table.shape[0], : table.shape[1]] = table
    n = len(tables)
    return SignalArrays(
        np.arange(n + 1, dtype=np.int64),
        np.full(n, -1e18),
        np.array(cycles, np.float64),
        np.array(offset, np.float64),
        np.array(rows[:-1], np.int64),
        state,
    )


def at_cycle(problem: Problem, orders: Mapping[str, tuple[int, ...]], cycle_s: int) -> dict[str, Choice]:
    """HCM splits at a cycle for every signal; where it doesn't fit, at half, at double, or the nearest that fits."""
    chosen = {}
    for signal, order in orders.items():
        least, most = problem.bounds(signal, order)
        fixed = problem.fixed_s(signal, order)
        shortest = max(fixed + int(least.sum()), problem.shortest_cycle_s(signal))
        longest = min(fixed + int(most.sum()), problem.longest_cycle_s(signal))
        cycle = cycle_s
        if cycle < shortest:
            cycle = 2 * cycle_s if shortest <= 2 * cycle_s <= longest else shortest
        elif cycle > longest:
            cycle = cycle_s // 2 if cycle_s % 2 == 0 and shortest <= cycle_s // 2 <= longest else longest
        # a stated maximum in tenths may leave less than the shortest cycle asks for
        cycle = min(cycle, longest)
        green = splits(problem, signal, order, cycle)
        chosen[signal] = Choice(order, green, 0)
    return _with_offsets(problem, chosen)


def splits(problem: Problem, signal: str, order: tuple[int, ...], cycle_s: int) -> tuple[int, ...]:
    """Greens that the HCM finds best for the objective, for a choice of stages at a cycle that fits its bounds."""
    plan = problem.structure(signal, order)
    intersection = problem.network.intersections[signal]
    lanes = approach_lanes(problem.network, intersection, problem.flows_vph.get(signal, {}))
    share, fixed = green_shares(intersection, lanes, plan)
    least, most = problem.bounds(signal, order)
    green = np.zeros(len(order), np.int64)
    code, _, _ = best_splits(
        StageSignal(
            np.ascontiguousarray(np.array(share, np.float64).reshape(len(order), len(lanes))),
            np.array(fixed, np.float64),
            np.array([lane.saturation_vph / 3600 for lane in lanes], np.float64),
            least,
            most,
        ),
        Scenarios(np.array([[lane.flow_vph / 3600 for lane in lanes]], np.float64), np.ones(1), 0.0),
        goal_of(problem.request, ANALYSIS_PERIOD_H),
        cycle_s - problem.fixed_s(signal, order),
        float(cycle_s),
        BOX_LIMIT,
        green,
    )
    assert code in (0, NOT_PROVEN), f"signal {signal}: cycle {cycle_s} s outside its bounds"
    return tuple(int(g) for g in green)


def _with_offsets(problem: Problem, solution: Mapping[str, Choice]) -> dict[str, Choice]:
    programs = {s: problem.program(s, c) for s, c in solution.items()}
    best = offsets(problem.network, programs, problem.counts, groups=problem.groups)
    return {
        s: replace(c, offset_s=int(best.get(s, 0.0)) % problem.cycle_s(s, c)) for s, c in solution.items()
    }
