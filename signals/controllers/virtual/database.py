"""What a virtual unit holds: values of objects by name and index, and those of a new unit."""

from __future__ import annotations

from collections.abc import Mapping

from signals.controllers.objects import Key
from signals.model.controller import Capabilities, ControllerRecord, CorrectionMode

Value = int | bytes | tuple[int, ...]
"""Integers, octets, and object identifiers."""
Values = dict[Key, Value]

ROOM = Capabilities(
    max_phases=16,
    max_patterns=48,
    max_splits=48,
    max_sequences=16,
    max_rings=4,
    max_actions=64,
    max_day_plans=16,
    max_day_plan_events=16,
    max_schedule_entries=32,
    sync_points=True,
    backup_time_s=900,
)
"""What a virtual unit can hold unless told otherwise."""


def new_values(
    record: ControllerRecord,
    capabilities: Capabilities = ROOM,
    *,
    utc_s: int = 0,
    time_zone_s: int = 0,
    correction: CorrectionMode = CorrectionMode.SHORTWAY,
) -> Values:
    """The database of a new unit: its phases and limits; no pattern, no schedule, free.

    Every row that the unit has room for is there, empty, so that it can be read and written. Statuses aren't
    here: the unit works them out when asked.
    """
    values: Values = {
        ("maxPhases", ()): capabilities.max_phases,
        ("maxPhaseGroups", ()): (capabilities.max_phases + 7) // 8,
        ("unitBackupTime", ()): capabilities.backup_time_s,
        ("coordOperationalMode", ()): 0,
        ("coordCorrectionMode", ()): int(correction),
        ("coordMaximumMode", ()): 4,
        ("coordForceMode", ()): 2,
        ("maxPatterns", ()): capabilities.max_patterns,
        ("patternTableType", ()): 2,
        ("maxSplits", ()): capabilities.max_splits,
        ("systemPatternControl", ()): 0,
        ("systemSyncControl", ()): 255,
        ("timebaseAscPatternSync", ()): 0,
        ("maxTimebaseAscActions", ()): capabilities.max_actions,
        ("maxPreempts", ()): 4,
        ("maxRings", ()): capabilities.max_rings,
        ("maxSequences", ()): capabilities.max_sequences,
        ("globalTime", ()): utc_s,
        ("globalDaylightSaving", ()): 2,
        ("controllerStandardTimeZone", ()): time_zone_s,
        ("maxTimeBaseScheduleEntries", ()): capabilities.max_schedule_entries,
        ("maxDayPlans", ()): capabilities.max_day_plans,
        ("maxDayPlanEvents", ()): capabilities.max_day_plan_events,
    }
    by_number = record.by_number
    for n in range(1, capabilities.max_phases + 1):
        phase = by_number.get(n)
        for name, value in (
            ("phaseWalk", phase.walk_s if phase else 0),
            ("phasePedestrianClear", phase.pedestrian_clear_s if phase else 0),
            ("phaseMinimumGreen", phase.min_green_s if phase else 0),
            ("phasePassage", round(10 * phase.passage_s) if phase else 0),
            ("phaseMaximum1", phase.max_green_1_s if phase else 0),
            ("phaseMaximum2", phase.max_green_2_s if phase else 0),
            ("phaseYellowChange", round(10 * phase.yellow_s) if phase else 30),
            ("phaseRedClear", round(10 * phase.red_clear_s) if phase else 0),
            ("phaseOptions", int(phase.options) if phase else 0),
            ("phaseRing", phase.ring if phase else 0),
            ("phaseConcurrency", bytes(sorted(phase.concurrent)) if phase else b""),
        ):
            values[name, (n,)] = value
    for n in range(1, capabilities.max_patterns + 1):
        values["patternCycleTime", (n,)] = 0
        values["patternOffsetTime", (n,)] = 0
        values["patternSplitNumber", (n,)] = min(n, capabilities.max_splits)
        values["patternSequenceNumber", (n,)] = 1
        if capabilities.sync_points:
            values["patternCoordSyncPoint", (n,)] = 2
    for s in range(1, capabilities.max_splits + 1):
        for n in range(1, capabilities.max_phases + 1):
            values["splitTime", (s, n)] = 0
            values["splitMode", (s, n)] = 2
            values["splitCoordPhase", (s, n)] = 0
    for q in range(1, capabilities.max_sequences + 1):
        for ring in range(1, capabilities.max_rings + 1):
            data = record.sequence[ring - 1] if ring <= len(record.sequence) else ()
            values["sequenceData", (q, ring)] = bytes(data)
    for a in range(1, capabilities.max_actions + 1):
        values["timebaseAscPattern", (a,)] = 0
        values["timebaseAscAuxillaryFunction", (a,)] = 0
        values["timebaseAscSpecialFunction", (a,)] = 0
    for n in range(1, capabilities.max_schedule_entries + 1):
        for name in (
            "timeBaseScheduleMonth",
            "timeBaseScheduleDay",
            "timeBaseScheduleDate",
            "timeBaseScheduleDayPlan",
        ):
            values[name, (n,)] = 0
    for day in range(1, capabilities.max_day_plans + 1):
        for event in range(1, capabilities.max_day_plan_events + 1):
            values["dayPlanHour", (day, event)] = 0
            values["dayPlanMinute", (day, event)] = 0
            values["dayPlanActionNumberOID", (day, event)] = (0, 0)
    return values


def integer(values: Mapping[Key, Value], name: str, *index: int) -> int:
    """The value of an integer object."""
    value = values[name, index]
    assert isinstance(value, int), name
    return value
