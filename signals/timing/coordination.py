"""Which signals belong together, and the offsets that let platoons through.

A *stretch* is a way from the stop line of one signal to that of the next, over any edges and unsignalised
junctions between them. Signals are coupled by the vehicles that drive over their stretches; offsets are found
from cyclic flow profiles (`kernels.offsets`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernels import profile
from kernels.arrays import F8, I8
from kernels.offsets import StreetArrays, best_offsets, climb, link_tables, run_street
from signals.model.demand import TurningCounts
from signals.model.network import Network, Turn
from signals.model.phasing import GREEN, SignalProgram, Stage, StagePlan
from signals.timing.lane_groups import (
    STARTUP_LOSS_S,
    YELLOW_USED_S,
    ApproachLane,
    approach_lanes,
    green_shares,
)
from signals.timing.pack import FLOW_RULES

M_PER_MILE = 1609.344
LONGEST_STRETCH_M = 3000.0
"""Beyond this a platoon has long dissolved; ways are looked for no further."""
COUPLED = 1.0
"""Coupling index from which on signals may be worth linking; from 50 on they are (FHWA, see `coupling`)."""
PLATOON_CYCLE_S = 90.0
"""Cycle for which the part of a platoon that survives a stretch is computed, before there is any plan."""
STOP_WEIGHT_S = 5.0
"""Delay that a stop is worth: what braking from 50 km/h and speeding up again cost SUMO's default car."""
ROUNDS = 2
"""Tables are made anew this many times, each time from the departures under the offsets found before."""
SWEEPS = 3
"""Passes in which profiles travel on from signal to signal within a round."""
DESCENTS = 2
ORDERS = 12
"""Further descents from random offsets, and sets of trees in each descent, where circuits are too many for an
exact answer."""
DESCENT_SIGNALS = 200
"""Descents times signals are kept below this: in large networks the first descent is already within 0.1 %."""
STEPS = (0.4, 0.25, 0.15, 0.08, 0.04, 0.02, 0.01)
"""Parts of a cycle by which a signal is moved, either way, to see whether the whole street gains."""
CLIMBS = 4
SEED = 20_240


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


# -------------------------------------------------------------------------------------------------- offsets


def offsets(
    network: Network,
    programs: Mapping[str, SignalProgram],
    counts: TurningCounts,
    *,
    groups: Sequence[Collection[str]] | None = None,
    stop_weight_s: float = STOP_WEIGHT_S,
) -> dict[str, float]:
    """Offsets of every program that make modelled delay and stops smallest, s, from 0 to below the cycle.

    Within a group, signals of the commonest cycle, or of half of it, are set against each other, in whole
    seconds; those of another common cycle likewise among themselves. The rest stay as they are. The first
    signal of each such set keeps its offset (rounded to a whole second) and the others follow. Where the
    model finds nothing better than the offsets given, those remain.

    Parameters
    ----------
    programs
        By signal. One that lacks links or lasts no time can't be modelled and stays as it is.
    counts
        Their mean over the whole window is used: give those of the period that the programs are for.
    groups
        Of signals to set together; `coordination_groups` where not given.
    stop_weight_s
        Delay that a stop is worth, s.
    """
    result = {
        signal: program.offset_s % program.cycle_s if program.cycle_s > 0 else 0.0
        for signal, program in sorted(programs.items())
    }
    if groups is None:
        groups = coordination_groups(network, counts)
    ways = stretches(network, counts)
    flows = movement_flows_vph(counts)
    for group in groups:
        usable = [s for s in sorted(group) if s in programs and _can_be_modelled(network, programs[s], s)]
        for members, period_s in _families(usable, programs):
            result |= _coordinated(network, programs, flows, ways, members, period_s, stop_weight_s)
    return result


def modelled_cost(
    network: Network,
    programs: Mapping[str, SignalProgram],
    counts: TurningCounts,
    *,
    groups: Sequence[Collection[str]] | None = None,
    stop_weight_s: float = STOP_WEIGHT_S,
) -> float:
    """What `offsets` makes smallest, for programs as they are: vehicles waiting on average, stops included.

    Deterministic delay below capacity only; signals that stand alone are left out.
    """
    if groups is None:
        groups = coordination_groups(network, counts)
    ways = stretches(network, counts)
    flows = movement_flows_vph(counts)
    cost = 0.0
    for group in groups:
        usable = [s for s in sorted(group) if s in programs and _can_be_modelled(network, programs[s], s)]
        for members, period_s in _families(usable, programs):
            street = _Street.of(network, programs, flows, ways, members, period_s)
            given = street.bins_of([programs[s].offset_s for s in members])
            cost += run_street(
                street.arrays, given, SWEEPS, stop_weight_s / street.step_s, street.blank_departures()
            )
    return cost


