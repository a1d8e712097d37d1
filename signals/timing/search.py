"""Search for the timing of a whole network: cycle, splits, stage order and omission, offsets, together.

Candidates start from HCM splits at each of a list of cycles, with offsets from platoon dispersion; the best
of them are improved move by move. Every candidate is judged by the mesoscopic simulator on several demand
seeds at once, by the objective's mean (delay, stops, or both weighed) over everybody due and a share of the
worst seed, so that a plan doesn't hang on one day's arrivals.

Signals outside `Problem.base` are simulated with the program in place and never moved. Where some stay so by
request, a start at their cycle is tried as well, shifted against them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from kernels.arrays import I8, SignalArrays, TrafficArrays
from kernels.queues import simulate
from kernels.splits import optimal_splits
from signals.model.demand import Demand, TurningCounts
from signals.model.network import Network
from signals.model.phasing import SignalProgram, StagePlan
from signals.model.plan import Objective, PlanRequest
from signals.timing.coordination import movement_flows_vph, offsets
from signals.timing.lane_groups import approach_lanes, green_shares
from signals.timing.pack import FLOW_RULES, RoadPack, pack_road, pack_traffic, state_table
from signals.timing.stages import program_of, reordered

CYCLES_S = (32, 36, 40, 45, 50, 56, 62, 70, 78, 88, 100, 114, 130, 150, 170)
"""Cycles tried first, about 12 % apart: delay is flat around its minimum."""
WORST_SHARE = 0.3
"""Weight of the worst demand seed's excess over the mean."""
DEMAND_SEEDS = 4
"""As many as two cores finish in the time of two."""
DEPARTURE_SPREAD_S = 20.0
"""Standard deviation by which departures move between demand seeds."""
ANALYSIS_PERIOD_H = 0.25
FIRST_SHARE = 0.2
"""Part of the budget that each start gets before the best of them takes the rest."""
SHIFTS = 8
"""Offsets tried against neighbours that stay as they are."""
DRAWS_PER_EVALUATION = 4
"""Moves that don't fit the bounds cost nothing, but a search must end where none fits."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The timing of one signal: which stages of the field in which order, their greens, and the offset."""

    order: tuple[int, ...]
    green_s: tuple[int, ...]
    offset_s: int


Solution = Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Judged:
    """A solution with what the mesoscopic simulator says of it, in the unit of the objective."""

    value: float
    solution: Solution


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
    flows_vph: Mapping[str, Mapping[str, float]]
    variants: dict[tuple[str, tuple[int, ...]], StagePlan] = field(default_factory=dict)
    accepted: dict[tuple[str, tuple[int, ...]], bool] = field(default_factory=dict)
    tables: dict[
        tuple[str, tuple[int, ...], tuple[int, ...]], np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    ] = field(default_factory=dict)
    evaluations: int = 0

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
        plan = self.structure(signal, choice.order)
        rest = math.ceil(plan.fixed_s - 1e-9) - plan.fixed_s
        stages = [replace(s, duration_s=float(g)) for s, g in zip(plan.stages, choice.green_s, strict=True)]
        if rest > 1e-9:
            # changes in tenths: the first stage takes what makes the cycle whole
            stages[0] = replace(stages[0], duration_s=stages[0].duration_s + round(rest, 3))
        return program_of(replace(plan, stages=tuple(stages), offset_s=float(choice.offset_s)), program_id)

    def fixed_s(self, signal: str, order: tuple[int, ...]) -> int:
        """Whole seconds of the cycle that belong to changes."""
        return math.ceil(self.structure(signal, order).fixed_s - 1e-9)

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
    traffic = tuple(
        pack_traffic(
            network,
            road,
            demand,
            speed_spread=0.1,
            departure_spread_s=DEPARTURE_SPREAD_S if k else 0.0,
            seed=request.seed * 1000 + k,
        )
        for k in range(DEMAND_SEEDS)
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
        traffic,
        flows,
    )


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


def weighed(request: PlanRequest, delay_s: float, stops: float) -> float:
    """The objective's value of a mean delay [s/veh] and of stops a vehicle; the smaller the better."""
    match request.objective:
        case Objective.DELAY:
            return delay_s
        case Objective.STOPS:
            return stops
        case Objective.INDEX:
            return delay_s + request.stop_weight_s * stops


