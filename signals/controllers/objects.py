"""Objects of NTCIP 1202 (v2.18 and v3.28) and 1201: numbers, syntax, access, and which of them we may ever write.

Facts as in the MIB modules of NTCIP 1202 and 1201 (AASHTO, ITE, NEMA); docs/controllers.md says what is used for
what. The allow-list is here and nowhere else: `may_write` decides for every object that leaves the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

Oid = tuple[int, ...]
Key = tuple[str, tuple[int, ...]]
"""An object's name and the index of its row, which is empty for a scalar."""
ASC: Oid = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 1)
GLOBAL: Oid = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 6)
SCALAR = (0,)


class Syntax(StrEnum):
    """How a value is encoded."""

    INTEGER = "INTEGER"
    COUNTER = "Counter"
    OCTETS = "OCTET STRING"
    OID = "OBJECT IDENTIFIER"


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object: `low` to `high` is its range (of an octet string, its length).

    `indices` is how many numbers name a row, 0 for a scalar. `writable` is its access in the MIB; `database` says that
    it belongs to the database that a transaction guards; `ours`, that a push may write it.
    """

    name: str
    prefix: Oid
    low: int
    high: int
    indices: int = 0
    writable: bool = False
    database: bool = False
    ours: bool = False
    syntax: Syntax = Syntax.INTEGER

    def oid(self, *index: int) -> Oid:
        """The instance of a row, or the scalar's."""
        if len(index) != self.indices:
            raise ValueError(f"{self.name} has {self.indices} indices, not {len(index)}: {index}")
        return self.prefix + (index or SCALAR)


def _phase(name: str, column: int, high: int, **more: bool | int | Syntax) -> ObjectType:
    return ObjectType(name, (*ASC, 1, 2, 1, column), 0, high, 1, writable=True, database=True, **more)  # type: ignore[arg-type]


def _scalar(name: str, tail: Oid, low: int, high: int, **more: bool) -> ObjectType:
    return ObjectType(name, ASC + tail, low, high, 0, **more)  # type: ignore[arg-type]


def _status(name: str, column: int) -> ObjectType:
    return ObjectType(name, (*ASC, 1, 4, 1, column), 0, 255, 1)


def _written(name: str, tail: Oid, low: int, high: int, indices: int, **more: bool | Syntax) -> ObjectType:
    """A database object that a push may write."""
    return ObjectType(name, tail, low, high, indices, True, True, True, **more)  # type: ignore[arg-type]


