"""The time base of an NTCIP unit: schedule entries, their day plans, and the actions that command patterns.

A schedule goes to rows that are idle or ours, and never to anyone else's:

* an action row is idle where it does nothing (pattern, auxiliary and special functions 0) and no day plan that an
  entry names uses it; one that commands just the pattern is used as it is;
* a day plan is idle where no entry names it and its first event has no action;
* an entry is idle where it names no day plan. Ours are those that the caller says; what of them isn't needed any more
  is emptied, with the day plans that only they name, and the actions that only those do.

An entry of someone else's for just the same days would compete with ours: it is left alone where it does the same, and
otherwise the schedule is refused. Of entries for other days the unit takes the more specific one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from signals.controllers.ntcip_database import UnitDatabase, Values
from signals.controllers.objects import OBJECTS, Key, Oid, bits_of
from signals.controllers.snmp_codec import Value
from signals.errors import ControllerRefused
from signals.model.controller import FLASH, Capabilities, ScheduleEntry

NO_ACTION: Oid = (0, 0)
"""dayPlanActionNumberOID of an event that isn't used."""
ACTION_NUMBER: Oid = (*OBJECTS["timebaseAscPattern"].prefix[:-1], 1)
"""timebaseAscActionNumber, by whose instance an event names its action."""
_DAYS = ("timeBaseScheduleMonth", "timeBaseScheduleDay", "timeBaseScheduleDate")
_DAY_PLAN = "timeBaseScheduleDayPlan"
_ACTION = ("timebaseAscPattern", "timebaseAscAuxillaryFunction", "timebaseAscSpecialFunction")
_EVENT = ("dayPlanHour", "dayPlanMinute", "dayPlanActionNumberOID")
OBJECT_NAMES = (*_DAYS, _DAY_PLAN, *_ACTION, *_EVENT)
"""Every object that a schedule consists of."""

_Events = tuple[tuple[int, int, int], ...]
"""Hour, minute and pattern."""


