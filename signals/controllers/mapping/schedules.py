"""Periods of a day as a unit's time base holds them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from signals.errors import UnmappablePlan
from signals.model.controller import FLASH, MIDNIGHT_S, DayPlanEvent, ScheduleEntry

MONTHS, WEEKDAYS, DATES = range(1, 13), range(1, 8), range(1, 32)


def schedule_of(
    periods: Sequence[tuple[float, int]],
    *,
    months: Collection[int] = MONTHS,
    weekdays: Collection[int] = WEEKDAYS,
    dates: Collection[int] = DATES,
) -> ScheduleEntry:
    """A day plan and when it holds. Each period is the local second of the day that it begins at, and its pattern.

    The last period holds until midnight; what holds before the first is the unit's to say, so begin at 0 where it
    matters. Months are 1-12, weekdays 1 (Sunday) to 7, dates 1-31.

    Raises
    ------
    UnmappablePlan
        Where periods don't begin on whole minutes of the day, rising, or no day is chosen.
    """
    chosen = (("months", months, MONTHS), ("weekdays", weekdays, WEEKDAYS), ("dates", dates, DATES))
    for name, given, known in chosen:
        if not given or not set(given) <= set(known):
            raise UnmappablePlan(
                f"{name} {sorted(given)}: a schedule needs one at least, of {known[0]} to {known[-1]}"
            )
    if not periods:
        raise UnmappablePlan("a day plan without events; give one period at least, and its pattern")
    events: list[DayPlanEvent] = []
    last_s = -1.0
    for begin_s, pattern in periods:
        if begin_s % 60 or not 0 <= begin_s < MIDNIGHT_S:
            raise UnmappablePlan(
                f"a period that begins at second {begin_s:g} of the day: a unit's day plan holds whole minutes "
                f"from 0:00 to 23:59; let it begin at second {round(begin_s / 60) * 60 % MIDNIGHT_S}"
            )
        if begin_s <= last_s:
            raise UnmappablePlan(
                f"a period at second {begin_s:g} follows one at {last_s:g}; give them in order, each once"
            )
        if not 1 <= pattern <= FLASH:
            raise UnmappablePlan(f"pattern {pattern}: expected 1 to 253, 254 (free) or 255 (flash)")
        last_s = begin_s
        events.append(DayPlanEvent(int(begin_s) // 3600, int(begin_s) % 3600 // 60, pattern))
    return ScheduleEntry(frozenset(months), frozenset(weekdays), frozenset(dates), tuple(events))
