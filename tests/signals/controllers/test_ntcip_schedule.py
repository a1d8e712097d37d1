"""The driver and the time base: whose rows a schedule is written to, and whose it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from signals.controllers.base import WriteReport
from signals.controllers.ntcip_schedule import ACTION_NUMBER, NO_ACTION
from signals.errors import ControllerRefused
from signals.model.controller import FREE, DayPlanEvent, ScheduleEntry
from tests.signals.controllers.paper import PaperUnit

ALL_MONTHS, ALL_DATES = frozenset(range(1, 13)), frozenset(range(1, 32))
WEEKDAYS, WEEKEND = frozenset(range(2, 7)), frozenset((1, 7))
MORNING = (DayPlanEvent(6, 30, 47), DayPlanEvent(9, 15, 48), DayPlanEvent(22, 0, FREE))
QUIET = (DayPlanEvent(0, 0, FREE),)


def entry(events: tuple[DayPlanEvent, ...] = MORNING, weekdays: frozenset[int] = WEEKDAYS) -> ScheduleEntry:
    """An entry for weekdays of the whole year."""
    return ScheduleEntry(ALL_MONTHS, weekdays, ALL_DATES, events)


def write(unit: PaperUnit, *entries: ScheduleEntry, own: Collection[int] = ()) -> WriteReport:
    """Write a schedule; its report."""
    return asyncio.run(unit.driver.write_schedule(entries, own))


def rows_of(report: WriteReport) -> list[int]:
    """The rows of schedule entries in a report."""
    return [
        int(w.name.split(".")[1]) for w in report.written if w.name.startswith("timeBaseScheduleDayPlan.")
    ]


def does(unit: PaperUnit, row: int) -> list[tuple[int, int, int]]:
    """Hour, minute and pattern of the events of an entry, as a unit would read them."""
    plan = unit.live["timeBaseScheduleDayPlan", (row,)]
    found = []
    for event in range(1, 17):
        action = unit.live["dayPlanActionNumberOID", (plan, event)]
        if action != NO_ACTION:
            assert action[:-1] == ACTION_NUMBER
            hour, minute = (unit.live[name, (plan, event)] for name in ("dayPlanHour", "dayPlanMinute"))
            found.append((hour, minute, unit.live["timebaseAscPattern", (action[-1],)]))
    return found


def someone_elses(
    unit: PaperUnit, row: int = 1, plan: int = 1, action: int = 1, days: int = 0b111_1100
) -> None:
    """An entry that a person has programmed: at 7:00 pattern 5."""
    unit.live |= {
        ("timeBaseScheduleMonth", (row,)): 0b1_1111_1111_1110,
        ("timeBaseScheduleDay", (row,)): days,
        ("timeBaseScheduleDate", (row,)): 2**32 - 2,
        ("timeBaseScheduleDayPlan", (row,)): plan,
        ("dayPlanHour", (plan, 1)): 7,
        ("dayPlanActionNumberOID", (plan, 1)): (*ACTION_NUMBER, action),
        ("timebaseAscPattern", (action,)): 5,
    }


def test_a_schedule_commands_its_patterns_on_its_days() -> None:
    unit = PaperUnit()
    rows = rows_of(write(unit, entry(), entry(QUIET, WEEKEND)))
    assert [does(unit, row) for row in rows] == [[(6, 30, 47), (9, 15, 48), (22, 0, FREE)], [(0, 0, FREE)]]
    assert unit.live["timeBaseScheduleMonth", (rows[0],)] == sum(1 << month for month in range(1, 13))
    assert unit.live["timeBaseScheduleDay", (rows[0],)] == sum(1 << day for day in range(2, 7))
    assert unit.live["timeBaseScheduleDate", (rows[0],)] == sum(1 << date for date in range(1, 32))
    assert unit.states == [2, 3, 1]


@pytest.mark.parametrize("own", [(), (1, 2)])
def test_writing_it_twice_is_writing_it_once(own: tuple[int, ...]) -> None:
    unit = PaperUnit()
    first = write(unit, entry(), entry(QUIET, WEEKEND))
    before, sets = dict(unit.live), len(unit.sets)
    again = write(unit, entry(), entry(QUIET, WEEKEND), own=own)
    assert rows_of(again) == rows_of(first)
    assert (unit.live, len(unit.sets)) == (before, sets)


def test_rows_of_someone_else_stay_as_they_are() -> None:
    unit = PaperUnit()
    someone_elses(unit, days=0b1000_0010)
    unit.live["timebaseAscSpecialFunction", (2,)] = 1
    unit.live["dayPlanActionNumberOID", (2, 1)] = (*ACTION_NUMBER, 9)  # of no entry, but filled
    before = dict(unit.live)
    report = write(unit, entry())
    touched = {w.name for w in report.written}
    assert rows_of(report) == [2]
    assert not touched & {
        "timebaseAscPattern.1",
        "timebaseAscPattern.2",
        "dayPlanHour.1.1",
        "dayPlanHour.2.1",
    }
    changed = {key for key, value in unit.live.items() if before[key] != value}
    assert ("timeBaseScheduleDayPlan", (1,)) not in changed
    assert does(unit, 1) == [(7, 0, 5)]


def test_an_action_of_a_named_day_plan_that_does_nothing_is_not_idle() -> None:
    unit = PaperUnit()
    someone_elses(unit, days=0b1000_0010)
    unit.live["timebaseAscPattern", (1,)] = 0
    write(unit, entry())
    assert unit.live["timebaseAscPattern", (1,)] == 0


def test_an_entry_of_someone_else_for_the_same_days_is_not_fought() -> None:
    unit = PaperUnit()
    someone_elses(unit)
    with pytest.raises(ControllerRefused, match="schedule entry 1, which isn't ours, is for the same days"):
        write(unit, entry())
    assert unit.sets == []


def test_a_day_plan_of_someone_else_is_not_idle_though_it_begins_with_an_empty_event() -> None:
    unit = PaperUnit()
    someone_elses(unit, days=0b1000_0010)
    unit.live["dayPlanActionNumberOID", (1, 2)] = unit.live["dayPlanActionNumberOID", (1, 1)]
    unit.live["dayPlanActionNumberOID", (1, 1)] = NO_ACTION
    write(unit, entry())
    assert does(unit, 1) == [(0, 0, 5)]


def test_an_entry_that_does_more_than_is_wanted_is_not_the_same() -> None:
    unit = PaperUnit()
    someone_elses(unit)
    wanted = entry((DayPlanEvent(7, 0, 5),))
    assert rows_of(write(unit, wanted)) == [1]
    unit.live["timebaseAscAuxillaryFunction", (1,)] = 1
    with pytest.raises(ControllerRefused, match="does something else"):
        write(unit, wanted)


def test_ours_are_changed_in_place_and_what_is_left_of_them_is_emptied() -> None:
    unit = PaperUnit()
    empty = dict(unit.live)
    own = rows_of(write(unit, entry(), entry(QUIET, WEEKEND)))
    changed = (DayPlanEvent(7, 0, 46),)
    rows = rows_of(write(unit, entry(changed), own=own))
    assert does(unit, rows[0]) == [(7, 0, 46)]
    used = [row for row in range(1, 33) if unit.live["timeBaseScheduleDayPlan", (row,)]]
    assert used == [rows[0]]
    assert {unit.live["timebaseAscPattern", (a,)] for a in range(1, 65)} == {0, 46}
    write(unit, own=rows)
    names = ("timeBase", "dayPlan", "timebaseAsc")
    assert {k: v for k, v in unit.live.items() if k[0].startswith(names)} == {
        k: v for k, v in empty.items() if k[0].startswith(names)
    }


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("maxTimeBaseScheduleEntries", "no idle schedule entry left"),
        ("maxDayPlans", "no idle day plan left"),
        ("maxTimebaseAscActions", "no idle action left"),
    ],
)
def test_a_unit_without_room_gets_nothing(limit: str, words: str) -> None:
    unit = PaperUnit()
    unit.live[limit, ()] = 1
    with pytest.raises(ControllerRefused, match=words):
        write(unit, entry(), entry(QUIET, WEEKEND))
    assert unit.sets == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry(), entry(QUIET)], "different days"),
        ([entry(weekdays=frozenset())], "none for no day"),
        ([entry(())], "0 events on a day: expected 1 to 16"),
        ([entry((DayPlanEvent(7, 0, 1), DayPlanEvent(7, 0, 2)))], "two events at one time"),
        ([entry((DayPlanEvent(24, 0, 1),))], "pattern 1 at 24:00: there is no such event"),
        ([entry((DayPlanEvent(7, 0, 0),))], "pattern 0 at 7:00: there is no such event"),
    ],
)
def test_a_schedule_that_makes_no_sense_never_leaves(entries: list[ScheduleEntry], words: str) -> None:
    unit = PaperUnit()
    with pytest.raises(ControllerRefused, match=words):
        write(unit, *entries)
    assert unit.sets == []
