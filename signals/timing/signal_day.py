"""One signal through a day: what each lane can discharge in each stage, and what it has to, slot by slot.

`signal_day` finds for all slots at once what `signals.timing.lane_groups` finds for one demand; the tests hold the two
together. A day of counts without a network makes a `SignalDay` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import F8, I8
from kernels.day_costs import DaySignal
from signals.model.demand import VehicleType
from signals.model.network import Intersection, Network
from signals.model.phasing import GREEN, StagePlan
from signals.timing.lane_groups import (
    BLOCKED_SHARE,
    CRITICAL_HEADWAY_S,
    FOLLOW_UP_S,
    STARTUP_LOSS_S,
    YELLOW_USED_S,
    saturation_headway_s,
)
from signals.timing.stages import changes_s

FloatArray = NDArray[np.float64]
LaneKey = tuple[str, int]
"""Approach edge and lane."""


@dataclass(frozen=True, eq=False)
class SignalDay:
    """One signal through a day of S rows, n stages and m lanes.

    A row is a slot, or one of `demands` equally likely ones of a slot, which stand together: a plan then counts with
    the mean of what it costs in them.

    Fields
    ------
    name : id of the signal
    share : float64[S, n, m], part of saturation flow that a lane discharges in a stage, 0 … 1
    fixed_s : float64[S, m], s of effective green won or lost in changes
    saturation, flow : float64[S, m], veh/s
    least_s, most_s : int64[n], s, bounds of greens
    change_s : whole seconds of the cycle that belong to changes
    min_cycle_s, max_cycle_s : s; where the bounds of greens rule one out, the nearest that they allow counts

    Raises
    ------
    ValueError
        Where shapes don't fit, a figure is out of its range, or a bound is above its counterpart.
    """

    name: str
    share: F8
    fixed_s: F8
    saturation: F8
    flow: F8
    least_s: I8
    most_s: I8
    change_s: int
    min_cycle_s: int
    max_cycle_s: int
    demands: int = 1

    def __post_init__(self) -> None:
        for field in ("share", "fixed_s", "saturation", "flow"):
            object.__setattr__(self, field, np.ascontiguousarray(getattr(self, field), np.float64))
        for field in ("least_s", "most_s"):
            object.__setattr__(self, field, np.ascontiguousarray(getattr(self, field), np.int64))
        n, (slots, m) = len(self.least_s), self.flow.shape
        shapes = (self.share.shape, self.fixed_s.shape, self.saturation.shape, self.most_s.shape)
        if shapes != ((slots, n, m), (slots, m), (slots, m), (n,)) or not n:
            raise ValueError(f"signal {self.name}: {slots} rows, {n} stages, {m} lanes, but shapes {shapes}")
        if self.demands < 1 or slots % self.demands:
            raise ValueError(f"signal {self.name}: {slots} rows for slots of {self.demands} demands each")
        arrays = (self.share, self.fixed_s, self.saturation, self.flow)
        if not all(np.isfinite(a).all() for a in arrays):
            raise ValueError(f"signal {self.name}: a share, time or flow is not a number")
        if min(self.flow.min(initial=0), self.saturation.min(initial=0), self.share.min(initial=0)) < 0:
            raise ValueError(f"signal {self.name}: a share or flow below 0")
        if self.share.max(initial=0) > 1:
            raise ValueError(f"signal {self.name}: a share of {self.share.max():g}, expected 0 to 1")
        if (self.least_s < 0).any() or (self.most_s < self.least_s).any():
            raise ValueError(
                f"signal {self.name}: greens of {self.least_s} to {self.most_s} s, need 0 <= min <= max"
            )
        if not 1 <= self.min_cycle_s <= self.max_cycle_s or self.change_s < 0:
            raise ValueError(
                f"signal {self.name}: cycles of {self.min_cycle_s} to {self.max_cycle_s} s, {self.change_s} s fixed"
            )

    @property
    def arrays(self) -> DaySignal:
        """As kernels read it."""
        return DaySignal(self.share, self.fixed_s, self.saturation, self.flow, self.least_s, self.most_s)

    @property
    def cycles_s(self) -> tuple[int, int]:
        """Shortest and longest cycle that the bounds of greens and cycle allow, s."""
        low, high = self.change_s + int(self.least_s.sum()), self.change_s + int(self.most_s.sum())
        return min(max(self.min_cycle_s, low), high), min(max(self.max_cycle_s, low), high)

    def own_cycles_s(self, cycle_s: int) -> tuple[int, ...]:
        """What the signal may run in a group of this cycle: the same or half; else double, else the nearest."""
        shortest, longest = self.cycles_s
        half = cycle_s // 2 if cycle_s % 2 == 0 else 0
        same = tuple(c for c in (cycle_s, half) if shortest <= c <= longest)
        if same:
            return same
        if shortest <= 2 * cycle_s <= longest:
            return (2 * cycle_s,)
        return (min(max(cycle_s, shortest), longest),)


def signal_day(
    network: Network,
    intersection: Intersection,
    plan: StagePlan,
    flows_vph: Mapping[str, FloatArray],
    *,
    min_cycle_s: int,
    max_cycle_s: int,
    demands: int = 1,
) -> SignalDay:
    """A signal's day from the flows of its movements, float64[S] each, veh/h by movement id; one without has none.

    A slot of several equally likely `demands` has a row for each, together.

    Bounds of greens are those of the plan's stages, none above the longest cycle.
    """
    slots = {len(row) for row in flows_vph.values()}
    if len(slots) != 1:
        raise ValueError(f"signal {intersection.id}: flows of {sorted(slots)} slots, need one number for all")
    lanes = _Lanes(network, intersection, flows_vph, slots.pop())
    shares = [lanes.discharge(stage.state) for stage in plan.stages]
    fixed = np.zeros_like(lanes.flow_vph)
    for change in plan.changes:
        for interval in change:
            fixed += interval.duration_s * lanes.discharge(interval.state)
    for k, share in enumerate(shares):
        ends = (share > 0) & (shares[(k + 1) % len(shares)] <= 0)
        fixed += np.where(ends, YELLOW_USED_S - STARTUP_LOSS_S, 0.0)
    least = np.array([int(s.min_s) for s in plan.stages], np.int64)
    most = np.array([int(min(s.max_s, max_cycle_s)) for s in plan.stages], np.int64)
    return SignalDay(
        intersection.id,
        np.stack(shares, axis=1),
        fixed,
        lanes.saturation_vph / 3600.0,
        lanes.flow_vph / 3600.0,
        least,
        np.maximum(least, most),
        changes_s(plan),
        min_cycle_s,
        max_cycle_s,
        demands,
    )


class _Lanes:
    """The lanes of a signal with a day's demand shared out, float64[S, m] each."""

    def __init__(
        self, network: Network, intersection: Intersection, flows_vph: Mapping[str, FloatArray], slots: int
    ) -> None:
        self.may_yield = intersection.conflicts.may_yield
        load: dict[LaneKey, dict[int, FloatArray]] = {}
        headway: dict[LaneKey, dict[int, float]] = {}
        options: dict[str, list[tuple[LaneKey, int]]] = {}
        vehicle = VehicleType()
        for movement in intersection.movements:
            for link in movement.links:
                for position in intersection.connections[link]:
                    c = network.connections[position]
                    if (c.from_edge, c.to_edge) != (movement.approach, movement.to_edge):
                        continue
                    key = (c.from_edge, c.from_lane)
                    load.setdefault(key, {}).setdefault(link, np.zeros(slots))
                    speed = min(c.speed_mps, network.edges[c.from_edge].speed_mps)
                    headway.setdefault(key, {})[link] = saturation_headway_s(speed, vehicle)
                    options.setdefault(movement.id, []).append((key, link))
        for movement in sorted(intersection.movements, key=lambda m: (len(options.get(m.id, ())), m.id)):
            if movement.id in options and movement.id in flows_vph:
                _share_out(load, options[movement.id], flows_vph[movement.id])
        self.load = [load[key] for key in sorted(load)]
        self.by_link: dict[int, FloatArray] = {}
        for of_lane in self.load:
            for link, flow in of_lane.items():
                self.by_link[link] = self.by_link.get(link, 0.0) + flow
        totals = [np.sum(list(of_lane.values()), axis=0) for of_lane in self.load]
        self.flow_vph: FloatArray = np.stack(totals, axis=1) if totals else np.zeros((slots, 0))
        self.weight = [
            {
                link: np.where(total > 0, flow / np.where(total > 0, total, 1.0), 1.0 / len(of_lane))
                for link, flow in sorted(of_lane.items())
            }
            for of_lane, total in zip(self.load, totals, strict=True)
        ]
        self.saturation_vph: FloatArray = np.zeros_like(self.flow_vph)
        for n, key in enumerate(sorted(load)):
            seconds = sum(weight * headway[key][link] for link, weight in self.weight[n].items())
            self.saturation_vph[:, n] = 3600.0 / seconds

    def discharge(self, state: str) -> FloatArray:
        """Part of its saturation flow that each lane discharges while a state is shown, float64[S, m], 0 … 1."""
        found = np.zeros_like(self.flow_vph)
        for n, weight in enumerate(self.weight):
            letters = {state[link] for link in weight}
            if not letters & GREEN:
                continue
            if letters == {"G"}:
                found[:, n] = 1.0
                continue
            share = {link: self._share(link, state, n) for link in weight if state[link] in GREEN}
            if len(share) == len(weight):
                # weights add up to 1 but for rounding
                found[:, n] = np.minimum(1.0, 1.0 / sum(weight[link] / share[link] for link in weight))
            else:
                found[:, n] = BLOCKED_SHARE * sum(weight[link] * share[link] for link in share)
        return found

    def _share(self, link: int, state: str, lane: int) -> FloatArray:
        """Part of its saturation flow that a green link discharges, float64[S]: all, or what finds gaps."""
        slots = len(self.flow_vph)
        if state[link] == "G":
            return np.ones(slots)
        opposing = np.zeros(slots)
        for other, vph in self.by_link.items():
            if state[other] in GREEN and self.may_yield(link, other):
                if state[other] == "g" and self.may_yield(other, link):
                    continue
                opposing += vph
        return np.minimum(1.0, _permitted_vph(2.0 * opposing) / self.saturation_vph[:, lane])


