"""Ways from signal to signal, and which signals belong together.

A *stretch* is a way from the stop line of one signal to that of the next, over any edges and unsignalised
junctions between them. Signals are coupled by the vehicles that drive over their stretches.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from kernels import profile
from signals.model.demand import TurningCounts
from signals.model.network import Network, Turn

M_PER_MILE = 1609.344
LONGEST_STRETCH_M = 3000.0
"""Beyond this a platoon has long dissolved; ways are looked for no further."""
COUPLED = 1.0
"""Coupling index from which on signals may be worth linking; from 50 on they are (FHWA, see `coupling`)."""
PLATOON_CYCLE_S = 90.0
"""Cycle for which the part of a platoon that survives a stretch is computed, before there is any plan."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A way from the stop line of a signal to that of the next, with the vehicles that take it.

    `exit_edge` is where it leaves the upstream intersection, `approach` the edge that ends downstream.
    `distance_m` and `time_s` (free flow) are from stop line to stop line, `flow_vph` the mean over the
    counts.
    """

    upstream: str
    exit_edge: str
    downstream: str
    approach: str
    distance_m: float
    time_s: float
    flow_vph: float


def movement_flows_vph(counts: TurningCounts) -> dict[str, dict[str, float]]:
    """Mean flow of every movement over the counts' window, by intersection and movement id, veh/h."""
    hours = counts.n_intervals * counts.interval_s / 3600.0
    if hours <= 0.0:
        return {s: dict.fromkeys(rows, 0.0) for s, rows in counts.counts.items()}
    return {s: {m: sum(row) / hours for m, row in rows.items()} for s, rows in counts.counts.items()}


def stretches(network: Network, counts: TurningCounts) -> tuple[Stretch, ...]:
    """Every way from a signal to the next that vehicles take, in order of signals and edges.

    Ways are the fastest between an exit of one intersection and an approach of the other. Where two signals
    are joined by several, the link flow goes to the fastest first, as far as the turning counts at both
    ends allow.
    """
    hours = counts.n_intervals * counts.interval_s / 3600.0
    link_left = {pair: sum(row) / hours for pair, row in counts.link_flows.items() if sum(row) > 0.0}
    flows = movement_flows_vph(counts)
    out_left: dict[tuple[str, str], float] = defaultdict(float)
    in_left: dict[tuple[str, str], float] = defaultdict(float)
    for signal, intersection in network.intersections.items():
        for m in intersection.movements:
            vph = flows.get(signal, {}).get(m.id, 0.0)
            out_left[signal, m.to_edge] += vph
            in_left[signal, m.approach] += vph
    wanted: dict[str, set[str]] = defaultdict(set)
    for a, b in link_left:
        if a != b and a in network.intersections and b in network.intersections:
            wanted[a].add(b)
    roads = _Roads(network)
    found = []
    for signal in sorted(wanted):
        for exit_edge in sorted({m.to_edge for m in network.intersections[signal].movements}):
            for downstream, approach, distance_m, time_s in roads.reached(signal, exit_edge):
                if downstream in wanted[signal]:
                    found.append((time_s, signal, exit_edge, downstream, approach, distance_m))
    found.sort()
    taken: dict[tuple[str, str, str, str], float] = {}
    for _, a, exit_edge, b, approach, _ in found:
        vph = max(0.0, min(link_left[a, b], out_left[a, exit_edge], in_left[b, approach]))
        taken[a, exit_edge, b, approach] = vph
        link_left[a, b] -= vph
        out_left[a, exit_edge] -= vph
        in_left[b, approach] -= vph
    return tuple(
        Stretch(a, exit_edge, b, approach, distance_m, time_s, taken[a, exit_edge, b, approach])
        for time_s, a, exit_edge, b, approach, distance_m in sorted(found, key=lambda f: f[1:])
        if taken[a, exit_edge, b, approach] > 0.0
    )


