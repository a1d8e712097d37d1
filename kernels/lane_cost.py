"""What a lane costs by its seconds of effective green, and a convex function below that.

Convexity isn't taken for granted. The overflow queue is convex in effective green t: with w = vC/s − t it is
proportional to w + √(w² + spread), and overflow delay to that over t. Uniform delay and stops are convex on
either side of v/c = 1, with a concave kink between them. Where a box has the kink inside, a parabola is taken off
the cost within `REACH` seconds of it, no more curved than the overflow there makes up for, which is checked;
where nothing makes up for it, a straight line replaces the uniform part. Likewise a straight line leads over the
flat cost of a lane with next to no green. Bounds come from this convex function below the cost, plans are judged
by the cost itself, and a box that ends at a single plan needs no bound: the result is exact in every case, to
`split_bound.SAME` of the cost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8

COMPLETE_STOPS = 0.9
"""Share of stops that are complete ones (Akçelik 1981)."""
LEAST_EFFECTIVE_S = 0.5
"""Effective green under which the cost of a lane rises no more."""
KINK, SPREAD, BY_X, BY_QUEUE, SLOPE, LEVEL, SQUARE, LINE, REACH, BEND, TAIL, TAIL_COST, TAIL_SLOPE = range(13)
"""What describes the cost of a lane, see `set_curve`."""
N_CURVE = 13


class Goal(NamedTuple):
    """What to make small: delay_weight × delay [veh] + stop_weight × stops [1/s] over an analysis period."""

    delay_weight: float
    stop_weight: float
    period_h: float


@kernel
def set_curve(
    c: F8, flow_vps: float, saturation_vps: float, low_s: float, high_s: float, cycle_s: float, goal: Goal
) -> None:
    """Describe a lane's cost by effective green t, and a convex function under it between two of them.

    Delay is q (d1 + d2) of HCM Eqs. 19-19 and 19-26 with k = 0.5 and I = 1, stops are Akçelik's (Traffic Signals:
    Capacity and Timing Analysis, ARR 123, 1981): 0.9 (q (1 − u) / (1 − min(y, u)) + N / C), with the overflow
    queue N = c d2 (HCM Eq. 31-142). A lane without saturation flow can't be helped and costs nothing here.
    """
    c[:] = 0.0
    c[SPREAD] = 1.0
    c[TAIL] = -np.inf
    if flow_vps <= 0.0 or saturation_vps <= 0.0:
        return
    flow_ratio = flow_vps / saturation_vps
    quarter_s = 900.0 * goal.period_h
    stops = COMPLETE_STOPS * goal.stop_weight
    c[KINK] = flow_ratio * cycle_s
    c[SPREAD] = c[KINK] * cycle_s / (saturation_vps * quarter_s)
    c[BY_X] = quarter_s * goal.delay_weight * flow_vps
    c[BY_QUEUE] = quarter_s * stops * saturation_vps / (cycle_s * cycle_s)
    c[SLOPE] = 0.5 * goal.delay_weight * flow_vps
    c[LEVEL] = stops * flow_vps
    high_s = min(high_s, cycle_s)
    if flow_ratio < 1.0:
        emptying = 1.0 / (cycle_s * (1.0 - flow_ratio))
        c[SQUARE] = c[SLOPE] * emptying
        c[LINE] = c[LEVEL] * emptying
        if max(low_s, LEAST_EFFECTIVE_S) < c[KINK] < high_s:
            bend_kink(c, max(low_s, LEAST_EFFECTIVE_S), high_s, cycle_s)
    if low_s < LEAST_EFFECTIVE_S:
        bend_tail(c, low_s, high_s, cycle_s)


@kernel
def bend_kink(c: F8, low_s: float, high_s: float, cycle_s: float) -> None:
    """Set what is taken off at the kink: BEND (REACH − |t − kink|)², or a line of slope BEND < 0 up to REACH."""
    drop = 2.0 * c[SQUARE] * (cycle_s - c[KINK]) + c[LINE] - c[SLOPE]
    reach = 0.0
    for _ in range(12):
        # the least curvature of the overflow term within reach, by which the parabola must not be outdone
        width = reach * reach + c[SPREAD]
        curvature = (c[BY_X] / (c[KINK] + reach) + c[BY_QUEUE]) * c[SPREAD] / (width * math.sqrt(width))
        if 2.0 * reach * curvature >= drop:
            c[REACH] = reach
            c[BEND] = 0.25 * drop / reach
            return
        reach = 0.55 * drop / curvature
        if reach > cycle_s:
            break
    # The line from the saturated branch at low_s that touches the other at z = C − t: there
    # square z² − 2 square from z + top − line from = 0. Or else it ends just over the greatest green.
    start = cycle_s - low_s
    top = c[SLOPE] * start + c[LEVEL]
    z = cycle_s - high_s - 1e-6
    if c[SQUARE] > 0.0:
        z = max(z, start - math.sqrt(max(0.0, start * start - (top - c[LINE] * start) / c[SQUARE])))
    c[REACH] = cycle_s - z
    c[BEND] = ((c[SQUARE] * z + c[LINE]) * z - top) / (start - z)


@kernel
def bend_tail(c: F8, low_s: float, high_s: float, cycle_s: float) -> None:
    """Set the line from the flat cost of next to no green to where it touches the convex function."""
    top = lane_cost(c, LEAST_EFFECTIVE_S, cycle_s)
    c[TAIL_COST] = top
    if high_s <= LEAST_EFFECTIVE_S:
        c[TAIL] = 2.0 * cycle_s
        return
    near, far = LEAST_EFFECTIVE_S, high_s
    for _ in range(40):
        middle = 0.5 * (near + far)
        value, slope, _ = convex_cost(c, middle, cycle_s, c[KINK])
        if value + slope * (low_s - middle) > top:
            near = middle
        else:
            far = middle
    value, slope, _ = convex_cost(c, far, cycle_s, c[KINK])
    c[TAIL], c[TAIL_COST], c[TAIL_SLOPE] = far, value, slope
    if value + slope * (low_s - far) > top:  # it touches nowhere, and leads to the greatest green
        c[TAIL] = 2.0 * cycle_s
        c[TAIL_SLOPE] = (value - top) / (far - low_s)
        c[TAIL_COST] = value + c[TAIL_SLOPE] * (c[TAIL] - far)


@kernel
def lane_cost(c: F8, effective_s: float, cycle_s: float) -> float:
    """Cost of a lane in one scenario, `c` its curve."""
    t = min(max(effective_s, LEAST_EFFECTIVE_S), cycle_s)
    rest = cycle_s - t
    uniform = c[SLOPE] * rest + c[LEVEL] if t < c[KINK] else (c[SQUARE] * rest + c[LINE]) * rest
    over = c[KINK] - t
    cost: float = uniform + (c[BY_X] / t + c[BY_QUEUE]) * (over + math.sqrt(over * over + c[SPREAD]))
    return cost


@kernel
def convex_cost(c: F8, t: float, cycle_s: float, kink: float) -> tuple[float, float, float]:
    """Value, slope and curvature of the convex function; `kink` is the curve's, or infinite to either side."""
    if t < c[TAIL]:
        return c[TAIL_COST] + c[TAIL_SLOPE] * (t - c[TAIL]), c[TAIL_SLOPE], 0.0
    beyond = t > cycle_s
    if beyond:
        t = cycle_s
    rest = cycle_s - t
    over = c[KINK] - t
    bend = c[BEND] if kink == c[KINK] else 0.0
    if bend < 0.0 and t < c[REACH]:
        rest = cycle_s - c[REACH]
        value = (c[SQUARE] * rest + c[LINE]) * rest + bend * (t - c[REACH])
        slope = bend
        curvature = 0.0
    elif t < kink:
        value = c[SLOPE] * rest + c[LEVEL]
        slope = -c[SLOPE]
        curvature = 0.0
    else:
        value = (c[SQUARE] * rest + c[LINE]) * rest
        slope = -2.0 * c[SQUARE] * rest - c[LINE]
        curvature = 2.0 * c[SQUARE]
    inside = c[REACH] - abs(over)
    if bend > 0.0 and inside > 0.0:
        value -= bend * inside * inside
        slope += -2.0 * bend * inside if over > 0.0 else 2.0 * bend * inside
        curvature -= 2.0 * bend
    root = math.sqrt(over * over + c[SPREAD])
    queue = over + root
    by_x = c[BY_X] / t
    factor = by_x + c[BY_QUEUE]
    value += factor * queue
    if beyond:
        return value, 0.0, 0.0
    falling = -queue / root
    slope += factor * falling - by_x / t * queue
    curvature += factor * c[SPREAD] / (root * root * root) + 2.0 * by_x / t * (queue / t - falling)
    return value, slope, curvature
