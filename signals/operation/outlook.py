"""The next half hour in the queue simulator: what each change of the signals would be worth.

It begins with the vehicles that are on the road now, goes on with draws of those who are expected, and ends some time
after the last of them has entered, so that a queue left behind is paid for. Programs in force go on until each
signal's own second of change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kernels.arrays import F8, SignalArrays, TrafficArrays
from signals.model.demand import Demand, Vehicle
from signals.model.phasing import SignalProgram
from signals.operation.expectation import Expectation
from signals.timing.pack import pack_traffic, state_table
from signals.timing.problem import Problem, Solution, run_day

AHEAD_S = 1800.0
DRAIN_S = 600.0
SEARCH_DRAWS = 3
FRESH_DRAWS = 8

Table = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


@dataclass
class Outlook:
    """What may come, and the programs in force; `problem` says what may be chosen."""

    problem: Problem
    programs: Mapping[str, SignalProgram]
    now_s: float
    draws: Sequence[TrafficArrays]
    fresh: Sequence[TrafficArrays]
    tables: dict[object, Table]
    runs: int = 0

    def signals(self, solution: Solution, starts: Mapping[str, float] | None = None) -> SignalArrays:
        """What signals show: the programs in force, and a solution from `starts` on, from now on where not given."""
        choices = {
            s: (self._chosen(s, solution), float(self.problem.cycle_s(s, c)), float(c.offset_s))
            for s, c in solution.items()
        }
        return self._laid_out(choices, starts or {})

    def showing(self, programs: Mapping[str, SignalProgram], starts: Mapping[str, float]) -> SignalArrays:
        """What signals show where some change to other programs, each at its own second."""
        shown = {s: (self._table(p), p.cycle_s, p.offset_s) for s, p in programs.items()}
        return self._laid_out(shown, starts)

    def run(
        self, signals: SignalArrays, traffic: TrafficArrays, end_s: float | None = None
    ) -> tuple[float, F8]:
        """The objective over all who are or will be on the road, and the delay before each link."""
        self.runs += 1
        problem = self.problem
        if end_s is not None:
            problem = replace(problem, end_s=end_s)
        return run_day(problem, signals, traffic)

    def _laid_out(
        self, chosen: Mapping[str, tuple[Table, float, float]], starts: Mapping[str, float]
    ) -> SignalArrays:
        tables, begin, cycle, offset = [], [], [], []
        pointer = [0]
        for signal in self.problem.road.signals:
            old = self.programs[signal]
            rows = [(-1e18, (self._table(old), old.cycle_s, old.offset_s))]
            if signal in chosen:
                start = starts.get(signal, self.now_s)
                rows = [*rows, (start, chosen[signal])] if start > self.now_s else [(-1e18, chosen[signal])]
            for start, (table, cycle_s, offset_s) in rows:
                tables.append(table)
                begin.append(start)
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

    def _chosen(self, signal: str, solution: Solution) -> Table:
        choice = solution[signal]
        key = (signal, choice.order, choice.green_s)
        if key not in self.tables:
            self.tables[key] = state_table(self.problem.program(signal, choice))
        return self.tables[key]

    def _table(self, program: SignalProgram) -> Table:
        key = (program.intersection, program.intervals)
        if key not in self.tables:
            self.tables[key] = state_table(program)
        return self.tables[key]


def look_ahead(
    problem: Problem,
    programs: Mapping[str, SignalProgram],
    expectation: Expectation,
    present: Mapping[str, float],
    now_s: float,
    end_s: float,
    seed: int,
    tables: dict[object, Table],
) -> Outlook:
    """The outlook at a time: draws of who is on the road and who will come, by `end_s` at the latest."""
    until = min(now_s + AHEAD_S, end_s)
    draws = []
    for k in range(SEARCH_DRAWS + FRESH_DRAWS):
        generator = np.random.default_rng((seed, int(now_s), k))
        vehicles: list[Vehicle] = expectation.draw_present(present, now_s, generator)
        vehicles += expectation.draw(now_s, until, generator)
        demand = Demand(now_s, until, tuple(vehicles), expectation.types)
        draws.append(
            pack_traffic(problem.network, problem.road, demand, speed_spread=0.1, seed=seed * 1000 + k)
        )
    ahead = replace(problem, begin_s=now_s, end_s=min(until + DRAIN_S, max(end_s, until)))
    return Outlook(ahead, programs, now_s, draws[:SEARCH_DRAWS], draws[SEARCH_DRAWS:], tables)
