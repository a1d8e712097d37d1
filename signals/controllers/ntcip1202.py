"""The driver of NTCIP 1202 units: how a plan gets into one over SNMP, and what it says it does.

A plan is written to rows that nothing refers to, read back object by object, and only then commanded: no message is
trusted to be atomic, since agents half-apply a SET that they refuse, or refuse nothing and keep what they had. Where
the unit has transactions, one is opened, verified and committed; a GET shows the live value before and after, never
the buffer. docs/controllers.md has the steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from signals.controllers.base import Slot, WriteReport
from signals.controllers.ntcip_database import UnitDatabase, Values
from signals.controllers.ntcip_schedule import OBJECT_NAMES, Schedule
from signals.controllers.objects import OBJECTS, Key, ObjectType, name_of
from signals.controllers.snmp import SnmpClient
from signals.controllers.snmp_codec import Value
from signals.errors import ControllerRefused
from signals.model.controller import (
    AUTOMATIC,
    FLASH,
    MOST_PATTERNS,
    Capabilities,
    ControllerPhase,
    ControllerRecord,
    ControllerStatus,
    FreeStatus,
    Pattern,
    PhaseOption,
    Rings,
    ScheduleEntry,
    Split,
    SplitMode,
    SyncPoint,
)

PATTERN_TABLE = 2
"""patternTableType of units whose patterns are rows by number."""
_NOT_FLASHING, _MANUAL, _PREEMPT_NOT_ACTIVE = 2, 5, 2
_OFFSET_TRANSITION, _LOCAL_OVERRIDE = 1 << 5, 1 << 3
_ALARMS = (
    ("unitAlarmStatus1", 5, "local flash"),
    ("unitAlarmStatus1", 4, "MMU flash"),
    ("unitAlarmStatus1", 3, "cycle fail"),
    ("unitAlarmStatus1", 2, "coordination fail"),
    ("unitAlarmStatus1", 1, "coordination fault"),
    ("unitAlarmStatus1", 0, "cycle fault"),
    ("unitAlarmStatus2", 4, "stop time"),
    ("shortAlarmStatus", 4, "coordination alarm"),
)
_LIMITS = ("maxPhases", "maxPatterns", "patternTableType", "maxSplits", "maxRings", "maxSequences")
_PERHAPS = (
    *("maxTimebaseAscActions", "maxTimeBaseScheduleEntries", "maxDayPlans", "maxDayPlanEvents"),
    *("unitBackupTime", "dbCreateTransaction"),
)
_PHASE = (
    *("phaseWalk", "phasePedestrianClear", "phaseMinimumGreen", "phasePassage", "phaseMaximum1"),
    *("phaseMaximum2", "phaseYellowChange", "phaseRedClear", "phaseRing", "phaseConcurrency"),
)
_COMMANDED = ("coordPatternStatus", "systemPatternControl", "coordOperationalMode")
_STATUS = (
    *("coordPatternStatus", "localFreeStatus", "unitAlarmStatus1", "unitAlarmStatus2", "shortAlarmStatus"),
    *("unitFlashStatus", "unitControlStatus", "globalTime", "systemPatternControl"),
    *("coordOperationalMode", "maxPreempts"),
)
_SPLIT = ("splitTime", "splitMode", "splitCoordPhase")
_AT_A_TIME = 8


def objects_of(
    slot: Slot, pattern: Pattern, capabilities: Capabilities
) -> list[tuple[ObjectType, tuple[int, ...], Value]]:
    """A pattern as the objects of a slot: each with its row and value. Phases without a split aren't touched.

    A unit without sync points gets none: its offset refers to what the unit is set to.

    Raises
    ------
    ControllerRefused
        Where the unit has no such row, or a value is out of range.
    """
    n, s, q = slot.pattern, slot.split, slot.sequence
    for what, number, most in (
        ("pattern", n, min(capabilities.max_patterns, MOST_PATTERNS)),
        ("split", s, capabilities.max_splits),
        ("sequence", q, capabilities.max_sequences),
        ("ring", len(pattern.sequence), capabilities.max_rings),
        *(("phase", split.phase, capabilities.max_phases) for split in pattern.splits),
    ):
        if not 1 <= number <= most:
            raise ControllerRefused(f"{what} {number}: the unit has {what}s 1 to {most}; nothing was sent")
    phases = [split.phase for split in pattern.splits]
    if len(set(phases)) < len(phases):
        raise ControllerRefused(f"splits of phases {phases}: one a phase is expected; nothing was sent")
    if not 0 <= pattern.offset_s < pattern.cycle_s:
        raise ControllerRefused(
            f"offset {pattern.offset_s} s: expected 0 to below the cycle of {pattern.cycle_s} s; nothing was sent"
        )
    found: list[tuple[str, tuple[int, ...], Value]] = [
        ("patternCycleTime", (n,), pattern.cycle_s),
        ("patternOffsetTime", (n,), pattern.offset_s),
        ("patternSplitNumber", (n,), s),
        ("patternSequenceNumber", (n,), q),
    ]
    if capabilities.sync_points:
        found.append(("patternCoordSyncPoint", (n,), int(pattern.sync_point)))
    for split in pattern.splits:
        found += [
            ("splitTime", (s, split.phase), split.time_s),
            ("splitMode", (s, split.phase), int(split.mode)),
            ("splitCoordPhase", (s, split.phase), int(split.coordinated)),
        ]
    found += [
        ("sequenceData", (q, ring), data)
        for ring, data in enumerate(_rows(pattern.sequence, capabilities.max_rings), 1)
    ]
    return [(_checked(OBJECTS[name], index, value), index, value) for name, index, value in found]


def _checked(kind: ObjectType, index: tuple[int, ...], value: Value) -> ObjectType:
    """The object, where a value is in its range."""
    size = value if isinstance(value, int) else len(value)
    if not kind.low <= size <= kind.high:
        what = "" if isinstance(value, int) else " octets"
        raise ControllerRefused(
            f"{name_of(kind.oid(*index))} = {size}{what}: expected {kind.low} to {kind.high}; nothing was sent"
        )
    return kind


def _rows(sequence: Sequence[Sequence[int]], rings: int) -> list[bytes]:
    """A sequence as the rows of all rings of a unit, empty beyond its own."""
    return [bytes(sequence[r]) if r < len(sequence) else b"" for r in range(rings)]


def _rings(rows: Sequence[Value | None]) -> Rings:
    """The sequence that rows hold, without the empty rings at its end."""
    rings = [tuple(row) if isinstance(row, bytes) else () for row in rows]
    while rings and not rings[-1]:
        rings.pop()
    return tuple(rings)


class Ntcip1202:
    """A unit that speaks NTCIP 1202 v2 or v3 (or v1, where its objects suffice); it is a `Controller`.

    `discard_stale` throws away a transaction that the unit is found in: it is someone else's, or the remains of a
    push that died, and the unit can't say which. So it is for a person to decide; by default a write is refused.
    A verification has `verify_within_s` to end.
    """

    def __init__(
        self, client: SnmpClient, *, discard_stale: bool = False, verify_within_s: float = 30.0
    ) -> None:
        self._unit = UnitDatabase(client, discard_stale=discard_stale, verify_within_s=verify_within_s)
        self._limits: Capabilities | None = None

    async def _known_limits(self) -> Capabilities:
        return self._limits or await self.discover()

    async def discover(self) -> Capabilities:
        """What the unit can hold; the unit is asked for it again only here."""
        number = self._unit.number
        values = await self._unit.read(
            [*((name, ()) for name in (*_LIMITS, *_PERHAPS)), ("patternCoordSyncPoint", (1,))]
        )
        table = number(values, "patternTableType")
        if table != PATTERN_TABLE:
            raise ControllerRefused(
                f"{self._unit.where}: patternTableType is {table}, expected {PATTERN_TABLE} (patterns by number): "
                "set the unit to it, or leave it alone"
            )
        self._limits = Capabilities(
            max_phases=number(values, "maxPhases"),
            max_patterns=number(values, "maxPatterns"),
            max_splits=number(values, "maxSplits"),
            max_sequences=number(values, "maxSequences"),
            max_rings=number(values, "maxRings"),
            max_actions=number(values, "maxTimebaseAscActions", default=0),
            max_day_plans=number(values, "maxDayPlans", default=0),
            max_day_plan_events=number(values, "maxDayPlanEvents", default=0),
            max_schedule_entries=number(values, "maxTimeBaseScheduleEntries", default=0),
            sync_points=values["patternCoordSyncPoint", (1,)] is not None,
            backup_time_s=number(values, "unitBackupTime", default=0),
            transactions=values["dbCreateTransaction", ()] is not None,
        )
        return self._limits

    async def read_record(self) -> ControllerRecord:
        """The phases that are enabled, and the first sequence, as the unit holds them now."""
        number = self._unit.number
        limits = await self._known_limits()
        phases, rings = range(1, min(limits.max_phases, 40) + 1), range(1, limits.max_rings + 1)
        values = await self._unit.read(
            [*(("phaseOptions", (n,)) for n in phases), *(("sequenceData", (1, ring)) for ring in rings)]
        )
        enabled = [n for n in phases if number(values, "phaseOptions", n, default=0) & PhaseOption.ENABLED]
        if not enabled:
            raise ControllerRefused(f"{self._unit.where}: none of its phases 1 to {phases[-1]} is enabled")
        values |= await self._unit.read([(name, (n,)) for n in enabled for name in _PHASE])
        return ControllerRecord(
            tuple(self._phase(values, n) for n in enabled),
            _rings([values["sequenceData", (1, ring)] for ring in rings]),
        )

    def _phase(self, values: Values, n: int) -> ControllerPhase:
        number = self._unit.number
        concurrent = values["phaseConcurrency", (n,)]
        return ControllerPhase(
            number=n,
            ring=number(values, "phaseRing", n),
            concurrent=frozenset(concurrent) - {0} if isinstance(concurrent, bytes) else frozenset(),
            min_green_s=number(values, "phaseMinimumGreen", n),
            yellow_s=number(values, "phaseYellowChange", n) / 10,
            red_clear_s=number(values, "phaseRedClear", n) / 10,
            walk_s=number(values, "phaseWalk", n),
            pedestrian_clear_s=number(values, "phasePedestrianClear", n),
            passage_s=number(values, "phasePassage", n) / 10,
            max_green_1_s=number(values, "phaseMaximum1", n),
            max_green_2_s=number(values, "phaseMaximum2", n),
            options=PhaseOption(number(values, "phaseOptions", n)),
        )

    async def find_slot(self, capabilities: Capabilities, sequence: Sequence[Sequence[int]]) -> Slot:
        """The last empty pattern row that nothing refers to, else the last that nothing refers to; with its split row.

        A pattern is referred to where it runs, is commanded, or an action names it. Its split row is the one that the
        unit says, which must be no such pattern's. The sequence row is one that holds `sequence`; else the last one
        that no such pattern has, and never the first, which is that of free operation.

        Raises
        ------
        ControllerRefused
            Where there is none.
        """
        actions = [("timebaseAscPattern", (a,)) for a in range(1, capabilities.max_actions + 1)]
        first = [("sequenceData", (1, ring)) for ring in range(1, capabilities.max_rings + 1)]
        values = await self._unit.read([*((name, ()) for name in _COMMANDED), *first, *actions])
        most = min(capabilities.max_patterns, MOST_PATTERNS)
        named = {value for key, value in values.items() if key not in first and isinstance(value, int)}
        used = sorted(n for n in named if 1 <= n <= most)
        pattern, split = await self._idle_pattern(capabilities, used)
        wanted = _rows(sequence, capabilities.max_rings)
        if [values[key] for key in first] == wanted:
            return Slot(pattern, split, 1)
        return Slot(pattern, split, await self._sequence_row(capabilities, wanted, used))

    async def _idle_pattern(self, capabilities: Capabilities, used: Sequence[int]) -> tuple[int, int]:
        """A pattern row and the split row that it names."""
        idle = [n for n in range(min(capabilities.max_patterns, MOST_PATTERNS), 0, -1) if n not in used]
        values = await self._unit.read([("patternSplitNumber", (n,)) for n in used])
        shared = set(values.values())
        full: tuple[int, int] | None = None
        for start in range(0, len(idle), _AT_A_TIME):
            some = idle[start : start + _AT_A_TIME]
            values = await self._unit.read(
                [(name, (n,)) for n in some for name in ("patternSplitNumber", "patternCycleTime")]
            )
            for n in some:
                split = values["patternSplitNumber", (n,)]
                if not isinstance(split, int) or not 1 <= split <= capabilities.max_splits or split in shared:
                    continue
                if values["patternCycleTime", (n,)] == 0:
                    return n, split
                full = full or (n, split)
        if full is None:
            raise ControllerRefused(
                f"{self._unit.where}: no pattern row is idle: of {capabilities.max_patterns}, {len(used)} run, are "
                "commanded or named by an action, and the others have no split row of their own; free one"
            )
        return full

    async def _sequence_row(
        self, capabilities: Capabilities, wanted: list[bytes], used: Sequence[int]
    ) -> int:
        """A row from 2 on that holds a sequence, or that may be made to."""
        numbers, rings = range(2, capabilities.max_sequences + 1), range(1, capabilities.max_rings + 1)
        values = await self._unit.read(
            [
                *(("sequenceData", (q, ring)) for q in numbers for ring in rings),
                *(("patternSequenceNumber", (n,)) for n in used),
            ]
        )
        for q in numbers:
            if [values["sequenceData", (q, ring)] for ring in rings] == wanted:
                return q
        held = {values["patternSequenceNumber", (n,)] for n in used}
        for q in reversed(numbers):
            if q not in held:
                return q
        raise ControllerRefused(
            f"{self._unit.where}: no sequence row is idle: of {capabilities.max_sequences}, the first is that of "
            "free operation, and patterns that are in use have the others; free one"
        )

    async def read_plan(self, pattern: int) -> Pattern | None:
        """The pattern of a row, with the split and sequence rows that it names now; None where its cycle is 0."""
        number = self._unit.number
        limits = await self._known_limits()
        n = pattern
        columns = ("patternCycleTime", "patternOffsetTime", "patternSplitNumber", "patternSequenceNumber")
        values = await self._unit.read([(name, (n,)) for name in (*columns, "patternCoordSyncPoint")])
        cycle_s, s, q = (number(values, columns[k], n) for k in (0, 2, 3))
        if cycle_s == 0:
            return None
        rows = await self._unit.read([("sequenceData", (q, ring)) for ring in range(1, limits.max_rings + 1)])
        sequence = _rings(list(rows.values()))
        phases = sorted({p for ring in sequence for p in ring if 1 <= p <= limits.max_phases})
        values |= await self._unit.read([*(("phaseOptions", (p,)) for p in phases), *_split_keys(s, phases)])
        sync = number(values, "patternCoordSyncPoint", n, default=SyncPoint.UNIT)
        try:
            return Pattern(
                cycle_s,
                number(values, "patternOffsetTime", n),
                tuple(
                    Split(
                        p,
                        number(values, "splitTime", s, p),
                        SplitMode(number(values, "splitMode", s, p)),
                        bool(number(values, "splitCoordPhase", s, p)),
                    )
                    for p in phases
                    if number(values, "phaseOptions", p) & PhaseOption.ENABLED
                ),
                sequence,
                SyncPoint(sync),
            )
        except ValueError as error:
            raise ControllerRefused(f"{self._unit.where}: pattern {n} can't be read: {error}") from error

    async def read_status(self) -> ControllerStatus:
        """What the unit does now."""
        number = self._unit.number
        values = await self._unit.read([(name, ()) for name in _STATUS])
        preempts = range(1, number(values, "maxPreempts", default=0) + 1)
        values |= await self._unit.read([("preemptState", (n,)) for n in preempts])
        pattern, free = number(values, "coordPatternStatus"), number(values, "localFreeStatus")
        alarms = {name: number(values, name, default=0) for name, _, _ in _ALARMS}
        flash = number(values, "unitFlashStatus", default=_NOT_FLASHING)
        return ControllerStatus(
            pattern=pattern,
            free_status=free,
            in_step=not alarms["unitAlarmStatus2"] & _OFFSET_TRANSITION and free != FreeStatus.TRANSITION,
            alarms=tuple(words for name, bit, words in _ALARMS if alarms[name] >> bit & 1),
            in_flash=flash != _NOT_FLASHING or pattern == FLASH,
            preempted=any(values["preemptState", (n,)] not in (None, _PREEMPT_NOT_ACTIVE) for n in preempts),
            manual=number(values, "unitControlStatus", default=0) == _MANUAL
            or bool(alarms["shortAlarmStatus"] & _LOCAL_OVERRIDE),
            utc_s=number(values, "globalTime"),
            system_pattern=number(values, "systemPatternControl"),
            operational_mode=number(values, "coordOperationalMode", default=AUTOMATIC),
        )

    # -------------------------------------------------------------------------------------------- writing

    async def write_plan(self, slot: Slot, pattern: Pattern) -> WriteReport:
        """Write a pattern to an idle slot, and read every object back.

        Where the slot holds it already, nothing is sent. A sequence row that holds the sequence already isn't set, as
        other patterns may use it; nor is the split row of a pattern, which most units fix.

        Raises
        ------
        ControllerRefused
            Where the pattern runs or is commanded, its split row is another one, sequence 1 would be changed, a
            value is out of range; or what `UnitDatabase.write` refuses.
        ReadBackDiffers
            Where the unit holds other values than it was told. Don't activate.
        """
        limits = await self._known_limits()
        wanted: dict[Key, Value] = {
            (kind.name, index): value for kind, index, value in objects_of(slot, pattern, limits)
        }
        commanded: list[Key] = [(name, ()) for name in _COMMANDED]
        before = await self._unit.read(
            [*wanted, *commanded, ("dbCreateTransaction", ()), ("dbVerifyStatus", ())]
        )
        changed = {key for key, value in wanted.items() if before[key] not in (None, value)}
        if changed and slot.pattern in (before[key] for key in commanded):
            raise ControllerRefused(
                f"{self._unit.where}: pattern {slot.pattern} runs or is commanded; nothing was sent. Take an idle slot"
            )
        split: Key = ("patternSplitNumber", (slot.pattern,))
        if split in changed:
            raise ControllerRefused(
                f"{self._unit.where}: pattern {slot.pattern} has split row {before[split]!r}, not {slot.split}; "
                "nothing was sent. Find the slot anew"
            )
        if slot.sequence == 1 and any(name == "sequenceData" for name, _ in changed):
            raise ControllerRefused(
                f"{self._unit.where}: sequence 1 is that of free operation and isn't changed; nothing was sent. Find "
                "the slot anew"
            )
        return await self._unit.write(wanted, before, keep=("patternSplitNumber", "sequenceData"))

    async def write_schedule(
        self, entries: Sequence[ScheduleEntry], own: Collection[int] = ()
    ) -> WriteReport:
        """Write the time-base schedule to idle rows, and read it back: see `ntcip_schedule`.

        `own` are rows of the schedule that Greensplit has written before: they are used again, or emptied.
        """
        schedule = Schedule(self._unit, await self._known_limits())
        return await self._unit.write(await schedule.objects_of(entries, own), keep=OBJECT_NAMES)

    async def activate(self, pattern: int) -> None:
        """Command a pattern, FREE or FLASH; to be repeated more often than the unit's backup time."""
        if not 1 <= pattern <= FLASH:
            raise ControllerRefused(
                f"pattern {pattern}: expected 1 to {FLASH}; release() leaves the unit to itself"
            )
        await self._unit.command("systemPatternControl", pattern)

    async def release(self) -> None:
        """Leave the unit to its own time base."""
        await self._unit.command("systemPatternControl", AUTOMATIC)


def _split_keys(row: int, phases: Iterable[int]) -> list[Key]:
    return [(name, (row, phase)) for phase in phases for name in _SPLIT]
