"""HCM control delay in bulk: the kernels of `kernels.plan_delay` against numpy on the same arrays.

    python -m benchmarks.delay

Lane groups under plans: 8 groups, n / 8 plans, each with its own greens and cycle. Numpy evaluates the same
equations out of place, constants of a lane group once a group and the rest on whole arrays, without what the row
leaves out (d3 where no queue is there at first). Both take I as it is and give d1 + d2 (+ d3).
Times are CPU times of this thread a plan and lane group, medians of `--repeats` rounds of a few calls in which the
two alternate; the difference is the largest relative one. Numpy's time depends on where its temporary arrays come
from: those of n = 10 000 stay in the cache, larger ones may be mapped anew by the operating system every time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.delay import upstream_filtering_factor
from kernels.plan_delay import left_turn_plan_delay, plan_delay

F8 = NDArray[np.float64]

N_GROUP = 8
PERIOD_H = 0.25


class Plans(NamedTuple):
    """float64[8] a lane group, float64[8, m] a lane group and plan, float64[m] a plan."""

    flow_vph: F8
    saturation_vph: F8
    permitted_vph: F8
    sneakers_veh: F8
    k: F8
    upstream_filtering: F8
    initial_queue_veh: F8
    green_s: F8
    waiting_s: F8
    unblocked_s: F8
    cycle_s: F8


def draw(n: int, initial_queues: bool, seed: int) -> Plans:
    """Lane groups from idle to over capacity."""
    rng = np.random.default_rng(seed)
    n_plan = n // N_GROUP
    cycle = rng.uniform(50.0, 160.0, n_plan)
    shares = rng.uniform([[[0.1]], [[0.05]], [[0.05]]], [[[0.4]], [[0.2]], [[0.3]]], (3, N_GROUP, n_plan))
    green, waiting, unblocked = cycle * shares
    return Plans(
        flow_vph=rng.uniform(50.0, 600.0, N_GROUP),
        saturation_vph=rng.uniform(1500.0, 1900.0, N_GROUP),
        permitted_vph=rng.uniform(100.0, 900.0, N_GROUP),
        sneakers_veh=np.full(N_GROUP, 2.0),
        k=rng.uniform(0.1, 0.5, N_GROUP),
        upstream_filtering=np.array([upstream_filtering_factor(x) for x in rng.uniform(0.0, 1.0, N_GROUP)]),
        initial_queue_veh=rng.uniform(1.0, 15.0, N_GROUP) * initial_queues,
        green_s=green,
        waiting_s=waiting,
        unblocked_s=unblocked,
        cycle_s=cycle,
    )


def column(values: F8) -> F8:
    """One value a lane group, for arrays of plans."""
    return values[:, np.newaxis]


def numpy_random(plans: Plans, x: F8, capacity: F8) -> F8:
    """Eq. 19-26, and Eqs. 19-44 to 19-49 where queues are there at first."""
    factor = column(8.0 * plans.k * plans.upstream_filtering / PERIOD_H)
    over = x - 1.0
    delay = 900.0 * PERIOD_H * (over + np.sqrt(over * over + factor * x / capacity))
    if plans.initial_queue_veh.any():
        flow, queue = column(plans.flow_vph), column(plans.initial_queue_veh)
        surplus = flow - capacity
        unmet = np.where(surplus >= 0.0, PERIOD_H, np.minimum(PERIOD_H, queue / np.abs(surplus)))
        without = np.where(surplus >= 0.0, PERIOD_H * surplus, 0.0)
        end = queue + unmet * surplus
        area = unmet * (queue + end - without) / 2.0
        area = area + (end * end - without * without - queue * queue) / (2.0 * capacity)
        delay = delay + 3600.0 / PERIOD_H * area / flow
    return np.where(capacity > 0.0, delay, np.inf)


def numpy_protected(plans: Plans) -> F8:
    """Eqs. 19-16 to 19-19 on whole arrays."""
    ratio = plans.green_s / plans.cycle_s
    capacity = column(plans.saturation_vph) * ratio
    x = column(plans.flow_vph) / capacity
    red = 1.0 - ratio
    uniform = 0.5 * plans.cycle_s * red * red / (1.0 - np.minimum(x, 1.0) * ratio)
    return np.where(ratio < 1.0, uniform, 0.0) + numpy_random(plans, x, capacity)


def numpy_permitted(plans: Plans) -> F8:
    """The queue polygon of arrow, wait, gaps, sneakers, red: round one for the queue, round two for the area."""
    protected, permitted = column(plans.saturation_vph) / 3600.0, column(plans.permitted_vph) / 3600.0
    sneakers, flow = column(plans.sneakers_veh), column(plans.flow_vph) / 3600.0
    served = protected * plans.green_s + permitted * plans.unblocked_s + sneakers
    capacity = served / plans.cycle_s
    x = flow / capacity
    arrival = np.minimum(flow, capacity)
    red = plans.cycle_s - plans.green_s - plans.waiting_s - plans.unblocked_s
    arrow_growth, gap_growth = arrival - protected, arrival - permitted
    grown, gap = arrival * plans.waiting_s, gap_growth * plans.unblocked_s
    arrow = arrow_growth * plans.green_s
    queue = np.maximum(np.maximum(arrow, 0.0) + grown + gap, 0.0)
    start = np.maximum(queue - sneakers, 0.0) + arrival * red
    after_arrow = np.maximum(start + arrow, 0.0)
    emptied = np.where(after_arrow > 0.0, plans.green_s, start / np.maximum(-arrow_growth, 1e-12))
    before_gaps = after_arrow + grown
    after_gaps = np.maximum(before_gaps + gap, 0.0)
    opened = np.where(after_gaps > 0.0, plans.unblocked_s, before_gaps / np.maximum(-gap_growth, 1e-12))
    doubled = (
        (start + after_arrow) * emptied
        + (after_arrow + before_gaps) * plans.waiting_s
        + (before_gaps + after_gaps) * opened
        + (np.maximum(after_gaps - sneakers, 0.0) + start) * red
    )
    uniform = 0.5 * doubled / (arrival * plans.cycle_s)
    return uniform + numpy_random(plans, x, 3600.0 * capacity)


def kernel_protected(plans: Plans, out: F8) -> F8:
    """The same from `plan_delay`."""
    plan_delay(
        plans.flow_vph,
        plans.saturation_vph,
        plans.k,
        plans.upstream_filtering,
        plans.initial_queue_veh,
        plans.green_s,
        plans.cycle_s,
        PERIOD_H,
        out,
    )
    return out


def kernel_permitted(plans: Plans, out: F8) -> F8:
    """The same from `left_turn_plan_delay`."""
    left_turn_plan_delay(
        plans.flow_vph,
        plans.saturation_vph,
        plans.permitted_vph,
        plans.sneakers_veh,
        plans.k,
        plans.upstream_filtering,
        plans.initial_queue_veh,
        plans.green_s,
        plans.waiting_s,
        plans.unblocked_s,
        plans.cycle_s,
        PERIOD_H,
        out,
    )
    return out


def cpu_s(function: Callable[[], F8], calls: int) -> float:
    """CPU time of one of several calls in a row."""
    begin = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - begin) / calls


def compare(plans: Plans, permitted: bool, repeats: int) -> tuple[float, float, float]:
    """Numpy's and the kernel's median seconds, and how far their results are apart."""
    out = np.empty_like(plans.green_s)

    def with_numpy() -> F8:
        return numpy_permitted(plans) if permitted else numpy_protected(plans)

    def with_kernel() -> F8:
        return kernel_permitted(plans, out) if permitted else kernel_protected(plans, out)

    apart = float(np.max(np.abs(with_kernel() / with_numpy() - 1.0)))
    calls = max(1, 200_000 // plans.green_s.size)
    times = [(cpu_s(with_numpy, calls), cpu_s(with_kernel, calls)) for _ in range(repeats)]
    numpy_s, kernel_s = np.median(np.array(times), axis=0)
    return float(numpy_s), float(kernel_s), apart


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| formula | n | numpy / kernel | numpy ns/plan | kernel ns/plan | plans/s | max rel. difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for permitted, name in ((False, "protected"), (True, "protected-permitted")):
        for initial_queues, terms in ((True, "d1 + d2 + d3"), (False, "d1 + d2")):
            for n in options.sizes:
                plans = draw(n, initial_queues, options.seed)
                numpy_s, kernel_s, apart = compare(plans, permitted, options.repeats)
                size = plans.green_s.size
                print(
                    f"| {name}, {terms} | {size} | {numpy_s / kernel_s:.1f} | {numpy_s / size * 1e9:.1f} "
                    f"| {kernel_s / size * 1e9:.2f} | {size / kernel_s:.2e} | {apart:.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
