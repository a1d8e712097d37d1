"""The status objects of a virtual unit, worked out from what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from signals.controllers.objects import Key, bits_of
from signals.controllers.virtual.database import Value, integer
from signals.controllers.virtual.ring import Interval, Ring
from signals.model.controller import FLASH, FreeStatus

if TYPE_CHECKING:
    from signals.controllers.virtual.unit import Unit

NOT_FLASHING, AUTOMATIC, MMU, START_UP = 2, 3, 6, 7
"""Values of unitFlashStatus."""
COORD_ACTIVE, LOCAL_FREE, LOCAL_FLASH, MMU_FLASH = 1 << 7, 1 << 6, 1 << 5, 1 << 4
"""Bits of unitAlarmStatus1."""
OFFSET_TRANSITION = 1 << 5
"""Bit of unitAlarmStatus2."""
CRITICAL, COORD_ALARM, LOCAL_OVERRIDE, CYCLE_ZERO, IN_FLASH, PREEMPT = (
    1 << 7,
    1 << 4,
    1 << 3,
    1 << 2,
    1 << 1,
    1,
)
"""Bits of shortAlarmStatus."""
ALARMING = (FreeStatus.BAD_PLAN, FreeStatus.BAD_CYCLE, FreeStatus.SPLIT_OVERRUN, FreeStatus.INVALID_OFFSET)


def read_status(unit: Unit, key: Key) -> Value:
    """The value of a status object.

    Raises
    ------
    KeyError
        Where it isn't one, or the row doesn't exist.
    """
    name, index = key
    if name in _GROUPS:
        groups = integer(unit.values, "maxPhaseGroups")
        if len(index) != 1 or not 1 <= index[0] <= groups:
            raise KeyError(key)
        return _GROUPS[name](unit) >> (8 * index[0] - 7) & 0xFF
    if name == "preemptState" and len(index) == 1 and index[0] in unit.preemption.dwells:
        return unit.preemption.state(index[0])
    if name == "ringStatus" and len(index) == 1 and 1 <= index[0] <= integer(unit.values, "maxRings"):
        rings = unit.engine.rings
        return _ring_status(rings[index[0] - 1], unit.engine.now) if index[0] <= len(rings) else 0
    if index or name not in _SCALARS:
        raise KeyError(key)
    return _SCALARS[name](unit)


def flash_status(unit: Unit) -> int:
    """unitFlashStatus."""
    mode = unit.mode
    if unit.tripped:
        return MMU
    return {mode.FLASH: AUTOMATIC, mode.START_FLASH: START_UP}.get(mode, NOT_FLASHING)


def alarm_status(unit: Unit) -> int:
    """unitAlarmStatus1."""
    if unit.tripped:
        return MMU_FLASH
    if unit.mode is unit.mode.FLASH:
        return LOCAL_FLASH
    return COORD_ACTIVE if free_status(unit) == FreeStatus.NOT_FREE else LOCAL_FREE


def free_status(unit: Unit) -> int:
    """localFreeStatus: a preempt or manual control suspends coordination by an input, a trip by a failure.

    A unit that starts or comes out of flash is free in transition until its first green.
    """
    if unit.tripped:
        return FreeStatus.FAILED
    if unit.preemption.served or unit.manual:
        return FreeStatus.INPUT
    if unit.engine.timer is None and unit.free_status == FreeStatus.NOT_FREE:
        return FreeStatus.TRANSITION
    return unit.free_status


def _short_alarms(unit: Unit) -> int:
    alarms = PREEMPT if unit.preemption.served else 0
    if unit.indications.flash:
        alarms |= IN_FLASH
    if unit.local_cycle is not None and unit.local_cycle[0] < 10:
        alarms |= CYCLE_ZERO
    if unit.manual:
        alarms |= LOCAL_OVERRIDE
    if unit.free_status in ALARMING:
        alarms |= COORD_ALARM
    return alarms | (CRITICAL if unit.tripped else 0)


def _pattern(unit: Unit) -> int:
    return FLASH if unit.tripped else unit.pattern


def _cycle_left(unit: Unit) -> int:
    cycle = unit.local_cycle
    return -((cycle[0] - cycle[1]) // 10) if cycle else 0


def _transition(unit: Unit) -> int:
    timer = unit.engine.timer
    return OFFSET_TRANSITION if timer is not None and timer.error else 0


def _ring_status(ring: Ring, now: int) -> int:
    """The coded status bits of NEMA TS 2: min green, extension, maximum, rest; yellow, red clearance, red rest."""
    if ring.interval is Interval.GREEN:
        if now < ring.min_at:
            return 0
        if ring.gap_at > now:
            return 1
        return 2 if ring.max_at <= now else 3
    return {Interval.YELLOW: 4, Interval.RED: 5}.get(ring.interval, 6)


def _reds(unit: Unit) -> int:
    shown = unit.indications
    return 0 if shown.flash else bits_of(unit.phases.keys() - shown.greens - shown.yellows)


def _dont_walks(unit: Unit) -> int:
    shown = unit.indications
    return 0 if shown.flash else bits_of(unit.phases.keys() - shown.walks - shown.ped_clears)


_GROUPS: dict[str, Callable[[Unit], int]] = {
    "phaseStatusGroupReds": _reds,
    "phaseStatusGroupYellows": lambda u: bits_of(u.indications.yellows),
    "phaseStatusGroupGreens": lambda u: bits_of(u.indications.greens),
    "phaseStatusGroupDontWalks": _dont_walks,
    "phaseStatusGroupPedClears": lambda u: bits_of(u.indications.ped_clears),
    "phaseStatusGroupWalks": lambda u: bits_of(u.indications.walks),
    "phaseStatusGroupVehCalls": lambda u: u.engine.vehicle_calls,
    "phaseStatusGroupPedCalls": lambda u: u.engine.ped_calls,
    "phaseStatusGroupPhaseOns": lambda u: u.engine.phases_on,
    "phaseStatusGroupPhaseNexts": lambda u: u.engine.phases_next,
}

_SCALARS: dict[str, Callable[[Unit], int]] = {
    "unitControlStatus": lambda u: u.control,
    "unitFlashStatus": flash_status,
    "unitAlarmStatus1": alarm_status,
    "unitAlarmStatus2": _transition,
    "shortAlarmStatus": _short_alarms,
    "coordPatternStatus": _pattern,
    "localFreeStatus": lambda u: int(free_status(u)),
    "coordCycleStatus": _cycle_left,
    "coordSyncStatus": lambda u: u.local_cycle[0] // 10 if u.local_cycle else 0,
    "timebaseAscActionStatus": lambda u: u.time_base.action,
    "dayPlanStatus": lambda u: u.time_base.day_plan,
    "timeBaseScheduleTableStatus": lambda u: u.time_base.entry,
    "globalTime": lambda u: u.utc_ms // 1000,
    "controllerLocalTime": lambda u: u.utc_ms // 1000 + integer(u.values, "controllerStandardTimeZone"),
}
