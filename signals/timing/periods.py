"""Periods of a window of demand: where a plan should give way to another.

**What a period is worth.** A plan gives movement i the capacity c_i. HCM's random and overflow delay of a
movement with flow q (Eq. 19-26 with k = 0.5, I = 1, T hours) amounts to

    W(c) = q·d2/3600 = (q·T/4)·((q + R)/c − 1),   R² = (c − q)² + 4·q/T        [vehicles waiting]

A plan made for the mean of several slots gives c̄ instead of what suits the slot, c_t. Near the slot's
optimum the first-order terms cancel (green that one movement gains another one loses), so the delay that
the slot suffers on top of its own plan's is

    ½·W''(c_t)·(c̄ − c_t)²                                                      [vehicles waiting]

times the length of the slot: a squared deviation of flows, weighted by how close to capacity, and how heavy,
the movement is. The weight comes from the theory and not from a fit. c_t follows Webster: at his cycle the
v/c ratio is 2Y/(1 + Y), and Y grows with the volume of the intersection, so that quiet slots neither need
nor pay for plans of their own. No plan gives a movement less than its minimum green.

**What a switch costs.** Twice: what it does to traffic (`SWITCH_DELAY_S` for everybody who arrives within
`SWITCH_LASTS_S`), and what noise alone would seem to save. Counts of n vehicles vary by √n though demand
stays the same, and a cut fits the noise of its two sides: it saves Σ w_i·χ²_i with one degree of freedom a
movement, w_i = ½·W''·Var(c_i) times the slot. The price is what that sum exceeds in one case in a thousand
(`FALSE_ALARM`) over all places where a cut could be, by the χ² distribution with its first three moments
(Buckley and Eagleson, Austral. J. Statist. 30A, 1988).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.model.demand import TurningCounts

FloatArray = NDArray[np.float64]

BUSY_VC_RATIO = 0.9
"""v/c of a good plan in the busiest hour, where the caller doesn't know better."""
HIGHEST_VC_RATIO = 0.95
"""No plan is made to run closer to capacity, however high the demand."""
LEAST_CAPACITY_VPH = 120.0
"""What a movement gets anyway: 5 s of green in 75 s, at 1800 veh/h."""
SWITCH_DELAY_S = 15.0
SWITCH_LASTS_S = 120.0
"""Price of a switch: half a red for all who arrive within about two cycles, while progression settles."""
FALSE_ALARM = 1e-3
"""Chance that constant demand with Poisson noise is cut at all, if traffic paid nothing for switches."""
BUSY_HOUR_S = 3600.0
SMOOTHED_SLOTS = 3
"""Slots over which weights are averaged: a weight that follows its slot's own noise would reward it."""

TOLERANCE_S = 1e-6


def find_periods(
    counts: TurningCounts,
    *,
    max_periods: int = 4,
    min_duration_s: float = 1800.0,
    vc_ratios: Mapping[str, float] | None = None,
    switch_delay_s: float = SWITCH_DELAY_S,
    false_alarm: float = FALSE_ALARM,
) -> tuple[float, ...]:
    """Times at which a network should change plans: starts of the periods after the first [s].

    Empty where one plan serves the whole window. The cuts are the best there are (dynamic programming over
    the counting intervals) for the cost that the module's text derives.

    Parameters
    ----------
    counts
        Vehicles per movement and interval. One row may stand for a movement or for a lane group.
    max_periods
        No more periods than this.
    min_duration_s
        No period shorter than this.
    vc_ratios
        By intersection, the v/c ratio of its critical movements in its busiest hour under a good plan;
        `BUSY_VC_RATIO` where not given.
    switch_delay_s
        Delay of everybody who arrives within `SWITCH_LASTS_S` of a switch, s/veh.
    false_alarm
        Chance that noise alone makes a cut.

    Raises
    ------
    InputError
        Where a row of counts has another length than the window has intervals, or a count is negative.
    ValueError
        Where an option is out of its range.
    """
    if max_periods < 1:
        raise ValueError(f"{max_periods} periods: at least 1")
    if not 0.0 < false_alarm < 1.0:
        raise ValueError(f"false alarm rate of {false_alarm:g}: expected more than 0 and less than 1")
    n = counts.n_intervals
    shortest = max(1, math.ceil(min_duration_s / counts.interval_s - TOLERANCE_S))
    needs = [
        _needs(counts, signal, (vc_ratios or {}).get(signal, BUSY_VC_RATIO))
        for signal in sorted(counts.counts)
    ]
    needs = [need for need in needs if need.volume_vph.any()]
    if max_periods == 1 or n < 2 * shortest or not needs:
        return ()
    cost = np.zeros((n + 1, n + 1))
    for need in needs:
        cost += _segment_costs(need, counts.interval_s)
    price = _noise_price(needs, counts.interval_s, false_alarm)
    for need in needs:
        price += switch_delay_s * float(need.volume_vph.mean()) * SWITCH_LASTS_S / 3600.0
    return tuple(
        counts.begin_s + k * counts.interval_s for k in _best_cuts(cost, price, max_periods, shortest)
    )


