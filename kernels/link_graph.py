"""Signals and the links between them, as the search over offsets and its bound see them.

Both directions of every pair of signals, and links side by side, are folded into one row of costs a *pair*.
A *circuit* is a way along pairs that comes back to where it began; around it the differences of offsets sum
to nothing, or to whole cycles, which is all that keeps each pair from being at its best.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8

LONGEST_SHORT = 12
"""Pairs up to which a circuit is looked for from each of its corners."""


class Graph(NamedTuple):
    """Undirected neighbours: entries start[i] … start[i + 1] - 1 of signal i.

    Fields
    ------
    start : int64[n_signal + 1]
    neighbour : int64[n_entry], signal at the other end
    back : int64[n_entry], the entry of the same pair from its other end
    pair : int64[n_entry]
    costs : float64[n_entry, 2 n_bin], costs[e, n_bin + o_neighbour - o_i]; rows hold a cycle two times over,
        which spares the modulo
    order : int64[n_signal], the signals so that neighbours are near each other
    rank : int64[n_signal], place of each signal in that order
    pair_entry : int64[n_pair], the entry of each pair from its end of lower rank; pairs are in the order of
        the rank of that end, then of the other
    """

    start: I8
    neighbour: I8
    back: I8
    pair: I8
    costs: F8
    order: I8
    rank: I8
    pair_entry: I8


class Circuits(NamedTuple):
    """Circuits as sets of pairs; slots start[c] … start[c + 1] - 1 are those of circuit c, in order of pairs.

    Fields
    ------
    start : int64[n_circuit + 1]
    pair : int64[n_slot]
    turned : int64[n_slot], 1 where the circuit passes the pair from its end of higher rank
    circuit : int64[n_slot]
    pair_start : int64[n_pair + 1]; pair p is in pair_slot[pair_start[p]] … pair_slot[pair_start[p + 1] - 1]
    pair_slot : int64[n_slot]
    """

    start: I8
    pair: I8
    turned: I8
    circuit: I8
    pair_start: I8
    pair_slot: I8


@kernel
def link_graph(table: F8, link_from: I8, link_to: I8, n_signal: int) -> Graph:
    """The graph of float64[n_link, n_bin] costs by difference of offsets, link_to's less link_from's."""
    n_link, n = table.shape
    degree = np.zeros(n_signal + 1, np.int64)
    for k in range(n_link):
        if link_from[k] != link_to[k]:
            degree[link_from[k] + 1] += 1
            degree[link_to[k] + 1] += 1
    room = np.cumsum(degree)
    filled = np.zeros(n_signal, np.int64)
    found = np.empty(room[n_signal], np.int64)
    for k in range(n_link):
        for side in range(2):
            i = link_from[k] if side == 0 else link_to[k]
            j = link_to[k] if side == 0 else link_from[k]
            if i != j and _place(found, room[i], room[i] + filled[i], j) < 0:
                found[room[i] + filled[i]] = j
                filled[i] += 1
    start = np.zeros(n_signal + 1, np.int64)
    start[1:] = np.cumsum(filled)
    neighbour = np.empty(start[n_signal], np.int64)
    for i in range(n_signal):
        neighbour[start[i] : start[i + 1]] = found[room[i] : room[i] + filled[i]]
    costs = np.zeros((start[n_signal], 2 * n))
    for k in range(n_link):
        i, j = link_from[k], link_to[k]
        if i == j:
            continue
        there = costs[_place(neighbour, start[i], start[i + 1], j)]
        back = costs[_place(neighbour, start[j], start[j + 1], i)]
        for d in range(n):
            there[d] += table[k, d]
            back[(n - d) % n] += table[k, d]
    costs[:, n:] = costs[:, :n]
    back = np.empty(neighbour.shape[0], np.int64)
    for i in range(n_signal):
        for e in range(start[i], start[i + 1]):
            back[e] = _place(neighbour, start[neighbour[e]], start[neighbour[e] + 1], i)
    order, rank = _ranks(start, neighbour)
    pair_entry, pair = _pairs(start, neighbour, back, order, rank)
    return Graph(start, neighbour, back, pair, costs, order, rank, pair_entry)


@kernel
def _place(values: I8, begin: int, end: int, wanted: int) -> int:
    """Where `wanted` stands in values[begin:end], -1 if it doesn't."""
    for e in range(begin, end):
        if values[e] == wanted:
            return e
    return -1


@kernel
def _ranks(start: I8, neighbour: I8) -> tuple[I8, I8]:
    """The signals breadth first, each part of the network from an end of it, and the place of each."""
    n_signal = start.shape[0] - 1
    rank = np.full(n_signal, -1, np.int64)
    order = np.empty(n_signal, np.int64)
    begin = 0
    for i in range(n_signal):
        if rank[i] >= 0:
            continue
        root = i
        end = begin
        for _ in range(2):  # the last one reached from anywhere is at an end
            for x in range(begin, end):
                rank[order[x]] = -1
            rank[root] = begin
            order[begin] = root
            end = begin + 1
            at = begin
            while at < end:
                for e in range(start[order[at]], start[order[at] + 1]):
                    j = neighbour[e]
                    if rank[j] < 0:
                        rank[j] = end
                        order[end] = j
                        end += 1
                at += 1
            root = order[end - 1]
        begin = end
    return order, rank


