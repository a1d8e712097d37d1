"""Time of day: when a group of signals should change plans, and which plans these are.

1. **Table.** For every part of the day that may be a period, and every cycle, each signal gets splits for the mean
   demand of that part; what they cost is summed over its slots, each with its own demand (`kernels.day_costs`).
2. **Periods.** Dynamic programming over the table finds the best 1, 2, … periods that keep the shortest duration, with
   the price of each change.
3. **Plans.** The splits of each period are made again for all its slots at once, exactly.
4. **Sharing.** One plan may serve several parts of the day. With these plans given, the best sequence of them is found,
   again by dynamic programming; with the sequence given, the plans are made anew for the slots that they serve; and so
   on while that helps. It starts from the periods, and from the plans of one more, each of them left out in turn.

Step 2 is the optimum of the table, steps 3 and 4 never make it worse. Costs are HCM's delay [veh·h] where delay is to
be small; otherwise a stop counts as `stop_weight_s` of delay in the index, and as 1 s where stops alone count. A queue
that a slot leaves behind isn't handed on to the next one: d2 of HCM has it wait to its end within its own slot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kernels.arrays import F8, I8
from kernels.day_costs import best_day_splits, best_sequence, segment_costs, slot_costs
from kernels.splits import BOX_LIMIT
from signals.model.night import DaySchedule, ScheduledPeriod
from signals.model.plan import MOST_STOP_WEIGHT_S, Objective
from signals.timing.objective import goal_of, weighed
from signals.timing.periods import SWITCH_DELAY_S, SWITCH_LASTS_S
from signals.timing.signal_day import SignalDay

SWITCH_STOPS = 0.5
"""Stops of everybody who arrives within `SWITCH_LASTS_S` of a change: half of them, on a red that was not to be."""
PLAN_BOXES = 300
"""Boxes of a plan for a set of slots, after which it is the best found and not proven; few take more than 50."""
TABLE_BOXES = 1
"""Boxes a solution of the table: the first one's plan is the best in all but a few cases, the others prove it."""
GAIN = 1e-9
"""Relative gain below which sharing ends."""
MOST_ROUNDS = 20

OnProgress = Callable[[int, int], None]
"""Called with how many signals are through, and how many there are."""


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """What a day's plans have to keep to, and what they make small.

    `most_changes` is how many periods a controller's table of the day takes (NTCIP 1202's day plans: its actions).
    `switch_delay_s` is the delay of everybody who arrives within `SWITCH_LASTS_S` of a change. A further plan has to
    save `marginal_gain` of the delay that a single plan has.
    """

    max_plans: int = 8
    min_duration_min: int = 60
    grid_min: int = 30
    slot_min: int = 15
    most_changes: int = 16
    switch_delay_s: float = SWITCH_DELAY_S
    marginal_gain: float = 0.005
    objective: Objective = Objective.DELAY
    stop_weight_s: float = 20.0

    def __post_init__(self) -> None:
        if self.max_plans < 1 or self.most_changes < 1:
            raise ValueError(f"{self.max_plans} plans and {self.most_changes} periods: at least 1 each")
        if not 1 <= self.slot_min <= self.grid_min or self.grid_min % self.slot_min:
            raise ValueError(
                f"changes every {self.grid_min} min, slots of {self.slot_min} min: need whole slots between changes"
            )
        if self.min_duration_min < 1:
            raise ValueError(f"periods of {self.min_duration_min} min: at least 1 min")
        if not (math.isfinite(self.switch_delay_s) and self.switch_delay_s >= 0):
            raise ValueError(f"a change costs {self.switch_delay_s:g} s: 0 or more")
        if not 0 <= self.marginal_gain < 1:
            raise ValueError(f"marginal gain of {self.marginal_gain:g}: 0 or more, below 1")
        if not 0 <= self.stop_weight_s <= MOST_STOP_WEIGHT_S:
            raise ValueError(
                f"stop weight of {self.stop_weight_s:g} s: a stop is worth 0 to {MOST_STOP_WEIGHT_S:g} s of delay"
            )


@dataclass(frozen=True, eq=False)
class _Plan:
    """The group's cycle, each signal's greens, and what it all costs in each cell of the grid [veh·h]."""

    cycle_s: int
    green_s: tuple[I8, ...]
    by_cell: F8


@dataclass(frozen=True, eq=False)
class _Shown:
    """Plans, which of them is shown in each cell, int64[n_cell], and the cost of that, changes included [veh·h]."""

    plans: tuple[_Plan, ...]
    sequence: I8
    total: float


