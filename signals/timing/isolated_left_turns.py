"""Left turns of isolated intersections that go with an arrow and afterwards through gaps (protected-permitted).

The model is that of `kernels.left_turn_delay`, the optimum that of `kernels.left_turns`; here they meet the arrays of
isolated intersections, and what a plan gives each left turn is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import F8, I8
from kernels.delay import incremental_delay_s
from kernels.dual_ring import FIXED_TIME_K, Phases
from kernels.lane_cost import COMPLETE_STOPS
from kernels.left_turn_delay import (
    DualRing,
    change_s,
    effective_s,
    opposing_queue_s,
    own_start_s,
    own_through,
    permitted_startup_s,
)
from kernels.left_turns import permitted_splits
from kernels.plan_delay import left_turn_plan_delay
from signals.timing.measures import permitted_left_saturation_flow_vph

SNEAKERS_VEH = 2.0
"""Left turns a cycle that wait inside the intersection at the end of the green (HCM 7th ed., chapter 31)."""


@dataclass(frozen=True, eq=False)
class LeftTurnArrays:
    """Which left turns of n intersections go through gaps, and what their phases share.

    Fields
    ------
    permitted : bool[n, 8]
    startup_s, extension_s : float64[n], s lost at the start of a green and won at its end, tenths of green included
    """

    permitted: NDArray[np.bool_]
    startup_s: F8
    extension_s: F8

    def decides(self, flow_vph: F8) -> NDArray[np.bool_]:
        """Where anybody turns left through gaps, bool[n]; flow float64[n, n_scenario, 8]."""
        return np.asarray((self.permitted & (flow_vph[:, 0] > 0.0)).any(axis=1))


class LeftTurnGreen(NamedTuple):
    """What a left turn gets in a cycle: effective times [s], and vehicles that slip through at the end [veh].

    `waiting_s` is from the end of the arrow until the opposing queue has gone.
    """

    protected_s: float
    waiting_s: float
    unblocked_s: float
    sneakers_veh: float


def dual_ring_of(
    flow_vph: F8, phases: Phases, left_turns: LeftTurnArrays, at: int, period_h: float
) -> DualRing:
    """One intersection as `kernels.left_turns` reads it; `flow_vph` is float64[8]."""
    permitted = left_turns.permitted[at]
    gaps_vph = [
        permitted_left_saturation_flow_vph(flow_vph[phase + 1]) if permitted[phase] else 0.0
        for phase in range(8)
    ]
    return DualRing(
        flow_vps=flow_vph / 3600.0,
        saturation_vps=phases.saturation_vph[at] / 3600.0,
        permitted_vps=np.array(gaps_vph) / 3600.0,
        sneakers_veh=np.where(permitted, SNEAKERS_VEH, 0.0),
        clearance_s=phases.clearance[at],
        least=phases.least[at],
        most=phases.most[at],
        startup_s=float(left_turns.startup_s[at]),
        extension_s=float(left_turns.extension_s[at]),
        period_h=period_h,
    )


def best_cycle(ring: DualRing, low: int, high: int, cost: F8, green: I8) -> int:
    """The shortest of the best cycles, 0 where none fits.

    Filled: cost float64[high − low + 1], vehicles waiting at each cycle; green int64[8], s.
    """
    greens = np.empty((high - low + 1, 8), np.int64)
    permitted_splits(ring, low, high, cost, greens)
    best = int(np.argmin(cost))
    green[:] = greens[best]
    return low + best if np.isfinite(cost[best]) else 0


def left_turn_green(ring: DualRing, left: int, green_s: I8, cycle_s: int) -> LeftTurnGreen:
    """What greens of both rings give left turn index `left`; the times of `kernels.left_turn_delay`."""
    against, own, shown_s = left + 1, own_through(left), int(green_s[left])
    protected_s = effective_s(ring, shown_s, cycle_s)
    arrow_end_s = shown_s + ring.extension_s
    against_start_s = float(shown_s + change_s(ring, left))
    beside_start_s = own_start_s(ring, left, int(green_s[own - 1]))
    start_s = max(beside_start_s, against_start_s)
    barrier_s = against_start_s + int(green_s[against]) + change_s(ring, against)
    end_s = barrier_s - max(change_s(ring, against), change_s(ring, own))
    if end_s <= start_s:
        return LeftTurnGreen(protected_s, 0.0, 0.0, 0.0)
    clear_s = against_start_s + opposing_queue_s(ring, against, int(green_s[against]), cycle_s)
    begin_s = max(start_s + permitted_startup_s(ring, shown_s, beside_start_s), arrow_end_s, clear_s)
    unblocked_s = max(0.0, end_s + ring.extension_s - begin_s) if end_s > clear_s else 0.0
    waiting_s = end_s + ring.extension_s - unblocked_s - arrow_end_s
    return LeftTurnGreen(protected_s, waiting_s, unblocked_s, float(ring.sneakers_veh[left]))


def measure_left_turns(
    ring: DualRing, cycle_s: int, green_s: I8, vc_ratio: F8, delay_s: F8, stops: F8
) -> None:
    """Fill in v/c, delay and stops of the left turns through gaps; all arrays have 8 entries.

    Stops are those of protected phases, for a queue that is served twice a cycle: 0.9 (share of the cycle without
    service or with a queue + N / (q C)), with the overflow queue N = c d2.
    """
    lefts = np.flatnonzero((ring.sneakers_veh > 0.0) & (ring.flow_vps > 0.0))
    times = [left_turn_green(ring, int(left), green_s, cycle_s) for left in lefts]
    protected_s, waiting_s, unblocked_s, sneakers_veh = np.array(times).T.copy()
    control_s, one = np.empty((len(lefts), 1)), np.ones(len(lefts))
    left_turn_plan_delay(
        3600.0 * ring.flow_vps[lefts], 3600.0 * ring.saturation_vps[lefts], 3600.0 * ring.permitted_vps[lefts],
        sneakers_veh, FIXED_TIME_K * one, one, 0.0 * one,
        protected_s[:, None], waiting_s[:, None], unblocked_s[:, None],
        np.array([float(cycle_s)]), ring.period_h, control_s,
    )  # fmt: skip
    delay_s[lefts] = control_s[:, 0]
    for left, green in zip(lefts, times, strict=True):
        flow_vps, protected_vps, gaps_vps = (
            float(field[left]) for field in (ring.flow_vps, ring.saturation_vps, ring.permitted_vps)
        )
        served_veh = protected_vps * green.protected_s + gaps_vps * green.unblocked_s + green.sneakers_veh
        x = flow_vps * cycle_s / served_veh
        random_s = incremental_delay_s(x, 3600.0 * served_veh / cycle_s, ring.period_h, FIXED_TIME_K, 1.0)
        standing = standing_share(
            green, min(flow_vps, served_veh / cycle_s), protected_vps, gaps_vps, cycle_s
        )
        vc_ratio[left] = x
        stops[left] = COMPLETE_STOPS * (standing + random_s / (x * cycle_s))


def standing_share(
    green: LeftTurnGreen, arrival_vps: float, protected_vps: float, gaps_vps: float, cycle_s: float
) -> float:
    """Share of the cycle in which who arrives finds a queue or no service.

    One round gives the queue at the start of the arrow, the second the time with one, as in
    `kernels.queue_polygon`; arrivals don't exceed what the cycle serves.
    """
    red_s = cycle_s - green.protected_s - green.waiting_s - green.unblocked_s
    queue_veh, standing_s = 0.0, 0.0
    for _ in range(2):
        standing_s = 0.0
        for length_s, service_vps, sneakers_veh in (
            (green.protected_s, protected_vps, 0.0),
            (green.waiting_s, 0.0, 0.0),
            (green.unblocked_s, gaps_vps, green.sneakers_veh),
            (red_s, 0.0, 0.0),
        ):
            growth_vps = arrival_vps - service_vps
            empties = queue_veh + growth_vps * length_s < 0.0
            standing_s += queue_veh / -growth_vps if empties else length_s
            queue_veh = 0.0 if empties else queue_veh + growth_vps * length_s
            queue_veh -= min(sneakers_veh, queue_veh)
    return standing_s / cycle_s