def judge(
    problem: Problem, solution: Solution, pool: ThreadPoolExecutor | None = None
) -> tuple[float, np.ndarray]:
    """The objective with a share of the worst seed's excess, and the delay before each link [veh-s]."""
    signals = _signal_arrays(problem, solution)
    n_link = len(problem.road.connections)

    def run(traffic: TrafficArrays) -> tuple[float, np.ndarray]:
        lost, passed = np.zeros(n_link), np.zeros(n_link, np.int64)
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

    results = list(pool.map(run, problem.traffic) if pool else map(run, problem.traffic))
    lost_before_links = np.sum([lost for _, lost in results], axis=0)
    problem.evaluations += 1
    values = [v for v, _ in results]
    mean = float(np.mean(values))
    return mean + WORST_SHARE * (max(values) - mean), lost_before_links


def _signal_arrays(problem: Problem, solution: Solution) -> SignalArrays:
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
        green = _splits(problem, signal, order, cycle)
        chosen[signal] = Choice(order, green, 0)
    return _with_offsets(problem, chosen)


def _splits(problem: Problem, signal: str, order: tuple[int, ...], cycle_s: int) -> tuple[int, ...]:
    plan = problem.structure(signal, order)
    intersection = problem.network.intersections[signal]
    lanes = approach_lanes(problem.network, intersection, problem.flows_vph.get(signal, {}))
    share, fixed = green_shares(intersection, lanes, plan)
    least, most = problem.bounds(signal, order)
    green = np.zeros(len(order), np.int64)
    code = optimal_splits(
        np.ascontiguousarray(np.array(share, np.float64).reshape(len(order), len(lanes))),
        np.array(fixed, np.float64),
        np.array([lane.flow_vph / 3600 for lane in lanes], np.float64),
        np.array([lane.saturation_vph / 3600 for lane in lanes], np.float64),
        least,
        most,
        cycle_s - problem.fixed_s(signal, order),
        float(cycle_s),
        ANALYSIS_PERIOD_H,
        green,
    )
    assert code == 0, f"signal {signal}: cycle {cycle_s} s outside its bounds"
    return tuple(int(g) for g in green)


def _with_offsets(problem: Problem, solution: Mapping[str, Choice]) -> dict[str, Choice]:
    programs = {s: problem.program(s, c) for s, c in solution.items()}
    best = offsets(problem.network, programs, problem.counts, groups=problem.groups)
    return {
        s: replace(c, offset_s=int(best.get(s, 0.0)) % problem.cycle_s(s, c)) for s, c in solution.items()
    }


def structures(problem: Problem) -> list[dict[str, tuple[int, ...]]]:
    """Sets of stages to start from: all of the field's, and, where allowed, without those that may be dropped."""
    full = {s: tuple(range(len(p.stages))) for s, p in problem.base.items()}
    if not any(problem.drops.values()):
        return [full]
    short = {}
    for signal, plan in problem.base.items():
        drop: list[int] = []
        for k in sorted(problem.drops.get(signal, ()), key=lambda k: (plan.stages[k].duration_s, k)):
            left = tuple(n for n in full[signal] if n not in (*drop, k))
            if may_drop(plan, [*drop, k]) and problem.accepts(signal, left):
                drop.append(k)
        short[signal] = tuple(k for k in full[signal] if k not in drop)
    return [full, short] if short != full else [full]