@dataclass(frozen=True, slots=True)
class _Needs:
    """What the movements of an intersection need: float64[n_movement, n_interval], `volume_vph` [n_interval].

    `weight` is ½·W'' [veh per (veh/h)²]; `noise` the variance of `capacity_vph` due to chance arrivals.
    """

    flow_vph: FloatArray
    volume_vph: FloatArray
    capacity_vph: FloatArray
    weight: FloatArray
    noise: FloatArray
    load_h: float  # critical flow ratio per veh/h of volume


def _needs(counts: TurningCounts, signal: str, busy_vc_ratio: float) -> _Needs:
    if not 0.0 < busy_vc_ratio <= 2.0:
        raise ValueError(f"signal {signal}: v/c ratio of {busy_vc_ratio:g}; expected more than 0, up to 2")
    rows = counts.counts[signal]
    n = counts.n_intervals
    for movement, row in rows.items():
        if len(row) != n:
            raise InputError(
                f"signal {signal}, movement {movement}: {len(row)} counts for {n} intervals; give one each"
            )
        if not all(count >= 0 for count in row):
            raise InputError(f"signal {signal}, movement {movement}: a count of {min(row):g}; expected >= 0")
    veh = np.array([rows[m] for m in sorted(rows)], np.float64).reshape(len(rows), n)
    hours = counts.interval_s / 3600.0
    flow = veh / hours
    volume = flow.sum(axis=0)
    load = 0.0
    if volume.any():
        span = min(n, max(1, round(BUSY_HOUR_S / counts.interval_s)))
        busiest = float(np.convolve(volume, np.full(span, 1.0 / span), "valid").max())
        design = min(busy_vc_ratio, HIGHEST_VC_RATIO)
        load = design / (2.0 - design) / busiest  # 2Y/(1 + Y) = x turned round
    smooth = _smoothed(flow)
    vc = _vc_ratio(load * volume)
    centre = _capacity_vph(smooth, load * smooth.sum(axis=0))
    # a count varies as much as it is large, but what stays under the least capacity has no effect
    ratio = _vc_ratio(load * smooth.sum(axis=0))
    within_reach = (smooth + 2.0 * np.sqrt(smooth / hours)) / ratio > LEAST_CAPACITY_VPH
    noise = np.where(within_reach, smooth / hours / ratio**2, 0.0)
    return _Needs(
        flow,
        volume,
        np.maximum(flow / vc, LEAST_CAPACITY_VPH),
        0.5 * _curvature(centre, smooth, hours),
        noise,
        load,
    )


def _vc_ratio(flow_ratio: FloatArray) -> FloatArray:
    """v/c at Webster's cycle, 2Y/(1 + Y), from his C = (1.5·L + 5)/(1 − Y) with L of about 10 s."""
    y = np.maximum(flow_ratio, 1e-9)
    return np.minimum(2.0 * y / (1.0 + y), HIGHEST_VC_RATIO)


def _capacity_vph(flow_vph: FloatArray, flow_ratio: FloatArray) -> FloatArray:
    return np.maximum(flow_vph / _vc_ratio(flow_ratio), LEAST_CAPACITY_VPH)