OBJECTS: Mapping[str, ObjectType] = {
    o.name: o
    for o in (
        # phases: never written
        _scalar("maxPhases", (1, 1), 1, 255),
        _phase("phaseWalk", 2, 255),
        _phase("phasePedestrianClear", 3, 255),
        _phase("phaseMinimumGreen", 4, 255),
        _phase("phasePassage", 5, 255),
        _phase("phaseMaximum1", 6, 255),
        _phase("phaseMaximum2", 7, 255),
        _phase("phaseYellowChange", 8, 255),
        _phase("phaseRedClear", 9, 255),
        _phase("phaseOptions", 21, 65535),
        _phase("phaseRing", 22, 255),
        _phase("phaseConcurrency", 23, 255, syntax=Syntax.OCTETS),
        _scalar("maxPhaseGroups", (1, 3), 1, 255),
        _status("phaseStatusGroupReds", 2),
        _status("phaseStatusGroupYellows", 3),
        _status("phaseStatusGroupGreens", 4),
        _status("phaseStatusGroupDontWalks", 5),
        _status("phaseStatusGroupPedClears", 6),
        _status("phaseStatusGroupWalks", 7),
        _status("phaseStatusGroupVehCalls", 8),
        _status("phaseStatusGroupPedCalls", 9),
        _status("phaseStatusGroupPhaseOns", 10),
        _status("phaseStatusGroupPhaseNexts", 11),
        # unit: never written
        _scalar("unitBackupTime", (3, 3), 0, 65535, writable=True, database=True),
        _scalar("unitControlStatus", (3, 5), 1, 8),
        _scalar("unitFlashStatus", (3, 6), 1, 8),
        _scalar("unitAlarmStatus2", (3, 7), 0, 255),
        _scalar("unitAlarmStatus1", (3, 8), 0, 255),
        _scalar("shortAlarmStatus", (3, 9), 0, 255),
        # coordination
        _scalar("coordOperationalMode", (4, 1), 0, 255, writable=True, database=True),
        _scalar("coordCorrectionMode", (4, 2), 1, 4, writable=True, database=True),
        _scalar("coordMaximumMode", (4, 3), 1, 4, writable=True, database=True),
        _scalar("coordForceMode", (4, 4), 1, 3, writable=True, database=True),
        _scalar("maxPatterns", (4, 5), 1, 253),
        _scalar("patternTableType", (4, 6), 1, 4),
        _written("patternCycleTime", (*ASC, 4, 7, 1, 2), 0, 255, 1),
        _written("patternOffsetTime", (*ASC, 4, 7, 1, 3), 0, 255, 1),
        # read-only in v2.18 and v3.28, read-write in v1
        _written("patternSplitNumber", (*ASC, 4, 7, 1, 4), 1, 255, 1),
        _written("patternSequenceNumber", (*ASC, 4, 7, 1, 5), 1, 255, 1),
        _written("patternCoordSyncPoint", (*ASC, 4, 7, 1, 6), 2, 8, 1),
        _scalar("maxSplits", (4, 8), 1, 255),
        _written("splitTime", (*ASC, 4, 9, 1, 3), 0, 255, 2),
        _written("splitMode", (*ASC, 4, 9, 1, 4), 2, 7, 2),
        _written("splitCoordPhase", (*ASC, 4, 9, 1, 5), 0, 1, 2),
        _scalar("coordPatternStatus", (4, 10), 0, 255),
        _scalar("localFreeStatus", (4, 11), 1, 11),
        _scalar("coordCycleStatus", (4, 12), 0, 510),
        _scalar("coordSyncStatus", (4, 13), 0, 510),
        # no database object: acts at once
        _scalar("systemPatternControl", (4, 14), 0, 255, writable=True, ours=True),
        _scalar("systemSyncControl", (4, 15), 0, 255, writable=True),
        # time base
        _scalar("timebaseAscPatternSync", (5, 1), 0, 65535, writable=True, database=True),
        _scalar("maxTimebaseAscActions", (5, 2), 1, 255),
        _written("timebaseAscPattern", (*ASC, 5, 3, 1, 2), 0, 255, 1),
        _written("timebaseAscAuxillaryFunction", (*ASC, 5, 3, 1, 3), 0, 255, 1),
        _written("timebaseAscSpecialFunction", (*ASC, 5, 3, 1, 4), 0, 255, 1),
        _scalar("timebaseAscActionStatus", (5, 4), 0, 255),
        # preemption: never written
        _scalar("maxPreempts", (6, 1), 1, 255),
        ObjectType("preemptControl", (*ASC, 6, 2, 1, 2), 0, 255, 1, writable=True, database=True),
        ObjectType("preemptState", (*ASC, 6, 2, 1, 16), 1, 9, 1),
        ObjectType("preemptControlState", (*ASC, 6, 3, 1, 2), 0, 1, 1, writable=True),
        # rings
        _scalar("maxRings", (7, 1), 1, 255),
        _scalar("maxSequences", (7, 2), 1, 255),
        _written("sequenceData", (*ASC, 7, 3, 1, 3), 0, 255, 2, syntax=Syntax.OCTETS),
        ObjectType("ringStatus", (*ASC, 7, 6, 1, 1), 0, 255, 1),
        # NTCIP 1201: transaction, clock, schedule
        ObjectType("dbCreateTransaction", (*GLOBAL, 2, 1), 1, 6, writable=True, ours=True),
        ObjectType("dbVerifyStatus", (*GLOBAL, 2, 6), 0, 3),
        ObjectType("dbVerifyError", (*GLOBAL, 2, 7), 0, 255, syntax=Syntax.OCTETS),
        ObjectType("globalTime", (*GLOBAL, 3, 1), 0, 2**32 - 1, writable=True, syntax=Syntax.COUNTER),
        ObjectType("globalDaylightSaving", (*GLOBAL, 3, 2), 1, 20, writable=True),
        ObjectType("controllerStandardTimeZone", (*GLOBAL, 3, 5), -43200, 43200, writable=True),
        ObjectType("controllerLocalTime", (*GLOBAL, 3, 6), 0, 2**32 - 1, syntax=Syntax.COUNTER),
        ObjectType("maxTimeBaseScheduleEntries", (*GLOBAL, 3, 3, 1), 1, 65535),
        _written("timeBaseScheduleMonth", (*GLOBAL, 3, 3, 2, 1, 2), 0, 65535, 1),
        _written("timeBaseScheduleDay", (*GLOBAL, 3, 3, 2, 1, 3), 0, 255, 1),
        _written("timeBaseScheduleDate", (*GLOBAL, 3, 3, 2, 1, 4), 0, 2**32 - 1, 1),
        _written("timeBaseScheduleDayPlan", (*GLOBAL, 3, 3, 2, 1, 5), 0, 255, 1),
        ObjectType("maxDayPlans", (*GLOBAL, 3, 3, 3), 1, 255),
        ObjectType("maxDayPlanEvents", (*GLOBAL, 3, 3, 4), 1, 255),
        _written("dayPlanHour", (*GLOBAL, 3, 3, 5, 1, 3), 0, 23, 2),
        _written("dayPlanMinute", (*GLOBAL, 3, 3, 5, 1, 4), 0, 59, 2),
        _written("dayPlanActionNumberOID", (*GLOBAL, 3, 3, 5, 1, 5), 0, 128, 2, syntax=Syntax.OID),
        ObjectType("dayPlanStatus", (*GLOBAL, 3, 3, 6), 0, 255),
        ObjectType("timeBaseScheduleTableStatus", (*GLOBAL, 3, 3, 7), 0, 65535),
    )
}
"""Every object that Greensplit knows, by its name in the standard."""