class Schedule:
    """Finds room in a unit for a schedule."""

    def __init__(self, unit: UnitDatabase, limits: Capabilities) -> None:
        self._unit, self._limits = unit, limits
        self._values: Values = {}
        self._wanted: dict[Key, Value] = {}

    async def objects_of(self, entries: Sequence[ScheduleEntry], own: Collection[int]) -> dict[Key, Value]:
        """The objects of a schedule with the values that they are to have.

        `own` are entries' rows that are ours: those of the schedule objects in an earlier report.

        Raises
        ------
        ControllerRefused
            Where there is no room, or an entry of someone else's is for the same days.
        """
        by_days = self._by_days(entries)
        await self._read()
        in_use = {row for row in self._rows() if self._number(_DAY_PLAN, row)}
        ours = in_use & set(own)
        kept = {
            self._days(row): row
            for row in sorted(in_use)
            if self._days(row) in by_days and self._holds(row, by_days)
        }
        for row in sorted(in_use - ours):
            if self._days(row) in by_days and self._days(row) not in kept:
                raise ControllerRefused(
                    f"{self._unit.where}: schedule entry {row}, which isn't ours, is for the same days and does "
                    "something else; nothing was sent. Remove it, or leave the schedule to it"
                )
        foreign = {self._number(_DAY_PLAN, row) for row in in_use - ours} | {
            self._number(_DAY_PLAN, row) for row in kept.values()
        }
        changed = ours - set(kept.values())
        spare = {self._number(_DAY_PLAN, row) for row in changed} - foreign
        rows = iter([*sorted(changed), *(row for row in self._rows() if row not in in_use)])
        idle = (
            plan
            for plan in range(1, self._limits.max_day_plans + 1)
            if plan not in foreign | spare and self._event(plan, 1) in (NO_ACTION, None)
        )
        plans, filled = iter([*sorted(spare), *idle]), dict[_Events, int]()
        named = self._named(foreign)
        actions = self._actions(named)
        for days, events in by_days.items():
            if days in kept:
                self._want_entry(kept[days], days, self._number(_DAY_PLAN, kept[days]))
            else:
                plan = filled.get(events) or self._next(plans, "day plan")
                if events not in filled:
                    filled[events] = plan
                    self._want_plan(plan, events, actions)
                self._want_entry(self._next(rows, "schedule entry"), days, plan)
        for row in changed:
            if (_DAY_PLAN, (row,)) not in self._wanted:
                self._want_entry(row, (0, 0, 0), 0)
        for plan in spare - set(filled.values()):
            self._want_plan(plan, (), actions)
        for action in self._named(spare) - named:
            self._wanted.setdefault((_ACTION[0], (action,)), 0)
        return self._wanted

    def _by_days(self, entries: Sequence[ScheduleEntry]) -> dict[tuple[int, int, int], _Events]:
        """Events by the masks of months, weekdays and dates, in which bit n stands for number n."""
        found: dict[tuple[int, int, int], _Events] = {}
        for entry in entries:
            days = (bits_of(entry.months), bits_of(entry.weekdays), bits_of(entry.dates))
            events = tuple(sorted((e.hour, e.minute, e.pattern) for e in entry.events))
            if days in found or not all(days):
                raise ControllerRefused(
                    f"{entry}: expected entries for different days, and none for no day at all"
                )
            if len({event[:2] for event in events}) < len(events):
                raise ControllerRefused(f"{entry}: two events at one time")
            if not 1 <= len(events) <= self._limits.max_day_plan_events:
                raise ControllerRefused(
                    f"{self._unit.where}: {len(events)} events on a day: expected 1 to "
                    f"{self._limits.max_day_plan_events}"
                )
            for hour, minute, pattern in events:
                if not (0 <= hour <= 23 and 0 <= minute <= 59 and 1 <= pattern <= FLASH):
                    raise ControllerRefused(
                        f"pattern {pattern} at {hour}:{minute:02}: there is no such event"
                    )
            found[days] = events
        return found

    async def _read(self) -> None:
        """Entries, actions, the day plans that entries name, and the first events of the others."""
        rows = [(name, (row,)) for row in self._rows() for name in (*_DAYS, _DAY_PLAN)]
        actions = [(name, (a,)) for a in range(1, self._limits.max_actions + 1) for name in _ACTION]
        self._values = await self._unit.read([*rows, *actions])
        named = {self._number(_DAY_PLAN, row) for row in self._rows()}
        self._values |= await self._unit.read(
            [
                (name, (plan, event))
                for plan in range(1, self._limits.max_day_plans + 1)
                for event in (range(1, self._limits.max_day_plan_events + 1) if plan in named else (1,))
                for name in (_EVENT if plan in named else _EVENT[2:])
            ]
        )

    def _rows(self) -> range:
        return range(1, self._limits.max_schedule_entries + 1)

    def _number(self, name: str, *index: int) -> int:
        return self._unit.number(self._values, name, *index, default=0)

    def _days(self, row: int) -> tuple[int, int, int]:
        months, weekdays, dates = (self._number(name, row) for name in _DAYS)
        return months, weekdays, dates

    def _event(self, plan: int, event: int) -> Value | None:
        """The action that an event names, as an object identifier."""
        return self._values.get(("dayPlanActionNumberOID", (plan, event)))

    def _action_of(self, plan: int, event: int) -> int:
        """The number of the action that an event names; 0 where it names none of the unit's."""
        name = self._event(plan, event)
        known = (
            isinstance(name, tuple) and name[:-1] == ACTION_NUMBER and name[-1] <= self._limits.max_actions
        )
        return name[-1] if isinstance(name, tuple) and known else 0

    def _holds(self, row: int, by_days: dict[tuple[int, int, int], _Events]) -> bool:
        """Whether an entry does what is wanted on its days, and nothing else."""
        plan, found = self._number(_DAY_PLAN, row), []
        for event in range(1, self._limits.max_day_plan_events + 1):
            if self._event(plan, event) in (NO_ACTION, None):
                continue
            action = self._action_of(plan, event)
            if not action or any(self._number(name, action) for name in _ACTION[1:]):
                return False
            hour, minute = (
                self._number("dayPlanHour", plan, event),
                self._number("dayPlanMinute", plan, event),
            )
            found.append((hour, minute, self._number(_ACTION[0], action)))
        return tuple(sorted(found)) == by_days[self._days(row)]

    def _named(self, plans: Collection[int]) -> set[int]:
        """Actions that events of day plans name."""
        events = range(1, self._limits.max_day_plan_events + 1)
        return {self._action_of(plan, event) for plan in plans for event in events} - {0}

    def _actions(self, named: Collection[int]) -> dict[int, list[int]]:
        """Action rows by the pattern that they command and nothing else; those of 0 are idle unless named."""
        found: dict[int, list[int]] = {}
        for action in range(1, self._limits.max_actions + 1):
            pattern, *functions = (self._number(name, action) for name in _ACTION)
            if not any(functions) and (pattern or action not in named):
                found.setdefault(pattern, []).append(action)
        return found

    def _next(self, rows: Iterator[int], what: str) -> int:
        row = next(rows, None)
        if row is None:
            raise ControllerRefused(f"{self._unit.where} has no idle {what} left; nothing was sent. Free one")
        return row

    def _want_entry(self, row: int, days: tuple[int, int, int], plan: int) -> None:
        for name, value in zip((*_DAYS, _DAY_PLAN), (*days, plan), strict=True):
            self._wanted[name, (row,)] = value

    def _want_plan(self, plan: int, events: _Events, actions: dict[int, list[int]]) -> None:
        """Fill a day plan, and empty what is left of it."""
        for k in range(self._limits.max_day_plan_events):
            values: tuple[Value, ...] = (0, 0, NO_ACTION)
            if k < len(events):
                hour, minute, pattern = events[k]
                values = (hour, minute, (*ACTION_NUMBER, self._action_for(pattern, actions)))
            for column, value in zip(_EVENT, values, strict=True):
                self._wanted[column, (plan, k + 1)] = value

    def _action_for(self, pattern: int, actions: dict[int, list[int]]) -> int:
        """The action that commands a pattern: one that does, or an idle one that is to."""
        if pattern not in actions:
            if not actions.get(0):
                raise ControllerRefused(
                    f"{self._unit.where} has no idle action left; nothing was sent. Free one"
                )
            actions[pattern] = [actions[0].pop(0)]
        action = actions[pattern][0]
        for name, value in zip(_ACTION, (pattern, 0, 0), strict=True):
            self._wanted[name, (action,)] = value
        return action
