"""Exact splits of dual rings with protected-permitted left turns: `kernels.left_turns` against trying everything.

    python -m benchmarks.left_turns [--instances 50] [--enumerate 50]

Random four-leg intersections of 8 phases, from idle to over capacity, every cycle from 60 to 180 s. The enumeration
is a plain compiled loop over cycle, barrier and the two left turns of each side, with the kernel's delays (which the
tests compare with the general queue polygon). CPU times of this thread; compiled before the first one.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.delay import permitted_left_saturation_vph
from kernels.left_turn_delay import DualRing, left_turn_row, own_start_s, through_tables
from kernels.left_turns import permitted_splits

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

CYCLE_LOW, CYCLE_HIGH = 60, 180


def draw(seed: int) -> DualRing:
    """One to three through lanes and a left-turn lane an approach."""
    rng = np.random.default_rng(seed)
    lefts = np.arange(8) % 2 == 0
    saturation = np.where(lefts, 1750.0, 1850.0 * rng.integers(1, 4, 8)) / 3600.0
    load = rng.uniform(0.3, 1.3)
    flow = load * saturation * np.where(lefts, rng.uniform(0.02, 0.25, 8), rng.uniform(0.08, 0.4, 8))
    permitted = np.zeros(8)
    for left in range(0, 8, 2):
        permitted[left] = permitted_left_saturation_vph(3600.0 * flow[left + 1], 4.5, 2.5) / 3600.0
    return DualRing(
        flow_vps=flow,
        saturation_vps=saturation,
        permitted_vps=permitted,
        sneakers_veh=np.where(lefts, 2.0, 0.0),
        clearance_s=np.where(lefts, 4, rng.integers(5, 8, 8)),
        least=np.where(lefts, 5, rng.integers(7, 16, 8)),
        most=np.where(lefts, 50, 100),
        startup_s=2.0,
        extension_s=2.0,
        period_h=0.25,
    )


@kernel
def by_through_green(
    ring: DualRing, left: int, green: int, other: int, cycle_s: int, through: F8, blocked_s: F8, delay: F8
) -> None:
    """Fill `delay` with a left turn's and its ring mate's by the displayed green of the latter."""
    low, high = ring.least[left + 1], min(ring.most[left + 1], cycle_s)
    start_s = own_start_s(ring, left, other)
    blocked, row = blocked_s[left + 1, low : high + 1], delay[low : high + 1]
    left_turn_row(ring, left, green, start_s, low, blocked, cycle_s, row)
    row += through[left + 1, low : high + 1]


@kernel
def street_by_length(ring: DualRing, left: int, cycle_s: int, through: F8, blocked_s: F8, street: F8) -> int:
    """Fill `street` with the least delay of one side of the barrier by its length; return how many were tried."""
    first, second = np.empty(through.shape[1]), np.empty(through.shape[1])
    changes_a = ring.clearance_s[left] + ring.clearance_s[left + 1]
    changes_b = ring.clearance_s[left + 4] + ring.clearance_s[left + 5]
    street[:] = np.inf
    tried = 0
    for a in range(ring.least[left], ring.most[left] + 1):
        for b in range(ring.least[left + 4], ring.most[left + 4] + 1):
            by_through_green(ring, left, a, b, cycle_s, through, blocked_s, first)
            by_through_green(ring, left + 4, b, a, cycle_s, through, blocked_s, second)
            for g_a in range(ring.least[left + 1], min(ring.most[left + 1], cycle_s - changes_a - a) + 1):
                length = changes_a + a + g_a
                g_b = length - changes_b - b
                if ring.least[left + 5] <= g_b <= ring.most[left + 5]:
                    street[length] = min(street[length], first[g_a] + second[g_b])
                    tried += 1
    return tried


@kernel
def enumerate_splits(ring: DualRing, cycle_low: int, cycle_high: int, values: F8) -> int:
    """Fill `values` with the least delay by cycle; return how many sides of a barrier were evaluated."""
    n = cycle_high + 1
    through, blocked_s = np.zeros((8, n)), np.zeros((8, n))
    first, second = np.empty(n), np.empty(n)
    tried = 0
    for cycle in range(cycle_low, cycle_high + 1):
        through_tables(ring, cycle, through, blocked_s)
        tried += street_by_length(ring, 0, cycle, through, blocked_s, first)
        tried += street_by_length(ring, 2, cycle, through, blocked_s, second)
        values[cycle - cycle_low] = np.inf
        for length in range(cycle + 1):
            value = first[length] + second[cycle - length]
            values[cycle - cycle_low] = min(values[cycle - cycle_low], value)
    return tried


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--enumerate", type=int, default=50, help="instances that are enumerated as well")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    n_cycle = CYCLE_HIGH - CYCLE_LOW + 1
    values, expected, green = np.empty(n_cycle), np.empty(n_cycle), np.empty((n_cycle, 8), np.int64)
    permitted_splits(draw(0), CYCLE_LOW, CYCLE_LOW + 1, values[:2], green[:2])
    if options.enumerate:
        enumerate_splits(draw(0), CYCLE_LOW, CYCLE_LOW, expected[:1])
    found_s, enumerated_s, tried, same = [], [], 0, 0
    for k in range(options.instances):
        ring = draw(options.seed + k)
        begin = time.thread_time()
        assert permitted_splits(ring, CYCLE_LOW, CYCLE_HIGH, values, green) == 0
        found_s.append(time.thread_time() - begin)
        if k < options.enumerate:
            begin = time.thread_time()
            tried += enumerate_splits(ring, CYCLE_LOW, CYCLE_HIGH, expected)
            enumerated_s.append(time.thread_time() - begin)
            same += int(np.allclose(values, expected, rtol=1e-12, atol=0.0))
    print("| what | result |")
    print("|---|---|")
    if enumerated_s:
        ratio = np.median(np.array(enumerated_s) / np.array(found_s[: len(enumerated_s)]))
        print(f"| enumeration / kernel, median | {ratio:.0f} |")
        print(
            f"| instances with the value of the enumeration in all {n_cycle} cycles | {same} of {len(enumerated_s)} |"
        )
        print(f"| enumeration, median ms | {1e3 * np.median(enumerated_s):.0f} |")
        print(
            f"| sides of a barrier that it evaluates, a cycle | {tried / len(enumerated_s) / n_cycle:.0f} |"
        )
    print(f"| kernel, median ms for {n_cycle} cycles | {1e3 * np.median(found_s):.1f} |")
    print(f"| kernel, slowest of {options.instances}, ms | {1e3 * max(found_s):.1f} |")


if __name__ == "__main__":
    main()