@kernel
def _pairs(start: I8, neighbour: I8, back: I8, order: I8, rank: I8) -> tuple[I8, I8]:
    """The entry of each pair from its end of lower rank, and the pair of each entry."""
    n_signal = rank.shape[0]
    above = np.zeros(n_signal + 1, np.int64)  # first pair of each rank
    for x in range(n_signal):
        above[x + 1] = above[x]
        for e in range(start[order[x]], start[order[x] + 1]):
            above[x + 1] += rank[neighbour[e]] > x
    pair = np.empty(neighbour.shape[0], np.int64)
    pair_entry = np.empty(above[n_signal], np.int64)
    for x in range(n_signal):  # pairs of one lower end come in order of the other
        for f in range(start[order[x]], start[order[x] + 1]):
            y = rank[neighbour[f]]
            if y < x:
                pair_entry[above[y]] = back[f]
                pair[f] = above[y]
                pair[back[f]] = above[y]
                above[y] += 1
    return pair_entry, pair


@kernel
def grouped(key: I8, n_key: int) -> tuple[I8, I8]:
    """Places of each key's entries, in their order: key k is at place[start[k]] … place[start[k + 1] - 1].

    key : int64[n], 0 … n_key - 1
    """
    start = np.zeros(n_key + 1, np.int64)
    for k in key:
        start[k + 1] += 1
    start = np.cumsum(start)
    filled = start.copy()
    place = np.empty(key.shape[0], np.int64)
    for x in range(key.shape[0]):
        place[filled[key[x]]] = x
        filled[key[x]] += 1
    return start, place


@kernel
def min_plus(a: F8, twice: F8, out: F8) -> None:
    """out[s] = min over d of a[d] + b[s - d], cyclic; `twice` is b two times over: float64[2 n_bin]."""
    n = a.shape[0]
    out[:] = np.inf
    d = 0
    # four at a time: out is read and written once for them, and the inner loop is without branches
    while d + 4 <= n:
        b0, b1 = twice[n - d : 2 * n - d], twice[n - d - 1 : 2 * n - d - 1]
        b2, b3 = twice[n - d - 2 : 2 * n - d - 2], twice[n - d - 3 : 2 * n - d - 3]
        a0, a1, a2, a3 = a[d], a[d + 1], a[d + 2], a[d + 3]
        for s in range(n):
            v0, v1 = a0 + b0[s], a1 + b1[s]
            v2, v3 = a2 + b2[s], a3 + b3[s]
            v0 = v1 if v1 < v0 else v0
            v2 = v3 if v3 < v2 else v2
            v0 = v2 if v2 < v0 else v0
            out[s] = v0 if v0 < out[s] else out[s]
        d += 4
    while d < n:
        row = twice[n - d : 2 * n - d]
        for s in range(n):
            value = a[d] + row[s]
            out[s] = value if value < out[s] else out[s]
        d += 1


@kernel
def short_circuits(graph: Graph) -> Circuits:
    """Short circuits without chords, and one through every pair that has any.

    At each signal the shortest way round from one neighbour to another closes a circuit; of those with at
    most LONGEST_SHORT pairs the ones without a chord are kept (a chord makes two shorter ones of it). Pairs
    that are then in none get the circuits that close a breadth-first tree.
    """
    n_signal = graph.rank.shape[0]
    n_pair = graph.pair_entry.shape[0]
    n_corner = 0
    for i in range(n_signal):
        degree = graph.start[i + 1] - graph.start[i]
        n_corner += degree * (degree - 1) // 2
    start = [0]
    entries = np.empty(n_corner * LONGEST_SHORT, np.int64)
    latest = np.full(n_pair, -1, np.int64)
    previous = np.empty(n_corner, np.int64)
    came_by = np.full(n_signal, -1, np.int64)
    marked = np.zeros(n_signal, np.int64)
    held = np.zeros(n_pair, np.int64)
    for i in range(n_signal):
        for e in range(graph.start[i], graph.start[i + 1]):
            for f in range(e + 1, graph.start[i + 1]):
                way = _way_round(graph, i, e, f, came_by)
                if way.shape[0] == 0 or _has_chord(graph, way, marked):
                    continue
                _sort_by_pair(graph, way)
                # those known already begin with the same pair
                first = graph.pair[way[0]]
                c = latest[first]
                while c >= 0 and not _same_pairs(graph, entries[start[c] : start[c + 1]], way):
                    c = previous[c]
                if c >= 0:
                    continue
                previous[len(start) - 1] = latest[first]
                latest[first] = len(start) - 1
                for g in way:
                    held[graph.pair[g]] = 1
                begin = start[-1]
                entries[begin : begin + way.shape[0]] = way
                start.append(begin + way.shape[0])
    n_short = start[-1]
    sizes, more = _tree_circuits(graph, held)
    for size in sizes:
        start.append(start[-1] + size)
    n_slot = start[-1]
    pair = np.empty(n_slot, np.int64)
    turned = np.empty(n_slot, np.int64)
    circuit = np.empty(n_slot, np.int64)
    for c in range(len(start) - 1):
        for x in range(start[c], start[c + 1]):
            e = entries[x] if x < n_short else more[x - n_short]
            pair[x] = graph.pair[e]
            turned[x] = 0 if graph.pair_entry[pair[x]] == e else 1
            circuit[x] = c
    pair_start, pair_slot = grouped(pair, n_pair)
    return Circuits(np.array(start), pair, turned, circuit, pair_start, pair_slot)