class _Roads:
    """What lies between signals: which edges follow which where no signal interferes."""

    def __init__(self, network: Network) -> None:
        self.edges = network.edges
        self.onward: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
        self.signals_at: dict[str, set[str]] = defaultdict(set)
        self.exits: dict[tuple[str, str], tuple[float, float]] = {}
        for c in network.connections:
            inside = (c.length_m, c.length_m / max(c.speed_mps, 0.1))
            if c.signal is not None:
                self.signals_at[c.from_edge].add(c.signal)
                known = self.exits.get((c.signal, c.to_edge), inside)
                self.exits[c.signal, c.to_edge] = max(known, inside) if c.turn is Turn.THROUGH else known
            elif c.turn is not Turn.U_TURN:
                known = self.onward[c.from_edge].get(c.to_edge, inside)
                self.onward[c.from_edge][c.to_edge] = min(known, inside, key=lambda x: x[1])

    def reached(self, signal: str, exit_edge: str) -> list[tuple[str, str, float, float]]:
        """Signals whose stop lines come next: (signal, approach, distance [m], time [s])."""
        length, time = self.exits.get((signal, exit_edge), (0.0, 0.0))
        heap = [(time, length, exit_edge)]
        done: set[str] = set()
        found = []
        while heap:
            time, length, edge_id = heapq.heappop(heap)
            if edge_id in done or length > LONGEST_STRETCH_M:
                continue
            done.add(edge_id)
            edge = self.edges[edge_id]
            length += edge.length_m
            time += edge.length_m / max(edge.speed_mps, 0.1)
            found += [
                (s, edge_id, length, time) for s in sorted(self.signals_at.get(edge_id, ())) if s != signal
            ]
            for target, (more_m, more_s) in self.onward.get(edge_id, {}).items():
                if target not in done:
                    heapq.heappush(heap, (time + more_s, length + more_m, target))
        return found


# --------------------------------------------------------------------------------------------------- groups


def coupling_index(volume_vph: float, distance_m: float) -> float:
    """Coupling index of two signals: volume of both directions [1000 veh/h] over distance squared [miles].

    Below 1 signals are not worth linking, from 1 to 50 they may be, above 50 they are (FHWA, Signal Timing on
    a Shoestring, FHWA-HOP-07-006, 2005).

    >>> round(coupling_index(1000.0, 1609.344), 3)
    1.0
    """
    return volume_vph / 1000.0 / (distance_m / M_PER_MILE) ** 2 if distance_m > 0.0 else math.inf


def platoon_share(time_s: float, cycle_s: float = PLATOON_CYCLE_S) -> float:
    """Part of the swing between green and red that is left in a stream after a travel time, 0 … 1.

    The gain of Robertson's recursion at the frequency of the cycle, F / |1 − (1 − F) e^(−2πi/C)|, with the
    HCM's F (HCM 7, Eq. 30-11).
    """
    smoothing = profile.hcm_smoothing(float(time_s), 1.0)
    keep = 1.0 - smoothing
    angle = 2.0 * math.pi / cycle_s
    return smoothing / math.hypot(1.0 - keep * math.cos(angle), keep * math.sin(angle))


def coupling(
    network: Network, counts: TurningCounts, found: Iterable[Stretch] | None = None
) -> dict[tuple[str, str], float]:
    """How strongly neighbours are coupled, by pair (a, b) with a < b: FHWA's index on platoons alone.

    Each direction's volume is what comes from the other signal, times the part of the approach's traffic that
    it makes up (inflow on the way dilutes a platoon), times the part of the platoon that dispersion leaves.
    """
    flows = movement_flows_vph(counts)
    approach_vph: dict[tuple[str, str], float] = defaultdict(float)
    for signal, intersection in network.intersections.items():
        for m in intersection.movements:
            approach_vph[signal, m.approach] += flows.get(signal, {}).get(m.id, 0.0)
    index: dict[tuple[str, str], float] = defaultdict(float)
    for stretch in stretches(network, counts) if found is None else found:
        whole = max(approach_vph[stretch.downstream, stretch.approach], stretch.flow_vph)
        platoon_vph = stretch.flow_vph * stretch.flow_vph / whole * platoon_share(stretch.time_s)
        a, b = sorted((stretch.upstream, stretch.downstream))
        index[a, b] += coupling_index(platoon_vph, stretch.distance_m)
    return dict(sorted(index.items()))


def coordination_groups(
    network: Network,
    counts: TurningCounts,
    *,
    max_distance_m: float = 800.0,
    min_coupling: float = COUPLED,
    max_signals: int | None = None,
) -> tuple[tuple[str, ...], ...]:
    """Signals that should be timed together: each in exactly one group, alone where nothing couples it.

    Neighbours join when their `coupling` is at least `min_coupling`, strongest first, over stretches of at
    most `max_distance_m` (800 m is about the 2,500 ft within which FHWA-HOP-07-006 groups signals).
    `max_signals` bounds the size of a group. Groups come in the order of their first signal, signals sorted
    within.
    """
    near = [s for s in stretches(network, counts) if s.distance_m <= max_distance_m]
    index = coupling(network, counts, near)
    group_of = {signal: [signal] for signal in sorted(network.intersections)}
    for _, a, b in sorted((-value, a, b) for (a, b), value in index.items() if value >= min_coupling):
        mine, theirs = group_of[a], group_of[b]
        if mine is theirs or (max_signals is not None and len(mine) + len(theirs) > max_signals):
            continue
        mine += theirs
        for signal in theirs:
            group_of[signal] = mine
    return tuple(sorted({tuple(sorted(group)) for group in group_of.values()}))
