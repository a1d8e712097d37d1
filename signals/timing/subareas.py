"""Subareas: which signals of a city are worth timing together, and with which cycles.

Each signal is in exactly one. Neighbours gain by coordination what platoons that meet green don't wait; all members of
a group pay for sharing a cycle. Groups join, the pair that gains most first, as long as there is anything to gain. The
equations and their sources are in docs/subareas.md.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernels.arrays import F8, I8
from signals.errors import InfeasiblePlan, InputError
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.model.night import Subarea
from signals.model.phasing import StagePlan
from signals.model.plan import PlanRequest
from signals.timing.cycle_needs import Bounds, CycleNeed, cycle_bounds, cycle_list, cycle_need
from signals.timing.stages import stage_plan
from signals.timing.stretches import (
    COUPLED,
    Stretch,
    coupling,
    movement_flows_vph,
    platoon_share,
    stretches,
)

MOST_SIGNALS = 30
EFFICIENCY = 0.5
"""Part of what perfect offsets would save on every link at once that offsets save in fact: streets have two ways."""
OUT_OF_STEP = 0.5
"""What is left of that between a signal at the group's cycle and one at half of it."""
FEWEST_CYCLES = 6
MOST_CYCLES = 10

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Division:
    """A city in subareas, and why.

    Fields
    ------
    subareas : in the order of their ids; a subarea's id is that of its first signal
    coupling : index of each pair of neighbours (a < b), the strongest of all windows
    gain_veh_h : what coordinating each subarea saves against its signals alone, sum over the windows' hours [veh·h/h]
    remarks : by signal that stands alone because it can't be timed: why, and what to do
    """

    subareas: tuple[Subarea, ...]
    coupling: Mapping[Pair, float]
    gain_veh_h: Mapping[str, float]
    remarks: Mapping[str, str]


def subareas(
    network: Network,
    windows: Sequence[TurningCounts],
    *,
    request: PlanRequest,
    max_signals: int = MOST_SIGNALS,
) -> tuple[Subarea, ...]:
    """The subareas of a city, as `divide` finds them."""
    return divide(network, windows, request=request, max_signals=max_signals).subareas


def divide(
    network: Network,
    windows: Sequence[TurningCounts],
    *,
    request: PlanRequest,
    max_signals: int = MOST_SIGNALS,
) -> Division:
    """Divide a city into subareas of at most `max_signals`, each with the cycles worth trying for it.

    Parameters
    ----------
    windows
        Turning counts of hours that stand for the day, such as its quietest and the busiest of morning, midday and
        afternoon (`signals.demand.day.windows_of_day`). Each may have a cycle of its own, and all weigh the same.
    request
        Bounds of cycles and greens. Signals that it doesn't retime stand alone.

    Raises
    ------
    InputError
        Where there is no window, or `max_signals` is below 1.
    """
    if not windows or max_signals < 1:
        raise InputError(
            f"subareas of {max_signals} signals at most, from {len(windows)} windows of counts: need 1 or more of each"
        )
    plans, remarks = _stage_plans(network, request)
    bounds = {
        s: cycle_bounds(plan, _program_cycle_s(network, s), request) for s, plan in sorted(plans.items())
    }
    cycles = cycle_list(max((b.longest_s for b in bounds.values()), default=0))
    flows = [movement_flows_vph(counts) for counts in windows]
    needs: dict[str, CycleNeed] = {}
    for signal, of_signal in bounds.items():
        by_window = [of_window.get(signal, {}) for of_window in flows]
        need = cycle_need(network, network.intersections[signal], plans[signal], of_signal, by_window, cycles)
        if np.isfinite(need.cost).any(axis=1).all():
            needs[signal] = need
    found = [stretches(network, counts) for counts in windows]
    index = _strongest(network, windows, found)
    links = _links(network, needs, index, found, flows)
    groups = _Groups(needs, links, max_signals)
    groups.join()
    weakest = _weakest(groups.members(), index)
    made = [
        Subarea(
            name, members, _cycles(groups.net(name), [needs[s].own for s in members], cycles), weakest[name]
        )
        for name, members in groups.members().items()
    ]
    for signal in network.intersections:
        if signal not in needs:
            made.append(Subarea(signal, (signal,), _only_cycle(signal, bounds, remarks)))
    made.sort(key=lambda subarea: subarea.id)
    gains = {s.id: groups.gain(s.id) for s in made}
    return Division(tuple(made), index, gains, dict(sorted(remarks.items())))


