"""A group planned through a day: safe, within limits, better by its own measure, and told truly."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.counts import CountForecast
from signals.model.network import Network
from signals.model.night import DayDemand, DayType, GroupNight, Subarea
from signals.model.plan import PlanRequest
from signals.planning.day import GroupCase, plan_day
from signals.planning.parts import NetworkParts
from signals.safety.check import check_plan_set
from signals.timing.lane_groups import measure_program
from signals.timing.schedule import ScheduleRequest
from sumo_nets import find_network

SLOTS = 96
CYCLES_S = (60, 72, 86, 100, 120)


@pytest.fixture(scope="module")
def arterial() -> Network:
    return read_network(read_scenario(find_network("arterial")))


def day_of(network: Network, *, peak: float = 2.0, scale: float = 20.0) -> DayDemand:
    """A quiet day with two peaks; through movements carry four times what turns do."""
    hour = np.arange(SLOTS) / 4.0
    shape = 0.3 + peak * (np.exp(-(((hour - 8) / 1.2) ** 2)) + np.exp(-(((hour - 17) / 1.5) ** 2)))
    names = [m.id for i in network.intersections.values() for m in i.movements]
    weight = np.array(
        [4.0 if m.turn == "T" else 1.0 for i in network.intersections.values() for m in i.movements]
    )
    mean = scale * shape[:, None] * weight[None, :]
    quantiles = mean[:, :, None] * np.array([0.85, 1.0, 1.2])
    times = np.datetime64("2026-11-24T00:00", "m") + 15 * np.arange(SLOTS)
    forecast = CountForecast(tuple(names), times, 15, mean, (0.1, 0.5, 0.9), quantiles)
    return DayDemand(date(2026, 11, 24), DayType.WEEKDAY, forecast)


def case_of(network: Network, signals: list[str], **changes: object) -> GroupCase:
    made = GroupCase(
        NetworkParts(network).part(signals),
        Subarea(signals[0], tuple(signals), CYCLES_S),
        day_of(network),
        PlanRequest(),
        ScheduleRequest(),
        "inputs",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def group(arterial: Network) -> list[str]:
    return sorted(arterial.intersections)[:3]


@pytest.fixture(scope="module")
def night(arterial: Network, group: list[str]) -> GroupNight:
    return plan_day(case_of(arterial, group))


def test_a_day_with_peaks_has_safe_plans_for_every_signal(
    arterial: Network, group: list[str], night: GroupNight
) -> None:
    assert night.failed == ""
    assert night.plans is not None
    assert night.schedule is not None
    assert len(night.schedule.periods) > 1
    assert all(set(row) == set(group) for row in night.plans.periods)
    part = replace(arterial, intersections={s: arterial.intersections[s] for s in group})
    assert check_plan_set(part, night.plans, PlanRequest()) == ()


def test_the_schedule_lies_between_its_bounds_and_gains(night: GroupNight) -> None:
    schedule = night.schedule
    assert schedule is not None
    total = schedule.delay_veh_h + schedule.transition_veh_h
    assert schedule.wait_and_see_veh_h <= total <= schedule.one_plan_veh_h + 1e-9
    before = sum(r.before.mean_s * r.vehicles for rows in (night.signals or {}).values() for r in rows)
    after = sum(r.after.mean_s * r.vehicles for rows in (night.signals or {}).values() for r in rows)
    assert after < before


def test_without_uncertainty_the_rows_add_up_to_what_the_schedule_was_chosen_by(
    arterial: Network, group: list[str]
) -> None:
    demand = day_of(arterial)
    sure = replace(demand.forecast, quantiles=np.repeat(demand.forecast.mean[:, :, None], 3, axis=2))
    made = plan_day(case_of(arterial, group, demand=replace(demand, forecast=sure)))
    assert made.schedule is not None
    after = sum(r.after.mean_s * r.vehicles for rows in (made.signals or {}).values() for r in rows)
    assert after / 3600.0 == pytest.approx(made.schedule.delay_veh_h, rel=1e-6)


def test_delay_before_is_hcm_delay_of_the_program_in_place(arterial: Network, group: list[str]) -> None:
    demand = day_of(arterial, peak=0.0)
    made = plan_day(case_of(arterial, group, demand=demand))
    intersection = arterial.intersections[group[0]]
    assert intersection.program is not None
    assert made.signals is not None
    flows = {name: float(demand.forecast.mean[0, k]) * 4.0 for k, name in enumerate(demand.forecast.names)}
    measured = measure_program(arterial, intersection, intersection.program, flows)
    row = made.signals[group[0]][0]
    # a left turn that is protected and then permitted starts anew between them in the one, and not in the other
    assert row.before.mean_s == pytest.approx(measured.whole.control_delay_s, rel=0.01)
    assert row.vc_before == pytest.approx(measured.worst_vc, rel=0.01)
    assert row.los_before == measured.whole.level_of_service
    assert row.before.low_s < row.before.mean_s < row.before.high_s


def test_each_change_is_told_with_what_demand_did(arterial: Network, group: list[str]) -> None:
    demand = day_of(arterial)
    design = {name: demand.forecast.mean[:, k] * 4.0 / 1.25 for k, name in enumerate(demand.forecast.names)}
    made = plan_day(case_of(arterial, group, design_vph=design))
    changes = [c for rows in (made.signals or {}).values() for row in rows for c in row.changes]
    assert changes
    assert all(abs(c.to_s - c.from_s) >= 0.5 for c in changes)
    told = [c.demand_percent for c in changes if c.demand_percent is not None]
    assert told
    assert told == pytest.approx([25.0] * len(told))


def test_plans_in_force_are_what_is_compared_with(
    arterial: Network, group: list[str], night: GroupNight
) -> None:
    again = plan_day(case_of(arterial, group, in_place=night.plans))
    assert again.signals is not None
    for rows in again.signals.values():
        for row in rows:
            # a period's first minutes may belong to the plan before: a signal changes where that is safe
            assert row.before.mean_s == pytest.approx(row.after.mean_s, rel=0.03)
    assert not [c for rows in again.signals.values() for row in rows for c in row.changes]


def test_a_part_shows_a_signal_what_the_whole_network_does(arterial: Network, group: list[str]) -> None:
    uncut = replace(arterial, intersections={s: arterial.intersections[s] for s in group})
    whole = plan_day(replace(case_of(arterial, group), network=uncut))
    part = plan_day(case_of(arterial, group))
    assert whole.plans is not None
    assert part.plans is not None
    assert whole.plans.digest == part.plans.digest
    assert whole.offsets == part.offsets


def test_the_same_case_gives_the_same_night_in_another_process(
    arterial: Network, group: list[str], night: GroupNight
) -> None:
    again = plan_day(pickle.loads(pickle.dumps(case_of(arterial, group))))
    assert again == night


def test_a_signal_without_a_program_is_named_and_the_others_are_planned(
    arterial: Network, group: list[str]
) -> None:
    case = case_of(arterial, group)
    bare = replace(case.network.intersections[group[1]], program=None)
    network = replace(case.network, intersections={**case.network.intersections, group[1]: bare})
    made = plan_day(replace(case, network=network))
    assert made.plans is not None
    assert "has no program" in made.plans.unplanned[group[1]]
    assert set(made.plans.periods[0]) == set(group) - {group[1]}


def test_a_group_that_cannot_be_planned_says_why(arterial: Network, group: list[str]) -> None:
    case = case_of(arterial, group[:1])
    bare = replace(case.network.intersections[group[0]], program=None)
    made = plan_day(replace(case, network=replace(case.network, intersections={group[0]: bare})))
    assert made.plans is None
    assert "has no program" in made.failed