def _permitted_vph(opposing_vph: FloatArray) -> FloatArray:
    """Permitted left turns that find a gap [veh/h], HCM 7th ed. Eq. 31-100."""
    some = np.where(opposing_vph > 0, opposing_vph, 1.0)
    through = some * np.exp(-some * CRITICAL_HEADWAY_S / 3600) / -np.expm1(-some * FOLLOW_UP_S / 3600)
    return np.where(opposing_vph > 0, through, 3600.0 / FOLLOW_UP_S)


def _share_out(
    load: dict[LaneKey, dict[int, FloatArray]], options: list[tuple[LaneKey, int]], flow: FloatArray
) -> None:
    """Pour a movement's flow over its lanes, the emptier ones first, until their totals are level."""
    totals = {key: np.sum(list(load[key].values()), axis=0) for key, _ in options}
    rising = np.sort(np.array(list(totals.values())), axis=0)
    level = flow + rising[0]
    filled = rising[0]
    for n in range(1, len(rising)):
        filled = filled + rising[n]
        level = np.where((flow + filled) / (n + 1) >= rising[n], (flow + filled) / (n + 1), level)
    for key, link in options:
        same = sum(k == key for k, _ in options)
        load[key][link] = load[key][link] + np.maximum(0.0, level - totals[key]) / same