def _stage_plans(network: Network, request: PlanRequest) -> tuple[dict[str, StagePlan], dict[str, str]]:
    """Stages of the signals that can be retimed, and for each of the others the reason and what to do."""
    plans: dict[str, StagePlan] = {}
    remarks: dict[str, str] = {}
    for signal, intersection in network.intersections.items():
        if request.signals and signal not in request.signals:
            remarks[signal] = (
                f"signal {signal}: not among those to be retimed; name it in the request if it is"
            )
            continue
        try:
            plans[signal] = stage_plan(intersection, request, network.connections)
        except InfeasiblePlan as reason:
            remarks[signal] = str(reason)
    return plans, remarks


def _program_cycle_s(network: Network, signal: str) -> float:
    program = network.intersections[signal].program
    return program.cycle_s if program is not None else 0.0


def _strongest(
    network: Network, windows: Sequence[TurningCounts], found: Sequence[Sequence[Stretch]]
) -> dict[Pair, float]:
    strongest: dict[Pair, float] = {}
    for counts, of_window in zip(windows, found, strict=True):
        for pair, value in coupling(network, counts, of_window).items():
            strongest[pair] = max(value, strongest.get(pair, 0.0))
    return dict(sorted(strongest.items()))


def _links(
    network: Network,
    needs: Mapping[str, CycleNeed],
    index: Mapping[Pair, float],
    found: Sequence[Sequence[Stretch]],
    flows: Sequence[Mapping[str, Mapping[str, float]]],
) -> dict[Pair, F8]:
    """What coordinating two neighbours saves at each cycle in each window, float64[n_window, n_cycle] veh·h/h.

    Pairs whose coupling never reaches `COUPLED` save nothing.
    """
    links: dict[Pair, F8] = {}
    for w, (of_window, flow) in enumerate(zip(found, flows, strict=True)):
        arriving: dict[tuple[str, str], float] = defaultdict(float)
        for signal, intersection in network.intersections.items():
            for m in intersection.movements:
                arriving[signal, m.approach] += flow.get(signal, {}).get(m.id, 0.0)
        for s in of_window:
            a, b = sorted((s.upstream, s.downstream))
            if a not in needs or b not in needs or index.get((a, b), 0.0) < COUPLED:
                continue
            whole = max(arriving[s.downstream, s.approach], s.flow_vph)
            strength = s.flow_vph / whole * platoon_share(s.time_s)
            saved = EFFICIENCY * strength * s.flow_vph / 3600.0 * needs[s.downstream].wait_s[s.approach][w]
            apart = needs[a].halved[w] != needs[b].halved[w]
            rows = links.setdefault((a, b), np.zeros_like(needs[a].cost))
            rows[w] += np.where(apart, OUT_OF_STEP, 1.0) * saved
    return links


