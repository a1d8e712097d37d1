"""Periods of a day as events of a unit's day plan."""

from __future__ import annotations

import pytest

from signals.controllers.mapping import schedule_of
from signals.errors import UnmappablePlan


def test_periods_are_events_of_a_day_plan() -> None:
    entry = schedule_of([(21_600.0, 3), (34_260.0, 254)], weekdays=range(2, 7))
    assert [(e.hour, e.minute, e.pattern) for e in entry.events] == [(6, 0, 3), (9, 31, 254)]
    assert entry.weekdays == {2, 3, 4, 5, 6}
    assert entry.months == set(range(1, 13))
    assert entry.dates == set(range(1, 32))


@pytest.mark.parametrize(
    ("periods", "reason"),
    [
        ([(21_630.0, 1)], "let it begin at second 21600"),
        ([(86_400.0, 1)], "from 0:00 to 23:59"),
        ([(3600.0, 1), (3600.0, 2)], "in order, each once"),
        ([(0.0, 0)], "pattern 0"),
        ([], "without events"),
    ],
)
def test_periods_that_no_day_plan_holds_are_refused(periods: list[tuple[float, int]], reason: str) -> None:
    with pytest.raises(UnmappablePlan, match=reason):
        schedule_of(periods)


def test_a_schedule_for_no_day_is_refused() -> None:
    with pytest.raises(UnmappablePlan, match="weekdays"):
        schedule_of([(0.0, 1)], weekdays=[0, 8])
