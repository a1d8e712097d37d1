"""Splits of one signal: whole seconds of green a stage that make the HCM delay of its lanes smallest."""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.delay import movement_delay

TOO_SHORT = 1
"""The minimum greens don't fit the cycle."""
TOO_LONG = 2
"""The maximum greens don't fill the cycle."""


@kernel
def total_delay(
    green: I8, share: F8, fixed: F8, flow_vps: F8, saturation_vps: F8, cycle_s: float, period_h: float
) -> float:
    """Delay of all lanes together, veh-s per s (vehicles in the system, by Little's law).

    Parameters
    ----------
    green : int64[n_stage], s
    share : float64[n_stage, n_lane], part of saturation flow that a lane discharges in a stage, 0 … 1
    fixed : float64[n_lane], s of effective green that a lane has in changes, net of start-up loss
    flow_vps, saturation_vps : float64[n_lane], veh/s
    cycle_s : float, s
    period_h : float, h, analysis period
    """
    total = 0.0
    for lane in range(flow_vps.shape[0]):
        if flow_vps[lane] <= 0.0:
            continue
        effective = fixed[lane]
        for k in range(green.shape[0]):
            effective += share[k, lane] * green[k]
        effective = min(max(effective, 0.5), cycle_s)
        total += flow_vps[lane] * movement_delay(
            effective, cycle_s, flow_vps[lane], saturation_vps[lane], period_h
        )
    return total


@kernel
def optimal_splits(
    share: F8,
    fixed: F8,
    flow_vps: F8,
    saturation_vps: F8,
    least: I8,
    most: I8,
    free_s: int,
    cycle_s: float,
    period_h: float,
    green: I8,
) -> int:
    """Fill `green` (int64[n_stage], s) with the splits of least delay; greens sum to `free_s`.

    Seconds are given one by one to the stage that gains most, then moved between stages while that helps.
    Delay is convex in each lane's green, so this ends in the optimum where every lane is green in one
    stage, and close to it elsewhere.

    Returns
    -------
    0, or TOO_SHORT or TOO_LONG
    """
    n_stage = least.shape[0]
    if least.sum() > free_s:
        return TOO_SHORT
    if most.sum() < free_s:
        return TOO_LONG
    green[:] = least
    for _ in range(free_s - least.sum()):
        best = -1
        lowest = np.inf
        for k in range(n_stage):
            if green[k] >= most[k]:
                continue
            green[k] += 1
            value = total_delay(green, share, fixed, flow_vps, saturation_vps, cycle_s, period_h)
            green[k] -= 1
            if value < lowest:
                lowest = value
                best = k
        green[best] += 1
    value = total_delay(green, share, fixed, flow_vps, saturation_vps, cycle_s, period_h)
    improved = True
    while improved:
        improved = False
        for a in range(n_stage):
            for b in range(n_stage):
                if a == b or green[a] <= least[a] or green[b] >= most[b]:
                    continue
                green[a] -= 1
                green[b] += 1
                moved = total_delay(green, share, fixed, flow_vps, saturation_vps, cycle_s, period_h)
                if moved < value - 1e-12:
                    value = moved
                    improved = True
                else:
                    green[a] += 1
                    green[b] -= 1
    return 0