class _Groups:
    """Groups that join, the pair first that gains most by signal of the smaller one.

    By signal, since large groups gain most by anything, fill up first and leave their neighbours without a group. Each
    has the name of its first signal.
    """

    def __init__(self, needs: Mapping[str, CycleNeed], links: Mapping[Pair, F8], max_signals: int) -> None:
        self._most = max_signals
        self._members = {s: [s] for s in sorted(needs)}
        self._net = {s: need.cost for s, need in needs.items()}
        self._alone = {s: _least(need.cost) for s, need in needs.items()}
        self._value = dict(self._alone)
        self._version = dict.fromkeys(needs, 0)
        self._near: dict[str, dict[str, F8]] = {s: {} for s in needs}
        for (a, b), saved in links.items():
            self._near[a][b] = self._near[b][a] = saved
        self._heap: list[tuple[float, str, str, int, int]] = []

    def members(self) -> dict[str, tuple[str, ...]]:
        """Signals of each group, sorted."""
        return {name: tuple(sorted(members)) for name, members in self._members.items()}

    def net(self, group: str) -> F8:
        """What a group costs less what its links save, float64[n_window, n_cycle] veh·h/h."""
        return self._net[group]

    def gain(self, group: str) -> float:
        """What a group saves against its signals alone, veh·h/h; 0 for a signal that can't be timed."""
        if group not in self._members:
            return 0.0
        return sum(self._alone[s] for s in self._members[group]) - self._value[group]

    def join(self) -> None:
        """Join groups until no pair gains."""
        for a, near in self._near.items():
            for b in near:
                if a < b:
                    self._offer(a, b)
        while self._heap:
            _, a, b, version_a, version_b = heapq.heappop(self._heap)
            if self._version.get(a) == version_a and self._version.get(b) == version_b:
                self._merge(a, b)

    def _offer(self, a: str, b: str) -> None:
        if len(self._members[a]) + len(self._members[b]) > self._most:
            return
        together = _least(self._net[a] + self._net[b] - self._near[a][b])
        gain = self._value[a] + self._value[b] - together
        if gain > 0.0:
            a, b = sorted((a, b))
            fewer = min(len(self._members[a]), len(self._members[b]))
            heapq.heappush(self._heap, (-gain / fewer, a, b, self._version[a], self._version[b]))

    def _merge(self, a: str, b: str) -> None:
        """Take b into a."""
        self._net[a] = self._net[a] + self._net.pop(b) - self._near[a].pop(b)
        self._value[a] = _least(self._net[a])
        self._members[a] += self._members.pop(b)
        self._version[a] += 1
        del self._version[b]
        for other, saved in self._near.pop(b).items():
            if other == a:
                continue
            del self._near[other][b]
            joint = self._near[a][other] + saved if other in self._near[a] else saved
            self._near[a][other] = self._near[other][a] = joint
        for other in self._near[a]:
            self._offer(a, other)


def _least(net: F8) -> float:
    """The cost at the best cycle of each window, summed."""
    return float(net.min(axis=1).sum())


def _only_cycle(signal: str, bounds: Mapping[str, Bounds], remarks: dict[str, str]) -> tuple[int, ...]:
    """The shortest cycle of a signal that none of the list fits; nothing where it can't be timed."""
    if signal not in bounds:
        return ()
    shortest, longest, _ = bounds[signal]
    remarks[signal] = (
        f"signal {signal}: its stages allow cycles of {shortest} to {longest} s, and none of the usual ones; widen its "
        "greens if it should be coordinated"
    )
    return (shortest,)


def _cycles(net: F8, own: Sequence[I8], cycles_s: tuple[int, ...]) -> tuple[int, ...]:
    """Six to ten cycles that fit all members of a group and suit it from its quietest to its busiest window.

    Those from the least to the most that is best for the group in a window, then their neighbours: up to six cycles in
    any case, and up to ten towards what members would have alone.
    """
    fits = np.flatnonzero(np.isfinite(net).all(axis=0))
    best = net[:, fits].argmin(axis=1)
    wanted = np.minimum(np.searchsorted(fits, np.concatenate(own)), len(fits) - 1)
    first, last = int(best.min()), int(best.max())
    low, high = first, last
    while high - low + 1 < MOST_CYCLES:
        few = high - low + 1 < FEWEST_CYCLES
        down = low > (0 if few else int(wanted.min()))
        up = high < (len(fits) - 1 if few else int(wanted.max()))
        if not (down or up):
            break
        if up and (not down or high - last <= first - low):
            high += 1
        else:
            low -= 1
    picked = np.unique(np.round(np.linspace(low, high, min(MOST_CYCLES, high - low + 1))).astype(np.int64))
    return tuple(cycles_s[fits[k]] for k in picked)


def _weakest(groups: Mapping[str, Sequence[str]], index: Mapping[Pair, float]) -> dict[str, float | None]:
    """The weakest link of the strongest tree that holds each group together; None for one signal."""
    group_of = {s: name for name, members in groups.items() for s in members}
    above = {s: s for s in group_of}

    def root(s: str) -> str:
        while above[s] != s:
            above[s] = above[above[s]]
            s = above[s]
        return s

    weakest: dict[str, float | None] = dict.fromkeys(groups)
    for (a, b), value in sorted(index.items(), key=lambda item: (-item[1], item[0])):
        if a in group_of and group_of[a] == group_of.get(b) and root(a) != root(b):
            above[root(a)] = root(b)
            weakest[group_of[a]] = value
    return weakest