ALLOWED: tuple[Oid, ...] = tuple(o.prefix for o in OBJECTS.values() if o.ours)
"""What may be written: patterns, splits, sequences, time base, the transaction, and the command of a pattern."""


class Transaction:
    """Values of dbCreateTransaction, and the outcomes of dbVerifyStatus."""

    NORMAL, TRANSACTION, VERIFY, DONE = 1, 2, 3, 6
    NOT_DONE, WITH_ERROR, WITHOUT_ERROR = 1, 2, 3


def may_write(oid: Oid) -> bool:
    """Whether Greensplit may ever write an object: it is one of the allowed ones, and a row of it."""
    return any(len(oid) > len(p) and oid[: len(p)] == p for p in ALLOWED)


def find_object(oid: Oid) -> tuple[ObjectType, tuple[int, ...]] | None:
    """The object that an instance belongs to, and its index; None where Greensplit knows none."""
    for k in range(len(oid) - 1, len(ASC), -1):
        found = _BY_PREFIX.get(oid[:k])
        if found is not None:
            index = oid[k:]
            if found.indices == 0:
                return (found, ()) if index == SCALAR else None
            return (found, index) if len(index) == found.indices else None
    return None


_BY_PREFIX: Mapping[Oid, ObjectType] = {o.prefix: o for o in OBJECTS.values()}


def name_of(oid: Oid) -> str:
    """An instance as people write it: `splitTime.3.5`, or its numbers where it isn't known."""
    found = find_object(oid)
    if found is None:
        return ".".join(map(str, oid))
    return ".".join([found[0].name, *map(str, found[1] or SCALAR)])


def bits_of(numbers: Iterable[int]) -> int:
    """A mask with bit `1 << n` for each number n."""
    return sum(1 << n for n in set(numbers))


def numbers_of(mask: int) -> Iterator[int]:
    """The numbers whose bits are set in a mask, rising."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def phases_of_groups(masks: Iterable[int]) -> frozenset[int]:
    """Phase numbers of phaseStatusGroup masks, the first for phases 1 to 8, and so on."""
    return frozenset(8 * group + k + 1 for group, mask in enumerate(masks) for k in numbers_of(mask))
