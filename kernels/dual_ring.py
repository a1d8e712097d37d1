"""Cycle and splits of one dual-ring intersection: the least delay or stops at every cycle, exact in whole seconds.

Eight protected phases in NEMA's places, index = phase − 1. Pairs of phases follow each other between barriers:

      ring 1   1  2 | 3  4 |        pair 0 | pair 1 |
      ring 2   5  6 | 7  8 |        pair 2 | pair 3 |

Phases share nothing but time, so the cost of a plan is a sum of one table a phase, cost by seconds of green. The
best division of every length of a pair is the min-plus convolution of its two tables. HCM delay is convex in green
on either side of v/c = 1 and may have a concave kink there: tables are cut where they aren't convex, and convex
pieces are convolved by merging their marginals in order, which is exact and takes as many steps as there are
seconds. Both rings add up at each place of the barrier, and the best place is looked up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.delay import capacity_vph, incremental_delay_s
from kernels.lane_cost import COMPLETE_STOPS, Goal
from kernels.plan_delay import plan_delay

N_PHASE = 8
N_PAIR = 4
FIXED_TIME_K = 0.5
"""Factor k of the incremental delay where greens are fixed (HCM, Eq. 19-26)."""


class Phases(NamedTuple):
    """Eight phases of n intersections; one that is absent has no flow, no green and no clearance.

    A pair whose phases are both absent waits while the other ring serves its own.

    Fields
    ------
    saturation_vph : float64[n, 8], above 0
    least, most : int64[n, 8], s of green shown
    clearance : int64[n, 8], s of yellow and red clearance
    used_s : float64[n, 8], yellow used less start-up loss: effective green is green shown and this; at most the
        clearance, and above −least where there is flow
    filtering : float64[n, 8], factor I for arrivals metered upstream (HCM, Eq. 19-6)
    """

    saturation_vph: F8
    least: I8
    most: I8
    clearance: I8
    used_s: F8
    filtering: F8


class Scratch(NamedTuple):
    """Room to work in, for cycles up to a longest one; `new_scratch` makes it.

    Fields
    ------
    table : float64[8, width], cost of a phase by seconds of green above its least
    reciprocal : float64[8, width], 1 / effective green, likewise
    entries : int64[8], how many of a table belong to this cycle
    piece : int64[8, width], first entry of each convex piece of a table, and at last its number of entries
    merged : float64[4, width], least cost of a pair by seconds above its shortest length
    chosen : int64[4, width], seconds of it that its first phase gets
    shortest, longest : int64[4], s that a pair takes between two barriers, clearance included
    start_s : float64[8], least effective green
    span : int64[8], s between least and most green, or of waiting
    """

    table: F8
    reciprocal: F8
    entries: I8
    piece: I8
    merged: F8
    chosen: I8
    shortest: I8
    longest: I8
    start_s: F8
    span: I8


@kernel
def new_scratch(high: int) -> Scratch:
    """Room for cycles up to `high` seconds."""
    width = high + 2
    return Scratch(
        np.zeros((N_PHASE, width)),
        np.zeros((N_PHASE, width)),
        np.zeros(N_PHASE, np.int64),
        np.zeros((N_PHASE, width), np.int64),
        np.zeros((N_PAIR, width)),
        np.zeros((N_PAIR, width), np.int64),
        np.zeros(N_PAIR, np.int64),
        np.zeros(N_PAIR, np.int64),
        np.zeros(N_PHASE),
        np.zeros(N_PHASE, np.int64),
    )


@kernel
def set_up(phases: Phases, at: int, high: int, work: Scratch) -> None:
    """Fill what holds for every cycle of intersection `at`: lengths of pairs and reciprocals of green."""
    for pair in range(N_PAIR):
        a, b = 2 * pair, 2 * pair + 1
        clearance = phases.clearance[at, a] + phases.clearance[at, b]
        work.shortest[pair] = phases.least[at, a] + phases.least[at, b] + clearance
        work.longest[pair] = phases.most[at, a] + phases.most[at, b] + clearance
    for phase in range(N_PHASE):
        work.span[phase] = phases.most[at, phase] - phases.least[at, phase]
        work.start_s[phase] = phases.least[at, phase] + phases.used_s[at, phase]
        for i in range(min(work.span[phase], high - phases.least[at, phase]) + 1):
            effective_s = work.start_s[phase] + i
            work.reciprocal[phase, i] = 1.0 / effective_s if effective_s > 0.0 else 0.0
    for pair in range(N_PAIR):
        # a ring may wait for the other as long as it takes, but no time goes to a side without phases
        if work.longest[pair] == 0 and work.longest[(pair + 2) % N_PAIR] > 0:
            work.longest[pair] = high
            work.span[2 * pair + 1] = high


@kernel
def add_costs(
    table: F8,
    reciprocal: F8,
    phase: int,
    n: int,
    start_s: float,
    cycle_s: float,
    flow_vph: float,
    saturation_vph: float,
    filtering: float,
    delay_weight: float,
    stop_weight: float,
    period_h: float,
) -> None:
    """Add the cost of a phase to its first n entries; effective green is start_s, start_s + 1, ….

    Delay is q (d1 + d2) of HCM Eqs. 19-19 and 19-26, stops are those of Akçelik (Traffic Signals: Capacity and
    Timing Analysis, ARR 123, 1981): 0.9 (q (1 − u) / (1 − min(y, u)) + N / C), with the overflow queue N = c d2
    (HCM, Eq. 31-142). As c x is the flow, N = T / 4 · (v − c + √((v − c)² + 8 k I v / T)) with flow v and
    capacity c in veh/h, and q d2 = x N.
    """
    flow_ratio = flow_vph / saturation_vph
    spread = 8.0 * FIXED_TIME_K * filtering * flow_vph / period_h
    emptying = 1.0 / (1.0 - flow_ratio) if flow_ratio < 1.0 else 1e300  # a queue that never empties stops all
    per_cycle = 1.0 / cycle_s
    by_stopped = stop_weight * COMPLETE_STOPS * flow_vph / 3600.0
    by_waiting = delay_weight * 0.5 * cycle_s * flow_vph / 3600.0
    by_queue = stop_weight * COMPLETE_STOPS * per_cycle * 0.25 * period_h
    by_vc = delay_weight * flow_ratio * cycle_s * 0.25 * period_h
    for i in range(n):
        green_ratio = (start_s + i) * per_cycle
        red_ratio = 1.0 - green_ratio
        stopped = red_ratio * emptying
        stopped = 1.0 if stopped > 1.0 else stopped  # (1 − u) / (1 − min(y, u))
        over_vph = flow_vph - saturation_vph * green_ratio
        queue = over_vph + math.sqrt(over_vph * over_vph + spread)
        table[phase, i] += stopped * (by_stopped + by_waiting * red_ratio) + queue * (
            by_queue + by_vc * reciprocal[phase, i]
        )


@kernel
def cut(table: F8, phase: int, n: int, piece: I8) -> None:
    """Write where each convex piece of the first n entries begins, and n after the last."""
    bends = 0
    for i in range(n - 2):
        if table[phase, i + 2] - table[phase, i + 1] < table[phase, i + 1] - table[phase, i]:
            bends += 1
    m = 0
    piece[phase, 0] = 0
    if bends > 0:
        for i in range(1, n - 1):
            step = table[phase, i] - table[phase, i - 1]
            if i > piece[phase, m] and table[phase, i + 1] - table[phase, i] < step:
                m += 1
                piece[phase, m] = i + 1
    piece[phase, m + 1] = n


@kernel
def merge(
    table: F8, pair: int, a_from: int, a_to: int, b_from: int, b_to: int, n: int, merged: F8, chosen: I8
) -> None:
    """Lower `merged` to the sums of two convex pieces, always taking the cheaper next second."""
    a, b = table[2 * pair], table[2 * pair + 1]
    least, first = merged[pair], chosen[pair]
    i, j = a_from, b_from
    step_a = a[i + 1] - a[i] if i + 1 < a_to else np.inf
    step_b = b[j + 1] - b[j] if j + 1 < b_to else np.inf
    for k in range(a_from + b_from, min(a_to + b_to - 1, n)):
        value = a[i] + b[j]
        if value < least[k]:
            least[k] = value
            first[k] = i
        if step_a < step_b:
            i += 1
            step_a = a[i + 1] - a[i] if i + 1 < a_to else np.inf
        else:
            j += 1
            step_b = b[j + 1] - b[j] if j + 1 < b_to else np.inf


@kernel
def divide_pair(table: F8, piece: I8, entries: I8, pair: int, n: int, merged: F8, chosen: I8) -> None:
    """Least cost of the first n lengths of a pair, and what its first phase gets of each."""
    a, b = 2 * pair, 2 * pair + 1
    cut(table, a, entries[a], piece)
    cut(table, b, entries[b], piece)
    for k in range(n):
        merged[pair, k] = np.inf
    i = 0
    while piece[a, i] < entries[a]:
        j = 0
        while piece[b, j] < entries[b]:
            merge(table, pair, piece[a, i], piece[a, i + 1], piece[b, j], piece[b, j + 1], n, merged, chosen)
            j += 1
        i += 1


@kernel
def best_of_tables(work: Scratch, cycle: int, first: int, last: int, seconds: I8) -> float:
    """Least sum of the tables as they stand, and the seconds above their least that phases get."""
    best = np.inf
    barrier = first
    n = last - first + 1
    for pair in range(N_PAIR):
        length = (last if pair % 2 == 0 else cycle - first) - work.shortest[pair] + 1
        divide_pair(work.table, work.piece, work.entries, pair, length, work.merged, work.chosen)
    ring_1 = work.merged[0, first - work.shortest[0] :]
    ring_2 = work.merged[2, first - work.shortest[2] :]
    then_1 = work.merged[1, cycle - last - work.shortest[1] :]
    then_2 = work.merged[3, cycle - last - work.shortest[3] :]
    for k in range(n):
        value = ring_1[k] + then_1[n - 1 - k] + (ring_2[k] + then_2[n - 1 - k])
        if value < best:
            best = value
            barrier = first + k
    for pair in range(N_PAIR):
        spare = (barrier if pair % 2 == 0 else cycle - barrier) - work.shortest[pair]
        seconds[2 * pair] = work.chosen[pair, spare]
        seconds[2 * pair + 1] = spare - work.chosen[pair, spare]
    return best


@kernel
def place_barrier(cycle: int, shortest: I8, longest: I8, span: I8, entries: I8) -> tuple[int, int]:
    """Shortest and longest time to the first barrier; `entries` becomes how many each table has.

    The first exceeds the second where the phases fit no barrier of this cycle.
    """
    first = max(shortest[0], shortest[2], cycle - min(longest[1], longest[3]))
    last = min(longest[0], longest[2], cycle - max(shortest[1], shortest[3]))
    for phase in range(N_PHASE):
        pair = phase // 2
        room = (last if pair % 2 == 0 else cycle - first) - shortest[pair]
        entries[phase] = min(span[phase], room) + 1
    return first, last


@kernel
def cycle_curve(
    flow_vph: F8, weight: F8, phases: Phases, at: int, goal: Goal, low: int, high: int, work: Scratch,
    cost: F8, green: I8,
) -> None:  # fmt: skip
    """Least mean cost over scenarios at every cycle low … high, and the greens that have it.

    Parameters
    ----------
    flow_vph : float64[n_scenario, 8], veh/h
    weight : float64[n_scenario], probabilities
    at : int, row of the intersection in `phases`
    cost : float64[high − low + 1], filled; infinite where a cycle fits no greens
    green : int64[high − low + 1, 8], filled, s of green shown; 0 where nothing fits
    """
    set_up(phases, at, high, work)
    for cycle in range(low, high + 1):
        row = cycle - low
        first, last = place_barrier(cycle, work.shortest, work.longest, work.span, work.entries)
        if first > last:
            cost[row] = np.inf
            for phase in range(N_PHASE):
                green[row, phase] = 0
            continue
        for phase in range(N_PHASE):
            n = work.entries[phase]
            for i in range(n):
                work.table[phase, i] = 0.0
            for k in range(flow_vph.shape[0]):
                if flow_vph[k, phase] * weight[k] > 0.0:
                    add_costs(
                        work.table, work.reciprocal, phase, n, work.start_s[phase], float(cycle),
                        flow_vph[k, phase], phases.saturation_vph[at, phase], phases.filtering[at, phase],
                        goal.delay_weight * weight[k], goal.stop_weight * weight[k], goal.period_h,
                    )  # fmt: skip
        cost[row] = best_of_tables(work, cycle, first, last, green[row])
        add_least(phases, at, green, row)


@kernel
def add_least(phases: Phases, at: int, green: I8, row: int) -> None:
    """Turn seconds above the least greens into greens; a ring that waits shows none."""
    for phase in range(N_PHASE):
        green[row, phase] = min(phases.least[at, phase] + green[row, phase], phases.most[at, phase])


@kernel
def take_best(curve: F8, at: int, low: int, greens: I8, green: I8) -> int:
    """The shortest of the cycles that cost least, its greens in row `at`; 0 and no greens where none fits."""
    best = 0
    for row in range(curve.shape[1]):
        if curve[at, row] < curve[at, best]:
            best = row
    for phase in range(N_PHASE):
        green[at, phase] = greens[best, phase]
    return low + best if curve[at, best] < np.inf else 0


@kernel
def best_cycles(
    flow_vph: F8, weight: F8, phases: Phases, goal: Goal, low: int, high: int, from_row: int, to_row: int,
    curve: F8, cycle: I8, green: I8,
) -> None:  # fmt: skip
    """The best of all cycles low … high, the shortest of equal ones, for intersections from_row … to_row − 1.

    Parameters
    ----------
    flow_vph : float64[n, n_scenario, 8], veh/h
    weight : float64[n, n_scenario], probabilities
    curve : float64[n, high − low + 1], filled: least cost at each cycle, infinite where nothing fits
    cycle : int64[n], filled: s, 0 where no cycle fits
    green : int64[n, 8], filled: s of green shown
    """
    work = new_scratch(high)
    greens = np.zeros((high - low + 1, N_PHASE), np.int64)
    for at in range(from_row, to_row):
        cycle_curve(flow_vph[at], weight[at], phases, at, goal, low, high, work, curve[at], greens)
        cycle[at] = take_best(curve, at, low, greens, green)


class PhaseDelays(NamedTuple):
    """What `kernels.plan_delay` takes and gives; a lane group is a phase in a scenario, the plan is one.

    Fields
    ------
    saturation_vph, k, filtering, initial_queue_veh : float64[n_scenario · 8]
    effective_s, control_s : float64[n_scenario · 8, 1]
    cycle_s : float64[1]
    """

    saturation_vph: F8
    k: F8
    filtering: F8
    initial_queue_veh: F8
    effective_s: F8
    control_s: F8
    cycle_s: F8


@kernel
def new_phase_delays(n_scenario: int) -> PhaseDelays:
    """Room for the phases of an intersection."""
    n = n_scenario * N_PHASE
    return PhaseDelays(
        np.empty(n), np.full(n, FIXED_TIME_K), np.empty(n), np.zeros(n), np.empty((n, 1)), np.empty((n, 1)), np.empty(1)
    )  # fmt: skip


@kernel
def delay_of_phases(
    flow_vph: F8, phases: Phases, at: int, cycle_s: float, green: I8, period_h: float, work: PhaseDelays
) -> None:
    """Fill `work.control_s` with the delay of each phase in each scenario; flow float64[n_scenario, 8]."""
    for i in range(flow_vph.size):
        phase = i % N_PHASE
        work.saturation_vph[i] = phases.saturation_vph[at, phase]
        work.filtering[i] = phases.filtering[at, phase]
        work.effective_s[i, 0] = green[phase] + phases.used_s[at, phase]
    work.cycle_s[0] = cycle_s
    plan_delay(
        flow_vph.reshape(-1), work.saturation_vph, work.k, work.filtering, work.initial_queue_veh,
        work.effective_s, work.cycle_s, period_h, work.control_s,
    )  # fmt: skip


@kernel
def measure(
    flow_vph: F8, weight: F8, phases: Phases, cycle: I8, green: I8, period_h: float, from_row: int, to_row: int,
    vc_ratio: F8, delay_s: F8, stops: F8,
) -> None:  # fmt: skip
    """What each phase gets out of a plan, for intersections from_row … to_row − 1; stops as in `add_costs`.

    Parameters
    ----------
    flow_vph, weight, phases : as for `best_cycles`
    cycle : int64[n], s
    green : int64[n, 8], s of green shown
    vc_ratio : float64[n, 8], filled: the highest of all scenarios with a weight
    delay_s, stops : float64[n, 8], filled: d1 + d2 [s/veh] and stops a vehicle, over the vehicles of all scenarios
    """
    work = new_phase_delays(flow_vph.shape[1])
    for at in range(from_row, to_row):
        cycle_s = float(cycle[at])
        if cycle_s > 0.0:
            delay_of_phases(flow_vph[at], phases, at, cycle_s, green[at], period_h, work)
        for phase in range(N_PHASE):
            saturation = phases.saturation_vph[at, phase]
            green_s = green[at, phase] + phases.used_s[at, phase]
            worst = 0.0
            flow = 0.0
            waited = 0.0
            stopped = 0.0
            for k in range(flow_vph.shape[1]):
                v = flow_vph[at, k, phase]
                share = weight[at, k] * v
                if share > 0.0 and cycle_s > 0.0:
                    c = capacity_vph(saturation, green_s, cycle_s)
                    x = v / c
                    d2 = incremental_delay_s(x, c, period_h, FIXED_TIME_K, phases.filtering[at, phase])
                    worst = max(worst, x)
                    flow += share
                    waited += share * work.control_s[k * N_PHASE + phase, 0]
                    stopped += share * stops_per_vehicle(green_s, cycle_s, x, d2)
            vc_ratio[at, phase] = worst
            delay_s[at, phase] = waited / flow if flow > 0.0 else 0.0
            stops[at, phase] = stopped / flow if flow > 0.0 else 0.0


@kernel
def stops_per_vehicle(green_s: float, cycle_s: float, x: float, incremental_s: float) -> float:
    """Complete stops a vehicle: 0.9 ((1 − u) / (1 − min(y, u)) + N / (q C)) with N = c d2, q = c x (Akçelik 1981)."""
    green_ratio = green_s / cycle_s
    if x <= 0.0 or green_ratio >= 1.0:
        return 0.0
    standing = (1.0 - green_ratio) / (1.0 - green_ratio * min(1.0, x))
    return COMPLETE_STOPS * (standing + incremental_s / (x * cycle_s))
