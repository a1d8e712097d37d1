"""The time base: which schedule entry holds today, which event of its day plan, which action, which pattern.

Of the entries that hold on a day, the most specific one wins: the one whose months, weekdays and dates leave the
fewest days; of equals the lowest number. Before the first event of a day, the last one of the day before holds on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from signals.controllers.objects import OBJECTS
from signals.controllers.virtual.database import Values, integer
from signals.model.controller import FREE

ACTION_PREFIX = (*OBJECTS["timebaseAscPattern"].prefix[:-1], 1)
"""What dayPlanActionNumberOID points at, less the number of the action: timebaseAscActionNumber."""


@dataclass(frozen=True, slots=True)
class TimeBase:
    """What the time base says now: schedule entry, day plan and action in force, 0 for none; and the pattern."""

    entry: int
    day_plan: int
    action: int
    pattern: int


def read_time_base(values: Values, local_s: int) -> TimeBase:
    """What holds at a local time, in seconds since 1970. Without any action the unit is free."""
    now = datetime.fromtimestamp(local_s, UTC)
    entry, plan = _entry(values, now)
    action = _action(values, plan, 60 * now.hour + now.minute)
    if not action:
        yesterday = _entry(values, now - timedelta(days=1))[1]
        action = _action(values, yesterday, 24 * 60)
    pattern = integer(values, "timebaseAscPattern", action) if action else 0
    return TimeBase(entry, plan, action, pattern or FREE)


def _entry(values: Values, day: datetime) -> tuple[int, int]:
    """The schedule entry and the day plan of a day; 0, 0 for none."""
    month, weekday, date = 1 << day.month, 1 << (day.isoweekday() % 7 + 1), 1 << day.day
    found = []
    for n in range(1, integer(values, "maxTimeBaseScheduleEntries") + 1):
        months, weekdays, dates = (
            integer(values, f"timeBaseSchedule{part}", n) for part in ("Month", "Day", "Date")
        )
        plan = integer(values, "timeBaseScheduleDayPlan", n)
        if plan and months & month and weekdays & weekday and dates & date:
            found.append((months.bit_count() * weekdays.bit_count() * dates.bit_count(), n, plan))
    return min(found)[1:] if found else (0, 0)


def _action(values: Values, plan: int, minute: int) -> int:
    """The action of the day plan's last event up to a minute of the day; 0 for none."""
    if not 1 <= plan <= integer(values, "maxDayPlans"):
        return 0
    found = []
    for event in range(1, integer(values, "maxDayPlanEvents") + 1):
        oid = values["dayPlanActionNumberOID", (plan, event)]
        if not isinstance(oid, tuple) or len(oid) != len(ACTION_PREFIX) + 1 or oid[:-1] != ACTION_PREFIX:
            continue
        at = 60 * integer(values, "dayPlanHour", plan, event) + integer(values, "dayPlanMinute", plan, event)
        if at <= minute and 1 <= oid[-1] <= integer(values, "maxTimebaseAscActions"):
            found.append((at, -event, oid[-1]))
    return max(found)[2] if found else 0
