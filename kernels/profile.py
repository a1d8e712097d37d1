"""Platoons: how they spread along a link, and what a signal does to them.

A cyclic profile is float64[n_bin], veh/s in each one-second bin of the cycle; bin 0 begins at the reference
time of the plan. A profile repeats itself cycle after cycle, so everything here is periodic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

FloatArray = NDArray[np.float64]


class StoplineMeasures(NamedTuple):
    """What one cycle at a stop line gives. Rates in veh/s, one-second bins."""

    departures_vps: FloatArray  # float64[n_bin]
    uniform_delay_veh_s: float  # vehicle-seconds of waiting a cycle
    stops_veh: float  # vehicles a cycle that meet red or a queue
    max_back_veh: float  # farthest reach of the queue, vehicles from the stop line
    overflow_veh: float  # arrivals a cycle beyond what the green serves; 0 below capacity


@kernel
def robertson_smoothing(travel_time_s: float, alpha: float, beta: float, step_s: float) -> float:
    """Smoothing factor F of platoon dispersion: 1 / (1 + α β T / step) (Robertson 1969, TRRL LR 253).

    α = 0.35 and β = 0.8 are the figures of TRANSYT; β T is the travel time of the first vehicles of a
    platoon.
    """
    return 1.0 / (1.0 + alpha * beta * travel_time_s / step_s)


@kernel
def calibrated_beta(mean_time_s: float, sigma_s: float, step_s: float) -> float:
    """Travel-time factor β that fits a mean and a standard deviation of link travel times.

    β = (2 T + n − √(n² + 4 σ²)) / (2 T) with n = step_s (NPTEL, Traffic Engineering, platoon dispersion).
    """
    return (2.0 * mean_time_s + step_s - math.sqrt(step_s * step_s + 4.0 * sigma_s * sigma_s)) / (
        2.0 * mean_time_s
    )


@kernel
def calibrated_smoothing(sigma_s: float, step_s: float) -> float:
    """Smoothing factor F that fits a standard deviation of link travel times; 1 when they don't vary.

    F = n (√(n² + 4 σ²) − n) / (2 σ²), written here without the difference of near-equal numbers. The
    geometric lags of the recursion then have exactly this variance (NPTEL, Traffic Engineering, platoon
    dispersion).
    """
    return 2.0 * step_s / (step_s + math.sqrt(step_s * step_s + 4.0 * sigma_s * sigma_s))


@kernel
def hcm_smoothing(running_time_s: float, step_s: float) -> float:
    """Smoothing factor F of the HCM: 1 / (1 + 0.138 t_R / d_t + 0.315 / d_t) (HCM 7, Eq. 30-11)."""
    return 1.0 / (1.0 + 0.138 * running_time_s / step_s + 0.315 / step_s)


@kernel
def hcm_lag_steps(running_time_s: float, step_s: float) -> float:
    """Steps after which the head of a platoon arrives: t_R / d_t − 1/F + 1.25 (HCM 7, Eq. 30-12)."""
    return running_time_s / step_s - 1.0 / hcm_smoothing(running_time_s, step_s) + 1.25


@kernel
def disperse(upstream: FloatArray, smoothing: float, lag_steps: int, n_out: int) -> FloatArray:
    """Send one platoon down a link: arrivals float64[n_out] of departures float64[n_in], any unit per step.

    arrivals[i + lag] = F departures[i] + (1 − F) arrivals[i + lag − 1]. What arrives after step n_out is cut
    off.
    """
    arrivals = np.zeros(n_out)
    before = 0.0
    for j in range(lag_steps, n_out):
        i = j - lag_steps
        leaving = upstream[i] if i < upstream.shape[0] else 0.0
        before = smoothing * leaving + (1.0 - smoothing) * before
        arrivals[j] = before
    return arrivals


@kernel
def disperse_cyclic(departures_vps: FloatArray, smoothing: float, lag_s: float) -> FloatArray:
    """Send a cyclic profile down a link: arrivals [veh/s], float64[n_bin], in the periodic steady state.

    The recursion of `disperse`, closed over the cycle: the tail of every earlier cycle is summed as a
    geometric series, so the answer is exact and the flow of a cycle is kept. A lag between two bins is split
    between them in proportion, which keeps both the flow and the mean travel time, lag_s + 1/F − 1.
    """
    n = departures_vps.shape[0]
    whole = math.floor(lag_s)
    later = lag_s - whole
    # Value that the recursion has just before bin 0 in the steady state: Σ F (1−F)^k d[−1−k] over all k >= 0.
    keep = 1.0 - smoothing
    tail = 0.0
    for i in range(n):
        tail = smoothing * departures_vps[i] + keep * tail
    tail /= 1.0 - keep**n
    smoothed = np.empty(n)
    for i in range(n):
        tail = smoothing * departures_vps[i] + keep * tail
        smoothed[i] = tail
    arrivals = np.empty(n)
    shift = int(whole) % n
    for j in range(n):
        i = (j - shift) % n
        arrivals[j] = (1.0 - later) * smoothed[i] + later * smoothed[(i - 1) % n]
    return arrivals


@kernel
def stopline(arrivals_vps: FloatArray, green: FloatArray, saturation_vps: float) -> StoplineMeasures:
    """Queue a cyclic profile at a signal and let it go: departures, delay, stops and reach of the queue.

    arrivals_vps : float64[n_bin], veh/s
    green : float64[n_bin], 0 to 1
        Share of each one-second bin that is effective green.
    saturation_vps : float
        Saturation flow of all lanes of the movement, veh/s.

    Vehicles queue at the stop line (vertical queue) and flow is even within a bin. The reach counts the
    vehicles still queued and those of the same queue that have already left on this green, since a queue
    starts to move from its head. Above capacity the arrivals are scaled down to it, as uniform delay is
    defined (v/c capped at 1), and `overflow_veh` says by how much.
    """
    n = arrivals_vps.shape[0]
    arriving_veh = 0.0
    served_veh = 0.0
    for i in range(n):
        arriving_veh += arrivals_vps[i]
        served_veh += saturation_vps * green[i]
    overflow_veh = max(0.0, arriving_veh - served_veh)
    scale = served_veh / arriving_veh if overflow_veh > 0.0 else 1.0

    departures_vps = np.empty(n)
    queue_veh = 0.0
    gone_veh = 0.0  # of the present queue, those that have left on the present green
    delay_veh_s = 0.0
    stops_veh = 0.0
    max_back_veh = 0.0
    # Round one finds the queue that a cycle hands to the next, round two starts from it and counts: a queue
    # at or below capacity repeats itself from then on.
    for _ in range(2):
        delay_veh_s = 0.0
        stops_veh = 0.0
        max_back_veh = queue_veh + gone_veh
        for i in range(n):
            arriving = scale * arrivals_vps[i]
            serving = saturation_vps * green[i]
            growth_vps = arriving - serving
            busy_s = 1.0
            if growth_vps < 0.0:
                busy_s = min(1.0, queue_veh / -growth_vps)
            elif growth_vps == 0.0 and queue_veh <= 0.0:
                busy_s = 0.0
            end_veh = max(0.0, queue_veh + growth_vps * busy_s)
            if green[i] <= 0.0:
                gone_veh = 0.0
            gone_veh += serving * busy_s
            delay_veh_s += 0.5 * (queue_veh + end_veh) * busy_s
            stops_veh += arriving * busy_s
            if queue_veh > 0.0 or end_veh > 0.0:
                max_back_veh = max(max_back_veh, end_veh + gone_veh)
            departures_vps[i] = queue_veh + arriving - end_veh
            if busy_s < 1.0:
                end_veh = 0.0
                gone_veh = 0.0
            queue_veh = end_veh
    return StoplineMeasures(departures_vps, delay_veh_s, stops_veh, max_back_veh, overflow_veh)