def _curvature(capacity_vph: FloatArray, flow_vph: FloatArray, period_h: float) -> FloatArray:
    """W'' of the module's text: second derivative of the vehicles waiting [veh per (veh/h)²]."""
    c, q, t = capacity_vph, flow_vph, period_h
    root = np.maximum(np.sqrt((c - q) ** 2 + 4.0 * q / t), 1e-9)
    slope = (c - q) / root
    bend = 4.0 * q / t / root**3
    second: FloatArray = 0.25 * q * t * (bend / c - 2.0 * slope / c**2 + 2.0 * (q + root) / c**3)
    return second


def _smoothed(flow_vph: FloatArray) -> FloatArray:
    """Mean over neighbouring slots; those at the ends have fewer of them."""
    if not flow_vph.size:
        return flow_vph
    kernel = np.ones(min(SMOOTHED_SLOTS, flow_vph.shape[1]))
    seen = np.convolve(np.ones(flow_vph.shape[1]), kernel, "same")
    return np.array([np.convolve(row, kernel, "same") / seen for row in flow_vph]).reshape(flow_vph.shape)


def _segment_costs(need: _Needs, interval_s: float) -> FloatArray:
    """cost[a, b] of one plan for slots a … b−1 [veh·s] on top of a plan a slot; float64[n + 1, n + 1]."""
    n = need.flow_vph.shape[1]
    start, end = np.triu_indices(n + 1, 1)

    def over(values: FloatArray) -> FloatArray:
        total = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
        difference: FloatArray = total[..., end] - total[..., start]
        return difference

    slots = end - start
    given = _capacity_vph(over(need.flow_vph) / slots, need.load_h * over(need.volume_vph) / slots)
    # sums of differences from a point in the middle: no digits lost where flows are large and even
    centre = need.capacity_vph.mean(axis=1, keepdims=True)
    wish, given = need.capacity_vph - centre, given - centre
    w = need.weight
    excess = over(w * wish**2) - 2.0 * given * over(w * wish) + given**2 * over(w)
    cost = np.zeros((n + 1, n + 1))
    cost[start, end] = np.maximum(excess, 0.0).sum(axis=0) * interval_s
    return cost


def _noise_price(needs: list[_Needs], interval_s: float, false_alarm: float) -> float:
    """What the best cut into pure noise saves at most [veh·s], but for one case in 1/`false_alarm`."""
    from scipy.special import gammainccinv

    w = np.concatenate([(need.weight * need.noise).mean(axis=1) for need in needs]) * interval_s
    mean, squares, cubes = float(w.sum()), float((w**2).sum()), float((w**3).sum())
    if cubes <= 0.0:
        return 0.0
    n = needs[0].flow_vph.shape[1]
    chance = false_alarm / (n * (n + 1) / 2)
    freedom = squares**3 / cubes**2
    quantile = 2.0 * float(gammainccinv(freedom / 2.0, chance))
    return mean + math.sqrt(squares / freedom) * (quantile - freedom)


def _best_cuts(cost: FloatArray, price: float, max_periods: int, shortest: int) -> tuple[int, ...]:
    """Cuts of least cost and price, the fewest among equals; no piece is shorter than `shortest` slots."""
    n = cost.shape[0] - 1
    best = np.full((max_periods + 1, n + 1), np.inf)
    last = np.zeros((max_periods + 1, n + 1), np.int64)
    best[0, 0] = 0.0
    for k in range(1, max_periods + 1):
        for end in range(shortest, n + 1):
            totals = best[k - 1, : end - shortest + 1] + cost[: end - shortest + 1, end]
            last[k, end] = int(np.argmin(totals))
            best[k, end] = totals[last[k, end]]
    with_price = best[1:, n] + price * np.arange(max_periods)
    k = int(np.argmin(with_price)) + 1
    cuts = []
    end = n
    while k > 1:
        end = int(last[k, end])
        cuts.append(end)
        k -= 1
    return tuple(reversed(cuts))
