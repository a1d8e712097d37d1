"""Lanes of a signal with their share of the demand: what measures and splits are computed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from signals.model.demand import VehicleType
from signals.model.network import Intersection, Network
from signals.model.phasing import GREEN, SignalProgram, StagePlan
from signals.timing.measures import (
    DelayMeasures,
    LaneGroup,
    LaneGroupMeasures,
    measure_approach,
    measure_intersection,
    measure_lane_group,
)
from signals.timing.pack import FLOW_RULES

CRITICAL_HEADWAY_S = 4.5
FOLLOW_UP_S = 2.5
"""HCM 7th ed. Eq. 31-100, permitted left turns from an exclusive lane."""
STARTUP_LOSS_S = 2.0
YELLOW_USED_S = 1.0
"""Of each green period: lost at its start, and driven through at its end (SUMO's drivers, measured)."""
BLOCKED_SHARE = 0.3
"""What a shared lane still discharges while only some of its movements are green."""


@dataclass(frozen=True, slots=True)
class ApproachLane:
    """One lane at a stop line: its links, how much of each movement's demand it carries, and how fast."""

    approach: str
    lane: int
    links: tuple[int, ...]
    flow_by_link_vph: Mapping[int, float]
    saturation_vph: float

    @property
    def flow_vph(self) -> float:
        """Demand of the lane."""
        return sum(self.flow_by_link_vph.values())


def approach_lanes(
    network: Network,
    intersection: Intersection,
    flows_vph: Mapping[str, float],
    vehicle: VehicleType | None = None,
) -> tuple[ApproachLane, ...]:
    """Lanes of a signal with demand shared out; `flows_vph` by movement id.

    A movement with several lanes uses them so that their totals come out as even as they can, as drivers do.
    """
    vehicle = vehicle or VehicleType()
    load: dict[tuple[str, int], dict[int, float]] = {}
    speeds: dict[tuple[str, int], dict[int, float]] = {}
    options: dict[str, list[tuple[tuple[str, int], int]]] = {}
    for movement in intersection.movements:
        for link in movement.links:
            for position in intersection.connections[link]:
                c = network.connections[position]
                if (c.from_edge, c.to_edge) != (movement.approach, movement.to_edge):
                    continue
                key = (c.from_edge, c.from_lane)
                load.setdefault(key, {}).setdefault(link, 0.0)
                speeds.setdefault(key, {})[link] = min(c.speed_mps, network.edges[c.from_edge].speed_mps)
                options.setdefault(movement.id, []).append((key, link))
    for movement in sorted(intersection.movements, key=lambda m: (len(options.get(m.id, ())), m.id)):
        _share_out(load, options.get(movement.id, []), flows_vph.get(movement.id, 0.0))
    lanes = []
    for key in sorted(load):
        total = sum(load[key].values())
        headway = sum(
            (flow / total if total else 1 / len(load[key])) * saturation_headway_s(speeds[key][link], vehicle)
            for link, flow in load[key].items()
        )
        lanes.append(ApproachLane(key[0], key[1], tuple(sorted(load[key])), load[key], 3600.0 / headway))
    return tuple(lanes)


def saturation_headway_s(speed_mps: float, vehicle: VehicleType) -> float:
    """Seconds between two vehicles of a discharging queue: reaction, own length at that speed, and the rest."""
    size = vehicle.length_m + vehicle.min_gap_m
    return vehicle.headway_s + size / max(speed_mps, 1.0) + FLOW_RULES.spacing


def green_shares(
    intersection: Intersection, lanes: tuple[ApproachLane, ...], plan: StagePlan
) -> tuple[list[list[float]], list[float]]:
    """Part of its saturation flow that each lane discharges in each stage, and seconds won or lost in changes."""
    flow = _link_flows(lanes)
    shares = [[_discharge(intersection, lane, stage.state, flow) for lane in lanes] for stage in plan.stages]
    fixed = []
    for n, lane in enumerate(lanes):
        seconds = 0.0
        for k, change in enumerate(plan.changes):
            for interval in change:
                seconds += interval.duration_s * _discharge(intersection, lane, interval.state, flow)
            if shares[k][n] > 0 and shares[(k + 1) % len(plan.stages)][n] <= 0:
                seconds += YELLOW_USED_S - STARTUP_LOSS_S
        fixed.append(seconds)
    return shares, fixed


def _link_flows(lanes: tuple[ApproachLane, ...]) -> dict[int, float]:
    flow: dict[int, float] = {}
    for lane in lanes:
        for link, vph in lane.flow_by_link_vph.items():
            flow[link] = flow.get(link, 0.0) + vph
    return flow


def _share_out(
    load: dict[tuple[str, int], dict[int, float]], options: list[tuple[tuple[str, int], int]], flow: float
) -> None:
    """Pour a movement's flow over its lanes, the emptier ones first, until their totals are level."""
    if not options:
        return
    totals = {key: sum(load[key].values()) for key, _ in options}
    level = flow
    keys = sorted(totals, key=lambda k: (totals[k], k))
    for n in range(len(keys), 0, -1):
        level = (flow + sum(totals[k] for k in keys[:n])) / n
        if level >= totals[keys[n - 1]]:
            break
    for key, link in options:
        same = sum(k == key for k, _ in options)
        load[key][link] += max(0.0, level - totals[key]) / same


def _discharge(
    intersection: Intersection, lane: ApproachLane, state: str, flow: Mapping[int, float]
) -> float:
    """Part of its saturation flow that a lane discharges while a state is shown, 0 … 1."""
    total = lane.flow_vph
    parts = []
    for link in lane.links:
        weight = lane.flow_by_link_vph[link] / total if total else 1 / len(lane.links)
        if state[link] == "G":
            parts.append((weight, 1.0))
        elif state[link] == "g":
            opposing = sum(
                vph
                for other, vph in flow.items()
                if state[other] in GREEN
                and intersection.conflicts.may_yield(link, other)
                and not (state[other] == "g" and intersection.conflicts.may_yield(other, link))
            )
            parts.append((weight, min(1.0, _permitted_vph(2.0 * opposing) / lane.saturation_vph)))
        else:
            parts.append((weight, 0.0))
    if not any(share for _, share in parts):
        return 0.0
    if all(share for _, share in parts):
        # vehicles of the slower turns hold up those behind them: headways add up, not flows
        return 1.0 / sum(weight / share for weight, share in parts)
    return BLOCKED_SHARE * sum(weight * share for weight, share in parts)


def _permitted_vph(opposing_vph: float) -> float:
    """Permitted left turns that find a gap [veh/h], HCM 7th ed. Eq. 31-100."""
    from math import exp

    if opposing_vph <= 0:
        return 3600.0 / FOLLOW_UP_S
    return (
        opposing_vph
        * exp(-opposing_vph * CRITICAL_HEADWAY_S / 3600)
        / (1 - exp(-opposing_vph * FOLLOW_UP_S / 3600))
    )


@dataclass(frozen=True, slots=True)
class IntersectionMeasures:
    """HCM measures of a signal: per lane, per approach, and the whole."""

    lanes: tuple[tuple[ApproachLane, LaneGroupMeasures], ...]
    approaches: Mapping[str, DelayMeasures]
    whole: DelayMeasures

    @property
    def worst_vc(self) -> float:
        """Largest v/c of any lane with demand."""
        return max((m.vc_ratio for lane, m in self.lanes if lane.flow_vph > 0), default=0.0)


def measure_program(
    network: Network,
    intersection: Intersection,
    program: SignalProgram,
    flows_vph: Mapping[str, float],
    period_h: float = 0.25,
    vehicle: VehicleType | None = None,
) -> IntersectionMeasures:
    """HCM delay, v/c, queue and level of service of a program under a demand, by lane and approach."""
    lanes = approach_lanes(network, intersection, flows_vph, vehicle)
    flow = _link_flows(lanes)
    rows = []
    for lane in lanes:
        green = 0.0
        shares = [_discharge(intersection, lane, i.state, flow) for i in program.intervals]
        for k, (interval, share) in enumerate(zip(program.intervals, shares, strict=True)):
            green += share * interval.duration_s
            if share > 0 and shares[(k + 1) % len(shares)] <= 0:
                green += YELLOW_USED_S - STARTUP_LOSS_S
        group = LaneGroup(
            volume_vph=lane.flow_vph,
            saturation_flow_vph=lane.saturation_vph,
            effective_green_s=min(max(green, 0.5), program.cycle_s),
            cycle_s=program.cycle_s,
            analysis_period_h=period_h,
        )
        rows.append((lane, measure_lane_group(group)))
    by_approach: dict[str, list[LaneGroupMeasures]] = {}
    for lane, measured in rows:
        by_approach.setdefault(lane.approach, []).append(measured)
    approaches = {a: measure_approach(groups) for a, groups in by_approach.items()}
    return IntersectionMeasures(tuple(rows), approaches, measure_intersection(approaches.values()))