def beside_neighbours(problem: Problem, orders: Mapping[str, tuple[int, ...]]) -> list[dict[str, Choice]]:
    """Starts at the cycle of neighbours that stay as they are by request, shifted against them; none without any.

    Dispersion sets offsets among the signals that are retimed; where these stand together in the neighbours'
    cycle is tried out.
    """
    if not problem.request.signals:
        return []
    staying: Counter[float] = Counter()
    for group in problem.groups:
        for signal in group if any(s in problem.base for s in group) else ():
            program = problem.network.intersections[signal].program
            if signal not in problem.base and program is not None and program.cycle_s.is_integer():
                staying[program.cycle_s] += 1
    if not staying:
        return []
    common = int(min(staying, key=lambda cycle: (-staying[cycle], cycle)))
    together = at_cycle(problem, orders, common)
    return [
        {
            s: replace(c, offset_s=(c.offset_s + common * k // SHIFTS) % problem.cycle_s(s, c))
            for s, c in together.items()
        }
        for k in range(SHIFTS)
    ]


def may_drop(plan: StagePlan, drop: Sequence[int]) -> bool:
    """Whether every link still gets a green when these stages are left out, and two stages remain."""
    kept = [s for k, s in enumerate(plan.stages) if k not in drop]
    if len(kept) < 2:
        return False
    served = frozenset[int]().union(*(s.green for s in kept))
    return all(plan.stages[k].green <= served for k in drop)


def search(
    problem: Problem,
    *,
    evaluations: int,
    starts: int = 3,
    near: Solution | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> list[Judged]:
    """The best solutions found, best first, one for each start; the same seed finds the same ones.

    Parameters
    ----------
    evaluations : how many candidates to judge in all
    starts : how many of the first round's candidates are improved
    near : a solution to start from, in place of the first round
    on_progress : called with candidates judged, their planned number, and the best value so far
    """
    with ThreadPoolExecutor(2) as pool:
        found = [Judged(judge(problem, near, pool)[0], near)] if near else []
        if not near:
            firsts: list[Judged] = []
            for orders in structures(problem):
                for cycle in CYCLES_S:
                    solution = at_cycle(problem, orders, cycle)
                    firsts.append(Judged(judge(problem, solution, pool)[0], solution))
                    if on_progress:
                        on_progress(problem.evaluations, evaluations, min(f.value for f in firsts))
                for solution in beside_neighbours(problem, orders):
                    firsts.append(Judged(judge(problem, solution, pool)[0], solution))
            firsts.sort(key=lambda j: j.value)
            found = _different(problem, firsts, starts)
            each = int(FIRST_SHARE * max(0, evaluations - problem.evaluations))
            for number, start in enumerate(found):
                generator = np.random.default_rng((problem.request.seed, number))
                found[number] = _improve(problem, start, each, generator, pool, on_progress, evaluations)
            found.sort(key=lambda j: j.value)
        generator = np.random.default_rng((problem.request.seed, len(found)))
        rest = evaluations - problem.evaluations
        found[0] = _improve(problem, found[0], rest, generator, pool, on_progress, evaluations)
    return found


def _different(problem: Problem, ranked: Sequence[Judged], most: int) -> list[Judged]:
    """The best candidates that differ in stages or cycle by more than a neighbouring step."""
    chosen: list[Judged] = []
    seen: list[tuple[Mapping[str, tuple[int, ...]], float]] = []
    for candidate in ranked:
        orders = {s: c.order for s, c in candidate.solution.items()}
        cycle = float(np.mean([problem.cycle_s(s, c) for s, c in candidate.solution.items()]))
        if all(o != orders or abs(math.log(cycle / c)) > 0.15 for o, c in seen):
            chosen.append(candidate)
            seen.append((orders, cycle))
        if len(chosen) == most:
            break
    return chosen


def _improve(
    problem: Problem,
    start: Judged,
    evaluations: int,
    generator: np.random.Generator,
    pool: ThreadPoolExecutor,
    on_progress: Callable[[int, int, float], None] | None,
    planned: int,
) -> Judged:
    """Move by move, keeping what is better; signals with more delay are tried more often."""
    best = start
    value, lost = judge(problem, best.solution, pool)
    weights = _delay_by_signal(problem, best.solution, lost)
    last = problem.evaluations + evaluations - 1
    for _ in range(DRAWS_PER_EVALUATION * evaluations):
        if problem.evaluations >= last:
            break
        candidate = _move(problem, best.solution, weights, generator)
        if candidate is None:
            continue
        value, lost = judge(problem, candidate, pool)
        if value < best.value:
            best = Judged(value, candidate)
            weights = _delay_by_signal(problem, candidate, lost)
        if on_progress:
            on_progress(problem.evaluations, planned, best.value)
    return best


def _delay_by_signal(problem: Problem, solution: Solution, lost: np.ndarray) -> np.ndarray:
    """Share of delay lost before each signal, with a floor so that none is forgotten."""
    total = dict.fromkeys(solution, 0.0)
    for k, position in enumerate(problem.road.connections):
        signal = problem.network.connections[position].signal
        if signal in total:
            total[signal] += lost[k]
    weights = np.array([total[s] for s in solution])
    weights = weights / weights.sum() if weights.sum() > 0 else np.ones(len(solution)) / max(1, len(solution))
    mixed: np.ndarray = 0.7 * weights + 0.3 / len(solution)
    return mixed


def _move(
    problem: Problem, solution: Solution, weights: np.ndarray, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """One change of a solution, or None where the draw doesn't fit the bounds."""
    names = list(solution)
    signal = names[int(generator.choice(len(names), p=weights))]
    choice = solution[signal]
    kind = generator.random()
    group = next((g for g in problem.groups if signal in g), (signal,))
    members = [s for s in group if s in solution]
    if kind < 0.40:
        alike = [s for s in members if len(solution[s].order) == len(choice.order)]
        together = len(alike) > 1 and generator.random() < 0.25
        return _shift_green(problem, solution, alike if together else [signal], len(choice.order), generator)
    alone = len(names) == 1 and not (problem.request.signals and len(problem.network.intersections) > 1)
    if kind < 0.65 and not alone:
        size = int(generator.integers(1, max(2, problem.cycle_s(signal, choice) // 3)))
        step = size if generator.random() < 0.5 else -size
        return {
            **solution,
            signal: replace(choice, offset_s=(choice.offset_s + step) % problem.cycle_s(signal, choice)),
        }
    if kind < 0.85:
        step = int(generator.choice([-8, -4, -3, -2, -1, 1, 2, 3, 4, 8]))
        whole = members if generator.random() < 0.7 else [signal]
        return _change_cycle(problem, solution, whole, step, generator)
    return _restructure(problem, solution, signal, choice, generator)


def _shift_green(
    problem: Problem, solution: Solution, signals: Sequence[str], n_stage: int, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """Move seconds from one stage to another, at one signal or at all alike; as far as bounds let each go."""
    a, b = (int(x) for x in generator.choice(n_stage, 2, replace=False))
    wish = int(generator.choice([1, 1, 2, 2, 3, 4, 6]))
    changed = dict(solution)
    for signal in signals:
        choice = solution[signal]
        least, most = problem.bounds(signal, choice.order)
        green = list(choice.green_s)
        step = min(wish, green[a] - int(least[a]), int(most[b]) - green[b])
        if step > 0:
            green[a] -= step
            green[b] += step
            changed[signal] = replace(choice, green_s=tuple(green))
    return changed if changed != solution else None


def _change_cycle(
    problem: Problem, solution: Solution, members: Sequence[str], step: int, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """Lengthen or shorten the cycle of signals together; those at half or double of it move in proportion."""
    base = problem.cycle_s(members[0], solution[members[0]])
    changed = dict(solution)
    for signal in members:
        choice = solution[signal]
        cycle = problem.cycle_s(signal, choice)
        if cycle == 2 * base:
            part = 2 * step
        elif 2 * cycle == base:
            if step % 2:
                return None
            part = step // 2
        else:
            part = step
        if not problem.shortest_cycle_s(signal) <= cycle + part <= problem.longest_cycle_s(signal):
            return None
        least, most = problem.bounds(signal, choice.order)
        green = list(choice.green_s)
        for _ in range(abs(part)):
            sign = 1 if part > 0 else -1
            free = [k for k in range(len(green)) if least[k] <= green[k] + sign <= most[k]]
            if not free:
                return None
            odds = np.array([green[k] for k in free], np.float64)
            green[int(generator.choice(free, p=odds / odds.sum()))] += sign
        scaled = round(choice.offset_s * (cycle + part) / cycle) % (cycle + part)
        changed[signal] = replace(choice, green_s=tuple(green), offset_s=scaled)
    return changed


def _restructure(
    problem: Problem, solution: Solution, signal: str, choice: Choice, generator: np.random.Generator
) -> dict[str, Choice] | None:
    """Swap two stages, or leave one out or take one back where the request allows it; the cycle stays."""
    full = range(len(problem.base[signal].stages))
    order = list(choice.order)
    allowed = problem.drops.get(signal, ())
    if allowed and generator.random() < 0.6:
        missing = [k for k in full if k not in order]
        removable = [k for k in order if k in allowed and may_drop(problem.base[signal], [*missing, k])]
        options = [("add", k) for k in missing] + [("drop", k) for k in removable]
        if not options:
            return None
        what, k = options[int(generator.integers(len(options)))]
        if what == "add":
            order.insert(next((n for n, other in enumerate(order) if other > k), len(order)), k)
        else:
            order.remove(k)
    else:
        if len(order) < 3:
            return None
        a, b = (int(x) for x in generator.choice(len(order), 2, replace=False))
        order[a], order[b] = order[b], order[a]
        turn = order.index(min(order))
        order = order[turn:] + order[:turn]
    new = tuple(order)
    if new == choice.order or not problem.accepts(signal, new):
        return None
    least, most = problem.bounds(signal, new)
    fixed = problem.fixed_s(signal, new)
    cycle = problem.cycle_s(signal, choice)
    if not fixed + int(least.sum()) <= cycle <= fixed + int(most.sum()):
        return None
    return {**solution, signal: Choice(new, _splits(problem, signal, new, cycle), choice.offset_s)}