def schedule_day(
    signals: Sequence[SignalDay],
    cycles_s: Sequence[int],
    request: ScheduleRequest,
    *,
    on_progress: OnProgress | None = None,
) -> DaySchedule:
    """The plans of a group through a day, and the times of its changes.

    Parameters
    ----------
    signals
        Those of the group, with the same slots each, from midnight on.
    cycles_s
        Cycles worth trying for the group [s].
    request
        Limits, prices and the objective.
    on_progress
        Called after each signal's table.

    Raises
    ------
    ValueError
        Where there is no signal or cycle, or slots don't fit each other or the grid.
    """
    group = _Group(signals, cycles_s, request)
    cost, least_h = group.tables(on_progress)
    cuts = _best_periods(cost, group.price_h, min(request.max_plans, request.most_changes), group.shortest)
    one = min((group.plan(c, [group.everything]) for c in group.cycles_s), key=lambda p: p.by_cell.sum())
    found = {1: group.shown((one,))}
    beyond: _Shown | None = None
    for k in range(len(cuts), 1, -1):
        starts = [group.shown_by_periods(cuts[k - 1], cost)]
        if beyond is not None:
            starts.append(group.without_one(beyond))
        found[k] = beyond = min((group.shared(s) for s in starts), key=lambda s: s.total)
    by_plans = [found[1].total]
    for k in range(2, request.max_plans + 1):
        by_plans.append(min(by_plans[-1], found[k].total if k in found else math.inf))
    prices = [b + request.marginal_gain * by_plans[0] * k for k, b in enumerate(by_plans)]
    best = found[1 + int(np.argmin(prices))]
    periods = group.periods(best)
    transition_h = group.changes_h(best)
    return DaySchedule(
        periods,
        best.total - transition_h,
        transition_h,
        found[1].total,
        least_h,
        tuple(by_plans),
    )