def _can_be_modelled(network: Network, program: SignalProgram, signal: str) -> bool:
    intersection = network.intersections.get(signal)
    return intersection is not None and program.cycle_s >= 2.0 and program.n_links >= intersection.n_links


def _families(members: Sequence[str], programs: Mapping[str, SignalProgram]) -> list[tuple[list[str], float]]:
    """Sets of signals with one common cycle or half of it, the largest set first; nobody alone."""
    left = list(members)
    families = []
    while len(left) > 1:
        cycles = sorted({programs[s].cycle_s for s in left}, reverse=True)
        fits = {c: [s for s in left if _fits(programs[s].cycle_s, c)] for c in cycles}
        period_s = max(cycles, key=lambda c: (len(fits[c]), c))
        if len(fits[period_s]) < 2:
            break
        families.append((fits[period_s], period_s))
        left = [s for s in left if s not in fits[period_s]]
    return families


def _fits(cycle_s: float, period_s: float) -> bool:
    return abs(cycle_s - period_s) < 1e-6 or abs(2.0 * cycle_s - period_s) < 1e-6


def _coordinated(
    network: Network,
    programs: Mapping[str, SignalProgram],
    flows: Mapping[str, Mapping[str, float]],
    ways: Sequence[Stretch],
    members: Sequence[str],
    period_s: float,
    stop_weight_s: float,
) -> dict[str, float]:
    """Offsets of one set of signals, by rounds of tables; the best of all rounds and of what was given."""
    street = _Street.of(network, programs, flows, ways, members, period_s)
    arrays = street.arrays
    kept = {s: programs[s].offset_s % programs[s].cycle_s for s in members}
    if not arrays.link_from.size:
        return kept
    stop_weight = stop_weight_s / street.step_s
    given = street.bins_of([programs[s].offset_s for s in members])
    generator = np.random.default_rng(SEED)
    descents = min(DESCENTS, DESCENT_SIGNALS // len(members))
    starts = generator.integers(0, street.n_bin, (descents, len(members)))
    orders = np.array([generator.permutation(len(members)) for _ in range(ORDERS)])
    strides = [round(part * street.n_bin) for part in STEPS]
    steps = np.array([sign * stride for stride in strides for sign in (1, -1) if stride], np.int64)
    departures = street.blank_departures()
    lowest = run_street(arrays, given, SWEEPS, stop_weight, departures)
    chosen: I8 | None = None
    # the first tables come from even arrivals everywhere
    trial = given.copy()
    run_street(arrays, trial, 0, stop_weight, departures)
    for _ in range(ROUNDS):
        table = link_tables(arrays, departures, trial, stop_weight)
        best_offsets(table, arrays.link_from, arrays.link_to, street.choices, starts, orders, trial)
        value = climb(arrays, street.choices, steps, CLIMBS, SWEEPS, stop_weight, trial, departures)
        if value < lowest - 1e-9 * max(1.0, lowest):
            lowest = value
            chosen = trial.copy()
    if chosen is None:
        return kept
    shift_s = round(kept[members[0]]) - chosen[0] * street.step_s
    return {
        s: float(int((o * street.step_s + shift_s) % programs[s].cycle_s))
        for s, o in zip(members, chosen.tolist(), strict=True)
    }


@dataclass(frozen=True, slots=True)
class _Server:
    """Lanes of one approach that always have the same signal and share their demand."""

    signal: int
    approach: str
    lanes: tuple[ApproachLane, ...]
    shares: tuple[float, ...]

    @property
    def flow_vph(self) -> float:
        return sum(lane.flow_vph for lane in self.lanes)

    @property
    def saturation_vph(self) -> float:
        return sum(lane.saturation_vph for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class _Street:
    """The stop lines of a set of signals as arrays, in bins of a second (of a little less in odd cycles)."""

    arrays: StreetArrays
    choices: I8
    n_bin: int
    step_s: float

    def bins_of(self, offsets_s: Sequence[float]) -> I8:
        return np.array(
            [round(o / self.step_s) % c for o, c in zip(offsets_s, self.choices.tolist(), strict=True)],
            np.int64,
        )

    def blank_departures(self) -> F8:
        return np.zeros((self.arrays.server_signal.shape[0], self.n_bin))

    @staticmethod
    def of(
        network: Network,
        programs: Mapping[str, SignalProgram],
        flows: Mapping[str, Mapping[str, float]],
        ways: Sequence[Stretch],
        members: Sequence[str],
        period_s: float,
    ) -> _Street:
        n_bin = math.ceil(period_s - 1e-9)
        step_s = period_s / n_bin
        index = {s: k for k, s in enumerate(members)}
        inner = [w for w in ways if w.upstream in index and w.downstream in index]
        exits = {(w.upstream, w.exit_edge) for w in inner}
        servers: list[_Server] = []
        for s in members:
            servers += _servers(network, programs[s], flows.get(s, {}), index[s])
        pairs = sorted({(index[w.upstream], index[w.downstream]) for w in inner})
        link = {pair: k for k, pair in enumerate(pairs)}
        inner.sort(key=lambda w: (link[index[w.upstream], index[w.downstream]], w.exit_edge, w.approach))
        approach_vph: dict[tuple[int, str], float] = defaultdict(float)
        for server in servers:
            approach_vph[server.signal, server.approach] += server.flow_vph
        arriving_vph: dict[tuple[int, str], float] = defaultdict(float)
        arriving: dict[tuple[int, str], list[int]] = defaultdict(list)
        for w, way in enumerate(inner):
            arriving_vph[index[way.downstream], way.approach] += way.flow_vph
            arriving[index[way.downstream], way.approach].append(w)

        per_bin = step_s / 3600.0
        tap_start, tap_stretch, tap_flow = [0], [], []
        greens = []
        feeds: dict[tuple[int, str], list[tuple[int, F8]]] = defaultdict(list)
        for k, server in enumerate(servers):
            key = (server.signal, server.approach)
            for w in arriving.get(key, ()):
                # counts at both ends may disagree a little: no more arrives than is counted
                whole = max(approach_vph[key], arriving_vph[key])
                tap_stretch.append(w)
                tap_flow.append(server.flow_vph * inner[w].flow_vph / whole * per_bin)
            tap_start.append(len(tap_stretch))
            program = programs[members[server.signal]]
            greens.append(_green_profile(program, server.shares, n_bin, step_s))
            for edge, share in _exit_shares(network, program, server, flows[program.intersection]).items():
                if (program.intersection, edge) in exits:
                    feeds[server.signal, edge].append((k, _share_profile(program, share, n_bin, step_s)))
        feed_start, feed_server, feed_share = [0], [], []
        for way in inner:
            for k, share_row in feeds[index[way.upstream], way.exit_edge]:
                feed_server.append(k)
                feed_share.append(share_row)
            feed_start.append(len(feed_server))
        # everybody loses a little under way, see FlowRules
        bins = [way.time_s * (1.0 + FLOW_RULES.dawdle) / step_s for way in inner]
        arrays = StreetArrays(
            server_signal=np.array([s.signal for s in servers], np.int64),
            server_green=np.array(greens, np.float64).reshape(len(servers), n_bin),
            server_saturation=np.array([s.saturation_vph * per_bin for s in servers], np.float64),
            server_flow=np.array([s.flow_vph * per_bin for s in servers], np.float64),
            server_tap=np.array(tap_start, np.int64),
            tap_stretch=np.array(tap_stretch, np.int64),
            tap_flow=np.array(tap_flow, np.float64),
            stretch_link=np.array([link[index[w.upstream], index[w.downstream]] for w in inner], np.int64),
            stretch_smoothing=np.array([profile.hcm_smoothing(b, 1.0) for b in bins], np.float64),
            stretch_lag=np.array([max(0.0, profile.hcm_lag_steps(b, 1.0)) for b in bins], np.float64),
            stretch_feed=np.array(feed_start, np.int64),
            feed_server=np.array(feed_server, np.int64),
            feed_share=np.array(feed_share, np.float64).reshape(len(feed_server), n_bin),
            link_from=np.array([a for a, _ in pairs], np.int64),
            link_to=np.array([b for _, b in pairs], np.int64),
        )
        choices = np.array(
            [min(n_bin, math.ceil(programs[s].cycle_s / step_s - 1e-9)) for s in members], np.int64
        )
        return _Street(arrays, choices, n_bin, step_s)


def _servers(
    network: Network, program: SignalProgram, flows_vph: Mapping[str, float], signal: int
) -> list[_Server]:
    """The lanes of a signal that anybody uses and that get green, put together where they act as one."""
    intersection = network.intersections[program.intersection]
    lanes = approach_lanes(network, intersection, flows_vph)
    # every interval as a stage of its own gives the discharge in each second of the program
    stages = tuple(Stage(i.state, i.duration_s, 0.0, math.inf) for i in program.intervals)
    plan = StagePlan(program.intersection, stages, ((),) * len(stages), 0.0)
    shares, _ = green_shares(intersection, lanes, plan)
    together: dict[tuple[str, tuple[float, ...]], list[ApproachLane]] = {}
    for n, lane in enumerate(lanes):
        row = tuple(round(stage[n], 9) for stage in shares)
        if lane.flow_vph > 0.0 and any(row):
            together.setdefault((lane.approach, row), []).append(lane)
    return [_Server(signal, approach, tuple(group), row) for (approach, row), group in together.items()]


def _exit_shares(
    network: Network, program: SignalProgram, server: _Server, flows_vph: Mapping[str, float]
) -> dict[str, list[float]]:
    """Part of a server's departures that takes each exit edge, by interval of the program."""
    movements = [
        m for m in network.intersections[program.intersection].movements if m.approach == server.approach
    ]
    parts: dict[str, list[float]] = {}
    totals = [0.0] * len(program.intervals)
    for lane in server.lanes:
        for link, vph in lane.flow_by_link_vph.items():
            users = [m for m in movements if link in m.links and lane.lane in m.lanes]
            weights = [flows_vph.get(m.id, 0.0) for m in users]
            if sum(weights) <= 0.0:
                continue
            for k, interval in enumerate(program.intervals):
                if interval.state[link] not in GREEN:
                    continue
                totals[k] += vph
                for m, weight in zip(users, weights, strict=True):
                    row = parts.setdefault(m.to_edge, [0.0] * len(totals))
                    row[k] += vph * weight / sum(weights)
    # who leaves on yellow is of the green before
    known = [k for k, total in enumerate(totals) if total > 0.0]
    if not known:
        return {}
    source = [max((j for j in known if j <= k), default=known[-1]) for k in range(len(totals))]
    return {edge: [row[j] / totals[j] for j in source] for edge, row in parts.items()}


def _share_profile(program: SignalProgram, share: Sequence[float], n_bin: int, step_s: float) -> F8:
    """A figure by interval as one by bin, at offset 0, around as many cycles as the bins hold."""
    if min(share) == max(share):
        return np.full(n_bin, share[0])
    ends = np.cumsum([i.duration_s for i in program.intervals])
    middle = ((np.arange(n_bin) + 0.5) * step_s) % program.cycle_s
    which = np.minimum(np.searchsorted(ends, middle, side="right"), len(share) - 1)
    return np.asarray(share, np.float64)[which]


def _green_profile(program: SignalProgram, shares: Sequence[float], n_bin: int, step_s: float) -> F8:
    """Effective green by bin at offset 0, 0 … 1: start-up loss taken off each green, used yellow added."""
    n = len(shares)
    cycle_s = program.cycle_s
    ends = list(itertools.accumulate(i.duration_s for i in program.intervals))
    begins = [0.0, *ends[:-1]]
    if all(share > 0.0 for share in shares):
        spans = list(zip(begins, ends, shares, strict=True))
    else:
        spans = []
        for first in range(n):
            if shares[first] <= 0.0 or shares[first - 1] > 0.0:
                continue
            ready = begins[first] + STARTUP_LOSS_S
            k = first
            turn = 0.0
            while shares[k % n] > 0.0:
                turn = cycle_s if k >= n else 0.0
                begin, end = begins[k % n] + turn, ends[k % n] + turn
                if end > ready:
                    spans.append((max(begin, ready), end, shares[k % n]))
                k += 1
            last = ends[(k - 1) % n] + turn
            spans.append((max(last, ready), max(last, ready) + YELLOW_USED_S, shares[(k - 1) % n]))
    begin_s, end_s, level = (np.array(column) for column in zip(*spans, strict=True))
    edges = np.arange(n_bin + 1) * step_s
    served = np.zeros(n_bin + 1)
    for turn_s in np.arange(-2.0, round(n_bin * step_s / cycle_s) + 1.0) * cycle_s:
        within = np.clip(edges[:, None] - (begin_s + turn_s), 0.0, end_s - begin_s)
        served += within @ level
    return np.minimum(np.diff(served) / step_s, 1.0)
