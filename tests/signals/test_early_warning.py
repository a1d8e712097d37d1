"""Early warning: joined slots, movements to blame, and capacities of networks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from signals.early_warning import (
    capacities_of_network,
    schedules_in_force,
    uncovered,
    warn,
)
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.inspection import mean_flows_vph, typical_vehicle
from signals.model.capacity import Capacities
from signals.model.counts import CountForecast
from signals.model.phasing import Interval, SignalProgram
from signals.model.plan import PlanSet, TimingPlan
from signals.planning import Case, read_case
from signals.timing.lane_groups import measure_program
from sumo_nets import find_network

Floats = NDArray[np.float64]

MONDAY = np.datetime64("2026-03-02T00:00", "m")
QUARTER = np.timedelta64(15, "m")
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Z = stats.norm.ppf(LEVELS)


def forecast(mean: Floats, sd: Floats | float, names: tuple[str, ...] = ("m",)) -> CountForecast:
    """Normal quantiles; `mean` [n_slot, n_series] from Monday 0:00 on."""
    mean = np.asarray(mean, dtype=np.float64).reshape(-1, len(names))
    times = MONDAY + np.arange(len(mean)) * QUARTER
    quantiles = mean[..., None] + np.broadcast_to(sd, mean.shape)[..., None] * Z
    return CountForecast(names, times, 15, mean, LEVELS, quantiles)


def daily(veh: float | Floats, names: tuple[str, ...] = ("m",), approach: str = "A") -> Capacities:
    row = np.broadcast_to(np.asarray(veh, dtype=np.float64), (1, len(names))).copy()
    return Capacities(names, (approach,) * len(names), (0,), 15, row, np.zeros_like(row))


# --------------------------------------------------------------------------------------------------- warnings


def test_slots_on_end_become_one_warning() -> None:
    mean = np.full(192, 50.0)
    mean[30:36] = [80, 95, 110, 120, 105, 85]  # capacity 100: over at 31? no: 95 is below; 32-34
    mean[128:130] = 130
    first, second = warn(forecast(mean, 10.0), daily(100.0))
    assert (first.approach, first.movement, first.slots) == ("A", "m", 3)
    assert first.start == MONDAY + 32 * QUARTER
    assert first.end == MONDAY + 35 * QUARTER
    assert first.peak == MONDAY + 33 * QUARTER
    assert first.peak_probability == pytest.approx(stats.norm.sf(-2.0))
    assert first.vc_mean == pytest.approx(1.2)
    assert first.vc_q90 == pytest.approx(1.2 + 0.1 * stats.norm.ppf(0.9))
    z = (100 - np.array([110, 120, 105])) / 10
    assert first.excess_veh == pytest.approx(float((10 * (stats.norm.pdf(z) - z * stats.norm.sf(z))).sum()))
    assert second.start == MONDAY + 128 * QUARTER  # the second day, 8:00
    assert second.slots == 2


def test_threshold_and_edges_of_the_horizon() -> None:
    quiet = forecast(np.full(192, 50.0), 10.0)
    assert warn(quiet, daily(100.0)) == ()
    (whole,) = warn(quiet, daily(40.0))
    assert (whole.slots, whole.start, whole.end) == (192, MONDAY, MONDAY + 192 * QUARTER)
    at_capacity = forecast(np.full(4, 100.0), 10.0)  # the median is the capacity: probability a half
    assert len(warn(at_capacity, daily(100.0))) == 1
    assert warn(at_capacity, daily(100.0), threshold=0.51) == ()
    for threshold in (0.0, 1.1):
        with pytest.raises(InputError, match="above 0, at most 1"):
            warn(quiet, daily(100.0), threshold=threshold)


def test_lower_thresholds_and_capacities_warn_of_more() -> None:
    rng = np.random.default_rng(2)
    some = forecast(rng.uniform(50, 130, 192), 12.0)
    slots = [sum(w.slots for w in warn(some, daily(c))) for c in (70.0, 90.0, 110.0, 130.0)]
    assert slots == sorted(slots, reverse=True)
    assert slots[0] > slots[-1]
    by_threshold = [sum(w.slots for w in warn(some, daily(100.0), threshold=t)) for t in (0.1, 0.5, 0.9)]
    assert by_threshold == sorted(by_threshold, reverse=True)


def test_the_movement_to_blame_has_the_largest_weighted_vc() -> None:
    names = ("left", "through", "right")
    mean = np.tile([30.0, 210.0, 10.0], (4, 1))
    capacities = daily(np.array([40.0, 180.0, 60.0]), names)
    (found,) = warn(forecast(mean, np.array([4.0, 15.0, 3.0]), names), capacities)
    assert (found.movement, found.peak_movement) == ("through", "through")
    assert found.vc_mean == pytest.approx(210 / 180)
    # later the left turn gets worse; over the whole warning it weighs less, at the peak more
    mean[3] = [60.0, 190.0, 10.0]
    (found,) = warn(forecast(mean, np.array([4.0, 15.0, 3.0]), names), capacities)
    assert (found.movement, found.peak_movement) == ("through", "left")
    assert found.vc_mean == pytest.approx(60 / 40)


def test_approaches_warn_by_themselves_and_forecasts_come_in_parts() -> None:
    names = ("a", "b")
    capacities = Capacities(names, names, (0,), 15, np.array([[100.0, 100.0]]), np.zeros((1, 2)))
    both = forecast(np.column_stack([np.full(8, 120.0), np.full(8, 60.0)]), 5.0, names)
    (only,) = warn(both, capacities)
    assert (only.approach, only.movement, only.slots) == ("a", "a", 8)
    halves = [
        replace(both, times=both.times[k], mean=both.mean[k], quantiles=both.quantiles[k])
        for k in (slice(0, 4), slice(4, 8))
    ]
    assert warn(halves, capacities) == (only,)


def test_a_series_without_capacity_is_not_skipped_silently() -> None:
    two = forecast(np.full((4, 2), 120.0), 5.0, ("m", "new"))
    assert uncovered(two, daily(100.0)) == ("new",)
    with pytest.raises(InputError, match=r"1 of 2 forecast series have no capacity \(new\)"):
        warn(two, daily(100.0))
    (found,) = warn(two, daily(100.0), covered_only=True)
    assert found.movement == "m"


def test_a_movement_that_cannot_go_is_a_warning_that_can_be_written() -> None:
    (closed,) = warn(forecast(np.full(4, 20.0), 2.0), daily(0.0))
    assert closed.peak_probability > 0.99
    again = json.loads(json.dumps(closed.to_json(), allow_nan=False))
    assert again["start"] == "2026-03-02T00:00"
    assert again["slots"] == 4
    assert again["excess_veh"] == pytest.approx(80, rel=1e-3)


# ------------------------------------------------------------------------------------------ a network's capacities


@pytest.fixture(scope="module")
def single() -> Case:
    return read_case(read_scenario(find_network("single")))


def of_flows(flows_vph: dict[str, float], slots: int = 192, factor: Floats | float = 1.0) -> CountForecast:
    mean = np.broadcast_to(np.asarray(factor, dtype=np.float64).reshape(-1, 1), (slots, 1)) * np.array(
        [vph / 4 for vph in flows_vph.values()]
    )
    return forecast(mean, np.sqrt(mean), tuple(flows_vph))


def test_capacities_of_a_network_are_those_of_its_lanes(single: Case) -> None:
    flows, vehicle = mean_flows_vph(single, "centre"), typical_vehicle(single)
    schedules = schedules_in_force(single.network)
    ahead = of_flows(flows, slots=2)
    found = capacities_of_network(single.network, schedules, ahead, vehicle=vehicle)
    centre = single.network.intersections["centre"]
    assert centre.program is not None
    measured = measure_program(single.network, centre, centre.program, flows, vehicle=vehicle)
    assert set(found.names) == {m.id for m in centre.movements}
    veh, others = found.at(ahead.times, 15)
    vc = (np.array([flows[n] / 4 for n in found.names]) + others[0]) / veh[0]
    assert vc.max() == pytest.approx(measured.worst_vc)
    # each movement has the v/c of the worst lane that it uses
    for name, x in zip(found.names, vc):
        (movement,) = (m for m in centre.movements if m.id == name)
        used = [
            m.vc_ratio for lane, m in measured.lanes
            if lane.approach == movement.approach
            and any(lane.flow_by_link_vph.get(link, 0) > 1e-6 for link in movement.links)
        ]  # fmt: skip
        assert x == pytest.approx(max(used))
    # README: "it serves all demand (v/c 0.5-0.75)": a likely excess nowhere
    assert warn(ahead, found) == ()


def test_two_days_of_a_network_warn_when_demand_doubles(single: Case) -> None:
    flows = mean_flows_vph(single, "centre")
    factor = np.full(192, 0.4)
    factor[28:36] = 1.0
    factor[96 + 28 : 96 + 36] = 2.0  # an event on the second morning
    ahead = of_flows(flows, factor=factor)
    found = capacities_of_network(
        single.network, schedules_in_force(single.network), ahead, vehicle=typical_vehicle(single)
    )
    warnings = warn(ahead, found)
    assert warnings
    for w in warnings:
        assert w.start >= MONDAY + (96 + 28) * QUARTER
        assert w.end <= MONDAY + (96 + 36) * QUARTER
        assert w.peak_probability >= 0.5
        assert w.vc_q90 > w.vc_mean > 0.95
        assert w.approach in {a.edge for a in single.network.intersections["centre"].approaches}
        assert w.movement.startswith(f"{w.approach}->")


def halved(program: SignalProgram) -> SignalProgram:
    """The program with half of its first long green given to the last one."""
    greens = [k for k, i in enumerate(program.intervals) if i.duration_s >= 10]
    cut = program.intervals[greens[0]].duration_s / 2
    change = {greens[0]: -cut, greens[-1]: cut}
    return replace(
        program,
        intervals=tuple(
            Interval(i.duration_s + change.get(k, 0.0), i.state) for k, i in enumerate(program.intervals)
        ),
    )


def test_a_schedule_changes_capacity_at_its_switch(single: Case) -> None:
    own = single.network.intersections["centre"].program
    assert own is not None
    other = halved(own)
    plans = PlanSet(
        ({"centre": TimingPlan(own)}, {"centre": TimingPlan(other)}),
        {"centre": (7 * 3600.0 + 300.0,)},
        {},
        1,
        "0",
        "",
    )
    schedules = schedules_in_force(single.network, plans)
    assert schedules == {"centre": ((0, own), (425, other))}
    ahead = of_flows(mean_flows_vph(single, "centre"), slots=96)
    both = capacities_of_network(single.network, schedules, ahead).at(ahead.times, 15)[0]
    alone = [
        capacities_of_network(single.network, {"centre": ((0, p),)}, ahead).at(ahead.times, 15)[0]
        for p in (own, other)
    ]
    np.testing.assert_allclose(both[:28], alone[0][:28])
    np.testing.assert_allclose(both[29:], alone[1][29:])
    assert np.abs(alone[0] - alone[1]).max() > 5
    # 7:00 to 7:15: five minutes of the old plan, ten of the new one, where one lane alone serves a movement
    mixed = (alone[0][28] * 5 + alone[1][28] * 10) / 15
    close = np.isclose(both[28], mixed, rtol=0.02)
    assert close.mean() >= 0.5


def test_signals_without_a_plan_or_a_forecast_are_left_out_or_refused(single: Case) -> None:
    network = single.network
    flows = mean_flows_vph(single, "centre")
    bare = replace(network, intersections={"centre": replace(network.intersections["centre"], program=None)})
    assert schedules_in_force(bare) == {}
    assert schedules_in_force(bare, PlanSet(({},), {}, {}, 1, "0", "")) == {}
    with pytest.raises(InputError, match="none of the"):
        capacities_of_network(bare, {}, of_flows(flows, slots=2))
    some = of_flows(dict(list(flows.items())[1:]), slots=2)
    with pytest.raises(InputError, match="forecast all movements of a signal or none"):
        capacities_of_network(network, schedules_in_force(network), some)