class _Group:
    """The signals of a group as kernels read them, with the grid of the day.

    A cell has `width` rows: each demand of each slot. `price_h` is the price of a change at the start of a cell,
    float64[n_cell] [veh·h].
    """

    def __init__(
        self, signals: Sequence[SignalDay], cycles_s: Sequence[int], request: ScheduleRequest
    ) -> None:
        if not signals or not cycles_s or min(cycles_s) < 1:
            raise ValueError(f"{len(signals)} signals and cycles of {list(cycles_s)} s: need one of each")
        days = sorted({(len(s.flow) // s.demands, s.demands) for s in signals})
        slots, demands = days[0]
        width = request.grid_min // request.slot_min
        if len(days) > 1 or not slots or slots % width:
            raise ValueError(
                f"days of {[d[0] for d in days]} slots, {[d[1] for d in days]} demands in each: need the same for all, "
                f"slots a multiple of {width}"
            )
        self.signals, self.request = tuple(signals), request
        self.cycles_s = tuple(sorted(set(cycles_s)))
        self.n_row, self.width = slots * demands, width * demands
        self.n_cell = slots // width
        self.shortest = min(self.n_cell, math.ceil(request.min_duration_min / request.grid_min))
        slot_h = request.slot_min / 60
        self.row_h = slot_h / demands
        self.goal = goal_of(request, slot_h)
        self.days = [s.arrays for s in signals]
        by_cell = [s.flow.sum(axis=1).reshape(self.n_cell, self.width) for s in signals]
        arrivals = np.sum([flow[:, :demands].mean(axis=1) for flow in by_cell], axis=0)
        each_s = weighed(request, request.switch_delay_s, SWITCH_STOPS)
        self.price_h: F8 = arrivals * SWITCH_LASTS_S * each_s / 3600.0
        self.everything = (0, self.n_cell)

    def tables(self, on_progress: OnProgress | None) -> tuple[F8, float]:
        """cost[a, b, cycle] of cells a … b − 1 [veh·h], infinite where too short; and that of a plan a row."""
        start, end = np.triu_indices(self.n_cell + 1, self.shortest)
        first, last = self.width * start, self.width * end
        row = np.arange(self.n_row)
        total = np.zeros((len(start), len(self.cycles_s)))
        alone = np.zeros((self.n_row, len(self.cycles_s)))
        for k, (signal, day) in enumerate(zip(self.signals, self.days, strict=True)):
            own = sorted({c for cycle in self.cycles_s for c in signal.own_cycles_s(cycle)})
            cycles = np.array(own, np.int64)
            for sums, a, b, boxes in (
                (total, first, last, TABLE_BOXES),
                (alone, row, row + 1, BOX_LIMIT),
            ):
                cost = np.zeros((len(a), len(own)))
                segment_costs(day, self.goal, signal.change_s, cycles, a, b, boxes, cost)
                for at, cycle in enumerate(self.cycles_s):
                    options = [own.index(c) for c in signal.own_cycles_s(cycle)]
                    sums[:, at] += cost[:, options].min(axis=1)
            if on_progress:
                on_progress(k + 1, len(self.signals))
        table = np.full((self.n_cell + 1, self.n_cell + 1, len(self.cycles_s)), np.inf)
        table[start, end] = total * self.row_h
        return table, float(alone.min(axis=1).sum() * self.row_h)

    def plan(self, cycle_s: int, parts: Sequence[tuple[int, int]]) -> _Plan:
        """The best plan at a cycle for parts of the day, each from a cell up to another."""
        rows = np.concatenate([np.arange(self.width * a, self.width * b) for a, b in parts])
        greens = []
        by_row = np.zeros(self.n_row)
        for signal, day in zip(self.signals, self.days, strict=True):
            best: tuple[float, int, I8] | None = None
            for own in signal.own_cycles_s(cycle_s):
                green = np.zeros(len(signal.least_s), np.int64)
                _, value = best_day_splits(day, self.goal, signal.change_s, own, rows, PLAN_BOXES, green)
                if best is None or value < best[0]:
                    best = value, own, green
            assert best is not None
            _, own, green = best
            costs = np.zeros(self.n_row)
            slot_costs(day, self.goal, green, float(own), costs)
            by_row += costs
            greens.append(green)
        by_cell = by_row.reshape(self.n_cell, self.width).sum(axis=1) * self.row_h
        return _Plan(cycle_s, tuple(greens), by_cell)

    def shown(self, plans: tuple[_Plan, ...]) -> _Shown:
        """The best sequence of some plans."""
        sequence = np.zeros(self.n_cell, np.int64)
        cost = np.array([p.by_cell for p in plans])
        total = best_sequence(cost, self.price_h, self.shortest, self.request.most_changes, sequence)
        return _Shown(plans, sequence, total)

    def shown_by_periods(self, cuts: tuple[int, ...], cost: F8) -> _Shown:
        """A plan of its own for each period, shown where it serves best."""
        periods = pairwise((0, *cuts, self.n_cell))
        return self.shown(
            tuple(self.plan(self.cycles_s[int(np.argmin(cost[a, b]))], [(a, b)]) for a, b in periods)
        )

    def without_one(self, of: _Shown) -> _Shown:
        """The best sequence of all plans but one."""
        fewer = (of.plans[:k] + of.plans[k + 1 :] for k in range(len(of.plans)))
        return min((self.shown(plans) for plans in fewer), key=lambda s: s.total)

    def shared(self, shown: _Shown) -> _Shown:
        """Plans made anew for what they serve, and their best sequence, in turn while that helps.

        Where it no longer does, the next shorter and longer cycles are tried.
        """
        for _ in range(MOST_ROUNDS):
            better = self.remade(shown, 0)
            if not better.total < shown.total * (1.0 - GAIN):
                better = self.remade(shown, 1)
                if not better.total < shown.total * (1.0 - GAIN):
                    break
            shown = better
        return shown

    def remade(self, shown: _Shown, reach: int) -> _Shown:
        """Plans made anew for what they serve, cycles up to `reach` places away tried; and their best sequence."""
        plans = []
        for k, plan in enumerate(shown.plans):
            parts = [(a, b) for a, b in _runs(shown.sequence) if shown.sequence[a] == k]
            at = self.cycles_s.index(plan.cycle_s)
            cycles = self.cycles_s[max(0, at - reach) : at + reach + 1] if parts else ()
            made = [self.plan(cycle, parts) for cycle in cycles] or [plan]
            served = shown.sequence == k
            plans.append(min(made, key=lambda p: float(p.by_cell[served].sum())))
        return self.shown(tuple(plans))

    def changes_h(self, shown: _Shown) -> float:
        """Price of the changes [veh·h]."""
        return float(sum(self.price_h[a] for a, _ in _runs(shown.sequence)[1:]))

    def periods(self, shown: _Shown) -> tuple[ScheduledPeriod, ...]:
        """The periods of a day."""
        grid = self.request.grid_min
        found = []
        for a, b in _runs(shown.sequence):
            plan = shown.plans[shown.sequence[a]]
            greens = {
                s.name: tuple(int(g) for g in green)
                for s, green in zip(self.signals, plan.green_s, strict=True)
            }
            own = {s.change_s + sum(greens[s.name]) for s in self.signals}
            cycle = plan.cycle_s // 2 if own == {plan.cycle_s // 2} else plan.cycle_s
            found.append(ScheduledPeriod(grid * a, grid * b, cycle, greens))
        return tuple(found)


def _runs(sequence: I8) -> list[tuple[int, int]]:
    """Where a sequence stays the same: from each cell up to another."""
    cuts = [int(c) for c in np.flatnonzero(np.diff(sequence)) + 1]
    return list(zip([0, *cuts], [*cuts, len(sequence)], strict=True))


def _best_periods(cost: F8, price: F8, most: int, shortest: int) -> list[tuple[int, ...]]:
    """Cuts of the best 1, 2, … periods, as many as fit; cost[a, b, cycle] of a period, price of a change at a cell."""
    n = cost.shape[0] - 1
    of_period = cost.min(axis=2)
    most = min(most, max(1, n // shortest))
    best = np.full((most + 1, n + 1), np.inf)
    since = np.zeros((most + 1, n + 1), np.int64)
    best[1] = of_period[0]
    for k in range(2, most + 1):
        for end in range(k * shortest, n + 1):
            starts = np.arange((k - 1) * shortest, end - shortest + 1)
            totals = best[k - 1, starts] + price[starts] + of_period[starts, end]
            at = int(np.argmin(totals))
            best[k, end], since[k, end] = totals[at], starts[at]
    found = []
    for k in range(1, most + 1):
        cuts, end = [], n
        for j in range(k, 1, -1):
            end = int(since[j, end])
            cuts.append(end)
        found.append(tuple(reversed(cuts)))
    return found
