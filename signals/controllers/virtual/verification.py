"""The consistency checks of a virtual unit's own at the end of a transaction.

A real unit refuses a database that it couldn't run. These checks share no code with Greensplit's own
(`signals.safety`): what slips through there is to be caught here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from signals.controllers.objects import OBJECTS, Key
from signals.controllers.virtual.database import Value, integer
from signals.model.controller import AUTOMATIC, FLASH, FREE, PhaseOption, SplitMode

CYCLE_S = range(30, 256)
_LONGEST_TEXT = 255
_ACTION = (*OBJECTS["timebaseAscPattern"].prefix[:-1], 1)
_NO_ACTION = ((), (0,), (0, 0))
_WITH_PEDESTRIANS = (SplitMode.PEDESTRIAN, SplitMode.MAX_AND_PEDESTRIAN)
Database = Mapping[Key, Value]


def first_fault(values: Database) -> bytes:
    """What is wrong with a database, and where, in at most 255 octets; nothing where it can be run."""
    fault = next(_faults(values), "")
    return fault.encode("ascii", "replace")[:_LONGEST_TEXT]


def _faults(values: Database) -> Iterator[str]:
    rings = {
        n: integer(values, "phaseRing", n)
        for n in range(1, integer(values, "maxPhases") + 1)
        if integer(values, "phaseOptions", n) & PhaseOption.ENABLED
    }
    for n in range(1, integer(values, "maxPatterns") + 1):
        if integer(values, "patternCycleTime", n):
            for fault in _pattern_faults(values, n, rings):
                yield f"pattern {n}: {fault}"
    yield from _time_base_faults(values)


def _pattern_faults(values: Database, pattern: int, rings: Mapping[int, int]) -> Iterator[str]:
    cycle = integer(values, "patternCycleTime", pattern)
    if cycle not in CYCLE_S:
        yield f"cycle {cycle} s, not within {CYCLE_S.start} to {CYCLE_S.stop - 1} s"
    offset = integer(values, "patternOffsetTime", pattern)
    if offset >= cycle:
        yield f"offset {offset} s, not below the cycle of {cycle} s"
    row = integer(values, "patternSequenceNumber", pattern)
    if row > integer(values, "maxSequences"):
        yield f"sequence {row}, but the unit has {integer(values, 'maxSequences')}"
        return
    sequence = [values["sequenceData", (row, r)] for r in range(1, integer(values, "maxRings") + 1)]
    served = [tuple(ring) for ring in sequence if isinstance(ring, bytes)]
    faults = list(_sequence_faults(served, rings))
    groups = _groups(values, rings)
    faults = faults or list(_barrier_faults(served, groups))
    yield from (f"sequence {row}: {fault}" for fault in faults)
    split_row = integer(values, "patternSplitNumber", pattern)
    if split_row > integer(values, "maxSplits"):
        yield f"split {split_row}, but the unit has {integer(values, 'maxSplits')}"
        return
    if not faults:
        faults = list(_split_faults(values, split_row, served, groups, cycle))
        yield from (f"split {split_row}: {fault}" for fault in faults)


def _sequence_faults(served: Sequence[Sequence[int]], rings: Mapping[int, int]) -> Iterator[str]:
    for ring, phases in enumerate(served, 1):
        for phase in phases:
            if rings.get(phase) != ring:
                yield f"ring {ring} serves phase {phase}, which isn't an enabled phase of it"
            elif phases.count(phase) > 1:
                yield f"ring {ring} serves phase {phase} more than once"
    for phase, ring in rings.items():
        if not 1 <= ring <= len(served) or phase not in served[ring - 1]:
            yield f"ring {ring} never serves phase {phase}"


def _groups(values: Database, rings: Mapping[int, int]) -> dict[int, int]:
    """The group between barriers of each phase, named by its lowest phase."""
    group = {phase: phase for phase in rings}
    changed = True
    while changed:
        changed = False
        for phase in rings:
            near = values["phaseConcurrency", (phase,)]
            assert isinstance(near, bytes)
            joined = [phase, *(n for n in near if n in group)]
            lowest = min(group[n] for n in joined)
            for n in joined:
                changed = changed or group[n] != lowest
                group[n] = lowest
    return group


def _barrier_faults(served: Sequence[Sequence[int]], groups: Mapping[int, int]) -> Iterator[str]:
    orders = []
    for ring, phases in enumerate(served, 1):
        order: list[int] = []
        for phase in phases:
            if groups[phase] in order[:-1]:
                yield f"ring {ring} comes back to phase {phase} after its barrier"
                return
            if groups[phase] not in order[-1:]:
                order.append(groups[phase])
        orders.append((ring, order))
    first = max((order for _, order in orders), key=len, default=[])
    for ring, order in orders:
        if order != [group for group in first if group in order]:
            yield f"ring {ring} crosses the barriers in another order than other rings"


def _split_faults(
    values: Database, row: int, served: Sequence[Sequence[int]], groups: Mapping[int, int], cycle: int
) -> Iterator[str]:
    sums: dict[int, dict[int, int]] = {}
    coordinated: list[tuple[int, int]] = []
    for ring, phases in enumerate(served, 1):
        for phase in phases:
            omitted = integer(values, "splitMode", row, phase) == SplitMode.OMITTED
            if integer(values, "splitCoordPhase", row, phase):
                coordinated.append((ring, phase))
                if omitted:
                    yield f"phase {phase} is coordinated and omitted"
            if omitted:
                continue
            split = integer(values, "splitTime", row, phase)
            shortest = _shortest_tenths(values, row, phase)
            if 10 * split < shortest:
                yield f"phase {phase} has {split} s and needs {shortest / 10:g} s"
            by_ring = sums.setdefault(groups[phase], {})
            by_ring[ring] = by_ring.get(ring, 0) + split
    for group, by_ring in sums.items():
        if len(set(by_ring.values())) > 1:
            said = ", ".join(f"{total} s in ring {ring}" for ring, total in by_ring.items())
            yield f"the barriers around phase {group} aren't reached at once: {said}"
    total = sum(max(by_ring.values()) for by_ring in sums.values())
    if total != cycle:
        yield f"splits add up to {total} s, but the cycle is {cycle} s"
    if not coordinated:
        yield "no phase is coordinated"
    elif len({ring for ring, _ in coordinated}) < len(coordinated):
        yield f"two coordinated phases in one ring: {[phase for _, phase in coordinated]}"
    elif len({groups[phase] for _, phase in coordinated}) > 1:
        yield f"coordinated phases {[phase for _, phase in coordinated]} on both sides of a barrier"


def _shortest_tenths(values: Database, row: int, phase: int) -> int:
    green = integer(values, "phaseMinimumGreen", phase)
    recalled = integer(values, "phaseOptions", phase) & PhaseOption.PED_RECALL
    if recalled or integer(values, "splitMode", row, phase) in _WITH_PEDESTRIANS:
        walk = integer(values, "phaseWalk", phase) + integer(values, "phasePedestrianClear", phase)
        green = max(green, walk)
    return 10 * green + integer(values, "phaseYellowChange", phase) + integer(values, "phaseRedClear", phase)


def _time_base_faults(values: Database) -> Iterator[str]:
    patterns, actions = integer(values, "maxPatterns"), integer(values, "maxTimebaseAscActions")
    for action in range(1, actions + 1):
        pattern = integer(values, "timebaseAscPattern", action)
        if pattern in (AUTOMATIC, FREE, FLASH):
            continue
        if pattern > patterns or not integer(values, "patternCycleTime", pattern):
            yield f"action {action}: calls pattern {pattern}, which is empty"
    for day in range(1, integer(values, "maxDayPlans") + 1):
        for event in range(1, integer(values, "maxDayPlanEvents") + 1):
            oid = values["dayPlanActionNumberOID", (day, event)]
            if oid in _NO_ACTION:
                continue
            assert isinstance(oid, tuple)
            if oid[:-1] != _ACTION or not 1 <= oid[-1] <= actions:
                yield f"day plan {day} event {event}: {'.'.join(map(str, oid))} is no action"
    for entry in range(1, integer(values, "maxTimeBaseScheduleEntries") + 1):
        day = integer(values, "timeBaseScheduleDayPlan", entry)
        if day > integer(values, "maxDayPlans"):
            yield f"schedule entry {entry}: names day plan {day}, which the unit has no room for"
