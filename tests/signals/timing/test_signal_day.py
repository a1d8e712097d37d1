"""A signal's day: slot by slot what the lanes of one demand say, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from signals.formats.sumo.config import read_scenario
from signals.model.plan import PlanRequest
from signals.planning import read_case
from signals.timing.lane_groups import approach_lanes, green_shares
from signals.timing.signal_day import signal_day
from signals.timing.stages import stage_plan
from sumo_nets import find_network
from tests.signals.timing.test_lane_groups import network as shared_lanes

SLOTS = 5


@pytest.mark.parametrize("name", ["single", "arterial", "grid", ""])
def test_a_day_is_what_the_lanes_say_slot_by_slot(name: str) -> None:
    net = read_case(read_scenario(find_network(name))).network if name else shared_lanes()
    request = PlanRequest()
    for intersection in net.intersections.values():
        rng = np.random.default_rng(len(intersection.id))
        plan = stage_plan(intersection, request)
        flows = {
            m.id: rng.uniform(0.0, 900.0, SLOTS) * (rng.random(SLOTS) < 0.7) for m in intersection.movements
        }
        flows[intersection.movements[0].id][:2] = 0.0
        for flow in flows.values():
            flow[0] = 0.0
        day = signal_day(net, intersection, plan, flows, min_cycle_s=30, max_cycle_s=180)
        for slot in range(SLOTS):
            lanes = approach_lanes(net, intersection, {m: float(f[slot]) for m, f in flows.items()})
            share, fixed = green_shares(intersection, lanes, plan)
            assert day.share[slot] == pytest.approx(np.array(share))
            assert day.fixed_s[slot] == pytest.approx(fixed)
            assert 3600 * day.flow[slot] == pytest.approx([lane.flow_vph for lane in lanes])
            assert 3600 * day.saturation[slot] == pytest.approx([lane.saturation_vph for lane in lanes])
        assert day.change_s == np.ceil(plan.fixed_s - 1e-9)
        assert list(day.least_s) == [int(s.min_s) for s in plan.stages]
        assert (day.most_s >= day.least_s).all()
        assert (day.most_s <= 180).all()


def test_movements_without_flow_have_none_and_lengths_must_agree() -> None:
    net = shared_lanes()
    intersection = net.intersections["J"]
    plan = stage_plan(intersection, PlanRequest())
    day = signal_day(net, intersection, plan, {"sT": np.full(3, 600.0)}, min_cycle_s=30, max_cycle_s=180)
    assert day.flow.sum(axis=1) == pytest.approx(np.full(3, 600.0 / 3600))
    with pytest.raises(ValueError, match=r"flows of \[2, 3\] slots"):
        signal_day(
            net, intersection, plan, {"sT": np.ones(3), "sL": np.ones(2)}, min_cycle_s=30, max_cycle_s=180
        )


def test_no_lane_discharges_more_than_all_for_any_flows() -> None:
    net = read_case(read_scenario(find_network("grid"))).network
    rng = np.random.default_rng(7)
    for intersection in net.intersections.values():
        plan = stage_plan(intersection, PlanRequest())
        # thousands of flows: weights of a lane's movements add up to 1 but for rounding
        flows = {m.id: rng.uniform(0.0, 900.0, 2000) for m in intersection.movements}
        for movement in intersection.movements:
            if movement.turn == "L":
                flows[movement.id][:] = 0.0
        day = signal_day(net, intersection, plan, flows, min_cycle_s=30, max_cycle_s=180)
        assert day.share.max() <= 1.0
