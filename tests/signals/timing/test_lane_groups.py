"""Lanes of a signal: demand shared out without loss, and v/c as by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from signals.demand.turning import flows_vph
from signals.formats.sumo.config import read_scenario
from signals.model.demand import VehicleType
from signals.model.network import Approach, Connection, Edge, Intersection, Lane, Movement, Network, Turn
from signals.model.phasing import ConflictTable, Interval, SignalProgram
from signals.model.plan import PlanRequest
from signals.planning import Case, read_case
from signals.timing.lane_groups import (
    BLOCKED_SHARE,
    CRITICAL_HEADWAY_S,
    FOLLOW_UP_S,
    STARTUP_LOSS_S,
    YELLOW_USED_S,
    ApproachLane,
    approach_lanes,
    green_shares,
    measure_program,
    saturation_headway_s,
)
from signals.timing.pack import FLOW_RULES
from signals.timing.stages import stage_plan
from sumo_nets import find_network

SPEED_MPS = 13.89
PROGRAM = ((30, "GGGgrr"), (3, "yyyyrr"), (2, "rrrrrr"), (20, "rrrrGG"), (3, "rrrryy"), (2, "rrrrrr"))
CYCLE_S = 60.0
HEADWAY_S = 1.0 + 7.5 / SPEED_MPS + FLOW_RULES.spacing
"""Of SUMO's default car at 13.89 m/s: reaction, own length and gap at that speed, and what is calibrated."""


def network() -> Network:
    """South approach with three lanes and five paths, west approach with one.

    Link 0: right from lane 0; 1: through from lane 0; 2: through from lane 1; 3: left from lane 2, which
    gives way to link 4 (as if that came the other way); 4: west through, 5: west right, of one lane.
    """
    paths = [
        ("s", 0, "right", Turn.RIGHT),
        ("s", 0, "up", Turn.THROUGH),
        ("s", 1, "up", Turn.THROUGH),
        ("s", 2, "left", Turn.LEFT),
        ("w", 0, "east", Turn.THROUGH),
        ("w", 0, "south", Turn.RIGHT),
    ]
    connections = tuple(
        Connection(a, lane, to, 0, turn, "J", "J", k, 20.0, SPEED_MPS, 0.0, True, (), ())
        for k, (a, lane, to, turn) in enumerate(paths)
    )
    movements = (
        Movement("sR", "s", "right", Turn.RIGHT, (0,), (0,)),
        Movement("sT", "s", "up", Turn.THROUGH, (1, 2), (0, 1)),
        Movement("sL", "s", "left", Turn.LEFT, (3,), (2,)),
        Movement("wT", "w", "east", Turn.THROUGH, (4,), (0,)),
        Movement("wR", "w", "south", Turn.RIGHT, (5,), (0,)),
    )
    edges = {
        name: Edge(
            name,
            f"from {name}",
            "J",
            tuple(Lane(f"{name}_{k}", 200.0, SPEED_MPS, frozenset({"passenger"})) for k in range(lanes)),
            200.0,
            SPEED_MPS,
            0.0,
            (0.0, 0.0),
            (0.0, 0.0),
        )
        for name, lanes in (
            ("s", 3),
            ("w", 1),
            ("right", 1),
            ("up", 1),
            ("left", 1),
            ("east", 1),
            ("south", 1),
        )
    }
    program = SignalProgram("J", "field", "static", 0.0, tuple(Interval(float(d), s) for d, s in PROGRAM))
    signal = Intersection(
        "J",
        ("J",),
        tuple((k,) for k in range(6)),
        (Approach("s", "NB", 3, SPEED_MPS, 200.0), Approach("w", "EB", 1, SPEED_MPS, 200.0)),
        movements,
        (),
        ConflictTable(6, frozenset({(3, 4)}), frozenset({(3, 4)})),
        program,
    )
    return Network("by hand", edges, connections, {"J": signal})


def lanes(**flows: float) -> dict[tuple[str, int], ApproachLane]:
    net = network()
    return {(lane.approach, lane.lane): lane for lane in approach_lanes(net, net.intersections["J"], flows)}


def test_through_traffic_fills_the_emptier_lane_first() -> None:
    level = lanes(sR=200, sT=600)
    assert level["s", 0].flow_vph == pytest.approx(400)
    assert level["s", 1].flow_vph == pytest.approx(400)
    assert level["s", 0].flow_by_link_vph == pytest.approx({0: 200, 1: 200})
    crowded = lanes(sR=700, sT=300)
    assert crowded["s", 0].flow_by_link_vph == pytest.approx({0: 700, 1: 0})
    assert crowded["s", 1].flow_vph == pytest.approx(300)


@pytest.mark.parametrize(
    "flows", [{"sT": 900.0}, {"sR": 50.0, "sT": 10.0, "sL": 70.0, "wT": 5.0, "wR": 1.0}, {}]
)
def test_no_demand_is_lost_or_made(flows: dict[str, float]) -> None:
    found = lanes(**flows)
    for movement in network().intersections["J"].movements:
        carried = sum(
            lane.flow_by_link_vph[k] for lane in found.values() for k in lane.links if k in movement.links
        )
        assert carried == pytest.approx(flows.get(movement.id, 0.0))


