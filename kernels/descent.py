"""Descent over the offsets of a network: dynamic programming on one tree of its signals after the other."""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.arrays import I8
from kernels.link_graph import Graph, min_plus
from kernels.offset_bound import Shares

BETTER = 1e-9
"""Relative gain below which a move is rounding."""


@kernel
def cost_of(graph: Graph, offsets: I8) -> float:
    n = graph.costs.shape[1] // 2
    cost = 0.0
    for e in graph.pair_entry:
        cost += graph.costs[e, n + offsets[graph.neighbour[e]] - offsets[graph.neighbour[graph.back[e]]]]
    return cost


@kernel
def solve_forest(graph: Graph, choices: I8, free: I8, offsets: I8) -> None:
    """Set the offsets of the signals that are free to their best, given the others: exact.

    free : int64[n_signal], 1 for signals to set; links between them must form no circuit
    """
    n_signal = choices.shape[0]
    n = graph.costs.shape[1] // 2
    order = np.empty(n_signal, np.int64)
    up = np.full(n_signal, -1, np.int64)  # the entry towards the root
    seen = np.zeros(n_signal, np.int64)
    own = np.empty((n_signal, n))
    message = np.empty(n)
    n_order = 0
    for root in range(n_signal):
        if free[root] == 0 or seen[root] == 1:
            continue
        seen[root] = 1
        order[n_order] = root
        n_order += 1
        at = n_order - 1
        while at < n_order:
            i = order[at]
            at += 1
            own[i, : choices[i]] = 0.0
            own[i, choices[i] :] = np.inf
            for e in range(graph.start[i], graph.start[i + 1]):
                j = graph.neighbour[e]
                if free[j] == 0:
                    row = graph.costs[graph.back[e], n - offsets[j] : 2 * n - offsets[j]]
                    for o in range(n):
                        own[i, o] += row[o]
                elif seen[j] == 0:
                    seen[j] = 1
                    up[j] = graph.back[e]
                    order[n_order] = j
                    n_order += 1
    for at in range(n_order - 1, -1, -1):
        i = order[at]
        if up[i] >= 0:
            min_plus(own[i], graph.costs[up[i]], message)
            mine = own[graph.neighbour[up[i]]]
            for o in range(n):
                mine[o] += message[o]
    for at in range(n_order):
        i = order[at]
        if up[i] >= 0:
            row = graph.costs[up[i]]
            there = offsets[graph.neighbour[up[i]]]
            for o in range(choices[i]):
                own[i, o] += row[n + there - o]
        offsets[i] = own[i].argmin()


@kernel
def _find(group: I8, i: int) -> int:
    while group[i] != i:
        group[i] = group[group[i]]
        i = group[i]
    return i


@kernel
def follow_beliefs(graph: Graph, choices: I8, shares: Shares, offsets: I8) -> None:
    """Set signals in order of rank, each to what the bound's beliefs like best beside those set before."""
    n = graph.costs.shape[1] // 2
    cost = np.empty(n)
    for i in graph.order:
        cost[:] = 0.0
        for e in range(graph.start[i], graph.start[i + 1]):
            j = graph.neighbour[e]
            if graph.rank[j] < graph.rank[i]:
                belief = shares.belief[graph.pair[e]]
                for o in range(choices[i]):
                    cost[o] += belief[(o - offsets[j]) % n]
        offsets[i] = cost[: choices[i]].argmin()


@kernel
def _grow_forest(graph: Graph, order: I8, free: I8) -> None:
    """Mark, in an order, as many signals as have no circuit among them: free int64[n_signal], 0 or 1."""
    free[:] = 0
    group = np.arange(order.shape[0])
    for i in order:
        closes = False
        for e in range(graph.start[i], graph.start[i + 1]):
            a = graph.neighbour[e]
            for f in range(graph.start[i], e):
                b = graph.neighbour[f]
                if free[a] == 1 and free[b] == 1 and _find(group, a) == _find(group, b):
                    closes = True
        if closes:
            continue
        free[i] = 1
        for j in graph.neighbour[graph.start[i] : graph.start[i + 1]]:
            if free[j] == 1:
                group[_find(group, j)] = _find(group, i)


@kernel
def descend(graph: Graph, choices: I8, orders: I8, turns: int, offsets: I8) -> float:
    """Improve offsets tree by tree until no order in which trees are grown helps any more, or so many times.

    orders : int64[n_order, n_signal]; each grows one largest set of signals without circuits among them.
    """
    n_signal = choices.shape[0]
    value = cost_of(graph, offsets)
    free = np.empty(n_signal, np.int64)
    before = np.empty(n_signal, np.int64)
    idle = 0
    for turn in range(turns):
        _grow_forest(graph, orders[turn % orders.shape[0]], free)
        before[:] = offsets
        solve_forest(graph, choices, free, offsets)
        reached = cost_of(graph, offsets)
        if reached < value - BETTER * max(1.0, abs(value)):
            value = reached
            idle = 0
            continue
        offsets[:] = before
        idle += 1
        if idle == orders.shape[0]:
            break
    return value
