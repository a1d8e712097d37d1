"""The schedule: which entry, which event, which action, which pattern."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signals.controllers.objects import bits_of
from signals.controllers.virtual.database import Values, new_values
from signals.controllers.virtual.events import Code
from signals.controllers.virtual.timebase import ACTION_PREFIX, TimeBase, read_time_base
from tests.signals.controllers.virtual.units_at_work import (
    MONDAY,
    eight_phases,
    in_step,
    new_unit,
    one_ring,
    put_pattern,
    run,
)

EVERY = {"months": range(1, 13), "weekdays": range(1, 8), "dates": range(1, 32)}


def put_entry(values: Values, number: int, day_plan: int, **days: object) -> None:
    """A schedule entry: months, weekdays (1 is Sunday) and dates, all where not given."""
    chosen = {**EVERY, **days}
    for name, key in (("Month", "months"), ("Day", "weekdays"), ("Date", "dates")):
        values[f"timeBaseSchedule{name}", (number,)] = bits_of(chosen[key])  # type: ignore[arg-type]
    values["timeBaseScheduleDayPlan", (number,)] = day_plan


def put_event(values: Values, plan: int, event: int, at: tuple[int, int], action: int, pattern: int) -> None:
    """An event of a day plan, its action, and the action's pattern."""
    values["dayPlanHour", (plan, event)], values["dayPlanMinute", (plan, event)] = at
    values["dayPlanActionNumberOID", (plan, event)] = (*ACTION_PREFIX, action)
    values["timebaseAscPattern", (action,)] = pattern


@pytest.fixture
def values() -> Values:
    """Every day plan 1: pattern 11 from 6:30, 12 from 9:00, free from 22:00."""
    values = new_values(one_ring())
    put_entry(values, 3, 1)
    put_event(values, 1, 1, (6, 30), 1, 11)
    put_event(values, 1, 2, (22, 0), 3, 254)
    put_event(values, 1, 5, (9, 0), 2, 12)
    return values


def at(year: int, month: int, day: int, hour: int, minute: int) -> int:
    """A local time in seconds since 1970."""
    return round(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("clock", "action", "pattern"),
    [
        ((6, 29), 3, 254),
        ((6, 30), 1, 11),
        ((8, 59), 1, 11),
        ((9, 0), 2, 12),
        ((21, 59), 2, 12),
        ((23, 59), 3, 254),
    ],
)
def test_the_last_event_up_to_now_holds_and_before_the_first_one_yesterdays_last(
    values: Values, clock: tuple[int, int], action: int, pattern: int
) -> None:
    assert read_time_base(values, at(2026, 3, 4, *clock)) == TimeBase(3, 1, action, pattern)


def test_the_most_specific_entry_wins_and_of_equals_the_lowest(values: Values) -> None:
    put_event(values, 2, 1, (0, 0), 4, 20)
    put_event(values, 3, 1, (0, 0), 5, 30)
    put_event(values, 4, 1, (0, 0), 6, 40)
    put_entry(values, 4, 2, weekdays=(1, 7))
    put_entry(values, 5, 3, months=(12,), dates=(25,))
    put_entry(values, 6, 4, weekdays=(1, 7))
    friday, saturday = at(2026, 12, 25, 12, 0), at(2026, 12, 26, 12, 0)
    assert read_time_base(values, friday).pattern == 30
    assert read_time_base(values, saturday) == TimeBase(4, 2, 4, 20)
    assert read_time_base(values, at(2026, 12, 27, 12, 0)).entry == 4
    assert read_time_base(values, at(2026, 12, 28, 12, 0)).entry == 3


def test_without_an_entry_or_with_an_action_of_pattern_0_the_unit_is_free(values: Values) -> None:
    values["timebaseAscPattern", (2,)] = 0
    assert read_time_base(values, at(2026, 3, 4, 12, 0)) == TimeBase(3, 1, 2, 254)
    put_entry(values, 3, 0)
    assert read_time_base(values, at(2026, 3, 4, 12, 0)) == TimeBase(0, 0, 0, 254)


def test_an_event_that_points_elsewhere_is_passed_over(values: Values) -> None:
    values["dayPlanActionNumberOID", (1, 5)] = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 1, 5, 3, 1, 2, 2)
    assert read_time_base(values, at(2026, 3, 4, 12, 0)).action == 1


def test_a_unit_follows_its_schedule_on_its_local_clock() -> None:
    record = eight_phases()
    unit, values = new_unit(record, utc_s=MONDAY + 7 * 3600 - 30, time_zone_s=-3600)
    splits = {1: 15, 2: 35, 3: 15, 4: 35, 5: 20, 6: 30, 7: 25, 8: 25}
    put_pattern(values, 5, 100, splits)
    put_entry(values, 1, 7, weekdays=(2,))
    put_event(values, 7, 1, (6, 0), 9, 5)
    run(unit, 29)
    assert unit.status(("coordPatternStatus", ())) == 254
    assert unit.status(("timebaseAscActionStatus", ())) == 0
    run(unit, 2)
    assert unit.status(("coordPatternStatus", ())) == 5
    assert unit.status(("unitControlStatus", ())) == 6
    assert [unit.status((n, ())) for n in ("timebaseAscActionStatus", "dayPlanStatus")] == [9, 7]
    assert unit.status(("timeBaseScheduleTableStatus", ())) == 1
    run(unit, 300)
    assert in_step(unit)
    assert [e.parameter for e in unit.drain_events() if e.code == Code.PATTERN] == [5]


def test_a_clock_that_is_set_changes_the_pattern_at_once() -> None:
    unit, values = new_unit(eight_phases(), utc_s=MONDAY)
    put_entry(values, 1, 1)
    put_event(values, 1, 1, (6, 0), 1, 255)
    put_event(values, 1, 2, (7, 0), 2, 254)
    run(unit, 10)
    unit.set_clock(MONDAY + 6 * 3600 + 17)
    run(unit, 30)
    assert unit.indications.flash