def test_saturation_flow_follows_speed_and_vehicle() -> None:
    assert saturation_headway_s(SPEED_MPS, VehicleType()) == pytest.approx(HEADWAY_S)
    truck = VehicleType(length_m=12.0)
    assert saturation_headway_s(SPEED_MPS, truck) - HEADWAY_S == pytest.approx((12.0 - 5.0) / SPEED_MPS)
    assert lanes(sT=100)["s", 1].saturation_vph == pytest.approx(3600 / HEADWAY_S)


def test_v_over_c_by_hand() -> None:
    """Through lane: 30 s of green and 1 s of yellow less 2 s to start, of 60 s, at 3600 / headway."""
    net = network()
    signal = net.intersections["J"]
    assert signal.program is not None
    measured = measure_program(net, signal, signal.program, {"sT": 800.0, "wT": 300.0})
    rows = {(lane.approach, lane.lane): m for lane, m in measured.lanes}
    green_s = 30 + YELLOW_USED_S - STARTUP_LOSS_S
    assert rows["s", 1].vc_ratio == pytest.approx(400 / (3600 / HEADWAY_S * green_s / CYCLE_S))
    side_s = 20 + YELLOW_USED_S - STARTUP_LOSS_S
    assert rows["w", 0].vc_ratio == pytest.approx(300 / (3600 / HEADWAY_S * side_s / CYCLE_S))
    assert measured.worst_vc == pytest.approx(max(rows["s", 1].vc_ratio, rows["w", 0].vc_ratio))
    assert set(measured.approaches) == {"s", "w"}
    # delay of the whole is the mean of its approaches, weighted by demand (HCM 7th ed. Eq. 19-29)
    parts = measured.approaches
    mean_s = (800 * parts["s"].control_delay_s + 300 * parts["w"].control_delay_s) / 1100
    assert measured.whole.control_delay_s == pytest.approx(mean_s)


def test_a_permitted_turn_discharges_what_gaps_leave() -> None:
    """HCM 7th ed. Eq. 31-100 with twice the opposing flow, which comes within its green only."""
    from math import exp

    net = network()
    signal = net.intersections["J"]
    both = (Interval(30.0, "GGGgGG"), Interval(5.0, "rrrrrr"))
    for opposing in (0.0, 200.0, 500.0):
        flows = {"sL": 100.0, "wT": opposing}
        plan = SignalProgram("J", "p", "static", 0.0, both)
        rows = {(x.approach, x.lane): m for x, m in measure_program(net, signal, plan, flows).lanes}
        during = 2 * opposing
        vph = 3600 / FOLLOW_UP_S if during == 0 else (
            during * exp(-during * CRITICAL_HEADWAY_S / 3600) / (1 - exp(-during * FOLLOW_UP_S / 3600))
        )  # fmt: skip
        share = min(1.0, vph / (3600 / HEADWAY_S))
        green_s = 30 * share + YELLOW_USED_S - STARTUP_LOSS_S
        assert rows["s", 2].vc_ratio == pytest.approx(100 / (3600 / HEADWAY_S * green_s / 35))


def test_a_lane_is_held_up_by_those_of_its_movements_that_are_red() -> None:
    net = network()
    signal = net.intersections["J"]
    half = (
        Interval(30.0, "GrGrrr"),
        Interval(5.0, "rrrrrr"),
        Interval(20.0, "rrrrGG"),
        Interval(5.0, "rrrrrr"),
    )
    signal = replace(signal, program=SignalProgram("J", "p", "static", 0.0, half))
    plan = stage_plan(signal, PlanRequest())
    carried = approach_lanes(net, signal, {"sR": 200.0, "sT": 600.0, "wT": 100.0})
    share, fixed = green_shares(signal, carried, plan)
    by_lane = [(lane.approach, lane.lane) for lane in carried]
    # lane 0 carries 200 right (green) and 200 through (red)
    assert share[0][by_lane.index(("s", 0))] == pytest.approx(BLOCKED_SHARE * 0.5)
    assert share[0][by_lane.index(("s", 1))] == 1.0
    assert share[0][by_lane.index(("w", 0))] == 0.0
    assert share[1][by_lane.index(("w", 0))] == 1.0
    assert fixed[by_lane.index(("s", 1))] == pytest.approx(YELLOW_USED_S - STARTUP_LOSS_S)


@cache
def single() -> Case:
    return read_case(read_scenario(find_network("single")))


def test_counted_demand_of_a_real_signal_is_carried_whole() -> None:
    case = single()
    (signal,) = case.network.intersections.values()
    flows = flows_vph(case.counts, signal.id, 0, case.counts.n_intervals - 1)
    carried = approach_lanes(case.network, signal, flows)
    assert sum(lane.flow_vph for lane in carried) == pytest.approx(sum(flows.values()))
    assert sum(flows.values()) == pytest.approx(case.counts.total(signal.id), rel=0.01)  # of one hour
    assert signal.program is not None
    measured = measure_program(case.network, signal, signal.program, flows)
    # the README of the network says 0.5 to 0.75 by 15 minutes; over the hour the peak is levelled
    assert 0.4 < measured.worst_vc < 0.85
