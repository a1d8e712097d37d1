"""What a week of plans costs in counts that nobody planned for, by HCM, slot by slot; and plans by clustered hours.

The judge shares nothing with the planner but HCM: delay is that of `kernels.delay`, lane group by lane group, once with
every slot by itself (d1 + d2) and once with queues handed on to the next slot (d3).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernels.arrays import F8, I8
from kernels.day_costs import DaySignal, best_day_splits
from kernels.delay import lane_group_delay
from kernels.lane_cost import Goal
from signals.model.night import DaySchedule
from signals.timing.periods import SWITCH_DELAY_S, SWITCH_LASTS_S
from signals.timing.schedule import PLAN_BOXES
from signals.timing.signal_day import SignalDay

SLOT_H = 0.25
LEAST_EFFECTIVE_S = 0.5
RESTARTS = 20
Plan = tuple[int, ...]
"""Greens of a signal's stages, s."""


@dataclass(frozen=True)
class Worth:
    """Delay of a day [veh·h]: every slot by itself, with queues handed on instead, and that of changes."""

    delay: float
    carried: float
    changes: float

    @property
    def total(self) -> float:
        """Delay of slots and of changes."""
        return self.delay + self.changes


def judge(signal: SignalDay, plans: Sequence[Plan]) -> Worth:
    """A day's plans, one a slot, in that day's demand."""
    green = np.array(plans, np.float64)
    cycle = signal.change_s + green.sum(axis=1)
    effective = signal.fixed_s + np.einsum("sn,snm->sm", green, signal.share)
    effective = np.clip(effective, LEAST_EFFECTIVE_S, cycle[:, None])
    slots, m = signal.flow.shape
    queue = np.zeros(m)
    alone = carried = 0.0
    for slot in range(slots):
        flow, saturation = 3600.0 * signal.flow[slot], 3600.0 * signal.saturation[slot]
        for handed_on in (False, True):
            found = lane_group_delay(
                flow,
                saturation,
                np.ascontiguousarray(effective[slot]),
                np.full(m, cycle[slot]),
                np.full(m, SLOT_H),
                queue if handed_on else np.zeros(m),
                np.full(m, 0.5),
                np.ones(m),
                np.ascontiguousarray(effective[slot] / cycle[slot]),
            )
            veh_h = float((flow * SLOT_H * found.control_s).sum() / 3600.0)
            alone, carried = (alone, carried + veh_h) if handed_on else (alone + veh_h, carried)
        queue = np.maximum(0.0, queue + SLOT_H * (flow - found.capacity_vph))
    changed = [k for k in range(1, slots) if plans[k] != plans[k - 1]]
    arrivals = float(sum(signal.flow[k].sum() for k in changed)) * SWITCH_LASTS_S
    return Worth(alone, carried, arrivals * SWITCH_DELAY_S / 3600.0)


def plans_of(schedule: DaySchedule, name: str, slots: int) -> list[Plan]:
    """The plan of each slot."""
    found: list[Plan] = []
    for period in schedule.periods:
        found += [period.green_s[name]] * ((period.end_min - period.begin_min) // 15)
    assert len(found) == slots
    return found


def best_plan(signal: SignalDay, slots: I8, cycles_s: Sequence[int]) -> tuple[float, Plan]:
    """Least delay of one plan in some slots, and that plan."""
    rows = (slots[:, None] * signal.demands + np.arange(signal.demands)).ravel()
    day = DaySignal(
        signal.share, signal.fixed_s, signal.saturation, signal.flow, signal.least_s, signal.most_s
    )
    found: list[tuple[float, Plan]] = []
    own = sorted({c for cycle in cycles_s for c in signal.own_cycles_s(cycle)})
    for cycle in own:
        green = np.zeros(len(signal.least_s), np.int64)
        _, value = best_day_splits(
            day, Goal(1.0, 0.0, SLOT_H), signal.change_s, cycle, rows, PLAN_BOXES, green
        )
        found.append((value, tuple(int(g) for g in green)))
    return min(found)


def hourly_clusters(approaches: F8, k: int) -> I8:
    """Cluster of each slot: whole hours, by their volumes at each approach, float64[n_slot, n_approach]; k-means.

    The best of `RESTARTS` starts (k-means++), all seeded.
    """
    from scipy.cluster.vq import kmeans2

    hours = approaches.reshape(24, -1, approaches.shape[1]).sum(axis=1)
    best: tuple[float, I8] | None = None
    for seed in range(RESTARTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty cluster: fewer plans
            centres, labels = kmeans2(hours, k, minit="++", seed=seed)
        within = float(((hours - centres[labels]) ** 2).sum())
        if best is None or within < best[0]:
            best = within, labels.astype(np.int64)
    assert best is not None
    return np.repeat(best[1], len(approaches) // 24)


def clustered_plans(
    signal: SignalDay, approaches: F8, k: int, cycles_s: Sequence[int]
) -> tuple[list[Plan], int]:
    """The best plan of each cluster of hours, as the plan of each slot; and how many there are."""
    labels = hourly_clusters(approaches, k)
    plan_of = {c: best_plan(signal, np.flatnonzero(labels == c), cycles_s)[1] for c in np.unique(labels)}
    return [plan_of[c] for c in labels], len(set(plan_of.values()))
