"""The near future in the queue simulator: what a change of the signals from some second on would be worth.

It begins with vehicles that are on the road already, and signals that show the programs in force until each changes
for itself. What may come is a number of draws of traffic, each tried with every change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kernels.arrays import F8, SignalArrays, TrafficArrays
from kernels.queues import simulate
from signals.model.demand import Demand
from signals.model.phasing import SignalProgram
from signals.timing.objective import weighed
from signals.timing.pack import FLOW_RULES, pack_traffic, state_table
from signals.timing.problem import Judged, Problem, Solution, judged

FIELD_HEADWAY_S = 1.95
"""Saturation headway of the simulator's cars: what a factor of the saturation flow is taken of."""
_EVER = -1e18

Table = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


@dataclass(frozen=True)
class Foreseen:
    """What one draw says up to a time: delay of everybody [veh-s], and vehicles that pass each approach's line."""

    delay_veh_s: float
    passed: Mapping[str, float]


@dataclass
class Outlook:
    """What may come from `now_s` on; `problem` says what may be chosen, and until when it is looked at.

    `draws` are those that changes are searched on, `fresh` those that tell the best apart, `usual` those by which
    it is foreseen what will be measured. `tables` is kept from one outlook to the next.
    """

    problem: Problem
    programs: Mapping[str, SignalProgram]
    now_s: float
    draws: Sequence[TrafficArrays]
    fresh: Sequence[TrafficArrays]
    usual: Sequence[TrafficArrays]
    tables: dict[object, Table] = field(default_factory=dict)
    runs: int = 0

    def judge(self, solution: Solution) -> Judged:
        """A solution in force from now on, tried on every draw of the search."""
        signals = self.choosing(solution)
        runs = [self._run(signals, traffic) for traffic in self.draws]
        return judged(solution, [value for value, _ in runs], [lost for _, lost in runs])

    def judge_beside(self, here: Judged, solution: Solution, worse: float, slack: float) -> Judged | None:
        """The same, None where it is by more than a share worse than another one; soon where the first draw tells."""
        signals = self.choosing(solution)
        values: list[float] = []
        lost: list[F8] = []
        for traffic in self.draws:
            value, before = self._run(signals, traffic)
            values.append(value)
            lost.append(before)
            if len(values) == 1 and value > here.by_seed[0] * (1.0 + worse + slack):
                return None
        found = judged(solution, values, lost)
        return found if found.value < here.value * (1.0 + worse) else None

    def worth(self, programs: Mapping[str, SignalProgram], starts: Mapping[str, float]) -> tuple[float, ...]:
        """The objective on each fresh draw where some signals change to programs, each at its own second."""
        signals = self.showing(programs, starts)
        return tuple(self._run(signals, traffic)[0] for traffic in self.fresh)

    def foreseen(
        self, programs: Mapping[str, SignalProgram], starts: Mapping[str, float], end_s: float
    ) -> Foreseen:
        """What is to be measured by a time if these changes are made: means over the usual draws."""
        signals = self.showing(programs, starts)
        road, network = self.problem.road, self.problem.network
        delay = 0.0
        passed = np.zeros(len(road.connections), np.int64)
        for traffic in self.usual:
            stops = np.zeros(traffic.depart.shape[0], np.int64)
            lost = np.zeros(len(road.connections))
            arrays = (road.arrays, traffic, signals, FLOW_RULES, self.now_s, end_s)
            delay += float(simulate(*arrays, lost, passed, stops)[traffic.depart < end_s].sum())
        by_edge: dict[str, float] = defaultdict(float)
        for k, position in enumerate(road.connections):
            path = network.connections[position]
            if path.signal in network.intersections:
                by_edge[path.from_edge] += float(passed[k]) / len(self.usual)
        return Foreseen(delay / len(self.usual), dict(by_edge))

    def choosing(self, solution: Solution) -> SignalArrays:
        """What signals show where a solution is in force from now on."""
        shown = {}
        for signal, choice in solution.items():
            key = (signal, choice.order, choice.green_s)
            if key not in self.tables:
                self.tables[key] = state_table(self.problem.program(signal, choice))
            shown[signal] = (
                self.tables[key],
                float(self.problem.cycle_s(signal, choice)),
                float(choice.offset_s),
            )
        return self._laid_out(shown, {})

    def showing(self, programs: Mapping[str, SignalProgram], starts: Mapping[str, float]) -> SignalArrays:
        """What signals show where some change to programs, each at its own second."""
        shown = {s: (self._table(p), p.cycle_s, p.offset_s) for s, p in programs.items()}
        return self._laid_out(shown, starts)

    def _run(self, signals: SignalArrays, traffic: TrafficArrays) -> tuple[float, F8]:
        self.runs += 1
        problem = self.problem
        n_links = len(problem.road.connections)
        lost, passed = np.zeros(n_links), np.zeros(n_links, np.int64)
        stops = np.zeros(traffic.depart.shape[0], np.int64)
        arrays = (problem.road.arrays, traffic, signals, FLOW_RULES, self.now_s, problem.end_s)
        delay = simulate(*arrays, lost, passed, stops)
        if not delay.size:
            return 0.0, lost
        return weighed(problem.request, float(delay.mean()), float(stops.mean())), lost

    def _table(self, program: SignalProgram) -> Table:
        key = (program.intersection, program.intervals)
        if key not in self.tables:
            self.tables[key] = state_table(program)
        return self.tables[key]

    def _laid_out(
        self, chosen: Mapping[str, tuple[Table, float, float]], starts: Mapping[str, float]
    ) -> SignalArrays:
        tables: list[Table] = []
        begin, cycle, offset = [], [], []
        pointer = [0]
        for signal in self.problem.road.signals:
            old = self.programs[signal]
            rows = [(_EVER, (self._table(old), old.cycle_s, old.offset_s))]
            if signal in chosen:
                start_s = starts.get(signal, self.now_s)
                rows = (
                    [*rows, (start_s, chosen[signal])] if start_s > self.now_s else [(_EVER, chosen[signal])]
                )
            for start_s, (table, cycle_s, offset_s) in rows:
                tables.append(table)
                begin.append(start_s)
                cycle.append(cycle_s)
                offset.append(offset_s)
            pointer.append(len(tables))
        ends = np.cumsum([0, *(t.shape[0] for t in tables)])
        state = np.zeros((int(ends[-1]) or 1, max((t.shape[1] for t in tables), default=1)), np.uint8)
        for table, row in zip(tables, ends, strict=False):
            state[row : row + table.shape[0], : table.shape[1]] = table
        return SignalArrays(
            np.array(pointer, np.int64),
            np.array(begin, np.float64),
            np.array(cycle, np.float64),
            np.array(offset, np.float64),
            np.ascontiguousarray(ends[:-1], np.int64),
            state,
        )


def lay_traffic(
    problem: Problem, demand: Demand, seed: int, *, saturation: float = 1.0, closed: Collection[str] = ()
) -> TrafficArrays:
    """A draw of traffic as arrays, where lanes are closed and queues discharge at a share of the usual flow.

    A closed lane that is the only one to lead on along a route stays open to it.
    """
    network, road = problem.network, problem.road
    packed = pack_traffic(network, road, demand, speed_spread=0.1, seed=seed)
    if saturation != 1.0:
        longer = FIELD_HEADWAY_S * (1.0 / saturation - 1.0)
        packed = packed._replace(headway=np.maximum(packed.headway + longer, 0.1))
    for lane in closed:
        edge, _, index = lane.rpartition("_")
        if edge not in road.edges or int(index) not in road.lane_indices[edge]:
            continue
        without = packed.lanes & ~np.int64(1 << road.lane_indices[edge].index(int(index)))
        there = (packed.edges == road.edges[edge]) & (without != 0)
        packed = packed._replace(lanes=np.where(there, without, packed.lanes))
    return packed


def until(problem: Problem, begin_s: float, end_s: float) -> Problem:
    """The same problem in another window."""
    return replace(problem, begin_s=begin_s, end_s=end_s)