@kernel
def _sort_by_pair(graph: Graph, way: I8) -> None:
    """Put entries in the order of their pairs."""
    for x in range(1, way.shape[0]):
        e = way[x]
        y = x
        while y > 0 and graph.pair[way[y - 1]] > graph.pair[e]:
            way[y] = way[y - 1]
            y -= 1
        way[y] = e


@kernel
def _same_pairs(graph: Graph, one: I8, other: I8) -> bool:
    """Whether two circuits, their entries in order, are over the same pairs."""
    if one.shape[0] != other.shape[0]:
        return False
    for x in range(one.shape[0]):
        if graph.pair[one[x]] != graph.pair[other[x]]:
            return False
    return True


@kernel
def _way_round(graph: Graph, i: int, e: int, f: int, came_by: I8) -> I8:
    """Entries of the shortest circuit that leaves signal i by entry e and comes back over f; empty if none.

    came_by : int64[n_signal], all -1, and so again afterwards
    """
    goal = graph.neighbour[f]
    queue = [graph.neighbour[e]]
    depth = [1]
    came_by[queue[0]] = e
    at = 0
    while at < len(queue) and came_by[goal] < 0 and depth[at] < LONGEST_SHORT - 1:
        for g in range(graph.start[queue[at]], graph.start[queue[at] + 1]):
            j = graph.neighbour[g]
            if j != i and came_by[j] < 0:
                came_by[j] = g
                queue.append(j)
                depth.append(depth[at] + 1)
        at += 1
    length = 0
    way = np.empty(LONGEST_SHORT, np.int64)
    if came_by[goal] >= 0:
        way[0] = graph.back[f]
        length = 1
        j = goal
        while j != i:
            way[length] = came_by[j]
            length += 1
            j = graph.neighbour[graph.back[came_by[j]]]
    for j in queue:
        came_by[j] = -1
    return way[:length]


@kernel
def _has_chord(graph: Graph, way: I8, marked: I8) -> bool:
    """Whether signals of a circuit are neighbours beside it; marked int64[n_signal] is all 0 before and after."""
    for e in way:
        marked[graph.neighbour[e]] = 1
    inner = 0
    for e in way:
        i = graph.neighbour[e]
        for f in range(graph.start[i], graph.start[i + 1]):
            inner += marked[graph.neighbour[f]]
    for e in way:
        marked[graph.neighbour[e]] = 0
    return bool(inner > 2 * way.shape[0])


@kernel
def _tree_circuits(graph: Graph, held: I8) -> tuple[I8, I8]:
    """Sizes and entries of circuits that close a breadth-first tree and hold a pair that is in none.

    held : int64[n_pair], 1 for pairs that are in a circuit; overwritten
    """
    n_signal = graph.rank.shape[0]
    up = np.full(n_signal, -1, np.int64)  # the entry towards the root
    depth = np.full(n_signal, -1, np.int64)
    for i in graph.order:
        if depth[i] < 0:
            depth[i] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            j = graph.neighbour[e]
            if depth[j] < 0:
                depth[j] = depth[i] + 1
                up[j] = graph.back[e]
    sizes = np.empty(graph.pair_entry.shape[0], np.int64)
    n_circuit = 0
    entries = np.empty(graph.pair_entry.shape[0], np.int64)
    filled = 0
    for e in graph.pair_entry:
        a, b = graph.neighbour[e], graph.neighbour[graph.back[e]]
        if e == up[b] or graph.back[e] == up[a]:
            continue
        # from a up to where the two ways meet, and down to b: against b's own way up
        way = [e]
        missing = held[graph.pair[e]] == 0
        while a != b:
            if depth[a] >= depth[b]:
                way.append(up[a])
                a = graph.neighbour[up[a]]
            else:
                way.append(graph.back[up[b]])
                b = graph.neighbour[up[b]]
            missing = missing or held[graph.pair[way[-1]]] == 0
        if not missing:
            continue
        found = np.array(way)
        _sort_by_pair(graph, found)
        while filled + found.shape[0] > entries.shape[0]:
            more = np.empty(2 * entries.shape[0], np.int64)
            more[:filled] = entries[:filled]
            entries = more
        for g in found:
            held[graph.pair[g]] = 1
            entries[filled] = g
            filled += 1
        sizes[n_circuit] = found.shape[0]
        n_circuit += 1
    return sizes[:n_circuit], entries
