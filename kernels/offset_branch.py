"""Closing the gap between offsets and their bound, on small networks: branch and bound over differences.

Where a pair of signals has many differences that could still belong to the best offsets, they are parted in
two: those nearer to its best, and those nearer to the one farthest from that. Each half is a network of its own
with a better bound; the least bound of all parts holds for the whole. The part with the least is split next
(Land and Doig 1960), until none is below the cost reached, or there are so many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.descent import BETTER, descend, follow_beliefs
from kernels.link_graph import Circuits, Graph
from kernels.offset_bound import Shares, certified, improve_shares, take_up

PART_PASSES = 16
"""Most passes for the bound of a part, which starts from the shares of the one it was split from."""


class Parts(NamedTuple):
    """What is known of each part; rows beyond those in use are blank.

    Fields
    ------
    bound : float64[n_part], infinite where nothing is left to split
    own : float64[n_part, n_slot, n_bin], shares as in `Shares`
    costs : float64[n_part, n_pair, n_bin], of pairs, dearer where a difference belongs to other parts
    split : int64[n_part, 3], pair to split at, and two differences that go to either side
    """

    bound: F8
    own: F8
    costs: F8
    split: I8


@kernel
def branch(
    graph: Graph,
    circuits: Circuits,
    shares: Shares,
    costs: F8,
    choices: I8,
    orders: I8,
    turns: int,
    n_part: int,
    offsets: I8,
) -> float:
    """Split the network into at most so many parts; improve `offsets`, return a bound for all of it.

    shares : as `improve_shares` leaves them; overwritten
    costs : float64[n_pair, n_bin], as in `pair_costs`
    choices, orders, turns, offsets : as in `best_offsets`
    """
    n_pair, n = costs.shape
    parts = Parts(
        np.full(n_part, np.inf),
        np.empty((n_part, circuits.pair.shape[0], n)),
        np.empty((n_part, n_pair, n)),
        np.empty((n_part, 3), np.int64),
    )
    value = descend(graph, choices, orders, turns, offsets)
    settled = np.inf  # the least bound of parts that need no split
    trial = offsets.copy()
    parts.costs[0] = costs
    parts.own[0] = shares.own
    whole = certified(circuits, shares.own, costs)
    parts.bound[0] = whole
    # what would cost more than what is known already is as good as forbidden
    fine = 2.0 * (value - whole)
    parts.split[0] = _choose_split(shares, value - whole)
    in_use = 1
    while in_use < n_part:
        at = int(parts.bound[:in_use].argmin())
        if parts.bound[at] >= value - BETTER * max(1.0, abs(value)):
            break
        pair, best, far = parts.split[at]
        if best == far:
            settled = min(settled, parts.bound[at])
            parts.bound[at] = np.inf
            continue
        parts.costs[in_use] = parts.costs[at]
        parts.own[in_use] = parts.own[at]
        for d in range(n):
            part = at if _apart(d, far, n) <= _apart(d, best, n) else in_use
            parts.costs[part, pair, d] += fine
        for part in (at, in_use):
            shares.own[:] = parts.own[part]
            take_up(circuits, shares, parts.costs[part])
            improve_shares(circuits, shares, PART_PASSES)
            parts.own[part] = shares.own
            parts.bound[part] = certified(circuits, shares.own, parts.costs[part])
            follow_beliefs(graph, choices, shares, trial)
            reached = descend(graph, choices, orders, turns, trial)
            if reached < value:
                value = reached
                offsets[:] = trial
            parts.split[part] = _choose_split(shares, value - parts.bound[part])
        in_use += 1
    return max(whole, min(settled, float(parts.bound[:in_use].min())))


@kernel
def _apart(a: int, b: int, n: int) -> int:
    """How far two differences are apart on the cycle."""
    return min((a - b) % n, (b - a) % n)


@kernel
def _choose_split(shares: Shares, room: float) -> tuple[int, int, int]:
    """The pair with the most differences to choose from; its best difference, and of those the farthest from it.

    Where no pair has a choice both differences are the same.

    room : float, how much dearer than its best a difference may seem and still matter
    """
    n_pair, n = shares.belief.shape
    most = 1
    split = (0, 0, 0)
    for p in range(n_pair):
        belief = shares.belief[p]
        best = int(belief.argmin())
        far = best
        n_choice = 0
        for d in range(n):
            if belief[d] <= belief[best] + room:
                n_choice += 1
                if _apart(d, best, n) > _apart(far, best, n):
                    far = d
        if n_choice > most:
            most = n_choice
            split = (p, best, far)
    return split
