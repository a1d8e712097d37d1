"""What no choice of offsets can cost less than.

Around a circuit the differences of offsets sum to whole cycles. The costs of each pair of signals are shared
out between the circuits that hold it; the least that each circuit can cost for itself, summed, is then a
bound for the whole network, whatever the shares are. Shares are improved pair by pair, in an order and back:
sequential reweighted message passing (Kolmogorov 2015, IEEE TPAMI 37(5)), a block coordinate ascent in the
dual of the linear program whose factors are circuits and whose variables are differences of offsets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8
from kernels.link_graph import Circuits, Graph, min_plus

EPSILON = 2.220446049250313e-16
"""Relative rounding of one operation, twice over."""
SETTLED = 1e-7
"""Relative gain of two passes below which more of them aren't worth it."""


class Shares(NamedTuple):
    """What of the costs of pairs each circuit has, and what follows from it.

    Fields
    ------
    own : float64[n_slot, n_bin], costs that a circuit has of a pair, by the difference along the circuit
    before, after : float64[n_slot, n_bin], the least that the pairs of a circuit before the slot, or after
        it, cost together, by the sum of their differences
    rest : float64[n_pair, n_bin], what is left to the pair, by the difference from its end of lower rank
    belief : float64[n_pair, n_bin], least costs seen from the pair, all its circuits together, when it was
        last looked at
    """

    own: F8
    before: F8
    after: F8
    rest: F8
    belief: F8


@kernel
def pair_costs(graph: Graph) -> F8:
    """Costs of each pair by the difference from its end of lower rank: float64[n_pair, n_bin]."""
    n = graph.costs.shape[1] // 2
    costs = np.empty((graph.pair_entry.shape[0], n))
    for p in range(costs.shape[0]):
        costs[p] = graph.costs[graph.pair_entry[p], :n]
    return costs


@kernel
def no_shares(circuits: Circuits, costs: F8) -> Shares:
    """Nothing to any circuit, everything left to the pairs: costs float64[n_pair, n_bin]."""
    zero = np.zeros((circuits.pair.shape[0], costs.shape[1]))
    return Shares(zero, zero.copy(), zero.copy(), costs.copy(), costs.copy())


@kernel
def take_up(circuits: Circuits, shares: Shares, costs: F8) -> None:
    """Make what follows from `shares.own` follow from it again, for costs float64[n_pair, n_bin]."""
    for p in range(costs.shape[0]):
        _left(circuits, shares.own, costs, p, shares.rest[p])
    twice = np.empty(2 * costs.shape[1])
    for c in range(circuits.start.shape[0] - 1):
        last = circuits.start[c + 1] - 1
        shares.after[last - 1] = shares.own[last]
        for slot in range(last - 1, circuits.start[c], -1):
            _write_twice(shares.own[slot], twice)
            min_plus(shares.after[slot], twice, shares.after[slot - 1])


@kernel
def _left(circuits: Circuits, own: F8, costs: F8, p: int, row: F8) -> None:
    """Write what the circuits leave of the costs of pair p to `row`."""
    n = row.shape[0]
    row[:] = costs[p]
    for slot in circuits.pair_slot[circuits.pair_start[p] : circuits.pair_start[p + 1]]:
        if circuits.turned[slot] == 1:
            row[0] -= own[slot, 0]
            for d in range(1, n):
                row[d] -= own[slot, n - d]
        else:
            for d in range(n):
                row[d] -= own[slot, d]


@kernel
def _write_twice(row: F8, twice: F8) -> None:
    n = row.shape[0]
    twice[:n] = row
    twice[n:] = row


@kernel
def _turn(row: F8, out: F8) -> None:
    """out[d] = row[-d], cyclic."""
    n = row.shape[0]
    out[0] = row[0]
    for d in range(1, n):
        out[d] = row[n - d]


