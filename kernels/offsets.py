"""The offsets of least cost over a network, from what a difference of offsets costs on each link.

Tables by link as in the combination method (Hillier 1966; Gartner and Little 1975), over which offsets are
found by dynamic programming on trees and, where links close circuits, by descent that re-solves one tree
after the other, from the offsets that the bound (`kernels.offset_bound`) suggests and from others. Every
answer comes with that bound, so that it says how far from the best it can be at most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.descent import BETTER, cost_of, descend, follow_beliefs, solve_forest
from kernels.link_graph import Graph, link_graph, short_circuits
from kernels.offset_bound import EPSILON, certified, improve_shares, no_shares, pair_costs, pass_along
from kernels.offset_branch import branch

FOLLOWED = 5
"""Descents from what the bound suggests, a pass after each other: beliefs differ from pass to pass."""
EXACT_WORK = 4.0e7
"""Table look-ups up to which every combination of the signals that close circuits is tried."""


class Best(NamedTuple):
    """What offsets cost, and what no others can cost less than, in the unit of the tables."""

    value: float
    bound: float


@kernel
def total_cost(table: F8, link_from: I8, link_to: I8, offsets: I8) -> float:
    """Sum of the tables at given offsets: table float64[n_link, n_bin], the rest int64."""
    n = table.shape[1]
    cost = 0.0
    for k in range(table.shape[0]):
        cost += table[k, (offsets[link_to[k]] - offsets[link_from[k]]) % n]
    return cost


@kernel
def _combinations(graph: Graph, choices: I8) -> tuple[float, I8]:
    """Work of trying all there is of the signals without which no circuit is left, and 1 for each of those.

    It is infinite once it is beyond EXACT_WORK.
    """
    n_signal = choices.shape[0]
    n = graph.costs.shape[1] // 2
    breaker = np.zeros(n_signal, np.int64)
    left = np.ones(n_signal, np.int64)
    degree = graph.start[1:] - graph.start[:-1]
    work = float(graph.neighbour.shape[0]) * n * n / 2.0
    ends = [i for i in range(n_signal) if degree[i] <= 1]
    fixed = False
    while True:
        while len(ends) > 0:
            i = ends.pop()
            if left[i] == 0:
                continue
            left[i] = 0
            for j in graph.neighbour[graph.start[i] : graph.start[i + 1]]:
                degree[j] -= 1
                if left[j] == 1 and degree[j] <= 1:
                    ends.append(j)
        # only differences count: one with all choices may stay at 0
        worst = -1
        for i in range(n_signal):
            if left[i] == 1 and (worst < 0 or degree[i] > degree[worst]):
                worst = i
        if worst < 0:
            return work, breaker
        if choices[worst] == n and not fixed:
            fixed = True
            breaker[worst] = 2
        else:
            breaker[worst] = 1
            work *= choices[worst]
        if work > EXACT_WORK:
            return np.inf, breaker
        degree[worst] = 0
        ends.append(worst)


@kernel
def _try_all(graph: Graph, choices: I8, breaker: I8, offsets: I8) -> None:
    """The best offsets by trying every combination for the breakers, those of a 2 staying at 0."""
    n_signal = choices.shape[0]
    free = np.where(breaker > 0, 0, 1)
    turning = [i for i in range(n_signal) if breaker[i] == 1]
    trial = np.zeros(n_signal, np.int64)
    lowest = np.inf
    at = 0
    while at < len(turning) or lowest == np.inf:
        solve_forest(graph, choices, free, trial)
        value = cost_of(graph, trial)
        if value < lowest:
            lowest = value
            offsets[:] = trial
        at = 0
        while at < len(turning):
            i = turning[at]
            trial[i] += 1
            if trial[i] < choices[i]:
                break
            trial[i] = 0
            at += 1


@kernel
def best_offsets(
    table: F8,
    link_from: I8,
    link_to: I8,
    choices: I8,
    starts: I8,
    orders: I8,
    passes: int,
    turns: int,
    n_part: int,
    offsets: I8,
) -> Best:
    """Fill `offsets` with those of least total cost, as far as can be found; return the cost and its bound.

    Exact where links form no circuit. Where they do, a few signals are looked for without which they don't,
    and all combinations of those are tried: exact as well, as long as that takes less than EXACT_WORK (a
    ring always does). Beyond, it is the best of several descents. Offsets count only by their differences.

    table : float64[n_link, n_bin]
        Cost by difference of offsets, link_to's less link_from's. Where a signal has half the cycle, rows of
        its links repeat after half.
    link_from, link_to : int64[n_link]
    choices : int64[n_signal], 1 … n_bin
        Offsets 0 … choices - 1 are allowed: half of n_bin where a signal has half the cycle.
    starts : int64[n_start, n_signal]
        Offsets to start descents from, besides those that the bound suggests.
    orders : int64[n_order, n_signal]
        Permutations of the signals; one at least.
    passes, turns : int
        Most passes for the bound; most trees solved in a descent.
    n_part : int
        Parts that a network may be split into to close the gap, for small ones; at 1 none is. Each takes
        memory for all the tables.
    offsets : int64[n_signal]; overwritten
    """
    n_signal = choices.shape[0]
    graph = link_graph(table, link_from, link_to, n_signal)
    offsets[:] = 0
    alone = 0.0  # what links from a signal to itself cost
    size = 0.0
    for k in range(table.shape[0]):
        size += np.abs(table[k]).max()
        if link_from[k] == link_to[k]:
            alone += table[k, 0]
    slack = EPSILON * (8 + table.shape[0]) * size
    work, breaker = _combinations(graph, choices)
    if work <= EXACT_WORK:
        _try_all(graph, choices, breaker, offsets)
        value = total_cost(table, link_from, link_to, offsets)
        return Best(value, value - slack)
    circuits = short_circuits(graph)
    costs = pair_costs(graph)
    shares = no_shares(circuits, costs)
    improve_shares(circuits, shares, passes)
    bound = certified(circuits, shares.own, costs) + alone - slack
    lowest = np.inf
    trial = np.zeros(n_signal, np.int64)
    for attempt in range(FOLLOWED + starts.shape[0]):
        if attempt < FOLLOWED:
            follow_beliefs(graph, choices, shares, trial)
            pass_along(circuits, shares, attempt % 2 == 0)
        else:
            trial[:] = starts[attempt - FOLLOWED] % choices
        value = descend(graph, choices, orders, turns, trial)
        if value < lowest:
            lowest = value
            offsets[:] = trial
        if lowest + alone - bound <= BETTER * max(1.0, abs(bound)):
            break
    bound = max(bound, certified(circuits, shares.own, costs) + alone - slack)
    if n_part > 1 and lowest + alone - bound > BETTER * max(1.0, abs(bound)):
        parted = branch(graph, circuits, shares, costs, choices, orders, turns, n_part, offsets)
        bound = max(bound, parted + alone - slack)
    return Best(total_cost(table, link_from, link_to, offsets), bound)
