"""Offsets: what a difference of offsets costs on each link, and the offsets of least cost over a network.

The model is TRANSYT's cyclic flow profile (Robertson 1969, TRRL LR 253) reduced to tables by link, as in
the combination method (Hillier 1966; Gartner and Little 1975): a platoon leaves one signal, spreads, and
meets the greens of the next, so that its delay depends on the difference of the two offsets. Over those
tables offsets are found by dynamic programming on trees and, where links close circuits, by descent that
re-solves one tree after the other.

Time runs in bins of about a second, `n_bin` of them in a cycle; everything repeats after that. Rates are
vehicles per bin. An offset of o bins delays all that a signal shows by o.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.profile import disperse_cyclic, stopline

EXACT_WORK = 4.0e7
"""Table look-ups up to which every combination of the signals that close circuits is tried."""
BETTER = 1e-9
"""Relative gain below which a move is rounding."""


class StreetArrays(NamedTuple):
    """Stop lines, and the stretches of road by which what leaves one arrives at others.

    A *server* is a set of lanes that go and stop together; a *link* is an ordered pair of signals.

    Fields
    ------
    server_signal : int64[n_server]
    server_green : float64[n_server, n_bin], 0 … 1, part of saturation flow by bin, at offset 0
    server_saturation : float64[n_server], veh per bin
    server_flow : float64[n_server], veh per bin
    server_tap : int64[n_server + 1]; taps of server s are server_tap[s] … server_tap[s + 1] - 1
    tap_stretch : int64[n_tap], the stretch that arrives at the server; those of one link stand together
    tap_flow : float64[n_tap], veh per bin that arrive by it
    stretch_link : int64[n_stretch]
    stretch_smoothing : float64[n_stretch], Robertson's F per bin
    stretch_lag : float64[n_stretch], bins until the head of a platoon arrives
    stretch_feed : int64[n_stretch + 1]; feeds of stretch w are stretch_feed[w] … stretch_feed[w + 1] - 1
    feed_server : int64[n_feed], a server whose departures enter the stretch
    feed_share : float64[n_feed, n_bin], 0 … 1, part of them that does, by bin, at offset 0
    link_from, link_to : int64[n_link], signal
    """

    server_signal: I8
    server_green: F8
    server_saturation: F8
    server_flow: F8
    server_tap: I8
    tap_stretch: I8
    tap_flow: F8
    stretch_link: I8
    stretch_smoothing: F8
    stretch_lag: F8
    stretch_feed: I8
    feed_server: I8
    feed_share: F8
    link_from: I8
    link_to: I8


@kernel
def stretch_arrivals(street: StreetArrays, departures: F8, offsets: I8) -> F8:
    """Arrivals at the end of each stretch, over their mean: float64[n_stretch, n_bin], each of mean 1.

    departures : float64[n_server, n_bin], veh per bin of common time
    offsets : int64[n_signal], bins
    """
    shapes = np.empty((street.stretch_link.shape[0], departures.shape[1]))
    for w in range(shapes.shape[0]):
        _arrive(street, w, departures, offsets, shapes)
    return shapes


@kernel
def _arrive(street: StreetArrays, w: int, departures: F8, offsets: I8, shapes: F8) -> None:
    """Write the arrivals at the end of stretch w, over their mean, to shapes[w]."""
    n = departures.shape[1]
    leaving = np.zeros(n)
    for f in range(street.stretch_feed[w], street.stretch_feed[w + 1]):
        s = street.feed_server[f]
        own = (n - offsets[street.server_signal[s]] % n) % n
        for t in range(n):
            leaving[t] += departures[s, t] * street.feed_share[f, own]
            own += 1
            if own == n:
                own = 0
    total = leaving.sum()
    if total <= 0.0:
        shapes[w] = 1.0
        return
    leaving *= n / total
    shapes[w] = disperse_cyclic(leaving, street.stretch_smoothing[w], street.stretch_lag[w])


@kernel
def _serve(
    street: StreetArrays,
    s: int,
    shapes: F8,
    offsets: I8,
    stop_weight: float,
    arrivals: F8,
    green: F8,
    departures: F8,
) -> float:
    """Let what arrives at server s pass: fill departures[s], return delay and stops in a cycle, veh·bins.

    arrivals, green : float64[n_bin], overwritten
    """
    n = arrivals.shape[0]
    arrivals[:] = street.server_flow[s]
    for p in range(street.server_tap[s], street.server_tap[s + 1]):
        flow = street.tap_flow[p]
        for t in range(n):
            arrivals[t] += flow * (shapes[street.tap_stretch[p], t] - 1.0)
    _shift(street.server_green[s], offsets[street.server_signal[s]], green)
    found = stopline(arrivals, green, street.server_saturation[s])
    departures[s] = found.departures_vps
    return float(found.uniform_delay_veh_s + stop_weight * found.stops_veh)


@kernel
def run_street(street: StreetArrays, offsets: I8, sweeps: int, stop_weight: float, departures: F8) -> float:
    """Let traffic pass all stop lines under given offsets; fill `departures`, return what it costs.

    Arrivals are even at first; each sweep replaces them by what the stretches bring. The cost is in vehicles
    waiting, delay over time; a stop counts as `stop_weight` bins of delay. Delay in excess of capacity
    doesn't depend on offsets and is left out.

    offsets : int64[n_signal], bins
    departures : float64[n_server, n_bin], veh per bin of common time; overwritten
    """
    n_server = street.server_signal.shape[0]
    n = departures.shape[1]
    arrivals = np.empty(n)
    green = np.empty(n)
    cost = 0.0
    shapes = np.ones((street.stretch_link.shape[0], n))
    for sweep in range(sweeps + 1):
        cost = 0.0
        if sweep > 0:
            for w in range(shapes.shape[0]):
                _arrive(street, w, departures, offsets, shapes)
        for s in range(n_server):
            cost += _serve(street, s, shapes, offsets, stop_weight, arrivals, green, departures)
    return float(cost / n)


@kernel
def climb(
    street: StreetArrays,
    choices: I8,
    steps: I8,
    passes: int,
    sweeps: int,
    stop_weight: float,
    offsets: I8,
    departures: F8,
) -> float:
    """Move one signal's offset after the other, as TRANSYT's hill climb does; return the cost reached.

    A move is judged by the stop lines of the signal and of those downstream of it, with everything that
    arrives there from anywhere, which the tables by link leave out; a pass is kept if the whole street
    agrees.

    choices : int64[n_signal], offsets 0 … choices - 1 are allowed
    steps : int64[n_step], bins, moves to try
    offsets : int64[n_signal]; overwritten
    departures : as `run_street`
    """
    n_signal = choices.shape[0]
    n_server = street.server_signal.shape[0]
    n_stretch = street.stretch_link.shape[0]
    n = departures.shape[1]
    server_order = np.argsort(street.server_signal, kind="mergesort")
    server_start = np.searchsorted(street.server_signal[server_order], np.arange(n_signal + 1))
    source = street.link_from[street.stretch_link]
    stretch_order = np.argsort(source, kind="mergesort")
    stretch_start = np.searchsorted(source[stretch_order], np.arange(n_signal + 1))
    lowest = run_street(street, offsets, sweeps, stop_weight, departures)
    best = offsets.copy()
    arrivals = np.empty(n)
    green = np.empty(n)
    touched = np.zeros(n_server, np.int64)
    downstream = np.empty(n_server, np.int64)
    sinks = np.zeros((n_stretch + 1), np.int64)
    for p in range(street.tap_stretch.shape[0]):
        sinks[street.tap_stretch[p] + 1] += 1
    sinks = np.cumsum(sinks)
    sink_server = np.empty(sinks[n_stretch], np.int64)
    filled = np.zeros(n_stretch, np.int64)
    for s in range(n_server):
        for p in range(street.server_tap[s], street.server_tap[s + 1]):
            w = street.tap_stretch[p]
            sink_server[sinks[w] + filled[w]] = s
            filled[w] += 1
    # only signals with a neighbour that moved since they were looked at can gain by a move
    due = np.ones(n_signal, np.int64)
    for _ in range(passes):
        shapes = stretch_arrivals(street, departures, offsets)
        for i in range(n_signal):
            if due[i] == 0:
                continue
            due[i] = 0
            n_down = 0
            for x in range(stretch_start[i], stretch_start[i + 1]):
                w = stretch_order[x]
                for y in range(sinks[w], sinks[w + 1]):
                    if touched[sink_server[y]] == 0:
                        touched[sink_server[y]] = 1
                        downstream[n_down] = sink_server[y]
                        n_down += 1
            touched[downstream[:n_down]] = 0
            here = offsets[i]
            chosen = here
            least = np.inf
            # the move kept is made once more at the end, so that departures and shapes are its own
            for x in range(-1, steps.shape[0] + 1):
                if x == steps.shape[0]:
                    offsets[i] = chosen
                elif x >= 0:
                    offsets[i] = (here + steps[x]) % choices[i]
                value = 0.0
                for y in range(server_start[i], server_start[i + 1]):
                    value += _serve(
                        street, server_order[y], shapes, offsets, stop_weight, arrivals, green, departures
                    )
                for y in range(stretch_start[i], stretch_start[i + 1]):
                    _arrive(street, stretch_order[y], departures, offsets, shapes)
                for y in range(n_down):
                    value += _serve(
                        street, downstream[y], shapes, offsets, stop_weight, arrivals, green, departures
                    )
                if value < least - BETTER * max(1.0, abs(value)) and x < steps.shape[0]:
                    least = value
                    chosen = offsets[i]
            if chosen != here:
                for k in range(street.link_from.shape[0]):
                    if street.link_from[k] == i:
                        due[street.link_to[k]] = 1
                    elif street.link_to[k] == i:
                        due[street.link_from[k]] = 1
        value = run_street(street, offsets, sweeps, stop_weight, departures)
        if value >= lowest - BETTER * max(1.0, abs(lowest)):
            break
        lowest = value
        best[:] = offsets
    offsets[:] = best
    return lowest


@kernel
def link_tables(street: StreetArrays, departures: F8, offsets: I8, stop_weight: float) -> F8:
    """What each difference of offsets costs on each link: float64[n_link, n_bin], vehicles waiting.

    table[k, d] is the cost at the downstream stop lines when the offset of link_to[k] is that of link_from[k]
    plus d. Departures keep their place in the upstream cycle; arrivals from anywhere else are even.

    departures, offsets : as `run_street` leaves them
    """
    n_server = street.server_signal.shape[0]
    n = departures.shape[1]
    shapes = stretch_arrivals(street, departures, offsets)
    table = np.zeros((street.link_from.shape[0], n))
    arrivals = np.empty(n)
    green = np.empty(n)
    for s in range(n_server):
        p = street.server_tap[s]
        while p < street.server_tap[s + 1]:
            link = street.stretch_link[street.tap_stretch[p]]
            upstream = offsets[street.link_from[link]]
            arrivals[:] = street.server_flow[s]
            while p < street.server_tap[s + 1] and street.stretch_link[street.tap_stretch[p]] == link:
                w = street.tap_stretch[p]
                for t in range(n):
                    arrivals[t] += street.tap_flow[p] * (shapes[w, (t + upstream) % n] - 1.0)
                p += 1
            for d in range(n):
                _shift(street.server_green[s], d, green)
                found = stopline(arrivals, green, street.server_saturation[s])
                table[link, d] += (found.uniform_delay_veh_s + stop_weight * found.stops_veh) / n
    return table


@kernel
def _shift(row: F8, by: int, out: F8) -> None:
    """Write a cyclic row, `by` bins later, to `out`."""
    n = row.shape[0]
    start = by % n
    out[start:] = row[: n - start]
    out[:start] = row[n - start :]


@kernel
def total_cost(table: F8, link_from: I8, link_to: I8, offsets: I8) -> float:
    """Sum of the tables at given offsets: table float64[n_link, n_bin], the rest int64."""
    n = table.shape[1]
    cost = 0.0
    for k in range(table.shape[0]):
        cost += table[k, (offsets[link_to[k]] - offsets[link_from[k]]) % n]
    return cost


class _Graph(NamedTuple):
    """Undirected neighbours: entries start[i] … start[i + 1] - 1 of signal i.

    The cost between i and its neighbour is costs[row, n + o_neighbour - o_i]; rows hold a cycle two times
    over, which spares the modulo.
    """

    start: I8
    neighbour: I8
    row: I8
    costs: F8


@kernel
def _graph(table: F8, link_from: I8, link_to: I8, n_signal: int) -> _Graph:
    """Both directions of every pair of signals folded into one row, seen from either end."""
    n_link, n = table.shape
    degree = np.zeros(n_signal + 1, np.int64)
    for k in range(n_link):
        if link_from[k] != link_to[k]:
            degree[link_from[k] + 1] += 1
            degree[link_to[k] + 1] += 1
    start = np.cumsum(degree)
    filled = np.zeros(n_signal, np.int64)
    neighbour = np.empty(start[n_signal], np.int64)
    costs = np.zeros((start[n_signal], 2 * n))
    for k in range(n_link):
        for side in range(2):
            i = link_from[k] if side == 0 else link_to[k]
            j = link_to[k] if side == 0 else link_from[k]
            if i == j:
                continue
            e = start[i]
            while e < start[i] + filled[i] and neighbour[e] != j:
                e += 1
            if e == start[i] + filled[i]:
                neighbour[e] = j
                filled[i] += 1
            for d in range(2 * n):
                costs[e, d] += table[k, d % n if side == 0 else -d % n]
    # parallel links left gaps at the end of each signal's entries: close them
    kept_start = np.zeros(n_signal + 1, np.int64)
    for i in range(n_signal):
        kept_start[i + 1] = kept_start[i] + filled[i]
    kept = kept_start[n_signal]
    kept_neighbour = np.empty(kept, np.int64)
    row = np.empty(kept, np.int64)
    for i in range(n_signal):
        for x in range(filled[i]):
            kept_neighbour[kept_start[i] + x] = neighbour[start[i] + x]
            row[kept_start[i] + x] = start[i] + x
    return _Graph(kept_start, kept_neighbour, row, costs)


@kernel
def _cost_of(graph: _Graph, offsets: I8) -> float:
    n = graph.costs.shape[1] // 2
    cost = 0.0
    for i in range(offsets.shape[0]):
        for e in range(graph.start[i], graph.start[i + 1]):
            j = graph.neighbour[e]
            if j > i:
                cost += graph.costs[graph.row[e], n + offsets[j] - offsets[i]]
    return cost


@kernel
def _solve_forest(graph: _Graph, choices: I8, free: I8, offsets: I8) -> None:
    """Set the offsets of the signals that are free to their best, given the others: exact.

    free : int64[n_signal], 1 for signals to set; links between them must form no circuit
    """
    n_signal = choices.shape[0]
    n = graph.costs.shape[1] // 2
    order = np.empty(n_signal, np.int64)
    parent = np.full(n_signal, -1, np.int64)
    parent_row = np.empty(n_signal, np.int64)
    seen = np.zeros(n_signal, np.int64)
    own = np.zeros((n_signal, n))
    best = np.empty((n_signal, n), np.int64)
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
            for e in range(graph.start[i], graph.start[i + 1]):
                j = graph.neighbour[e]
                row = graph.costs[graph.row[e]]
                if free[j] == 0:
                    for o in range(choices[i]):
                        own[i, o] += row[n + offsets[j] - o]
                elif seen[j] == 0:
                    seen[j] = 1
                    parent[j] = i
                    parent_row[j] = graph.row[e]
                    order[n_order] = j
                    n_order += 1
    for at in range(n_order - 1, -1, -1):
        i = order[at]
        p = parent[i]
        if p < 0:
            continue
        row = graph.costs[parent_row[i]]
        for q in range(choices[p]):
            lowest = np.inf
            which = 0
            for o in range(choices[i]):
                value = own[i, o] + row[n + o - q]
                if value < lowest:
                    lowest = value
                    which = o
            own[p, q] += lowest
            best[i, q] = which
    for at in range(n_order):
        i = order[at]
        if parent[i] >= 0:
            offsets[i] = best[i, offsets[parent[i]]]
            continue
        lowest = np.inf
        for o in range(choices[i]):
            if own[i, o] < lowest:
                lowest = own[i, o]
                offsets[i] = o


@kernel
def _find(group: I8, i: int) -> int:
    while group[i] != i:
        group[i] = group[group[i]]
        i = group[i]
    return i


@kernel
def _circuit_breakers(graph: _Graph) -> I8:
    """Signals without which no circuit is left, few of them; int64[n_signal], 1 for those."""
    n_signal = graph.start.shape[0] - 1
    breaker = np.zeros(n_signal, np.int64)
    gone = np.zeros(n_signal, np.int64)
    degree = np.empty(n_signal, np.int64)
    for i in range(n_signal):
        degree[i] = graph.start[i + 1] - graph.start[i]
    while True:
        pruned = True
        while pruned:
            pruned = False
            for i in range(n_signal):
                if gone[i] == 0 and degree[i] <= 1:
                    gone[i] = 1
                    pruned = True
                    for e in range(graph.start[i], graph.start[i + 1]):
                        degree[graph.neighbour[e]] -= 1
        worst = -1
        for i in range(n_signal):
            if gone[i] == 0 and (worst < 0 or degree[i] > degree[worst]):
                worst = i
        if worst < 0:
            return breaker
        breaker[worst] = 1
        gone[worst] = 1
        for e in range(graph.start[worst], graph.start[worst + 1]):
            degree[graph.neighbour[e]] -= 1


@kernel
def _spanning_start(graph: _Graph, choices: I8, offsets: I8) -> None:
    """Offsets that are best on the links where they matter most, as many as form no circuit."""
    n_signal = choices.shape[0]
    n_entry = graph.neighbour.shape[0]
    swing = np.zeros(n_entry)
    owner = np.empty(n_entry, np.int64)
    for i in range(n_signal):
        for e in range(graph.start[i], graph.start[i + 1]):
            owner[e] = i
            swing[e] = graph.costs[graph.row[e]].max() - graph.costs[graph.row[e]].min()
    group = np.arange(n_signal)
    inside = np.zeros(n_entry, np.int64)
    for e in np.argsort(-swing, kind="mergesort"):
        a, b = _find(group, owner[e]), _find(group, graph.neighbour[e])
        if a != b:
            group[b] = a
            inside[e] = 1
            # the same pair seen from its other end
            j = graph.neighbour[e]
            for back in range(graph.start[j], graph.start[j + 1]):
                if graph.neighbour[back] == owner[e]:
                    inside[back] = 1
    kept = np.zeros(n_signal + 1, np.int64)
    for i in range(n_signal):
        kept[i + 1] = kept[i] + inside[graph.start[i] : graph.start[i + 1]].sum()
    neighbour = np.empty(kept[n_signal], np.int64)
    row = np.empty(kept[n_signal], np.int64)
    at = 0
    for e in range(n_entry):
        if inside[e] == 1:
            neighbour[at] = graph.neighbour[e]
            row[at] = graph.row[e]
            at += 1
    thin = _Graph(kept, neighbour, row, graph.costs)
    every = np.ones(n_signal, np.int64)
    _solve_forest(thin, choices, every, offsets)


@kernel
def _descend(graph: _Graph, choices: I8, orders: I8, offsets: I8) -> float:
    """Improve offsets tree by tree until no order in which trees are grown helps any more.

    orders : int64[n_order, n_signal]; each grows one largest set of signals without circuits among them.
    """
    n_signal = choices.shape[0]
    value = _cost_of(graph, offsets)
    free = np.empty(n_signal, np.int64)
    group = np.empty(n_signal, np.int64)
    before = np.empty(n_signal, np.int64)
    idle = 0
    turn = 0
    while idle < orders.shape[0]:
        free[:] = 0
        group[:] = np.arange(n_signal)
        for i in orders[turn % orders.shape[0]]:
            closes = False
            for e in range(graph.start[i], graph.start[i + 1]):
                a = graph.neighbour[e]
                if free[a] == 0:
                    continue
                for other in range(graph.start[i], e):
                    b = graph.neighbour[other]
                    if free[b] == 1 and _find(group, a) == _find(group, b):
                        closes = True
            if closes:
                continue
            free[i] = 1
            for e in range(graph.start[i], graph.start[i + 1]):
                if free[graph.neighbour[e]] == 1:
                    group[_find(group, graph.neighbour[e])] = _find(group, i)
        turn += 1
        before[:] = offsets
        _solve_forest(graph, choices, free, offsets)
        reached = _cost_of(graph, offsets)
        if reached < value - BETTER * max(1.0, abs(value)):
            value = reached
            idle = 0
        else:
            offsets[:] = before
            idle += 1
    return value


@kernel
def best_offsets(
    table: F8, link_from: I8, link_to: I8, choices: I8, starts: I8, orders: I8, offsets: I8
) -> float:
    """Fill `offsets` with those of least total cost and return that cost.

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
        Offsets to start descents from, besides one made here.
    orders : int64[n_order, n_signal]
        Permutations of the signals.
    offsets : int64[n_signal]; overwritten
    """
    n_signal = choices.shape[0]
    n = table.shape[1]
    graph = _graph(table, link_from, link_to, n_signal)
    breaker = _circuit_breakers(graph)
    offsets[:] = 0
    every = np.ones(n_signal, np.int64)
    n_breaker = breaker.sum()
    if n_breaker == 0:
        _solve_forest(graph, choices, every, offsets)
        return total_cost(table, link_from, link_to, offsets)

    fixed = -1
    for i in range(n_signal):
        if breaker[i] == 1 and (fixed < 0 or choices[i] > choices[fixed]):
            fixed = i
    work = float(graph.neighbour.shape[0]) * n * n / 2.0
    for i in range(n_signal):
        # what is at 0 must be able to stand for all its choices
        if breaker[i] == 1 and (i != fixed or choices[i] < n):
            work *= choices[i]
    lowest = np.inf
    trial = np.zeros(n_signal, np.int64)
    if work <= EXACT_WORK:
        free = 1 - breaker
        running = True
        while running:
            _solve_forest(graph, choices, free, trial)
            value = _cost_of(graph, trial)
            if value < lowest:
                lowest = value
                offsets[:] = trial
            running = False
            for i in range(n_signal):
                if breaker[i] == 0 or (i == fixed and choices[i] == n):
                    continue
                trial[i] += 1
                if trial[i] < choices[i]:
                    running = True
                    break
                trial[i] = 0
        return total_cost(table, link_from, link_to, offsets)

    for attempt in range(starts.shape[0] + 1):
        if attempt == 0:
            _spanning_start(graph, choices, trial)
        else:
            trial[:] = starts[attempt - 1] % choices
        value = _descend(graph, choices, orders, trial)
        if value < lowest:
            lowest = value
            offsets[:] = trial
    return total_cost(table, link_from, link_to, offsets)