@kernel
def pass_along(circuits: Circuits, shares: Shares, forward: bool) -> float:
    """Look at every pair once and share its costs out anew; return the bound reached, but for rounding."""
    n_pair, n = shares.rest.shape
    done, ahead = (shares.before, shares.after) if forward else (shares.after, shares.before)
    step = 1 if forward else -1
    most = 1
    for p in range(n_pair):
        most = max(most, circuits.pair_start[p + 1] - circuits.pair_start[p])
    others = np.empty((most, n))
    row = np.empty(n)
    twice = np.empty(2 * n)
    bound = 0.0
    for x in range(n_pair):
        p = x if forward else n_pair - 1 - x
        total = shares.belief[p]
        total[:] = shares.rest[p]
        n_first, n_last = 0, 0
        slots = circuits.pair_slot[circuits.pair_start[p] : circuits.pair_start[p + 1]]
        for y in range(slots.shape[0]):
            slot = slots[y]
            first, last = _place_in_circuit(circuits, slot, forward)
            n_first += first
            n_last += last
            # the least that the others of the circuit cost, by the sum of their differences
            if first == 1:
                row[:] = ahead[slot]
            elif last == 1:
                row[:] = done[slot]
            else:
                _write_twice(ahead[slot], twice)
                min_plus(done[slot], twice, row)
            # turned, as together with this pair they sum to nothing; and once more if the circuit is
            own = shares.own[slot]
            if circuits.turned[slot] == 1:
                others[y] = row
                total[0] += own[0] + row[0]
                for d in range(1, n):
                    total[d] += own[n - d] + row[d]
            else:
                _turn(row, others[y])
                for d in range(n):
                    total[d] += own[d] + others[y, d]
        weight = 1.0 / max(1, max(slots.shape[0] - n_first, slots.shape[0] - n_last))
        given = 0.0
        for y in range(slots.shape[0]):
            slot = slots[y]
            first, last = _place_in_circuit(circuits, slot, forward)
            share = 0.0 if last == 1 else weight
            given += share
            for d in range(n):
                row[d] = share * total[d] - others[y, d]
            if circuits.turned[slot] == 1:
                _turn(row, shares.own[slot])
            else:
                shares.own[slot] = row
            if last == 1:
                continue
            if first == 1:
                done[slot + step] = shares.own[slot]
            else:
                _write_twice(shares.own[slot], twice)
                min_plus(done[slot], twice, done[slot + step])
        left = max(0.0, 1.0 - given)
        least = np.inf
        for d in range(n):
            shares.rest[p, d] = left * total[d]
            least = min(least, shares.rest[p, d])
        bound += least
    return bound


@kernel
def improve_shares(circuits: Circuits, shares: Shares, passes: int) -> None:
    """Share costs out better and better: so many passes, forward and backward, or until they gain next to nothing."""
    before = -np.inf
    for turn in range(passes):
        bound = pass_along(circuits, shares, turn % 2 == 0)
        if turn % 2 == 1:
            if bound - before <= SETTLED * max(1.0, abs(bound)):
                break
            before = bound


@kernel
def _place_in_circuit(circuits: Circuits, slot: int, forward: bool) -> tuple[int, int]:
    """Whether a slot is the first of its circuit on the way, and whether the last: 1 or 0 each."""
    c = circuits.circuit[slot]
    low = 1 if slot == circuits.start[c] else 0
    high = 1 if slot == circuits.start[c + 1] - 1 else 0
    return (low, high) if forward else (high, low)


@kernel
def certified(circuits: Circuits, own: F8, costs: F8) -> float:
    """The bound that shares give, less all that rounding may have added; valid for any shares whatever.

    own : float64[n_slot, n_bin], as in `Shares`
    costs : float64[n_pair, n_bin]
    """
    n = costs.shape[1]
    size = 0.0  # of all that is summed
    bound = 0.0
    n_term = 8
    row = np.empty(n)
    for p in range(costs.shape[0]):
        _left(circuits, own, costs, p, row)
        size += np.abs(costs[p]).max()
        slots = circuits.pair_slot[circuits.pair_start[p] : circuits.pair_start[p + 1]]
        n_term += slots.shape[0] + 1
        for slot in slots:
            size += 2.0 * np.abs(own[slot]).max()
        bound += row.min()
    twice = np.empty(2 * n)
    through = np.empty(n)
    for c in range(circuits.start.shape[0] - 1):
        begin, end = circuits.start[c], circuits.start[c + 1]
        row[:] = own[begin]
        for slot in range(begin + 1, end - 1):
            _write_twice(own[slot], twice)
            min_plus(row, twice, through)
            row[:] = through
        least = np.inf
        for d in range(n):
            least = min(least, row[(n - d) % n] + own[end - 1, d])
        bound += least
    return bound - EPSILON * n_term * size
