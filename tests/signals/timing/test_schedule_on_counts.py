"""Real counts: three weeks to plan, a fourth to judge, against one plan all day and against clustered hours."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.boroondara import PEAK_CYCLE_S, PEAK_VC, Boroondara, Site, bearing, site_of
from benchmarks.tod import DAY_TYPES, results, summary
from benchmarks.tod_judge import judge, plans_of
from signals.errors import InputError
from signals.model.night import DayType
from signals.timing.schedule import ScheduleRequest, schedule_day
from tests.signals.stick import SHARED


@pytest.fixture(scope="module")
def data() -> Boroondara:
    """The real counts; without them the test is skipped."""
    try:
        return Boroondara(SHARED / "data")
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("day_type", DAY_TYPES)
def test_a_schedule_beats_one_plan_and_clustered_hours_in_a_week_not_seen(
    data: Boroondara, day_type: DayType
) -> None:
    found = summary(results(data, day_type, ScheduleRequest()))
    assert found["intersections"] > 20
    assert found["wait_and_see"] < found["schedule"] < found["k_means"]
    assert found["schedule"] < found["one_plan"]


def test_the_judge_agrees_with_the_planner_on_the_demand_that_was_planned_for(data: Boroondara) -> None:
    site = data.sites[0]
    signal = site.day(data.mean_counts(site, DayType.SUNDAY))
    schedule = schedule_day([signal], (60, 80, 100), ScheduleRequest())
    found = judge(signal, plans_of(schedule, site.name, 96))
    assert found.delay == pytest.approx(schedule.delay_veh_h)
    assert found.changes == pytest.approx(schedule.transition_veh_h)
    assert found.carried >= found.delay


def test_the_busiest_hour_is_as_close_to_capacity_as_it_is_meant_to_be(data: Boroondara) -> None:
    site = data.sites[0]
    day = site.day(data.mean_counts(site, DayType.WEEKDAY))
    critical = np.max((day.flow / day.saturation)[:, None, :] * day.share, axis=2).sum(axis=1)
    hour = np.convolve(critical, np.full(4, 0.25), "valid").max()
    lost = day.change_s - day.fixed_s[0, 0] * len(day.least_s)
    assert hour * PEAK_CYCLE_S / (PEAK_CYCLE_S - lost) == pytest.approx(PEAK_VC)


def groups_of(site: Site | None) -> dict[str, list[tuple[float, int]]]:
    """Share and stage of the lane groups of each approach."""
    assert site is not None
    return {
        a: [(round(g.share, 3), g.stage) for g in site.groups if g.approach == a]
        for a in sorted({g.approach for g in site.groups})
    }


def test_a_crossing_has_a_stage_for_the_right_turns_of_each_road() -> None:
    site = site_of("x", {"n": 0.0, "e": 90.0, "s": 180.0, "w": 270.0})
    assert groups_of(site) == {
        "n": [(0.9, 0), (0.1, 1)],
        "e": [(0.9, 2), (0.1, 3)],
        "s": [(0.9, 0), (0.1, 1)],
        "w": [(0.9, 2), (0.1, 3)],
    }


def test_a_t_junction_has_one_approach_that_turns_right_into_the_stem() -> None:
    """Traffic keeps left: who comes from the west turns right to the south, who comes from the east turns left."""
    site = site_of("t", {"e": 90.0, "s": 180.0, "w": 270.0})
    assert groups_of(site) == {"e": [(1.0, 0)], "s": [(0.5, 2), (0.5, 2)], "w": [(0.889, 0), (0.111, 1)]}
    assert site is not None
    assert site.right_only == (False, True, False)


def test_approaches_that_lie_beside_each_other_make_no_intersection() -> None:
    assert site_of("y", {"s": 180.0, "sw": 225.0, "w": 270.0}) is None
    assert site_of("two", {"n": 0.0, "s": 180.0}) is None


def test_labels_tell_where_an_approach_comes_from() -> None:
    assert bearing("BURKE_RD N of HARP_RD") == 0.0
    assert bearing("HIGH_ST SW OF DENMARK_ST") == 225.0
    assert bearing("somewhere") is None
