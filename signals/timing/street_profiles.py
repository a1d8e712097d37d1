"""The stop lines of a set of signals, and the stretches between them, as arrays of cyclic flow profiles."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernels import profile
from kernels.arrays import F8, I8
from kernels.street import StreetArrays
from signals.model.network import Network
from signals.model.phasing import GREEN, SignalProgram, Stage, StagePlan
from signals.timing.lane_groups import (
    STARTUP_LOSS_S,
    YELLOW_USED_S,
    ApproachLane,
    approach_lanes,
    green_shares,
)
from signals.timing.pack import FLOW_RULES
from signals.timing.stretches import Stretch


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
class Street:
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
    ) -> Street:
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
            greens.append(green_profile(program, server.shares, n_bin, step_s))
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
        return Street(arrays, choices, n_bin, step_s)


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


def green_profile(program: SignalProgram, shares: Sequence[float], n_bin: int, step_s: float) -> F8:
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
